"""Views ``pointcloud/scene-weak-strong``: one window of a scene as it is but turned, and cropped, holed and tilted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from repcore.interfaces import DatasetReader, Item, Progress
from repcore_pointcloud.configs.scenes import SceneWeakStrongConfig
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.views.scene_pair import ScenePair


class SceneWeakStrong:
    """Views ``weak`` and ``strong`` of one window, whose size is the weak view's.

    Args:
        config: ranges of the random changes of both.
        preprocessor: voxelises both views.

    Raises:
        ConfigError: ranges that are empty or not positive.
    """

    def __init__(self, config: SceneWeakStrongConfig, preprocessor: ScenePreprocessor) -> None:
        self.preprocessor = preprocessor
        self.looks = {
            "weak": ScenePair(config.weak, preprocessor),
            "strong": ScenePair(config.strong, preprocessor),
        }

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        """Two items as :class:`ScenePair` makes them."""
        del progress
        scene = self.preprocessor.geometry(reader[index])
        window = self.looks["weak"].window(scene, int(generator.integers(len(scene.points))))
        return {name: look.view(scene, window, generator) for name, look in self.looks.items()}
