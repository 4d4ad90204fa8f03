"""Overlapping cubes joined slab by slab: memory is that of one layer of cubes, however long the scan is.

Cubes come in the order of their first axis. As soon as no cube to come can touch a row, the row is finished and given
out; so a whole scan of class probabilities never exists at once.

Symbols: K channels, (D, H, W) voxels of the joint lattice, S edge of a cube.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.errors import ConfigError
from repcore_medical3d.formats.volumes import Grid

SAMPLED_ROWS = 8  # rows of the finer grid that are made at once
Block = tuple[Sequence[int], Tensor]


def joined_slabs(blocks: Iterable[Block], weight: Tensor, extent: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """Weighted means of overlapping blocks.

    Args:
        blocks: first voxel and values (K, S, S, S) of each, with first voxels rising along the first axis.
        weight: (S, S, S), above 0.
        extent: size of the joint lattice; every voxel of it is in some block.

    Yields:
        first row and float32 values (K, rows, H, W), which together are the whole lattice.

    Raises:
        ConfigError: a block comes too late.
    """
    total: Tensor | None = None
    weights: Tensor | None = None
    first = 0
    for place, values in blocks:
        if total is None or weights is None:
            rows = values.shape[1]
            total = torch.zeros(values.shape[0], rows, int(extent[1]), int(extent[2]))
            weights = torch.zeros(1, rows, int(extent[1]), int(extent[2]))
            first = int(place[0])
        step = int(place[0]) - first
        if step < 0:
            raise ConfigError(f"a block begins at row {place[0]}, after one at row {first}")
        if step > 0:
            done = min(step, total.shape[1])
            yield first, total[:, :done] / weights[:, :done]
            for kept in (total, weights):
                kept[:, : kept.shape[1] - done] = kept[:, done:].clone()
                kept[:, kept.shape[1] - done :] = 0
            first += step
        box = tuple(slice(int(a), int(a) + size) for a, size in zip(place[1:], values.shape[2:], strict=True))
        total[(slice(None), slice(None), *box)] += values * weight
        weights[(slice(None), slice(None), *box)] += weight
    if total is not None and weights is not None:
        rows = int(extent[0]) - first
        yield first, total[:, :rows] / weights[:, :rows]


def classes_on(slabs: Iterable[tuple[int, Tensor]], grid: Grid, own: Grid) -> np.ndarray:
    """Most likely class int64 at the voxels of a grid that is turned and scaled against the lattice, but not oblique.

    Args:
        slabs: rows of probabilities (K, rows, H, W) of the lattice ``grid``, from its first row to its last.
        own: where classes are wanted; probabilities are linear between places of the lattice.

    Raises:
        ConfigError: the grids are oblique against each other.
    """
    axes, scale, shift = _axes(grid, own)
    along = [scale[axis] * np.arange(own.shape[axes[axis]]) + shift[axis] for axis in range(3)]
    result = np.zeros(own.shape, np.int64)
    turned = result.transpose(axes)  # a view: its axes are those of the lattice
    waiting = np.argsort(along[0], kind="stable")
    kept: Tensor | None = None
    for first, slab in slabs:
        values = slab if kept is None else torch.cat([kept, slab], dim=1)
        start = first if kept is None else first - 1
        is_last = first + slab.shape[1] >= grid.shape[0]
        ready = len(waiting) if is_last else int(np.searchsorted(along[0][waiting], first + slab.shape[1] - 1, "right"))
        for begin in range(0, ready, SAMPLED_ROWS):
            rows = waiting[begin : min(begin + SAMPLED_ROWS, ready)]
            turned[rows] = _best(values, [along[0][rows] - start, along[1], along[2]])
        waiting, kept = waiting[ready:], slab[:, -1:].clone()
    return result


def _axes(grid: Grid, own: Grid) -> tuple[tuple[int, int, int], np.ndarray, np.ndarray]:
    """For each axis of the lattice: which axis of the own grid runs along it, its scale and its shift."""
    matrix = np.linalg.inv(grid.affine) @ own.affine
    linear = matrix[:3, :3]
    axes = np.abs(linear).argmax(axis=1)
    scale = linear[np.arange(3), axes]
    rest = linear.copy()
    rest[np.arange(3), axes] = 0
    if len(set(axes.tolist())) < 3 or np.abs(rest).max() * max(own.shape) > 0.05:
        raise ConfigError("the scan's grid is oblique against the model's", expected="turned, flipped and scaled axes")
    return (int(axes[0]), int(axes[1]), int(axes[2])), scale, matrix[:3, 3]


def _best(values: Tensor, along: Sequence[np.ndarray]) -> np.ndarray:
    """Most likely class (A, B, C) at the crossings of three lists of coordinates of (K, D, H, W)."""
    scaled = [
        (2 * torch.as_tensor(line, dtype=torch.float32) + 1) / size - 1
        for line, size in zip(along, values.shape[1:], strict=True)
    ]
    places = torch.stack(torch.meshgrid(*scaled, indexing="ij"), dim=-1).flip(-1)
    found = F.grid_sample(values[None], places[None], padding_mode="border", align_corners=False)
    best: np.ndarray = found[0].argmax(dim=0).numpy()
    return best
