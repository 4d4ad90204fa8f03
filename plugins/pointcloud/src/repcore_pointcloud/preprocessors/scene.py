"""Preprocessor ``pointcloud/scene``: scenes to voxels with features, regions and the way back to points.

Rule for points that share a voxel: their features are averaged, the voxel's region is that of most of them (the lowest
number on a tie), and every point keeps the number of its voxel (``source``).

Symbols: N points of the file, M thinned points, V voxels, R regions, F channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repcore.errors import ConfigError
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_pointcloud.configs.scenes import SceneConfig
from repcore_pointcloud.formats.scene import Scene
from repcore_pointcloud.preprocessors.given import scene_from
from repcore_pointcloud.preprocessors.scene_geometry import PreparedScene, prepare_scene, unit_remark
from repcore_pointcloud.preprocessors.scene_preparation import ScenePreparation

CHANNEL_WIDTHS = {"constant": 1, "height": 1, "slope": 1, "normal": 3, "shape": 3, "colour": 3, "intensity": 1}


class ScenePreprocessor:
    """Voxels of whole scenes.

    Args:
        config: sizes, channels, regions.

    Raises:
        ConfigError: sizes that are not positive, or no channel.
    """

    def __init__(self, config: SceneConfig) -> None:
        if min(config.voxel_size_m, config.unit_m, config.grid_m or 1.0, config.height_scale_m) <= 0:
            raise ConfigError(
                f"voxel_size_m={config.voxel_size_m}, grid_m={config.grid_m}, unit_m={config.unit_m} are no lengths",
                expected="numbers above 0",
                field="preprocessor",
            )
        if not config.channels:
            raise ConfigError("channels names no feature", field="preprocessor.channels", hint="[constant, height]")
        self.config = config

    @classmethod
    def load(cls, config: SceneConfig, folder: Path) -> ScenePreprocessor:
        """Nothing is fitted, so that the config says all."""
        del folder
        return cls(config)

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Nothing to learn."""

    def facts(self) -> Mapping[str, Any]:
        return {"input_width": sum(CHANNEL_WIDTHS[one] for one in self.config.channels)}

    def preparation(self, workers: int) -> ScenePreparation:
        """Regions and local shapes of a whole data set."""
        del workers
        return ScenePreparation(self.config)

    def inputs_from(self, value: Any) -> Any:
        """An array (n, 3) of points, (n, 6) with colours, or a data frame with columns x, y, z."""
        return value if isinstance(value, PreparedScene) else scene_from(value)

    def geometry(self, sample: Sample) -> PreparedScene:
        """The prepared scene of a sample, made now if it was not before.

        Raises:
            ItemError: the scene cannot be used.
        """
        prepared: PreparedScene = (
            sample.inputs if isinstance(sample.inputs, PreparedScene) else prepare_scene(sample.inputs, self.config)
        )
        return prepared

    def prepare(self, sample: Sample) -> list[Item]:
        """One item a scene; its status tells what looks wrong about units or coordinates.

        Raises:
            ItemError: the scene cannot be used.
        """
        remark = ("ok", "")
        if not isinstance(sample.inputs, PreparedScene):
            remark = unit_remark(sample.inputs, self.config)
        scene = self.geometry(sample)
        values: dict[str, Any] = dict(self.voxels(scene.points, self.channels(scene), scene.region))
        voxel_of = values.pop("voxel_of")
        values["source"] = np.where(scene.source >= 0, voxel_of[scene.source], -1).astype(np.int64)
        values["foreground"] = scene.foreground
        labels = {name: np.asarray(label) for name, label in sample.targets.items() if np.ndim(label) == 1}
        values["labels"] = labels
        return [Item(values, {"voxels": len(values["coordinates"])}, *remark)]

    def elements(self, sample: Sample, level: str) -> Mapping[str, np.ndarray]:
        """Coordinates of every point of the file, float64, in its own unit and order."""
        del level
        scene = sample.inputs
        world = scene.world if isinstance(scene, Scene) else np.zeros((len(scene.source), 3))
        return {name: world[:, axis] for axis, name in enumerate("xyz")}

    def channels(self, scene: PreparedScene) -> np.ndarray:
        """Features of the thinned points, float32 (M, F), in the order of the config."""
        found = {
            "constant": np.ones((len(scene.points), 1), np.float32),
            "height": scene.height[:, None] / self.config.height_scale_m,
            "slope": np.abs(scene.normals[:, 2:]),
            "normal": scene.normals,
            "shape": scene.shape,
            "colour": (scene.colours - 0.5) * self.config.colour_scale,
            "intensity": scene.intensity[:, None],
        }
        return np.concatenate([found[one] for one in self.config.channels], axis=1).astype(np.float32)

    def voxels(self, points: np.ndarray, features: np.ndarray, region: np.ndarray) -> dict[str, np.ndarray]:
        """Voxels of a set of points.

        Args:
            points: (M, 3) metres. features: (M, F). region: (M,).

        Returns:
            ``coordinates`` int64 (V, 3) in rising order, ``features`` (V, F) means, ``region`` (V,), ``first`` (V,) the
            first point of every voxel, ``voxel_of`` (M,).
        """
        place = np.floor(points / self.config.voxel_size_m).astype(np.int64)
        first, voxel_of = distinct_rows(place)
        coordinates = place[first]
        number = np.bincount(voxel_of, minlength=len(coordinates))
        sums = np.stack(
            [np.bincount(voxel_of, features[:, one], len(coordinates)) for one in range(features.shape[1])], axis=1
        )
        return {
            "coordinates": coordinates,
            "features": (sums / number[:, None]).astype(np.float32),
            "region": majority(voxel_of, region, len(coordinates)),
            "first": first,
            "voxel_of": voxel_of,
        }

    def collate(self, items: Sequence[Item]) -> Batch:
        """Inputs of :class:`repcore_pointcloud.encoders.sparse_unet.SparseUNet`, and what views carry along.

        Regions are numbered over the batch; a scene has the same numbers in both of its views.
        """
        sizes = [len(one.values["coordinates"]) for one in items]
        regions = [len(one.values["foreground"]) for one in items]
        owner = torch.repeat_interleave(torch.arange(len(items)), torch.tensor(sizes))
        starts = torch.tensor([0, *np.cumsum(regions)[:-1]]) if items else torch.zeros(0)
        inputs: dict[str, Tensor] = {
            "coordinates": torch.cat([owner[:, None], _joined(items, "coordinates").long()], dim=1),
            "features": _joined(items, "features"),
            "region": _joined(items, "region").long() + starts[owner],
            "region_owner": torch.repeat_interleave(torch.arange(len(items)), torch.tensor(regions)),
            "foreground": _joined(items, "foreground"),
        }
        for name in ("place", "point"):  # of views: where a voxel was before the view, and which point it was
            if items and name in items[0].values:
                inputs[name] = _joined(items, name)
        targets: dict[str, Tensor] = {}
        if items and "source" in items[0].values:
            first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
            shifted = [
                np.where(one.values["source"] >= 0, one.values["source"] + start, -1)
                for one, start in zip(items, first, strict=True)
            ]
            inputs["source"] = torch.from_numpy(np.concatenate(shifted))
            names = set.intersection(*(set(one.values["labels"]) for one in items))
            for name in sorted(names):
                targets[name] = torch.from_numpy(np.concatenate([one.values["labels"][name] for one in items]))
        return Batch(inputs=inputs, size=len(items), targets=targets)

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Voxels of the scene."""
        return int(meta["voxels"])

    def save(self, folder: Path) -> Mapping[str, Any]:
        del folder
        return {}


def _joined(items: Sequence[Item], name: str) -> Tensor:
    return torch.from_numpy(np.concatenate([one.values[name] for one in items]))


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows of whole numbers (n, c) in rising order: first place of each (d,), and which one each row is (n,).

    As ``np.unique(rows, axis=0)``, by one number a row where that fits 64 bits.
    """
    if len(rows) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = rows.min(axis=0)
    sizes = [int(one) for one in rows.max(axis=0) - low + 1]
    if math.prod(sizes) >= 2**62:
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        return first, inverse.reshape(-1)
    keys = np.zeros(len(rows), np.int64)
    for axis, size in enumerate(sizes):
        keys = keys * size + (rows[:, axis] - low[axis])
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def majority(group: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Most frequent value of every group, the lowest on a tie, (count,)."""
    pairs = np.stack([group, values.astype(np.int64)], axis=1)
    first, place = distinct_rows(pairs)
    pairs, number = pairs[first], np.bincount(place, minlength=len(first))
    order = np.lexsort((-pairs[:, 1], number, pairs[:, 0]))  # within a group the winner comes last
    result = np.zeros(count, np.int64)
    result[pairs[order, 0]] = pairs[order, 1]
    return result


def geometry_statistics(preprocessor: ScenePreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline of a scene: mean and standard deviation of its hand-crafted point numbers, (N, 10)."""
    rows = []
    for sample in samples:
        scene = preprocessor.geometry(sample)
        numbers = hand_crafted(scene)
        rows.append(np.concatenate([numbers.mean(0), numbers.std(0)]))
    return np.stack(rows)


def point_geometry(preprocessor: ScenePreprocessor, sample: Sample, items: Sequence[Item], level: str) -> np.ndarray:
    """Baseline of points: the numbers of :func:`hand_crafted` at every point of the file, NaN without coordinates."""
    del items, level
    scene = preprocessor.geometry(sample)
    values = hand_crafted(scene).astype(np.float64)
    found: np.ndarray = np.where((scene.source >= 0)[:, None], values[np.maximum(scene.source, 0)], np.nan)
    return found


def hand_crafted(scene: PreparedScene) -> np.ndarray:
    """|n_z|, height and eigenvalue ratios of every thinned point, (M, 5): the line that learning must beat."""
    slope, height = np.abs(scene.normals[:, 2:]), scene.height[:, None]
    return np.concatenate([slope, height, scene.shape], axis=1).astype(np.float32)
