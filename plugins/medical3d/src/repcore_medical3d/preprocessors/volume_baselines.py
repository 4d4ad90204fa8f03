"""Raw-input features of voxels, which every figure about voxels has beside it: intensities, place, and both; filters.

The filters are those with which voxel classifiers are trained by hand (ilastik, Berg et al. 2019).

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
SCALES = (0.7, 1.0, 1.6, 3.5, 5.0)  # of the filters
INTEGRATED = 0.5  # scale over which products of slopes are averaged, as a share of their own


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


def filters_and_place(
    preprocessor: VolumePreprocessor, sample: Sample, items: Sequence[Item], level: str
) -> np.ndarray:
    """Each channel, nine filters of it at five scales, and place, (X, Y, Z, 46 C + 9)."""
    maps = []
    for channel in preprocessor.prepared(sample).values.numpy():
        maps += [channel, *(one for sigma in SCALES for one in _filters(channel, sigma))]
    place = _place(preprocessor.grid(sample.inputs))
    return _at_voxels(torch.cat([torch.from_numpy(np.stack(maps)), place]), preprocessor, sample)


def _filters(channel: np.ndarray, sigma: float) -> list[np.ndarray]:
    """Smoothed, size of the slope, Laplacian; eigenvalues of Hessian and structure tensor, ascending."""
    axes = range(3)
    slopes = [ndimage.gaussian_filter(channel, sigma, order=[int(one == axis) for one in axes]) for axis in axes]
    hessian = np.empty((*channel.shape, 3, 3), np.float32)
    structure = np.empty((*channel.shape, 3, 3), np.float32)
    for one in axes:
        for two in range(one, 3):
            order = [int(axis == one) + int(axis == two) for axis in axes]
            hessian[..., one, two] = hessian[..., two, one] = ndimage.gaussian_filter(channel, sigma, order=order)
            product = ndimage.gaussian_filter(slopes[one] * slopes[two], INTEGRATED * sigma)
            structure[..., one, two] = structure[..., two, one] = product
    return [
        ndimage.gaussian_filter(channel, sigma),
        np.sqrt(sum(slope**2 for slope in slopes)),
        np.trace(hessian, axis1=-2, axis2=-1),
        *np.moveaxis(np.linalg.eigvalsh(hessian), -1, 0),
        *np.moveaxis(np.linalg.eigvalsh(structure), -1, 0),
    ]


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
