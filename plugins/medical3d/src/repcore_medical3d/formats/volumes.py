"""Volumes on their own grid: values on demand, and where every voxel lies in the world.

World coordinates are millimetres in NIfTI's directions (x to the right, y to the front, z up) everywhere in this
package: points are carried in the world, never as voxel indices, so that orientation and spacing cannot be confused.

Symbols: (I, J, K) voxels along the array's axes; affine float64 (4, 4): homogeneous voxel index -> millimetres.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from repcore.errors import DataError, ItemError

NIFTI_SUFFIXES = (".nii", ".nii.gz")
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

    Raises:
        ItemError: not three-dimensional, without voxels, or an affine that is not finite or not invertible.
    """

    def __init__(self, source: Source, affine: np.ndarray, path: Path | None = None) -> None:
        self.source, self.path = source, path
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

    def read(self, box: Box | None = None) -> np.ndarray:
        """Values of a block (everything when None) as float32.

        Raises:
            ItemError: the file ends early or cannot be decoded.
        """
        whole = (slice(None), slice(None), slice(None))
        try:
            return np.asarray(self.source[box or whole], np.float32)
        except (EOFError, OSError, ValueError, zlib.error) as error:
            name = self.path.name if self.path else "the volume"
            raise ItemError("corrupt", f"{name} cannot be decoded: {error}") from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values: what tells two volumes apart."""
        return np.array(self.read(), dtype=dtype, copy=copy)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Volume)
            and np.array_equal(self.affine, other.affine)
            and np.array_equal(self.read(), other.read(), equal_nan=True)
        )

    __hash__ = None  # type: ignore[assignment]  # compared by content

    def __repr__(self) -> str:
        spacing = " x ".join(f"{length:.3g}" for length in self.spacing_mm)
        return f"Volume({' x '.join(map(str, self.shape))} voxels, {spacing} mm, {self.orientation})"


def is_nifti(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def stem_of(path: Path) -> str:
    """File name without ``.nii`` or ``.nii.gz``."""
    name = path.name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem


def read_nifti(path: Path, *, assume_ras: bool = False) -> Volume:
    """Open a NIfTI file: compressed ones are decoded now, others only where they are read.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        assume_ras: accept a header that places the scan nowhere (neither qform nor sform).

    Raises:
        ItemError: missing, empty, damaged, cut off, not three-dimensional, or without an affine.
    """
    import nibabel

    if not path.is_file():
        raise ItemError("missing_file", f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if path.stat().st_size == 0:
        raise ItemError("empty", f"{path.name} has 0 bytes")
    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image | nibabel.Nifti2Image):
            raise ItemError("not_nifti", f"{path.name} is a {type(image).__name__}")
        source: Any = _three_axes(image.dataobj, path)  # array or nibabel's proxy
        if path.name.lower().endswith(".gz"):
            source = np.asanyarray(source)
        else:
            _check_length(image, path)
    except ItemError:
        raise
    except (nibabel.filebasedimages.ImageFileError, EOFError, OSError, ValueError, zlib.error) as error:
        raise ItemError("corrupt", f"{path.name} cannot be decoded: {error}") from error
    header = image.header
    if not assume_ras and int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise ItemError(
            "no_affine",
            f"{path.name} has neither sform nor qform, so nobody knows where it lies or which side is left "
            "(dataset.missing_affine=assume-ras takes its axes as they are)",
        )
    affine = image.affine
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        affine = np.diag([*header.get_zooms()[:3], 1.0])
    return Volume(source, np.asarray(affine), path)


def _three_axes(data: Any, path: Path) -> Any:  # array proxy
    """The data without trailing axes of length 1; Volume reports other numbers of axes."""
    shape = tuple(data.shape)
    if len(shape) > 3 and all(size == 1 for size in shape[3:]):
        return np.asanyarray(data).reshape(shape[:3])
    if len(shape) > 3:
        raise ItemError(
            "four_dimensional",
            f"{path.name} has shape {shape}: several volumes in one file; split it, one file a volume",
        )
    if len(shape) == 3 and 1 in shape:
        raise ItemError("two_dimensional", f"{path.name} has shape {shape}: one slice is no volume")
    return data


def _check_length(image: Any, path: Path) -> None:  # a nibabel image
    """Uncompressed files are read late, so that one that is cut off must be noticed now."""
    needed = int(image.dataobj.offset) + int(np.prod(image.shape)) * image.header.get_data_dtype().itemsize
    if path.stat().st_size < needed:
        raise ItemError("corrupt", f"{path.name} has {path.stat().st_size} bytes; its header promises {needed}")


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    """Write (I, J, K) or (I, J, K, C) values with their affine as NIfTI.

    Raises:
        DataError: the name does not end in ``.nii`` or ``.nii.gz``.
    """
    import nibabel

    if not is_nifti(path):
        raise DataError(f"{path.name!r} is no NIfTI name", expected=", ".join(NIFTI_SUFFIXES))
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path
