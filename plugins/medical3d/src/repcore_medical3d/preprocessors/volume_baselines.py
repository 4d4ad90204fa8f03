"""Raw-input features of voxels, which every figure about voxels has beside it: intensities, place, and both.

All are made on the model's grid and read off at the scan's own voxels, as the network's are.

Symbols: C channels, (X, Y, Z) the scan as it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from repcore.interfaces import Item, Sample
from repcore_medical3d.formats.volumes import Grid
from repcore_medical3d.preprocessors.volume_slabs import values_on
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

SMOOTHED = (1.0, 2.0, 4.0)  # standard deviations in voxels of the model's grid


def intensities(preprocessor: VolumePreprocessor, sample: Sample, items: Sequence[Item], level: str) -> np.ndarray:
    """Each channel and three smoothed copies of it, (X, Y, Z, 4 C)."""
    return _at_voxels(_intensities(preprocessor, sample), preprocessor, sample)


def place(preprocessor: VolumePreprocessor, sample: Sample, items: Sequence[Item], level: str) -> np.ndarray:
    """Relative coordinates in the scan, their squares and products, (X, Y, Z, 9)."""
    return _at_voxels(_place(preprocessor.grid(sample.inputs)), preprocessor, sample)


def intensities_and_place(
    preprocessor: VolumePreprocessor, sample: Sample, items: Sequence[Item], level: str
) -> np.ndarray:
    """Both together, (X, Y, Z, 4 C + 9)."""
    grid = preprocessor.grid(sample.inputs)
    return _at_voxels(torch.cat([_intensities(preprocessor, sample), _place(grid)]), preprocessor, sample)


def _intensities(preprocessor: VolumePreprocessor, sample: Sample) -> Tensor:
    maps = []
    for channel in preprocessor.prepared(sample).values.numpy():
        maps += [channel, *(ndimage.gaussian_filter(channel, sigma) for sigma in SMOOTHED)]
    return torch.from_numpy(np.stack(maps))


def _place(grid: Grid) -> Tensor:
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, size) for size in grid.shape], indexing="ij")
    return torch.stack([x, y, z, x * x, y * y, z * z, x * y, y * z, x * z])


def _at_voxels(maps: Tensor, preprocessor: VolumePreprocessor, sample: Sample) -> np.ndarray:
    return values_on([(0, maps)], preprocessor.grid(sample.inputs), sample.inputs.grid)
