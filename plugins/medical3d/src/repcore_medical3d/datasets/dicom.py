"""DICOM series as volumes: one row a series, whatever else lies in the folder.

Slices are sorted along the normal of the image plane, not by file name or instance number. World coordinates are
turned from DICOM's directions (x to the left, y to the back) into those of this package. Pixels are read slice by
slice, so that a crop costs only the slices that it touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.catalogue import existing
from repcore.errors import DataError, ItemError
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.volumes import VolumeCatalogue, VolumeFiles, VolumeReader, volume_row
from repcore_medical3d.formats.volumes import Box, Volume

INSTALL = "pip install 'repcore-medical3d[dicom]'"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
GAP_TOLERANCE = 0.02  # of the slice distance: larger differences are a missing slice
LEAST_SLICES = 3
LOOKED_AT = 64  # files of a folder that are enough to know
NEEDED = ("SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
FURTHER = ("PatientID", "Modality", "Rows", "Columns", "RescaleSlope", "RescaleIntercept", "SeriesDescription")


class DicomSeriesReader(VolumeReader):
    """Dataset ``medical3d/dicom-series``: every series below a folder is a row; patients are groups."""

    def __init__(self, config: VolumeFilesConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(dicom_catalogue(root), root, config, open_series)


def require_pydicom() -> Any:  # the module
    """pydicom, or how to install it.

    Raises:
        DataError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise DataError("reading DICOM needs pydicom", hint=INSTALL) from error
    return pydicom


def is_dicom(path: Path) -> bool:
    """By the magic word after the preamble."""
    if not path.is_file() or path.stat().st_size < 132:
        return False
    with path.open("rb") as file:
        file.seek(128)
        return file.read(4) == b"DICM"


def sniff_dicom(path: Path) -> float:
    """A folder with several DICOM files in one place."""
    if not path.is_dir():
        return 0.0
    by_folder: dict[Path, int] = {}
    for one in islice((one for one in path.rglob("*") if one.is_file()), LOOKED_AT):
        if is_dicom(one):
            by_folder[one.parent] = by_folder.get(one.parent, 0) + 1
    return 0.85 if any(count >= LEAST_SLICES for count in by_folder.values()) else 0.0


def dicom_catalogue(root: Path) -> VolumeCatalogue:
    """One row a series, named by folder and, where a folder holds several, by the end of the series number.

    Raises:
        DataError: no series of at least three slices.
    """
    pydicom = require_pydicom()
    series: dict[tuple[Path, str], list[Path]] = {}
    facts: dict[tuple[Path, str], Any] = {}
    for path in sorted(root.rglob("*") if root.is_dir() else [root]):
        if not is_dicom(path):
            continue
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*NEEDED[:1], *FURTHER])
        key = (path.parent, str(header.get("SeriesInstanceUID", "")))
        series.setdefault(key, []).append(path)
        facts.setdefault(key, header)
    kept = {key: files for key, files in series.items() if len(files) >= LEAST_SLICES}
    if not kept:
        raise DataError(f"{str(root)!r} holds no DICOM series of {LEAST_SLICES} slices or more", series=len(series))
    folders = [folder for folder, _ in kept]
    rows = []
    for (folder, uid), files in kept.items():
        name = folder.name if folder == root else folder.relative_to(root).as_posix()
        several = folders.count(folder) > 1
        header = facts[folder, uid]
        meta = {"modality": str(header.get("Modality", "")), "series": str(header.get("SeriesDescription", ""))}
        person = str(header.get("PatientID", "")) or None
        rows.append(
            volume_row(f"{name}:{_short(uid, kept)}" if several else name, tuple(files), group=person, meta=meta)
        )
    shared = sum(1 for folder in set(folders) if folders.count(folder) > 1)
    notes = [f"{shared} folders hold several series; each is a row of its own"] if shared else []
    left = sum(len(files) for key, files in series.items() if key not in kept)
    notes += [f"{left} files are left out: series of fewer than {LEAST_SLICES} slices"] if left else []
    return VolumeCatalogue(rows, notes=notes)


def _short(uid: str, kept: dict[tuple[Path, str], list[Path]]) -> str:
    """The shortest end of a series number that no other series shares."""
    others = [other for _, other in kept if other != uid]
    for length in range(4, len(uid)):
        if not any(other.endswith(uid[-length:]) for other in others):
            return uid[-length:]
    return uid


