"""DICOM files: what a header says, which files are pictures of one place, and pixels read when asked for.

Files without preamble, empty rescaling and multi-frame files with functional groups are read; every frame of the
latter is a slice of its own. World coordinates are turned from DICOM's directions (x to the left, y to the back) into
those of this package.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.allocation import check_allocation, refuse_special
from repcore.errors import ItemError, PluginError
from repcore_medical3d.formats.dicom_padding import Padding, padding_of, without_padding
from repcore_medical3d.formats.volumes import Box

INSTALL = "pip install 'repcore-medical3d[dicom]'"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PREAMBLE, MAGIC = 128, b"DICM"
DEFLATED, FIRST_BYTES = b"1.2.840.10008.1.2.1.99", 4096
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # of a file without preamble, little-endian
PROJECTIONS = frozenset({"CR", "DX", "MG", "RF", "XA", "IO", "PX", "DR", "RG", "XC", "OP", "GM", "SM", "ES"})
ORDERING = (  # what tells volumes of one series apart, by the standard's keywords
    "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "TriggerTime", "EchoTime",
    "DiffusionBValue", "AcquisitionTime", "ContentTime",
)  # fmt: skip
HEADER = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "Modality", "SeriesDescription", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "BitsAllocated", "RescaleSlope", "RescaleIntercept", "InstanceNumber", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", *ORDERING,
)  # fmt: skip


def require_pydicom() -> Any:  # the module
    """pydicom, or how to install it.

    Raises:
        PluginError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise PluginError("reading DICOM needs pydicom", hint=INSTALL) from error
    return pydicom


def is_dicom(path: Path) -> bool:
    """By the magic word after the preamble, or by a first element that only DICOM begins with."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(PREAMBLE + len(MAGIC))
    except OSError:
        return False
    return head[PREAMBLE:] == MAGIC or _is_bare(head)


def _is_bare(head: bytes) -> bool:
    """Group 2 or 8, a low element, and then a value representation or a short even length."""
    if len(head) < 16 or head[:2] not in FIRST_GROUPS or head[3] != 0:
        return False
    length = int.from_bytes(head[4:8], "little")
    return (head[4:6].isalpha() and head[4:6].isupper()) or (length <= 256 and length % 2 == 0)


@dataclass(frozen=True, slots=True)
class Slice:
    """One picture of a file: a file's only one, or a frame.

    Args:
        frame: None = the file has one picture.
        position / orientation / spacing: mm, as in the header; None where it does not say. Orientation (2, 3): along
            columns, along rows; spacing between rows, between columns.
        order: what tells volumes at the same places apart, by keyword.
        padding: stored numbers that stand for no measurement.
    """

    path: Path
    frame: int | None
    size: tuple[int, int]
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: tuple[float, float] | None
    slope: float
    intercept: float
    number: int
    instance: str
    order: tuple[tuple[str, float], ...] = ()
    padding: Padding | None = None

    @property
    def is_placed(self) -> bool:
        return self.position is not None and self.orientation is not None and self.spacing is not None


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a file: series, patient, kind, and its pictures (none if it holds no image)."""

    path: Path
    series: str
    patient: str
    modality: str
    description: str
    is_colour: bool
    is_many_frames: bool
    slices: tuple[Slice, ...]

    @property
    def is_projection(self) -> bool:
        """A film or photograph, not a slice."""
        return self.modality in PROJECTIONS


def read_header(path: Path) -> Header:
    """The header of a file.

    Raises:
        ItemError: it is no DICOM file, or is damaged.
    """
    require_pydicom()
    try:
        data = read_dicom(path, header_only=True)
        if not data.get("SOPClassUID") and not data.get("Rows"):
            raise ItemError("corrupt", f"{path.name} is no DICOM file")
        return _header(path, data)
    except ItemError:
        raise
    except Exception as error:  # pydicom raises many kinds for damaged headers
        raise ItemError("corrupt", f"{path.name} cannot be read as DICOM: {error}") from error


def read_dicom(path: Path, *, header_only: bool = False) -> Any:  # a pydicom data set
    """The data set of a file, after what its header announces has been judged.

    Args:
        header_only: only what :data:`HEADER` names.

    Raises:
        ItemError: ``special_file``, ``corrupt``: more frames than the file has bytes; ``too_large``.
    """
    refuse_special(path)
    _check_packed(path)
    asked = {"stop_before_pixels": True, "specific_tags": list(HEADER)} if header_only else {}
    data = require_pydicom().dcmread(path, force=True, **asked)
    frames, size = number_in(data, "NumberOfFrames", 1), path.stat().st_size
    if frames > size:
        raise ItemError("corrupt", f"{path.name} has {size:,} bytes; its header announces {frames:,.0f} frames")
    sides = [number_in(data, name, 0) for name in ("Rows", "Columns")]
    depth = max(number_in(data, "BitsAllocated", 16) / 8, np.dtype(np.float32).itemsize)  # in which pixels are scaled
    check_allocation(int(sides[0] * sides[1] * number_in(data, "SamplesPerPixel", 1) * depth), path.name)
    if not header_only:
        add_transfer_syntax(data)
    return data


