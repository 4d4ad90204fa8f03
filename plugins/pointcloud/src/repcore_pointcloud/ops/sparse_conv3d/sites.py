"""Active voxels and their neighbours, found by sorting 64-bit keys, on CPU and GPU.

Differs from spconv: coordinates may be negative, batch
numbers may have gaps, the grid has no upper border, and a coordinate that occurs twice is an error instead of a
silently wrong result.

Symbols: V voxels, K kernel offsets, (b, x, y, z) batch number and coordinates in units of the voxel size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from repcore.errors import ConfigError, DataError, ShapeError
from repcore.nn.compiled_loops import numba_unusable
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook

Triple = tuple[int, int, int]
LARGEST_KEY = 2**62
LAST = torch.iinfo(torch.int64).max  # larger than every key: a sentinel behind the sorted ones


class Sites:
    """A set of active voxels with a cache of its rulebooks.

    Args:
        coordinates: integer (V, 4): b, x, y, z; unique rows in any order, any sign of x, y and z.
        sorted_within: given for rows that are known to be distinct and ascending, and to lie within these bounds:
            nothing has to be read back from their device.

    Raises:
        ShapeError: not (V, 4), or not integers.
        DataError: a coordinate stands twice, a negative batch number, or an extent that 64-bit keys cannot hold.
    """

    def __init__(self, coordinates: Tensor, *, sorted_within: Bounds | None = None) -> None:
        if coordinates.ndim != 2 or coordinates.shape[1] != 4 or coordinates.is_floating_point():
            raise ShapeError(
                f"coordinates have shape {tuple(coordinates.shape)} and type {coordinates.dtype}; "
                "(V, 4) whole numbers are needed",
                meaning="batch number, x, y, z of each voxel",
            )
        self.coordinates = coordinates.long()
        self._bounds = sorted_within or Bounds.of(self.coordinates)
        self._books: dict[tuple[object, ...], Rulebook] = {}
        self._coarser: dict[tuple[object, ...], Sites] = {}
        self._order: Tensor | None = None
        self._sorted = self.coordinates
        if sorted_within is None:
            self._sort()

    def __len__(self) -> int:
        return len(self.coordinates)

    def _sort(self) -> None:
        """Order the voxels by key and make sure that every one is there once."""
        if not len(self):
            return
        keys, _ = _keys_and_steps(self.coordinates, (0, 0, 0), self._bounds)
        if not bool((keys[1:] > keys[:-1]).all()):
            keys, self._order = torch.sort(keys, stable=True)
            self._sorted = self.coordinates[self._order]
            twice = (keys[1:] == keys[:-1]).nonzero()
            if len(twice):
                row = self._sorted[int(twice[0])].tolist()
                raise DataError(
                    f"{len(twice)} voxels stand twice, for example (batch, x, y, z) = {tuple(row)}",
                    hint="merge them first: repcore_pointcloud.layers.sparse_tensor.merge_duplicates",
                )

    # ------------------------------------------------------------------------------------- rulebooks

    def submanifold(self, kernel: Triple, dilation: Triple = (1, 1, 1)) -> Rulebook:
        """Outputs at the same voxels; odd kernels, centred.

        Raises:
            ConfigError: an even kernel size or a dilation below 1.
        """
        if any(size % 2 == 0 or size < 1 for size in kernel) or min(dilation) < 1:
            raise ConfigError(
                f"submanifold kernel {kernel} with dilation {dilation} has no centre",
                expected="odd kernel sizes and dilations from 1",
            )
        key = ("submanifold", kernel, dilation)
        if key not in self._books:
            self._books[key] = Rulebook(self._neighbour_table(kernel, dilation), len(self), is_symmetric=True)
        return self._books[key]

    def strided(
        self, kernel: Triple, stride: Triple, padding: Triple = (0, 0, 0), dilation: Triple = (1, 1, 1)
    ) -> tuple[Rulebook, Sites]:
        """Outputs wherever a kernel reaches an input: in = out * stride - padding + offset * dilation.

        Returns:
            rulebook, and the output voxels in ascending (b, x, y, z). The inverse convolution of the same geometry uses
            the reversed rulebook, so that it leads back to exactly these voxels.

        Raises:
            ConfigError: a size or stride below 1, or a negative padding.
        """
        if min(*kernel, *stride, *dilation) < 1 or min(padding) < 0:
            raise ConfigError(f"kernel {kernel}, stride {stride}, padding {padding}, dilation {dilation} do not fit")
        key = ("strided", kernel, stride, padding, dilation)
        if key not in self._books:
            self._books[key], self._coarser[key] = self._downsample(kernel, stride, padding, dilation)
        return self._books[key], self._coarser[key]

    def _neighbour_table(self, kernel: Triple, dilation: Triple) -> Tensor:
        """(K, V) in the order of ``coordinates``; half of the offsets are searched, the others are their mirror."""
        count, volume = len(self), math.prod(kernel)
        table = torch.full((volume, count), count, dtype=torch.long, device=self.coordinates.device)
        rows = torch.arange(count, device=table.device) if self._order is None else self._order
        if count and volume > 1:
            margin = tuple(size // 2 * step for size, step in zip(kernel, dilation, strict=True))
            keys, steps = _keys_and_steps(self._sorted, margin, self._bounds)
            columns = _searched_columns(kernel, dilation, steps)
            if table.device.type == "cpu" and not numba_unusable():
                _walk(table, keys, rows, columns, dilation[2])
            else:
                _search(table, keys, rows, columns, dilation[2])
        table[volume // 2] = torch.arange(count, device=table.device)
        return table

    def _downsample(self, kernel: Triple, stride: Triple, padding: Triple, dilation: Triple) -> tuple[Rulebook, Sites]:
        device = self.coordinates.device
        if not len(self):
            empty = torch.zeros(math.prod(kernel), 0, dtype=torch.long, device=device)
            return Rulebook(empty, 0), Sites(self.coordinates)
        if stride == kernel and padding == (0, 0, 0) and dilation == (1, 1, 1):
            return self._parents(kernel)
        steps, pads = torch.tensor(stride, device=device), torch.tensor(padding, device=device)
        rows, outputs, offsets = [], [], []
        for number, offset in enumerate(product(*(range(size) for size in kernel))):
            shift = torch.tensor([o * d for o, d in zip(offset, dilation, strict=True)], device=device)
            place = self.coordinates[:, 1:] + pads - shift
            reached = (place.remainder(steps) == 0).all(1).nonzero()[:, 0]
            target = torch.div(place[reached], steps, rounding_mode="floor")
            outputs.append(torch.cat([self.coordinates[reached, :1], target], dim=1))
            rows.append(reached)
            offsets.append(torch.full_like(reached, number))
        coarse, index = unique_coordinates(torch.cat(outputs))
        table = torch.full((math.prod(kernel), len(coarse)), len(self), dtype=torch.long, device=device)
        table[torch.cat(offsets), index] = torch.cat(rows)
        return Rulebook(table, len(self)), Sites(coarse)

    def _parents(self, kernel: Triple) -> tuple[Rulebook, Sites]:
        """Where kernel and stride are the same, every voxel has one parent and one place in it: nothing is searched."""
        sides = self.coordinates.new_tensor(kernel)
        target = torch.div(self.coordinates[:, 1:], sides, rounding_mode="floor")
        x, y, z = (self.coordinates[:, 1:] - target * sides).unbind(1)
        offset = (x * kernel[1] + y) * kernel[2] + z
        bounds = self._bounds.divided(kernel)
        coarse, index = unique_coordinates(torch.cat([self.coordinates[:, :1], target], dim=1), bounds)
        rows = torch.arange(len(self), device=offset.device)
        table = rows.new_full((math.prod(kernel), len(coarse)), len(self))
        table[offset, index] = rows
        back = rows.new_full((math.prod(kernel), len(self)), len(coarse))
        back[offset, rows] = index
        return Rulebook(table, len(self), back=back), Sites(coarse, sorted_within=bounds)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lowest and highest b, x, y, z of voxels, read back from their device once."""

    low: tuple[int, ...]
    high: tuple[int, ...]

    @staticmethod
    def of(coordinates: Tensor) -> Bounds:
        """Bounds of (V, 4); all 0 without a row."""
        if not len(coordinates):
            return Bounds((0,) * 4, (0,) * 4)
        low, high = torch.stack(torch.aminmax(coordinates, dim=0)).tolist()
        return Bounds(tuple(low), tuple(high))

    def divided(self, sides: Triple) -> Bounds:
        """Of the parents in a grid that is coarser by ``sides``."""
        steps = (1, *sides)
        low, high = (
            tuple(one // step for one, step in zip(all_, steps, strict=True)) for all_ in (self.low, self.high)
        )
        return Bounds(low, high)


def _searched_columns(kernel: Triple, dilation: Triple, steps: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Of every column of offsets along z before the centre: first offset, how many count, what it adds to a key."""
    columns = []
    for x, y in product(range(kernel[0]), range(kernel[1])):
        first = (x * kernel[1] + y) * kernel[2]
        count = min(kernel[2], math.prod(kernel) // 2 - first)
        if count <= 0:
            break
        along_x, along_y = (x - kernel[0] // 2) * dilation[0], (y - kernel[1] // 2) * dilation[1]
        columns.append((first, count, along_x * steps[0] + along_y * steps[1] - kernel[2] // 2 * dilation[2]))
    return columns


def _walk(table: Tensor, keys: Tensor, rows: Tensor, columns: list[tuple[int, int, int]], step: int) -> None:
    """Fill a table by the compiled walk."""
    from repcore_pointcloud.ops.sparse_conv3d.loops import find_neighbours

    firsts, counts, shifts = np.array(columns, dtype=np.int64).T.copy()
    find_neighbours(keys.numpy(), rows.numpy(), firsts, counts, shifts, step, len(table), table.numpy())


def _search(table: Tensor, keys: Tensor, rows: Tensor, columns: list[tuple[int, int, int]], step: int) -> None:
    """Fill a table by binary search."""
    ended = torch.cat([keys, keys.new_tensor([LAST])])
    for first, count, shift in columns:
        position = torch.searchsorted(keys, keys + shift)
        for z in range(count):
            wanted = keys + (shift + z * step)
            if z and step > 1:
                position = torch.searchsorted(keys, wanted)
            found = ended[position] == wanted
            seen, near = rows[found], rows[position[found]]
            table[first + z, seen] = near
            table[len(table) - 1 - first - z, near] = seen
            position = position + found  # neighbours along z lie side by side: one search serves a whole run


def unique_coordinates(coordinates: Tensor, bounds: Bounds | None = None) -> tuple[Tensor, Tensor]:
    """Distinct rows (V, 4) in ascending (b, x, y, z), and for every given row the number of its distinct one.

    Args:
        bounds: within which they lie, if that is known.
    """
    if not len(coordinates):
        return coordinates, coordinates.new_zeros(0)
    keys, _ = _keys_and_steps(coordinates, (0, 0, 0), bounds or Bounds.of(coordinates))
    values, index = torch.unique(keys, return_inverse=True)
    first = torch.full_like(values, len(keys))
    first.scatter_reduce_(0, index, torch.arange(len(keys), device=keys.device), "amin")
    return coordinates[first], index


def _keys_and_steps(coordinates: Tensor, margin: tuple[int, ...], bounds: Bounds) -> tuple[Tensor, tuple[int, int]]:
    """One whole number a voxel, ascending in (b, x, y, z), and how much one step along x and along y adds to it.

    Raises:
        DataError: a negative batch number, or an extent too large for 64 bits.
    """
    low, high = bounds.low, bounds.high
    if low[0] < 0:
        raise DataError(f"batch number {low[0]} is negative")
    sizes = [high[0] - low[0] + 1] + [
        high[axis] - low[axis] + 1 + 2 * margin[axis - 1] for axis in (1, 2, 3)
    ]  # fmt: skip
    if math.prod(sizes) > LARGEST_KEY:
        raise DataError(
            f"voxels span {sizes[1]} x {sizes[2]} x {sizes[3]} over {sizes[0]} batch numbers: too many for 64-bit keys",
            meaning="coordinates are far apart, or the voxel size is far too small for the unit of the data",
            hint="a larger preprocessor.voxel_size_m, or preprocessor.unit_m if the data is not in metres",
        )
    b, x, y, z = coordinates.unbind(1)
    steps = (sizes[2] * sizes[3], sizes[3])
    keys = (b - low[0]) * (sizes[1] * steps[0])
    keys = keys + (x - low[1] + margin[0]) * steps[0] + (y - low[2] + margin[1]) * steps[1]
    return keys + (z - low[3] + margin[2]), steps
