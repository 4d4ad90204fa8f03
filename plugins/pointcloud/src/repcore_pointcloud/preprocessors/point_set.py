"""Preprocessor ``pointcloud/point-set``: clouds of any number of points to a fixed number, centred, of radius 1.

Rule of resampling: a larger cloud is thinned (an even choice that depends on nothing but the cloud, farthest points, or
the first ones); a smaller one keeps every point and repeats some. Sums are made in float64, so that large map
coordinates keep their detail.

Source: method card, section 5: subtract the mean, divide by the largest distance.

Symbols: n points of a file, P points of a batch, B clouds.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from repcore.errors import ConfigError, ItemError
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_pointcloud.configs.shapes import PointSetConfig
from repcore_pointcloud.formats.points import PointCloud
from repcore_pointcloud.formats.table import far_offset, stored_coarsely, usable
from repcore_pointcloud.ops.farthest_points.torch import farthest_points
from repcore_pointcloud.preprocessors.given import cloud_from

LINE_TOLERANCE = 1e-6  # second over first singular value below which points lie on a line
CLEARLY_NO_LINE = 1e-6  # second over first variance above which the slow and exact question need not be asked
FAR = 1000  # times the median distance from the middle: a stray point, or a wrong unit for some
D2_PAIRS, D2_BINS = 4096, 24
NO_CATEGORY = -1


class PointSetPreprocessor:
    """Points as items, stacked points as batches.

    Args:
        config: numbers and rules; see :class:`PointSetConfig`.

    Raises:
        ConfigError: no points asked for.
    """

    def __init__(self, config: PointSetConfig) -> None:
        if config.points < 1:
            raise ConfigError(f"points={config.points} is not positive", field="preprocessor.points")
        self.config = config

    @classmethod
    def load(cls, config: PointSetConfig, folder: Path) -> PointSetPreprocessor:
        """The preprocessor of a saved model; everything is in its config."""
        del folder
        return cls(config)

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Nothing is learned from data."""

    def facts(self) -> Mapping[str, Any]:
        return {}

    def prepare(self, sample: Sample) -> list[Item]:
        """One item; its status tells few points, a line, or a mesh without faces.

        Raises:
            ItemError: ``empty``, ``not_finite``, ``one_point`` or ``no_extent``.
        """
        cloud: PointCloud = sample.inputs
        points, kept = self._finite(cloud)
        chosen = self.chosen_rows(points)
        points = np.asarray(points[chosen], dtype=np.float64)
        meta: dict[str, Any] = {"points": self.config.points}
        if self.config.normalise:
            points = points - points.mean(axis=0)
            radius = float(np.linalg.norm(points, axis=1).max())
        else:
            offset = far_offset(points)
            if offset is not None:  # float32 would lose their detail
                points, meta["offset"] = points - offset, offset.tolist()
            radius = float(np.linalg.norm(points - points[0], axis=1).max())
        if radius == 0.0:
            raise ItemError("no_extent", f"all {len(cloud.points)} points are the same one")
        if self.config.normalise:
            points /= radius
        status, reason = self._note(cloud, points, dropped=int(cloud.counted.sum()) - len(kept))
        values: dict[str, Any] = {"points": points.astype(np.float32), "category": _category(sample)}
        labels = {
            name: np.asarray(one)[kept][chosen]
            for name, one in sample.targets.items()
            if np.shape(one) == (len(cloud.points),)
        }
        return [Item(values, meta, status, reason, targets=labels)]

    def inputs_from(self, value: Any) -> Any:
        """Points (n, 3 or more), a data frame with columns x, y, z, an open3d or trimesh object, or one file's name."""
        return cloud_from(value)

    def restore(self, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
        """Outputs of the P points of a batch at all points of the file (n, K), in its order.

        A point that was chosen has its own answer (the mean where it was repeated), one that was thinned away that of
        the nearest chosen point; points without usable coordinates have NaN.

        Raises:
            ItemError: ``other_level``: a cloud has points.
        """
        del items
        if level != "point":
            raise ItemError("other_level", f"a cloud has points, no level {level!r}")
        cloud: PointCloud = sample.inputs
        points, kept = self._finite(cloud)
        chosen, answers = self.chosen_rows(points), outputs[0].reshape(-1, outputs[0].shape[-1])
        number = np.bincount(chosen, minlength=len(points))
        found = np.zeros((len(points), answers.shape[1]))
        np.add.at(found, chosen, answers)
        found /= np.maximum(number, 1)[:, None]
        away = np.flatnonzero(number == 0)
        if len(away):
            own = np.flatnonzero(number)
            found[away] = found[own[cKDTree(points[own]).query(points[away])[1]]]
        result = np.full((len(cloud.points), answers.shape[1]), np.nan, np.float32)
        result[kept] = found
        return result

    def elements(self, sample: Sample, level: str) -> Mapping[str, np.ndarray]:
        """Coordinates of every point of the file, float64, in its own unit and order."""
        del level
        return {name: sample.inputs.points[:, axis].astype(np.float64) for axis, name in enumerate("xyz")}

    def _finite(self, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
        """Usable points and their rows in the file."""
        points, counted = cloud.points, cloud.counted
        if len(points) == 0:
            raise ItemError("empty", "the cloud has no points")
        finite = usable(points) & counted
        bad = int(counted.sum() - finite.sum())
        if bad and (self.config.nonfinite == "reject" or not finite.any()):
            raise ItemError(
                "not_finite",
                f"{bad} of {len(points)} points are NaN, infinite or beyond 1e12"
                + ("" if not finite.any() else "; preprocessor.nonfinite=drop leaves them out"),
            )
        rows = np.flatnonzero(finite)
        if len(rows) == 1:
            raise ItemError("one_point", "one point has no shape")
        return points[rows], rows

    def chosen_rows(self, points: np.ndarray) -> np.ndarray:
        """Rows of a cloud that become its P points, by the resampling rule."""
        wanted, found = self.config.points, len(points)
        if found == wanted or (found > wanted and self.config.resampling == "first"):
            return np.arange(wanted)
        if found > wanted and self.config.resampling == "farthest":
            centred = torch.from_numpy((points - points.mean(axis=0)).astype(np.float32))
            return farthest_points(centred[None], wanted)[0].numpy()
        rng = np.random.default_rng([wanted, zlib.crc32(np.ascontiguousarray(points, np.float32).tobytes())])
        if found > wanted:
            return np.sort(rng.choice(found, wanted, replace=False))
        repeats = rng.permutation(np.resize(rng.permutation(found), wanted - found))
        return np.concatenate([np.arange(found), repeats])

    def _note(self, cloud: PointCloud, points: np.ndarray, *, dropped: int) -> tuple[str, str]:
        """Status and reason of a usable cloud, the most serious first."""
        # values of one coordinate are counted much faster than points, and are never more
        if len(np.unique(points[:, 0])) < self.config.few_points:
            distinct = len(np.unique(points, axis=0))
            if distinct < self.config.few_points:
                return "few_points", f"{distinct} distinct points; tokens repeat them"
        if _is_line(points - points.mean(axis=0)):
            return "colinear", "all points lie on a line"
        away = np.linalg.norm(points - np.median(points, axis=0), axis=1)
        typical = float(np.median(away))
        if typical > 0.0 and away.max() > FAR * typical:
            far = int((away > FAR * typical).sum())
            return "far_point", f"{far} points lie more than {FAR:,} times as far out as half of them: a speck is left"
        if dropped:
            said = f"{dropped} of {len(cloud.points)} points were NaN, infinite or beyond 1e12"
            return "points_dropped", f"{said}; {cloud.remark[1]}" if cloud.remark else said
        coarse = stored_coarsely(cloud.points, far_offset(cloud.points[usable(cloud.points)]))
        return cloud.remark or (("coarse_coordinates", coarse) if coarse else ("ok", ""))

    def collate(self, items: Sequence[Item]) -> Batch:
        """Inputs ``points`` float32 (B, P, 3) and, where every shape has one, ``category`` int64 (B,)."""
        inputs = {"points": torch.from_numpy(np.stack([item.values["points"] for item in items]))}
        categories = [item.values.get("category", NO_CATEGORY) for item in items]
        if items and NO_CATEGORY not in categories:
            inputs["category"] = torch.tensor(categories, dtype=torch.int64)
        return Batch(inputs=inputs, size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Points of the item."""
        return int(meta["points"])

    def save(self, folder: Path) -> Mapping[str, Any]:
        del folder
        return {}


def _category(sample: Sample) -> int:
    """Number of the object's category, which part segmentation is told: the data set's own numbering, else the label's;
    -1 where there is none."""
    value = sample.meta.get("category", sample.targets.get("category"))
    known = isinstance(value, int | float | np.number) and np.isfinite(float(value))
    return int(value) if known else NO_CATEGORY


def _is_line(centred: np.ndarray) -> bool:
    """Whether points (n, 3) have extent in one direction only."""
    variances = np.linalg.eigvalsh(centred.T @ centred)
    if variances[1] > CLEARLY_NO_LINE * variances[2]:
        return False
    spread = np.linalg.svd(centred, compute_uv=False)  # squares would lose what the tolerance asks for
    return bool(spread[1] < LINE_TOLERANCE * spread[0])


def extents(preprocessor: PointSetPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: extent, standard deviation and mean size of each axis, (N, 9)."""
    return np.stack([_extents(one) for one in _clouds(preprocessor, samples)])


def extents_and_distances(preprocessor: PointSetPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: the same, and a histogram of distances between random pairs (D2, Osada et al. 2002), (N, 33)."""
    rows = []
    for points in _clouds(preprocessor, samples):
        first, second = np.random.default_rng(0).integers(len(points), size=(2, D2_PAIRS))
        distances = np.linalg.norm(points[first] - points[second], axis=1)
        histogram = np.histogram(distances, bins=D2_BINS, range=(0.0, 2.0))[0] / D2_PAIRS
        rows.append(np.concatenate([_extents(points), histogram]))
    return np.stack(rows)


def _clouds(preprocessor: PointSetPreprocessor, samples: Iterable[Sample]) -> Iterable[np.ndarray]:
    return (preprocessor.prepare(sample)[0].values["points"] for sample in samples)


def _extents(points: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ptp(points, axis=0), points.std(axis=0), np.abs(points).mean(axis=0)])
