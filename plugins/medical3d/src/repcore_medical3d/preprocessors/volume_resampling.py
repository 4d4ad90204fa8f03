"""Volumes onto other grids: orientation, spacing, crops and padding are one operation, a change of grid.

Only the block of the source that the target needs is read. Where the grids share their voxels (same spacing, any
flips and permutations of axes, a shift by whole voxels), values are copied, not interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from repcore.errors import ConfigError
from repcore_medical3d.formats.volumes import Box, Grid, Volume

COPY_TOLERANCE = 1e-4  # of a voxel: closer than this is the same place
DIRECTIONS = ("LR", "PA", "IS")
KNOWN_GRIDS = 4096  # turned grids that are remembered; each is a few hundred bytes


def oriented_grid(grid: Grid, orientation: str, spacing_mm: Sequence[float] | None = None) -> Grid:
    """The grid that covers the same box with axes in the given order and directions.

    Args:
        grid: of the file.
        orientation: for example ``"RAS"``: the first axis rises to the right, ...
        spacing_mm: new voxel lengths along the new axes; None keeps the old ones.

    Returns:
        Grid whose outer faces match the old ones to within half a new voxel. Oblique scans stay oblique.

    Raises:
        ConfigError: not three directions, one of each pair.
    """
    check_orientation(orientation)
    spacing = None if spacing_mm is None else tuple(float(length) for length in spacing_mm)
    return _turned(np.asarray(grid.affine, np.float64).tobytes(), grid.shape, orientation, spacing)


@lru_cache(maxsize=KNOWN_GRIDS)
def _turned(
    affine_bytes: bytes, source_shape: tuple[int, int, int], orientation: str, spacing_mm: tuple[float, ...] | None
) -> Grid:
    """Views ask for the grid of a scan several times for every crop, which cost more than the crop itself."""
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    grid = Grid(np.frombuffer(affine_bytes).reshape(4, 4), source_shape)
    change = ornt_transform(io_orientation(grid.affine), axcodes2ornt(tuple(orientation)))
    affine = grid.affine @ inv_ornt_aff(change, grid.shape)
    affine.setflags(write=False)  # shared by all who ask
    sizes = [0, 0, 0]
    for axis, (new_axis, _) in enumerate(change):
        sizes[int(new_axis)] = grid.shape[axis]
    turned = Grid(affine, (sizes[0], sizes[1], sizes[2]))
    if spacing_mm is None:
        return turned
    old, new = np.asarray(turned.spacing_mm), np.asarray(spacing_mm, np.float64)
    shape = [max(1, round(size * before / after)) for size, before, after in zip(sizes, old, new, strict=True)]
    linear = turned.affine[:3, :3] / old * new
    corner = turned.world(np.array([-0.5, -0.5, -0.5]))
    scaled = np.eye(4)
    scaled[:3, :3] = linear
    scaled[:3, 3] = corner + linear @ np.array([0.5, 0.5, 0.5])
    scaled.setflags(write=False)
    return Grid(scaled, (shape[0], shape[1], shape[2]))


def check_orientation(orientation: str) -> None:
    """One letter of each pair, in any order.

    Raises:
        ConfigError: it is not so.
    """
    used = sorted(index for letter in orientation for index, pair in enumerate(DIRECTIONS) if letter in pair)
    if len(orientation) != 3 or used != [0, 1, 2]:
        raise ConfigError(
            f"orientation={orientation!r} does not name three directions",
            field="preprocessor.orientation",
            expected="one each of L or R, P or A, I or S",
            hint="RAS",
        )


def resample(volume: Volume, target: Grid, *, order: int = 1, fill: float = 0.0) -> np.ndarray:
    """Values of a volume at the voxels of another grid.

    Args:
        volume: source.
        target: where values are wanted; may reach beyond the source.
        order: 1 linear (images), 0 nearest (labels).
        fill: value outside of the source.

    Returns:
        Of the target's shape: float32, the nearest ones in the number format of the source, with a sign. Linear values
        are smoothed first along axes that become coarser.
    """
    matrix = np.linalg.inv(volume.affine) @ target.affine  # target voxel -> source voxel
    axes = _copied_axes(matrix)
    if axes is not None:
        return _copied(volume, target.shape, axes, np.round(matrix).astype(int), order, fill)
    steps = np.sqrt((matrix[:3, :3] ** 2).sum(axis=1))  # source voxels for one target voxel, by source axis
    blur = [0.5 * math.sqrt(max(0.0, step * step - 1.0)) if order else 0.0 for step in steps]
    box = _needed(matrix, target.shape, volume.shape, [math.ceil(4 * one) + 2 for one in blur])
    if box is None:
        return np.full(target.shape, fill, np.float32)
    part = _read(volume, box, order)
    from scipy import ndimage  # readers of this domain are asked about every path, and few of them resample

    if max(blur) > 0:
        part = ndimage.gaussian_filter(part, blur, mode="nearest")
    offset = matrix[:3, 3] - [side.start for side in box]
    return ndimage.affine_transform(
        part, matrix[:3, :3], offset, output_shape=target.shape, order=order, mode="constant", cval=fill
    )


def _read(volume: Volume, box: Box, order: int) -> np.ndarray:
    """A block in the format of the result."""
    part = volume.read(box, exact=order == 0)
    return part.astype(np.promote_types(part.dtype, np.int8), copy=False) if order == 0 else part


def _copied_axes(matrix: np.ndarray) -> tuple[int, int, int] | None:
    """Source axis of each target axis if every target voxel is a source voxel; None otherwise."""
    whole = np.round(matrix)
    linear = np.abs(whole[:3, :3])
    is_permutation = (linear.sum(axis=0) == 1).all() and (linear.sum(axis=1) == 1).all()
    if not is_permutation or np.abs(matrix[:3, :3] - whole[:3, :3]).max() > COPY_TOLERANCE / 100:
        return None
    if np.abs(matrix[:3, 3] - whole[:3, 3]).max() > COPY_TOLERANCE:
        return None
    found = [int(axis) for axis in linear.argmax(axis=0)]
    return found[0], found[1], found[2]


def _copied(
    volume: Volume,
    shape: tuple[int, int, int],
    axes: tuple[int, int, int],
    matrix: np.ndarray,
    order: int,
    fill: float,
) -> np.ndarray:
    """Flips, permutations and whole shifts, without arithmetic on values."""
    box: list[slice] = [slice(0, 0)] * 3
    inside: list[slice] = []
    for target_axis, source_axis in enumerate(axes):
        sign, first = int(matrix[source_axis, target_axis]), int(matrix[source_axis, 3])
        places = first + sign * np.arange(shape[target_axis])
        valid = np.flatnonzero((places >= 0) & (places < volume.shape[source_axis]))
        if not len(valid):
            return np.full(shape, fill, np.float32)
        inside.append(slice(int(valid[0]), int(valid[-1]) + 1))
        ends = sorted((int(places[valid[0]]), int(places[valid[-1]])))
        box[source_axis] = slice(ends[0], ends[1] + 1)
    part = _read(volume, (box[0], box[1], box[2]), order).transpose(axes)
    result = np.full(shape, fill, part.dtype)
    flips = tuple(slice(None, None, int(matrix[source, target])) for target, source in enumerate(axes))
    result[tuple(inside)] = part[flips]
    return result


def _needed(
    matrix: np.ndarray, target: tuple[int, int, int], source: tuple[int, int, int], margin: Sequence[int]
) -> Box | None:
    """Block of the source that a target grid touches; None if it lies outside altogether."""
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in target], indexing="ij"), axis=-1).reshape(-1, 3)
    places = corners @ matrix[:3, :3].T + matrix[:3, 3]
    sides = []
    for axis, size in enumerate(source):
        start = max(0, math.floor(places[:, axis].min()) - margin[axis])
        stop = min(size, math.ceil(places[:, axis].max()) + margin[axis] + 1)
        if start >= stop:
            return None
        sides.append(slice(start, stop))
    return sides[0], sides[1], sides[2]
