"""From two clouds to one motion: thinning, matches, every way to find a motion, the last refinement, the verdict.

All ways judge the same matches in the network's unit, in which its tolerance of lengths is the inlier distance of the
data: a network trained in metres at 3 cm serves scans in millimetres or streets at 30 cm.

Symbols: n points, N matches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from repcore.errors import DataError
from repcore_pointcloud.alignment.baselines import ransac_motion, spectral_motion
from repcore_pointcloud.alignment.closest_points import Overlap, closest_points, overlap
from repcore_pointcloud.alignment.geometry import MIRROR, PointFeatures, geometric_features, mirrored_features
from repcore_pointcloud.alignment.matching import (
    MOST_POINTS,
    Thinned,
    fitting_voxel,
    match_features,
    model_features,
    thinned,
)
from repcore_pointcloud.alignment.solution import Solution
from repcore_pointcloud.alignment.vbreg import vbreg_motion
from repcore_pointcloud.alignment.verdict import Evidence, Verdict, surface_fit
from repcore_pointcloud.configs.vbreg import (
    NEAREST_M,
    GeometryConfig,
    MotionConfig,
    RansacConfig,
    RegistrationConfig,
    SpectralConfig,
)
from repcore_pointcloud.encoders.match_network import MatchNetwork
from repcore_pointcloud.formats.match_set import MatchSet

OVERLAP_VOXELS = 1.5  # a point on the other cloud, after refinement
SHUFFLES = 3
REFINED_VOXELS = 3.0  # largest distance of a pair in the last refinement
GEOMETRIC = "fpfh"
SEARCH = MotionConfig(latent="sample")
"""Drawn with its seed, so that every run gives the same: networks of short training judge by what they draw, and tell
right matches from wrong ones badly by the mean (benchmarks/registration.py)."""

Way = Callable[[torch.Tensor, torch.Tensor], Solution]
"""``fn(source, target) -> solution`` of matches (N, 3)."""


@dataclass(slots=True)
class Cloud:
    """One cloud of a pair.

    Args:
        points: float64 (n, 3), finite, ``offset`` subtracted.
        offset: float64 (3,), leads back to the file's coordinates.
        viewpoint: (3,) where the sensor stood, ``offset`` subtracted; None = unknown.
    """

    points: np.ndarray
    offset: np.ndarray
    viewpoint: np.ndarray | None = None


@dataclass(slots=True)
class Found:
    """What one way found.

    Args:
        solution: in the matches' scaled unit.
        motion: float64 (4, 4) in the files' coordinates, before the last refinement.
        seconds: for the motion alone, without features and matches.
    """

    solution: Solution
    motion: np.ndarray
    seconds: float

    @property
    def inliers(self) -> int:
        return int(self.solution.inliers.sum())


@dataclass(slots=True)
class Registration:
    """The motion between two clouds, and what speaks for it.

    Args:
        method: the way whose motion was taken.
        found: way -> what it found, those that ran.
        motion: float64 (4, 4), source to target in the files' coordinates.
        matches: in the files' coordinates less the offsets, which are float64 (3,) of source and target.
        chance: most matches that agree with one motion when their targets are shuffled.
        evidence: what else speaks for the motion, its verdict included.
        overlaps: of the source on the target, and the other way round.
        thinned: places of both clouds, less the offsets.
    """

    method: str
    found: dict[str, Found]
    motion: np.ndarray
    matches: MatchSet
    chance: int
    evidence: Evidence
    overlaps: tuple[Overlap, Overlap]
    voxel: float
    inlier_distance: float
    thinned: tuple[np.ndarray, np.ndarray]
    near_motion: np.ndarray
    offsets: tuple[np.ndarray, np.ndarray]
    features: str = GEOMETRIC
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def matched(self) -> tuple[np.ndarray, np.ndarray]:
        """Both ends of the matches in the files' coordinates, float64 (N, 3) each."""
        return self.matches.source + self.offsets[0], self.matches.target + self.offsets[1]


def cloud_of(points: np.ndarray, name: str, viewpoint: np.ndarray | None = None) -> Cloud:
    """Finite points near 0.

    Raises:
        DataError: none is finite.
    """
    exact = np.asarray(points, np.float64)
    exact = exact[np.isfinite(exact).all(1)]
    if not len(exact):
        raise DataError(f"{name} has no point with finite coordinates")
    offset = np.round(np.median(exact, axis=0))
    return Cloud(exact - offset, offset, None if viewpoint is None else np.asarray(viewpoint, np.float64) - offset)


