"""Views ``medical3d/placed-cube``: a cube at a random place of its scan, and where that is.

Every place along an axis is as likely as any other; a scan that is shorter than the cube lies at a random place in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from repcore.data.guard import read_sample
from repcore.interfaces import DatasetReader, Item, Progress
from repcore_medical3d.configs.restore import PlacedCubeConfig
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor


class PlacedCube:
    """View ``cube``.

    Args:
        config: nothing to set.
        preprocessor: cuts cubes.
    """

    def __init__(self, config: PlacedCubeConfig, preprocessor: VolumePreprocessor) -> None:
        self.preprocessor = preprocessor

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        """One cube; ``measured`` says its first voxel (``start``), the voxels of the whole scan (``scan``) along the
        three axes of the model's grid, and the edges of a voxel (``spacing_mm``).

        Raises:
            ItemError: the scan cannot be used.
        """
        del progress
        scan = read_sample(reader, index)
        grid, edge = self.preprocessor.grid(scan.inputs), self.preprocessor.config.crop_edge
        start = [int(generator.integers(min(0, size - edge), max(0, size - edge) + 1)) for size in grid.shape]
        item = self.preprocessor.item(self.preprocessor.crop(scan, start, (edge,) * 3), grid.shape, start)
        measured = {"start": start, "scan": list(grid.shape), "spacing_mm": list(grid.spacing_mm)}
        return {"cube": replace(item, meta={**item.meta, "measured": measured})}