def open_series(files: VolumeFiles, config: VolumeFilesConfig) -> Volume:
    """The volume of a row of slices."""
    del config  # a series always says where it lies
    return read_series(files.images)


@dataclass(frozen=True, slots=True)
class _Slice:
    path: Path
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    slope: float
    intercept: float


class SeriesSource:
    """Slices of one series, each read when asked for; array axes are (columns, rows, slices)."""

    def __init__(self, slices: Sequence[_Slice], columns: int, rows: int) -> None:
        self.slices = tuple(slices)
        self.shape = (columns, rows, len(self.slices))

    def __getitem__(self, box: Box) -> np.ndarray:
        pydicom = require_pydicom()
        chosen = self.slices[box[2]]
        planes = []
        for one in chosen:
            pixels = pydicom.dcmread(one.path).pixel_array.astype(np.float32)
            planes.append((pixels * one.slope + one.intercept).T[box[0], box[1]])
        return np.stack(planes, axis=-1)


def read_series(files: Sequence[Path]) -> Volume:
    """One series as a volume in Hounsfield units or whatever its rescaling gives.

    Raises:
        ItemError: several series, missing positions, slices of different planes or sizes, or a missing slice.
    """
    pydicom = require_pydicom()
    headers = []
    for path in files:
        try:
            headers.append(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*NEEDED, *FURTHER]))
        except (pydicom.errors.InvalidDicomError, OSError, ValueError) as error:
            raise ItemError("corrupt", f"{path.name} is no DICOM file: {error}") from error
    series = sorted({str(header.get("SeriesInstanceUID", "")) for header in headers})
    if len(series) > 1:
        raise ItemError(
            "several_series",
            f"{files[0].parent.name} holds {len(series)} series: {', '.join(one[-12:] for one in series)}",
        )
    lacking = [name for name in NEEDED if any(name not in header for header in headers)]
    if lacking:
        raise ItemError("no_affine", f"slices of {files[0].parent.name} lack {', '.join(lacking)}")
    sizes = {(int(header.Columns), int(header.Rows)) for header in headers}
    if len(sizes) > 1:
        raise ItemError("mixed_slices", f"slices of {files[0].parent.name} have {len(sizes)} different sizes")
    slices = [_slice(path, header) for path, header in zip(files, headers, strict=True)]
    return _stacked(slices, sizes.pop(), files[0].parent)


def _slice(path: Path, header: Any) -> _Slice:  # a pydicom data set
    return _Slice(
        path,
        np.asarray(header.ImagePositionPatient, np.float64),
        np.asarray(header.ImageOrientationPatient, np.float64).reshape(2, 3),
        (float(header.PixelSpacing[0]), float(header.PixelSpacing[1])),
        float(header.get("RescaleSlope", 1.0)),
        float(header.get("RescaleIntercept", 0.0)),
    )


def _stacked(slices: list[_Slice], size: tuple[int, int], folder: Path) -> Volume:
    """Sorted along the normal, with the affine of the first slice."""
    first = slices[0]
    if any(not np.allclose(one.orientation, first.orientation, atol=1e-3) for one in slices):
        raise ItemError("mixed_slices", f"slices of {folder.name} lie in different planes")
    along_columns, along_rows = first.orientation  # direction in which the column, and the row, number rises
    normal = np.cross(along_columns, along_rows)
    slices = sorted(slices, key=lambda one: float(one.position @ normal))
    places = np.array([float(one.position @ normal) for one in slices])
    steps = np.diff(places)
    distance = float(np.median(steps)) if len(steps) else 1.0
    if distance <= 0 or np.abs(steps - distance).max(initial=0.0) > max(GAP_TOLERANCE * distance, 1e-3):
        raise ItemError(
            "missing_slices",
            f"slices of {folder.name} lie {steps.min():.3f} to {steps.max():.3f} mm apart: one is missing or doubled",
        )
    affine = np.eye(4)
    affine[:3, 0] = along_columns * first.spacing[1]
    affine[:3, 1] = along_rows * first.spacing[0]
    affine[:3, 2] = (slices[-1].position - slices[0].position) / max(1, len(slices) - 1)
    affine[:3, 3] = slices[0].position
    return Volume(SeriesSource(slices, *size), LPS_TO_RAS @ affine, folder)