def ways(
    network: MatchNetwork | None, config: MotionConfig, hypotheses: int = RansacConfig().hypotheses
) -> dict[str, Way]:
    """Every way that can run, by name."""
    found: dict[str, Way] = {}
    if network is not None:
        judging = network
        found["vbreg"] = lambda one, other: vbreg_motion(judging, one, other, config)
    found["spectral"] = lambda one, other: spectral_motion(one, other, config, SpectralConfig())
    found["ransac"] = lambda one, other: ransac_motion(one, other, config, RansacConfig(hypotheses=hypotheses))
    return found


def register(
    source: Cloud,
    target: Cloud,
    config: RegistrationConfig,
    *,
    method: str = "",
    network: MatchNetwork | None = None,
    feature_model: Any = None,  # a repcore.embedding.model.Model
    motion: MotionConfig | None = None,
) -> Registration:
    """The motion that takes ``source`` onto ``target``.

    Args:
        method: ``vbreg``, ``spectral`` or ``ransac``; empty = that with which most matches agree.
        network: trained; without it there is no vbreg.
        feature_model: of scenes or shapes; None = geometric features.
        motion: settings of the search; distances are replaced by those of the network's unit.

    Raises:
        DataError: too few points, or no motion that enough of both clouds agree with.
    """
    seconds: dict[str, float] = {}
    voxel = config.voxel or fitting_voxel((source.points, target.points))
    kept = thinned(source.points, voxel), thinned(target.points, voxel)
    _check_number(kept, voxel)
    with _timed(seconds, "features"):
        pair = zip((source, target), kept, strict=True)
        features = [_features(one, part, voxel, config, feature_model) for one, part in pair]
    with _timed(seconds, "matches"):
        matches = match_features(features[0], features[1], config.matches, config.mutual)
    limit = config.inlier_voxels * voxel
    unit = NEAREST_M if network is None else network.config.length_tolerance_m
    search = replace(motion or SEARCH, inlier_distance_m=unit, seed_distance_m=unit)
    every = ways(network, search)
    found = _all_ways(matches, every, unit / limit)
    method = method or max(found, key=lambda name: found[name].inliers)  # the first of equals
    places, near = (kept[0].places, kept[1].places), found[method].motion
    refined = near
    if found[method].solution.success:
        with _timed(seconds, "refinement"):
            refined = closest_points(near, *places, voxel * REFINED_VOXELS)
    with _timed(seconds, "verdict"):
        turned = _mirrored(source, kept[0], features[0], voxel, config, feature_model)
        null = every[method](*_scaled(match_features(turned, features[1], config.matches, config.mutual), unit / limit))
        evidence = Evidence(
            inliers=found[method].inliers,
            kept=_still_agree(refined, matches, found[method].solution, limit),
            mirrored=int(null.inliers.sum()),
            **surface_fit(refined, *places, voxel, voxel * REFINED_VOXELS),
        )
    near = refined if config.closest_points else near
    reach = OVERLAP_VOXELS * voxel
    overlaps = overlap(near, *places, reach), overlap(np.linalg.inv(near), *places[::-1], reach)
    offsets = source.offset, target.offset
    for one in found.values():
        one.motion = _in_file(one.motion, *offsets)
    return Registration(
        method=method,
        found=found,
        motion=_in_file(near, *offsets),
        matches=matches,
        chance=_chance(matches, search, unit / limit),
        evidence=evidence,
        overlaps=overlaps,
        voxel=voxel,
        inlier_distance=limit,
        thinned=places,
        near_motion=near,
        offsets=offsets,
        features=GEOMETRIC if feature_model is None else str(feature_model.folder.encoder_name),
        seconds=seconds,
    )


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began


def _chance(matches: MatchSet, config: MotionConfig, factor: float) -> int:
    """How many matches one motion brings together where none is right."""
    found = []
    for seed in range(SHUFFLES):
        order = np.random.default_rng(seed).permutation(len(matches.source))
        ends = _scaled(MatchSet(matches.source, matches.target[order]), factor)
        found.append(int(spectral_motion(*ends, config, SpectralConfig()).inliers.sum()))
    return max(found)


