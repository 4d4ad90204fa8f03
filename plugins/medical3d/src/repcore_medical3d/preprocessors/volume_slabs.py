"""Overlapping cubes joined slab by slab: memory is that of one layer of cubes, however long the scan is.

Cubes come in the order of their first axis. As soon as no cube to come can touch a row, the row is finished and given
out; so a whole scan of class probabilities never exists at once.

Symbols: K channels, (D, H, W) voxels of the joint lattice, S edge of a cube.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from repcore.errors import ConfigError
from repcore_medical3d.formats.volumes import Grid

HELD_BYTES = 2**28  # larger answers lie in a file
SAMPLED_ROWS = 8  # rows of the finer grid that are made at once
SIGMA_SHARE = 0.125  # standard deviation of the Gaussian weight, as a share of a cube's edge
PLACES = 5  # decimals of a voxel that count in the place of another grid's voxel
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


def bell(shape: Sequence[int]) -> Tensor:
    """Weights of a block (D, H, W) that fall from its centre like a Gaussian, above 0 everywhere."""
    sides = []
    for size in shape:
        axis = torch.arange(size) - (size - 1) / 2
        sides.append(torch.exp(-0.5 * (axis / (SIGMA_SHARE * size)) ** 2))
    return (sides[0][:, None, None] * sides[1][:, None] * sides[2]).clamp(min=1e-4)


def classes_on(slabs: Iterable[tuple[int, Tensor]], grid: Grid, own: Grid) -> np.ndarray:
    """Most likely class int64 at the voxels of a grid that is turned and scaled against the lattice, but not oblique.

    Args:
        slabs: rows of probabilities (K, rows, H, W) of the lattice ``grid``, from its first row to its last.
        own: where classes are wanted; probabilities are linear between places of the lattice.

    Raises:
        ConfigError: the grids are oblique against each other.
    """
    axes, along = _axes(grid, own)
    result = np.zeros(own.shape, np.int64)
    turned = result.transpose(axes)  # a view: its axes are those of the lattice
    for rows, values in _read_off(slabs, grid, along):
        turned[rows] = values.argmax(dim=0).numpy()
    return result


def values_on(
    slabs: Iterable[tuple[int, Tensor]], grid: Grid, own: Grid, is_open: Sequence[bool] = (False, False, False)
) -> np.ndarray:
    """Values float32 (X, Y, Z, K) at the voxels of a grid, linear between places of the lattice.

    Args:
        slabs / grid / own: as in :func:`classes_on`.
        is_open: by axis of the lattice: voxels beyond its ends are NaN, not those of the nearest place.

    Raises:
        ConfigError: the grids are oblique against each other.
    """
    axes, along = _axes(grid, own)
    result: np.ndarray | None = None
    for rows, values in _read_off(slabs, grid, along):
        if result is None:
            result = room_for((*own.shape, values.shape[0]))
        result.transpose(*axes, 3)[rows] = values.movedim(0, -1).numpy()
    assert result is not None  # a lattice has rows
    turned = result.transpose(*axes, 3)
    for axis, (line, size) in enumerate(zip(along, grid.shape, strict=True)):
        if is_open[axis]:
            turned[(slice(None),) * axis + ((line < -0.5) | (line > size - 0.5),)] = np.nan
    return result


def room_for(shape: tuple[int, ...]) -> np.ndarray:
    """float32 of this shape, NaN: in memory, or for a large scan in a temporary file that ends with the array."""
    if 4 * math.prod(shape) <= HELD_BYTES:
        return np.full(shape, np.nan, np.float32)
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, np.float32, "w+", shape=shape)
    for row in mapped:
        row[...] = np.nan
    return mapped


def _read_off(
    slabs: Iterable[tuple[int, Tensor]], grid: Grid, along: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Values (K, rows, B, C) at the crossings of three lists of coordinates, some rows at a time with their numbers."""
    waiting = np.argsort(along[0], kind="stable")
    kept: Tensor | None = None
    for first, slab in slabs:
        values = slab if kept is None else torch.cat([kept, slab], dim=1)
        start = first if kept is None else first - 1
        is_last = first + slab.shape[1] >= grid.shape[0]
        ready = len(waiting) if is_last else int(np.searchsorted(along[0][waiting], first + slab.shape[1] - 1, "right"))
        for begin in range(0, ready, SAMPLED_ROWS):
            rows = waiting[begin : min(begin + SAMPLED_ROWS, ready)]
            yield rows, _crossings(values, [along[0][rows] - start, along[1], along[2]])
        waiting, kept = waiting[ready:], slab[:, -1:].clone()


def _axes(grid: Grid, own: Grid) -> tuple[tuple[int, int, int], list[np.ndarray]]:
    """For each axis of the lattice: which axis of the own grid runs along it, and where its voxels lie.

    Places are rounded far below what matters, so that a scan and its turned copy are read off at the same ones.
    """
    matrix = np.linalg.inv(grid.affine) @ own.affine
    linear = matrix[:3, :3]
    axes = np.abs(linear).argmax(axis=1)
    scale = linear[np.arange(3), axes]
    rest = linear.copy()
    rest[np.arange(3), axes] = 0
    if len(set(axes.tolist())) < 3 or np.abs(rest).max() * max(own.shape) > 0.05:
        raise ConfigError("the scan's grid is oblique against the model's", expected="turned, flipped and scaled axes")
    along = [(scale[axis] * np.arange(own.shape[axes[axis]]) + matrix[axis, 3]).round(PLACES) for axis in range(3)]
    return (int(axes[0]), int(axes[1]), int(axes[2])), along


def _crossings(values: Tensor, along: Sequence[np.ndarray]) -> Tensor:
    """Values (K, A, B, C) of (K, D, H, W) at the crossings of three lists of coordinates, linear, at the ends constant.

    Axis by axis: a place on the lattice has its value to the last bit.
    """
    for axis, line in enumerate(along, start=1):
        places = torch.from_numpy(line).clamp(0, values.shape[axis] - 1)
        low = places.floor().long()
        high = (low + 1).clamp(max=values.shape[axis] - 1)
        share = (places - low).to(values.dtype).reshape([-1 if one == axis else 1 for one in range(4)])
        below = values.index_select(axis, low)
        values = below if not bool(share.any()) else torch.lerp(below, values.index_select(axis, high), share)
    return values
