"""Between the cubes of a scan and its own voxels: labels for cubes, outputs of cubes back to the scan's grid.

Outputs go back through the world: overlapping cubes are joined on the model's grid with Gaussian weights, then read off
at the scan's voxels, linearly. Scans stored in another order or direction of axes get the same values at the same
places, to the last bit.

Symbols: K outputs, (D, H, W) a cube, (X, Y, Z) the scan as it is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from repcore.errors import PluginError
from repcore.interfaces import Item, Sample
from repcore_medical3d.formats.volumes import Grid, Volume
from repcore_medical3d.preprocessors.volume_resampling import resample
from repcore_medical3d.preprocessors.volume_slabs import bell, joined_slabs, values_on

UNKNOWN = -1  # the id of voxels that are not labelled, and of those beyond the scan
Start = Sequence[int]


def label_volumes(sample: Sample) -> dict[str, Volume]:
    """Label maps of a sample in the world; plain arrays of the scan's own shape lie on its grid, NaN = not labelled."""
    found = {}
    for name, labels in sample.targets.items():
        if isinstance(labels, Volume):
            found[name] = labels
        elif np.shape(labels) == tuple(sample.inputs.shape):
            found[name] = Volume(np.nan_to_num(np.asarray(labels), nan=float(UNKNOWN)), sample.inputs.affine)
    return found


def labels_on_grid(sample: Sample, grid: Grid) -> dict[str, np.ndarray]:
    """Label maps of a sample on any grid: ids as stored, int32 of the grid's shape, the nearest; -1 outside."""
    return {
        name: resample(labels, grid, order=0, fill=float(UNKNOWN)).round().astype(np.int32)
        for name, labels in label_volumes(sample).items()
    }


def label_block(labels: np.ndarray, start: Start, shape: Sequence[int]) -> np.ndarray:
    """A block of a label map: a view where it lies inside, with -1 where it reaches beyond."""
    lows = [max(0, first) for first in start]
    highs = [min(size, first + side) for first, side, size in zip(start, shape, labels.shape, strict=True)]
    inner = labels[tuple(slice(low, max(low, high)) for low, high in zip(lows, highs, strict=True))]
    if inner.shape == tuple(shape):
        return inner
    found = np.full(tuple(shape), UNKNOWN, labels.dtype)
    box = zip(lows, start, inner.shape, strict=True)
    found[tuple(slice(low - first, low - first + size) for low, first, size in box)] = inner
    return found


def restored(grid: Grid, own: Grid, items: Sequence[Item], outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Outputs at the voxels of a scan.

    Args:
        grid: of the model over the scan.
        own: of the scan as it is stored.
        items: cubes; ``meta["start"]`` is the first voxel of each on the model's grid.
        outputs: one a cube, (D * H * W, K).

    Returns:
        float32 (X, Y, Z, K); NaN where no cube lies.

    Raises:
        PluginError: outputs that are not one a voxel of their cube.
    """
    order = sorted(range(len(items)), key=lambda number: int(items[number].meta["start"][0]))
    starts = np.asarray([items[number].meta["start"] for number in order])
    shapes = np.asarray([items[number].values.shape[1:] for number in order])
    low, high = starts.min(axis=0), (starts + shapes).max(axis=0)

    def blocks() -> Iterator[tuple[list[int], Tensor]]:
        for number, start in zip(order, starts, strict=True):
            yield (start - low).tolist(), _cube(items[number], outputs[number])

    lattice = grid.moved(low.tolist(), (int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2])))
    weight = bell(tuple(int(size) for size in shapes[0]))
    is_open = [bool(first > 0 or end < size) for first, end, size in zip(low, high, grid.shape, strict=True)]
    return values_on(joined_slabs(blocks(), weight, lattice.shape), lattice, own, is_open)


def _cube(item: Item, outputs: np.ndarray) -> Tensor:
    """(D * H * W, K) as (K, D, H, W)."""
    shape = tuple(int(size) for size in item.values.shape[1:])
    if len(outputs) != math.prod(shape):
        raise PluginError(
            f"{len(outputs)} outputs for a cube of {' x '.join(map(str, shape))} voxels",
            expected="one a voxel: tokens whose source says which token each voxel has",
        )
    return torch.from_numpy(np.ascontiguousarray(outputs, np.float32).T.reshape(-1, *shape))
