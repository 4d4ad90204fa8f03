"""Volumes on their own grid: values on demand, and where every voxel lies in the world.

World coordinates are millimetres in NIfTI's directions (x to the right, y to the front, z up) everywhere in this
package: points are carried in the world, never as voxel indices, so that orientation and spacing cannot be confused.

Symbols: (I, J, K) voxels along the array's axes; affine float64 (4, 4): homogeneous voxel index -> millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from repcore.data.identity import file_identity
from repcore.errors import ItemError

LABELS_LEFT_OUT = "labels_left_out"  # status of a scan whose label map does not fit, and the fact that says why
SAME_PLACE = 1e-3  # of a voxel: closer than this is the same place
Box = tuple[slice, slice, slice]


class Source(Protocol):
    """Anything that has a shape and gives a block for three slices: an array, nibabel's proxy, a DICOM series."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, box: Box) -> Any: ...  # array-like of any number type


@dataclass(frozen=True, slots=True)
class Grid:
    """A lattice of voxels in the world: ``affine`` (4, 4) and ``shape`` (three sizes)."""

    affine: np.ndarray
    shape: tuple[int, int, int]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a voxel along each array axis."""
        lengths = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    def world(self, voxels: np.ndarray) -> np.ndarray:
        """Voxel indices (..., 3) to millimetres (..., 3)."""
        return np.asarray(voxels, np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def voxels(self, points_mm: np.ndarray) -> np.ndarray:
        """Millimetres (..., 3) to fractional voxel indices (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points_mm, np.float64) @ inverse[:3, :3].T + inverse[:3, 3]

    @property
    def corners_mm(self) -> np.ndarray:
        """The eight outer corners (8, 3) of the lattice's box, half a voxel beyond the centres."""
        ends = np.asarray(self.shape, np.float64) - 0.5
        return self.world(np.stack(np.meshgrid(*[(-0.5, end) for end in ends], indexing="ij"), axis=-1).reshape(-1, 3))

    def is_same(self, other: Grid) -> bool:
        """The same voxels in the same order, to within a thousandth of a voxel."""
        if self.shape != other.shape:
            return False
        away = np.abs(self.voxels(other.corners_mm) - self.voxels(self.corners_mm))
        return bool(away.max() <= SAME_PLACE)

    def moved(self, start: Sequence[int], shape: tuple[int, int, int]) -> Grid:
        """The part (or surroundings) that begins at voxel ``start``."""
        affine = self.affine.copy()
        affine[:3, 3] = self.world(np.asarray(start))
        return Grid(affine, shape)


class Volume:
    """A scan as it lies in its file.

    Args:
        source: gives blocks of values; read only where asked for.
        affine: (4, 4), voxel index to millimetres.
        path: where it came from, for messages.
        files: everything that the content lies in, the path alone when left out.
        further: more channels of the same scan (sequences of one session), each a volume of its own.
        channel: name of this channel, empty where there is one only.
        facts: what the header says beyond geometry, for people.

    Raises:
        ItemError: not three-dimensional, without voxels, or an affine that is not finite or not invertible.
    """

    def __init__(
        self,
        source: Source,
        affine: np.ndarray,
        path: Path | None = None,
        *,
        files: Sequence[Path] = (),
        further: Sequence[Volume] = (),
        channel: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.source, self.path = source, path
        self.files = tuple(files) or (() if path is None else (path,))
        self.further, self.channel, self.facts = tuple(further), channel, dict(facts or {})
        name = path.name if path else "the volume"
        shape = tuple(int(size) for size in source.shape)
        if len(shape) != 3:
            status = "two_dimensional" if len(shape) < 3 else "four_dimensional"
            raise ItemError(status, f"{name} has shape {shape}; a volume has three axes")
        if min(shape) < 1:
            raise ItemError("empty", f"{name} has shape {shape}")
        affine = np.asarray(affine, np.float64)
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ItemError("bad_affine", f"the affine of {name} is not finite or cannot be inverted")
        self.grid = Grid(affine, (shape[0], shape[1], shape[2]))

    @property
    def affine(self) -> np.ndarray:
        return self.grid.affine

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.grid.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        return self.grid.spacing_mm

    @property
    def orientation(self) -> str:
        """Directions in which the axes rise, for example ``"LPS"``."""
        from nibabel.orientations import aff2axcodes

        return "".join(aff2axcodes(self.affine))

    def read(self, box: Box | None = None, *, exact: bool = False) -> np.ndarray:
        """Values of a block (everything when None) as float32.

        Args:
            exact: in the number format of the source instead, as ids of labels need it: float32 rounds from 2^24 on.

        Raises:
            ItemError: the file ends early or cannot be decoded.
        """
        whole = (slice(None), slice(None), slice(None))
        try:
            return np.asarray(self.source[box or whole], None if exact else np.float32)
        except ItemError:
            raise
        except Exception as error:  # every format's library raises kinds of its own for damaged content
            name = self.path.name if self.path else "the volume"
            raise ItemError("corrupt", f"{name} cannot be decoded: {error}") from error

    @property
    def channels(self) -> tuple[Volume, ...]:
        """This volume and the further channels of the scan."""
        return (self, *self.further)

    @cached_property
    def identity(self) -> str:
        """Changes when the content does, and only then: for caches, because ids repeat from folder to folder."""
        digest = blake2b(digest_size=16)
        for one in self.channels:
            digest.update(one.affine.tobytes() + repr((one.shape, one.channel)).encode("utf-8", "surrogateescape"))
            for path in one.files:
                digest.update(file_identity(path).encode())
            if not one.files:
                digest.update(np.ascontiguousarray(one.read()).tobytes())
        return digest.hexdigest()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values: what tells two volumes apart; (I, J, K), or (C, I, J, K) of several channels."""
        channels = [one.read(exact=dtype is not None) for one in self.channels]
        values = np.stack(channels) if self.further else channels[0]
        return np.array(values, dtype=dtype, copy=copy)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Volume)
            and len(self.channels) == len(other.channels)
            and all(
                np.array_equal(one.affine, two.affine) and np.array_equal(one.read(), two.read(), equal_nan=True)
                for one, two in zip(self.channels, other.channels, strict=True)
            )
        )

    __hash__ = None  # type: ignore[assignment]  # compared by content

    def __repr__(self) -> str:
        spacing = " x ".join(f"{length:.3g}" for length in self.spacing_mm)
        return f"Volume({' x '.join(map(str, self.shape))} voxels, {spacing} mm, {self.orientation})"


def file_size(path: Path) -> int:
    """Bytes; 0 where there is no file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