def _check_packed(path: Path) -> None:
    """A deflated data set is unpacked whole, whatever is asked of it: its size is found out without keeping it.

    Raises:
        ItemError: ``too_large``, ``corrupt``.
    """
    with path.open("rb") as file:
        head = file.read(FIRST_BYTES)
        if DEFLATED not in head or head[PREAMBLE : PREAMBLE + len(MAGIC)] != MAGIC:
            return
        group = int.from_bytes(head[140:144], "little")  # bytes of the meta group behind its first element
        file.seek(144 + group)
        unpack, size = zlib.decompressobj(wbits=-zlib.MAX_WBITS), 0
        try:
            while not unpack.eof and (block := unpack.unconsumed_tail or file.read(1 << 16)):
                size += len(unpack.decompress(block, 1 << 20))
                check_allocation(size, path.name, "its packed data set")
        except zlib.error as error:
            raise ItemError("corrupt", f"{path.name} cannot be unpacked: {error}") from error


def _header(path: Path, data: Any) -> Header:  # a pydicom data set
    rows, columns = number_in(data, "Rows", 0), number_in(data, "Columns", 0)
    slices: tuple[Slice, ...] = ()
    is_many = "NumberOfFrames" in data and number_in(data, "NumberOfFrames", 1) > 1
    if rows > 0 and columns > 0:
        size = (int(columns), int(rows))
        slices = tuple(_frames(path, data, size)) if is_many else (_slice(path, None, size, data, ()),)
    return Header(
        path, str(data.get("SeriesInstanceUID") or ""), str(data.get("PatientID") or ""),
        str(data.get("Modality") or ""), str(data.get("SeriesDescription") or ""),
        number_in(data, "SamplesPerPixel", 1) > 1, is_many, slices,
    )  # fmt: skip


def _frames(path: Path, data: Any, size: tuple[int, int]) -> Iterator[Slice]:
    """Frames of a multi-frame file, with what all of them share."""
    shared = _members(data.get("SharedFunctionalGroupsSequence"))
    each = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    for frame in range(int(number_in(data, "NumberOfFrames", 1))):
        own = _members([each[frame]]) if frame < len(each) else []
        yield _slice(path, frame, size, data, (*own, *shared), places_only_in_groups=True)


def _members(groups: Any) -> list[Any]:
    """The data sets one level below: functional groups hold sequences of one item each."""
    found = []
    for group in groups or []:
        found.append(group)
        found += [element.value[0] for element in group if element.VR == "SQ" and element.value]
    return found


def _slice(
    path: Path, frame: int | None, size: tuple[int, int], data: Any, groups: Sequence[Any],
    *, places_only_in_groups: bool = False,
) -> Slice:  # fmt: skip
    sources = (*groups, data)
    placing = groups if places_only_in_groups else sources  # one position cannot be that of many frames
    position, orientation = (
        _numbers(placing, "ImagePositionPatient", 3),
        _numbers(sources, "ImageOrientationPatient", 6),
    )
    spacing = _numbers(sources, "PixelSpacing", 2)
    order = tuple((name, value[0]) for name in ORDERING if (value := _numbers(sources, name, 1)) is not None)
    slope, intercept = _numbers(sources, "RescaleSlope", 1), _numbers(sources, "RescaleIntercept", 1)
    zero = 0.0 if intercept is None else float(intercept[0])
    return Slice(
        path, frame, size, position, None if orientation is None else orientation.reshape(2, 3),
        None if spacing is None or min(spacing) <= 0 else (float(spacing[0]), float(spacing[1])),
        1.0 if slope is None else float(slope[0]), zero,
        int(number_in(data, "InstanceNumber", 0)) if frame is None else frame, str(data.get("SOPInstanceUID") or ""),
        order, padding_of(partial(number_in, data), str(data.get("Modality") or ""), zero),
    )  # fmt: skip


def _numbers(sources: Sequence[Any], name: str, count: int) -> np.ndarray | None:
    """The first source's value as float64 (count,); None where none has a usable one (empty counts as none)."""
    for source in sources:
        value = source.get(name)
        if value is None or value == "":
            continue
        try:
            found = np.asarray(value, np.float64).reshape(-1)
        except (TypeError, ValueError):
            continue
        if len(found) == count and np.isfinite(found).all():
            return found
    return None


def number_in(data: Any, name: str, default: float) -> float:  # a pydicom data set
    """A header value as a number; the default where it is missing, empty or no finite number."""
    found = _numbers((data,), name, 1)
    return default if found is None else float(found[0])


def frame_pixels(data: Any, frame: int | None) -> np.ndarray:  # a pydicom data set
    """(rows, columns) of one picture."""
    if frame is None:
        return np.asarray(data.pixel_array)
    from pydicom.pixels import pixel_array

    return np.asarray(pixel_array(data, index=frame))


class SeriesSource:
    """Slices of one stack, each read when asked for; array axes are (columns, rows, slices)."""

    def __init__(self, slices: Sequence[Slice]) -> None:
        self.slices = tuple(slices)
        columns, rows = self.slices[0].size
        self.shape = (columns, rows, len(self.slices))

    def __getitem__(self, box: Box) -> np.ndarray:
        planes = []
        path, data = None, None
        for one in self.slices[box[2]]:
            if one.path != path:
                path, data = one.path, read_dicom(one.path)
            pixels = frame_pixels(data, one.frame).astype(np.float32)
            if pixels.shape != (self.shape[1], self.shape[0]):
                raise ItemError("corrupt", f"{one.path.name} holds {pixels.shape} pixels, not {one.size[::-1]}")
            values = without_padding(pixels, pixels * one.slope + one.intercept, one.padding)
            planes.append(values.T[box[0], box[1]])
        return np.stack(planes, axis=-1)


def add_transfer_syntax(data: Any) -> None:
    """A file without meta group: the transfer syntax that such files are written in."""
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    meta = data.ensure_file_meta() or data.file_meta
    if not getattr(meta, "TransferSyntaxUID", None):
        is_implicit = data.original_encoding[0]
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit in (True, None) else ExplicitVRLittleEndian
