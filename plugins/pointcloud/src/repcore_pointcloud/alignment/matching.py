"""Matches between two clouds: thinning, features of points from geometry or from a trained model, nearest neighbours.

Symbols: n points, N matches, D features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from repcore.errors import DataError
from repcore_pointcloud.alignment.geometry import PointFeatures
from repcore_pointcloud.formats.match_set import MatchSet
from repcore_pointcloud.ops.interpolate_points.torch import interpolate_points
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor
from repcore_pointcloud.preprocessors.scene import distinct_rows

KEPT_POINTS = 8000  # of the larger cloud, where no voxel is given; half of a cloud with fewer than twice that
HALVINGS = 30
FEWEST_POINTS, MOST_POINTS = 30, 60_000  # thinned: fewer match by chance, more take hours
BLOCK = 2**24  # distances of features in memory at once


class Thinned(NamedTuple):
    """Means of the points of each voxel, float64 (n, 3), and which one each point went to (points,)."""

    places: np.ndarray
    voxel_of: np.ndarray


def thinned(points: np.ndarray, voxel: float) -> Thinned:
    """One point a voxel.

    Args:
        points: float64 (n, 3), finite, not far from 0.
    """
    first, voxel_of = distinct_rows(np.floor(points / voxel).astype(np.int64))
    number = np.bincount(voxel_of, minlength=len(first))
    sums = [np.bincount(voxel_of, points[:, axis], len(first)) for axis in range(3)]
    return Thinned(np.stack(sums, axis=1) / number[:, None], voxel_of)


def fitting_voxel(clouds: tuple[np.ndarray, np.ndarray], kept: int = KEPT_POINTS) -> float:
    """A voxel of two digits at which the larger cloud keeps about so many points, but at most half of them.

    Raises:
        DataError: both clouds are single points.
    """
    size = max(_size(one) for one in clouds)
    if size <= 0:
        raise DataError("both clouds are one point each, so that no motion can be told")
    kept = min(kept, max(len(one) for one in clouds) // 2)
    low, high = size * 1e-5, size
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        left = max(len(distinct_rows(np.floor(one / middle).astype(np.int64))[0]) for one in clouds)
        low, high = (middle, high) if left > kept else (low, middle)
    return float(f"{high:.2g}")


def _size(points: np.ndarray) -> float:
    """Largest side of a cloud but for its outermost points, which may be strays."""
    inner = float(np.ptp(np.quantile(points, (0.01, 0.99), axis=0), axis=0).max())
    return inner or float(np.ptp(points, axis=0).max())


def model_features(model: Any, points: np.ndarray, kept: Thinned) -> PointFeatures:
    """Features of a trained model at thinned points: means over the points of a voxel.

    Args:
        model: as ``repcore.load`` gives it, of scenes (FAC and other sparse U-Nets) or of shapes (I2P-MAE).
        points: float64 (n, 3), all of them.

    Raises:
        DataError: the model reads no points, or cannot use these.
    """
    given = points.astype(np.float32)
    if isinstance(model.preprocessor, PointSetPreprocessor):
        rows, values = _shape_features(model, points)
    elif "voxel" in getattr(model.encoder, "level_widths", {}):
        answer = model.tokens([given], "point")[0]
        if answer is None:
            raise DataError("the feature model cannot use this cloud", points=len(points))
        rows, values = np.arange(len(points)), answer.outputs
    else:
        raise DataError(
            f"{model.folder.encoder_name} gives no features of points", expected="a model of scenes or of shapes"
        )
    known = np.isfinite(values).all(1)
    place, values = kept.voxel_of[rows[known]], values[known].astype(np.float64)
    number = np.bincount(place, minlength=len(kept.places))
    sums = np.zeros((len(kept.places), values.shape[1]))
    np.add.at(sums, place, values)
    there = number > 0
    return PointFeatures(kept.places[there], (sums[there] / number[there, None]).astype(np.float32))


@torch.inference_mode()
def _shape_features(model: Any, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the points that a shape model sees, and tokens of all its levels there, by inverse distance."""
    from repcore.interfaces import Sample

    preprocessor = model.preprocessor
    sample = Sample("cloud", preprocessor.inputs_from(points))
    batch = preprocessor.collate(preprocessor.prepare(sample)).to(model.device)
    asked = batch.inputs["points"]
    parts = []
    for tokens in model.encoder(batch).tokens.values():
        found = interpolate_points(tokens.values.float(), tokens.position.float(), asked.float())
        parts.append(torch.nn.functional.normalize(found[0], dim=1))  # levels weigh alike
    return preprocessor.chosen_rows(points), torch.cat(parts, dim=1).cpu().numpy()


def nearest_features(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every row of ``one`` the row of ``other`` with the nearest features, and how much nearer than the second.

    Returns:
        rows (n,), the lowest on a tie; ratio (n,) of the first to the second distance, in [0, 1].
    """
    first, second = torch.from_numpy(one), torch.from_numpy(other)
    rows, ratios = [], []
    for part in first.split(max(1, BLOCK // max(1, len(second)))):
        distance, row = torch.cdist(part, second).topk(min(2, len(second)), largest=False)
        rows.append(row[:, 0])
        ratios.append(distance[:, 0] / distance[:, -1].clamp(min=1e-12))
    return torch.cat(rows).numpy(), torch.cat(ratios).numpy()


def match_features(source: PointFeatures, target: PointFeatures, most: int, mutual: bool) -> MatchSet:
    """Nearest neighbours in features.

    Args:
        most: matches kept, the most distinct first.
        mutual: only those that are nearest both ways.

    Raises:
        DataError: a cloud has too few points with features.
    """
    for name, one in (("first", source), ("second", target)):
        if len(one.places) < FEWEST_POINTS:
            raise DataError(
                f"the {name} cloud has {len(one.places)} thinned points with features",
                expected=f"{FEWEST_POINTS} or more",
                hint="a smaller --voxel; both clouds must be in one unit",
            )
    rows, ratio = nearest_features(source.values, target.values)
    kept = np.arange(len(rows))
    if mutual:
        back, _ = nearest_features(target.values, source.values)
        kept = np.flatnonzero(back[rows] == kept)
    order = kept[np.argsort(ratio[kept], kind="stable")[:most]]
    order.sort()
    return MatchSet(source.places[order], target.places[rows[order]])
