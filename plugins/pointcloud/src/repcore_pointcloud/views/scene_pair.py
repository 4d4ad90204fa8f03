"""Views ``pointcloud/scene-pair``: two independent random looks at one scene, with what leads back to it.

Source: augmentations of DepthContrast as the public repository of FAC has them. Differs: both views
come from one window of the scene so that they share regions; rotation and scale happen before voxelisation, so that
the grids of the views differ; offset noise is drawn for every view instead of once a batch.

Symbols: M thinned points, W of the window, V voxels of a view.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from repcore.errors import ConfigError
from repcore.interfaces import DatasetReader, Item, Progress
from repcore_pointcloud.configs.scenes import ScenePairConfig
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.preprocessors.scene_geometry import PreparedScene

CROP_TRIES = 8


class ScenePair:
    """Views ``a`` (query) and ``b`` (key).

    Args:
        config: ranges of the random changes.
        preprocessor: voxelises both views.

    Raises:
        ConfigError: ranges that are empty or not positive.
    """

    def __init__(self, config: ScenePairConfig, preprocessor: ScenePreprocessor) -> None:
        for name in ("crop_share", "scale"):
            low, high = getattr(config, name)
            if not 0.0 < low <= high:
                raise ConfigError(f"{name}=({low}, {high}) is no range of positive numbers", field=f"views.{name}")
        if min(config.window_points, config.view_points) < 1 or not 0.0 <= config.drop_share < 1.0:
            raise ConfigError(
                f"window_points={config.window_points}, view_points={config.view_points}, "
                f"drop_share={config.drop_share} leave no view",
                field="views",
            )
        self.config, self.preprocessor = config, preprocessor

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        """Two items; ``point`` int64 (V,) is the thinned point behind a voxel, ``place`` (V, 3) where that was."""
        del progress
        scene = self.preprocessor.geometry(reader[index])
        window = self.window(scene, int(generator.integers(len(scene.points))))
        return {name: self.view(scene, window, generator) for name in ("a", "b")}

    def window(self, scene: PreparedScene, centre: int) -> np.ndarray:
        """Rows (W,) nearest (in the plane) to the thinned point ``centre``, in rising order."""
        if len(scene.points) <= self.config.window_points:
            return np.arange(len(scene.points))
        flat = scene.points[:, :2]
        distance = ((flat - flat[centre]) ** 2).sum(1)
        return np.sort(np.argpartition(distance, self.config.window_points)[: self.config.window_points])

    def look(
        self, scene: PreparedScene, window: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One random view: rows (W,) of the scene that it keeps, moved points (W, 3) and features (W, F)."""
        rows = self._cropped(scene.points, window, generator)
        if len(rows) > self.config.view_points:
            rows = np.sort(generator.choice(rows, self.config.view_points, replace=False))
        turn = self._turn(generator)
        points = scene.points[rows] - scene.points[rows].mean(0)
        points = points @ turn.T * generator.uniform(*self.config.scale)
        points += generator.uniform(0.0, self.preprocessor.config.voxel_size_m, 3)  # where the grid begins
        return rows, points, self._features(scene, rows, turn, generator)

    def view(self, scene: PreparedScene, window: np.ndarray, generator: np.random.Generator) -> Item:
        """One random view as an item."""
        rows, points, features = self.look(scene, window, generator)
        values = self.preprocessor.voxels(points, features, scene.region[rows])
        first = values.pop("first")
        del values["voxel_of"]
        values |= {"point": rows[first], "place": scene.points[rows[first]], "foreground": scene.foreground}
        return Item(values, {"voxels": len(values["coordinates"])})

    def _cropped(self, points: np.ndarray, window: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Rows inside a random cuboid and outside a smaller one; the whole window if too few would remain."""
        own = points[window]
        low, extent = own.min(0), np.ptp(own, axis=0)
        for _ in range(CROP_TRIES):
            size = extent * generator.uniform(*self.config.crop_share, 3)
            start = low + (extent - size) * generator.random(3)
            kept = ((own >= start) & (own <= start + size)).all(1)
            if self.config.drop_share:
                hole = extent * self.config.drop_share
                corner = low + (extent - hole) * generator.random(3)
                kept &= ~((own >= corner) & (own <= corner + hole)).all(1)
            if kept.sum() >= max(1, self.config.minimum_share * len(window)):
                return window[kept]
        return window

    def _turn(self, generator: np.random.Generator) -> np.ndarray:
        """Rotation about the vertical, small tilts, mirrors: (3, 3)."""
        config = self.config
        x, y = np.deg2rad(generator.uniform(-config.tilt_deg, config.tilt_deg, 2))
        z = np.deg2rad(generator.uniform(-config.rotation_deg, config.rotation_deg))
        about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
        mirror = np.where(generator.random(2) < 0.5, -1.0, 1.0) if config.flip else np.ones(2)
        return about_z @ about_y @ about_x @ np.diag([*mirror, 1.0])

    def _features(
        self, scene: PreparedScene, rows: np.ndarray, turn: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        config = self.config
        colours = scene.colours[rows]
        if "colour" in self.preprocessor.config.channels:
            if generator.random() < config.colour_grey:
                colours = np.repeat(colours.mean(1, keepdims=True), 3, axis=1)
            colours = colours * generator.uniform(1 - config.colour_jitter, 1 + config.colour_jitter)
            if generator.random() < config.colour_drop:
                colours = np.full_like(colours, 0.5)
        changed = PreparedScene(
            points=scene.points[rows],
            normals=(scene.normals[rows] @ turn.T).astype(np.float32),
            shape=scene.shape[rows],
            height=scene.height[rows],
            colours=np.clip(colours, 0.0, 1.0),
            intensity=scene.intensity[rows],
            region=scene.region[rows],
            foreground=scene.foreground,
            source=scene.source,
        )
        return self.preprocessor.channels(changed)