def _scaled(matches: MatchSet, factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    source, target = (torch.from_numpy((one * factor).astype(np.float32)) for one in (matches.source, matches.target))
    return source, target


def _all_ways(matches: MatchSet, chosen: Mapping[str, Way], factor: float) -> dict[str, Found]:
    """Every way on the matches in the search's unit, with motions back in the clouds' own."""
    ends = _scaled(matches, factor)
    found, seconds = {}, dict[str, float]()
    for name, way in chosen.items():
        with _timed(seconds, name):
            solution = way(*ends)
        found[name] = Found(solution, _unscaled(solution.matrix, 1.0 / factor), seconds[name])
    return found


def _mirrored(
    cloud: Cloud, kept: Thinned, features: PointFeatures, voxel: float, config: RegistrationConfig, model: Any
) -> PointFeatures:
    """Features of the mirrored cloud."""
    if model is None:
        return mirrored_features(features)
    other = Thinned(kept.places * MIRROR, kept.voxel_of)
    return _features(Cloud(cloud.points * MIRROR, cloud.offset * MIRROR), other, voxel, config, model)


def _still_agree(motion: np.ndarray, matches: MatchSet, solution: Solution, limit: float) -> int:
    gap = matches.source @ motion[:3, :3].T + motion[:3, 3] - matches.target
    return int(((np.linalg.norm(gap, axis=1) < limit) & solution.inliers.cpu().numpy()).sum())


def verdict(result: Registration, config: RegistrationConfig) -> Verdict:
    """Whether the motion is written, and with which word."""
    best = result.found[result.method]
    enough = best.solution.success and best.inliers >= least_agreeing(result, config)
    if not enough or max(one.share for one in result.overlaps) < config.least_overlap:
        return "refused"
    return result.evidence.verdict


def least_agreeing(result: Registration, config: RegistrationConfig) -> int:
    """Matches that have to agree."""
    return max(config.least_inliers, math.ceil(config.above_chance * result.chance))


def check(result: Registration, config: RegistrationConfig) -> None:
    """Refuse a motion that too little speaks for.

    Raises:
        DataError: with what was found.
    """
    best = result.found[result.method]
    smaller, larger = sorted(one.share for one in result.overlaps)
    needed = least_agreeing(result, config)
    if verdict(result, config) != "refused":
        return
    passes = best.solution.success and best.inliers >= needed and larger >= config.least_overlap
    why = (
        "what it brings together does not fit"
        if passes
        else "the clouds overlap too little, or their matches agree too little"
    )
    raise DataError(
        f"no motion by {result.method}: {why}",
        agreeing=f"{best.inliers} of {len(result.matches.source)} matches; needed {needed}, by chance {result.chance}",
        overlap=f"{smaller:.0%} and {larger:.0%} of the clouds; needed {config.least_overlap:.0%} of one",
        **({"doubts": "; ".join(result.evidence.doubts)} if result.evidence.doubts else {}),
        voxel=f"{result.voxel:g}",
        hint="scans that share more, another --voxel, --sensor-at-origin, or --page to see what was found",
    )


def _check_number(kept: tuple[Thinned, Thinned], voxel: float) -> None:
    """Refuse a voxel that thins nothing.

    Raises:
        DataError: with the number of points that would be left.
    """
    most = max(len(one.places) for one in kept)
    if most > MOST_POINTS:
        raise DataError(
            f"voxel {voxel:g} leaves {most:,} points of a cloud", expected=f"{MOST_POINTS:,} or fewer",
            hint="a larger --voxel, in the files' unit",
        )  # fmt: skip


def _features(cloud: Cloud, kept: Thinned, voxel: float, config: RegistrationConfig, model: Any) -> PointFeatures:
    if model is not None:
        return model_features(model, cloud.points + cloud.offset, kept)
    seen_from = cloud.viewpoint
    if seen_from is None and config.sensor_at_origin:
        seen_from = -cloud.offset
    return geometric_features(kept.places, voxel, GeometryConfig(), seen_from)


def _unscaled(matrix: torch.Tensor, factor: float) -> np.ndarray:
    found: np.ndarray = matrix.double().cpu().numpy().copy()
    found[:3, 3] *= factor
    found[:3, :3] = _nearest_rotation(found[:3, :3])
    return found


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """Without the rounding of float32."""
    u, _, vh = np.linalg.svd(matrix)
    found: np.ndarray = u @ vh
    return found


def _in_file(motion: np.ndarray, source_offset: np.ndarray, target_offset: np.ndarray) -> np.ndarray:
    """The same motion between coordinates to which the offsets are added."""
    found = motion.copy()
    found[:3, 3] = motion[:3, 3] + target_offset - motion[:3, :3] @ source_offset
    return found
