"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) with SimpleITK, an optional package.

The header is read first: a file whose header promises more than it can hold, or more than the limit, is refused
before anything is allocated. Directions are turned from ITK's (x to the left, y to the back) into this package's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from repcore.errors import ItemError, PluginError
from repcore_medical3d.formats.nifti import DEFLATE_RATIO, MOST_CHANNELS, ReadingRules
from repcore_medical3d.formats.volumes import Volume

ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
INSTALL = "pip install 'repcore-medical3d[itk]'"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
META_FILE = re.compile(rb"^\s*ElementDataFile\s*[=:]\s*(.+?)\s*$", re.MULTILINE)  # how headers name files of values
NRRD_FILE = re.compile(rb"^\s*data\s?file\s*:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
VALUE_FILE = {".mha": META_FILE, ".mhd": META_FILE, ".nrrd": NRRD_FILE, ".nhdr": NRRD_FILE}
HEADER_BYTES = 65536
LONGEST_HEADER = 2**20
PIXEL_BYTES = {"8": 1, "16": 2, "32": 4, "64": 8}


def require_simpleitk() -> Any:  # the module
    """SimpleITK, or how to install it.

    Raises:
        PluginError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise PluginError("reading MetaImage and NRRD needs SimpleITK", hint=INSTALL) from error
    return SimpleITK


def is_itk(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in ITK_SUFFIXES


def value_file(path: Path) -> Path | None:
    """The file beside a detached header that holds its values; None where header and values are one file, and where
    the header names several or one of another folder."""
    if path.suffix.lower() not in VALUE_FILE or not path.is_file():
        return None
    names = _named_files(path)
    return path.parent / names[0] if len(names) == 1 and not is_elsewhere(names[0]) else None


def is_elsewhere(name: str) -> bool:
    """Whether a file that a header names may lie outside the folder of the header, in the words of any system."""
    named = PureWindowsPath(name)
    return bool(named.anchor) or ".." in named.parts


def _named_files(path: Path) -> list[str]:
    """Names of files of values in a header, as they stand there; none where they follow in the same file."""
    with path.open("rb") as file:
        text = file.read(LONGEST_HEADER)
    is_nrrd = VALUE_FILE[path.suffix.lower()] is NRRD_FILE
    if is_nrrd:
        text = re.split(rb"\r?\n\r?\n", text, maxsplit=1)[0]
    found = VALUE_FILE[path.suffix.lower()].search(text)
    if found is None:
        return []
    word = found[1].split()[0].upper()
    if word == b"LOCAL":
        return []
    names = [found[1]] if word != b"LIST" else [line for line in text[found.end() :].splitlines() if line.strip()]
    return [name.strip().decode("utf-8", "replace") for name in names]


def _has_end(path: Path) -> bool:
    """Whether a header ends where it is looked at, so that nothing stands behind."""
    with path.open("rb") as file:
        text = file.read(LONGEST_HEADER)
    end = rb"\r?\n\r?\n" if VALUE_FILE[path.suffix.lower()] is NRRD_FILE else META_FILE.pattern
    return re.search(end, text, re.MULTILINE) is not None


def _refuse_elsewhere(path: Path) -> None:
    """As links of HDF5: a header that somebody sends must not choose which files of this machine are read."""
    if path.stat().st_size >= LONGEST_HEADER and not _has_end(path):
        raise ItemError("corrupt", f"{path.name} has a header of more than {LONGEST_HEADER:,} bytes")
    for name in filter(is_elsewhere, _named_files(path)):
        raise ItemError(
            "corrupt", f"{path.name} names {name!r} for its values, outside its own folder; that was not read"
        )


def read_itk(path: Path, rules: ReadingRules) -> Volume:
    """A MetaImage or NRRD file as a volume; vectors and a fourth axis are channels.

    Raises:
        ItemError: missing, empty, damaged, too large, or not three-dimensional.
        PluginError: SimpleITK is not installed.
    """
    itk = require_simpleitk()
    if not path.is_file():
        raise ItemError("missing_file", f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if path.stat().st_size == 0:
        raise ItemError("empty", f"{path.name} has 0 bytes")
    _refuse_elsewhere(path)
    values_at = value_file(path)
    if values_at is not None and not values_at.is_file():
        raise ItemError("missing_file", f"{path.name} names {values_at.name} for its values, which does not exist")
    was_warning = itk.ProcessObject_GetGlobalWarningDisplay()
    itk.ProcessObject_SetGlobalWarningDisplay(False)
    try:
        reader = itk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        head = _head(path)
        _check_promise(reader, itk, path, values_at, rules)
        _check_length(reader, itk, path, values_at, head)
        affine = _affine(reader, None if _says_spacing(path, head) else _asked_spacing(path, rules))
        channels = _channels(itk.GetArrayFromImage(reader.Execute()), reader, path)
    except ItemError:
        raise
    except Exception as error:  # SimpleITK raises RuntimeError with pages of text
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ItemError("corrupt", f"{path.name} cannot be decoded: {lines[-1] if lines else error}") from error
    finally:
        itk.ProcessObject_SetGlobalWarningDisplay(was_warning)
    files = (path,) if values_at is None else (path, values_at)
    parts = [Volume(values, affine, path, files=files, channel=name) for name, values in channels.items()]
    parts[0].further = tuple(parts[1:])
    return parts[0]


def _check_promise(reader: Any, itk: Any, path: Path, values_at: Path | None, rules: ReadingRules) -> None:
    """As for NIfTI: sizes of the header against the file and the limit."""
    shape = tuple(int(size) for size in reader.GetSize())
    kind = itk.GetPixelIDValueAsString(reader.GetPixelID())
    width = next((size for bits, size in PIXEL_BYTES.items() if re.search(rf"\b{bits}-bit", kind)), 8)
    needed = int(np.prod(shape, dtype=object)) * width * int(reader.GetNumberOfComponents())
    if needed > rules.largest_mib * 2**20:
        raise ItemError(
            "too_large",
            f"{path.name} promises {needed / 2**20:,.0f} MiB ({' x '.join(map(str, shape))} voxels); the limit is "
            f"{rules.largest_mib:,} (dataset.largest_mib)",
        )
    size = (values_at or path).stat().st_size
    if needed > size * DEFLATE_RATIO:
        raise ItemError("corrupt", f"{path.name} has {size} bytes; its header promises {needed}")


def _head(path: Path) -> bytes:
    """The text at the beginning of a file."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        return head.split(b"\n\n")[0].split(b"\r\n\r\n")[0]
    found = re.search(rb"^ElementDataFile.*$", head, re.MULTILINE)
    return head[: found.end()] if found else head


def _says_spacing(path: Path, head: bytes) -> bool:
    """Whether a header tells how large voxels are; without it ITK takes 1 mm."""
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        found = re.search(rb"^(spacings|space directions):(.*)$", head, re.MULTILINE | re.IGNORECASE)
        return found is not None and b"nan" not in found[2].lower()
    return re.search(rb"^Element(Spacing|Size)\s*=", head, re.MULTILINE) is not None


def _asked_spacing(path: Path, rules: ReadingRules) -> np.ndarray:
    if rules.spacing_mm is None:
        raise ItemError("no_spacing", f"{path.name} does not say how large its voxels are: dataset.spacing_mm=[1,1,1]")
    return np.asarray(rules.spacing_mm, np.float64)


def _check_length(reader: Any, itk: Any, path: Path, values_at: Path | None, head: bytes) -> None:
    """Values that are not compressed have the length that the header promises."""
    is_nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    is_plain = (
        re.search(rb"^encoding:\s*raw", head, re.MULTILINE | re.IGNORECASE)
        if is_nrrd
        else (
            re.search(rb"^ElementDataFile", head, re.MULTILINE)
            and not re.search(rb"^CompressedData\s*=\s*True", head, re.MULTILINE | re.IGNORECASE)
            and re.search(rb"^BinaryData\s*=\s*True", head, re.MULTILINE | re.IGNORECASE)
        )
    )
    kind = itk.GetPixelIDValueAsString(reader.GetPixelID())
    width = next((size for bits, size in PIXEL_BYTES.items() if re.search(rf"\b{bits}-bit", kind)), 0)
    needed = int(np.prod([int(size) for size in reader.GetSize()], dtype=object)) * width
    needed *= int(reader.GetNumberOfComponents())
    there = (values_at or path).stat().st_size - (0 if values_at else len(head) + (2 if is_nrrd else 1))
    if is_plain and needed > there:
        raise ItemError("corrupt", f"{path.name} is cut off: {there:,} of {needed:,} bytes of values are there")


def _affine(reader: Any, spacing_mm: np.ndarray | None) -> np.ndarray:
    """Voxel index to millimetres, of the first three axes; with a spacing that takes the place of the header's."""
    axes = reader.GetDimension()
    if axes < 3:
        raise ItemError("two_dimensional", f"{Path(reader.GetFileName()).name} has {axes} axes; a volume has three")
    direction = np.asarray(reader.GetDirection(), np.float64).reshape(axes, axes)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * (np.asarray(reader.GetSpacing(), np.float64)[:3] if spacing_mm is None else spacing_mm)
    affine[:3, 3] = np.asarray(reader.GetOrigin(), np.float64)[:3]
    return LPS_TO_RAS @ affine


def _channels(values: np.ndarray, reader: Any, path: Path) -> Mapping[str, np.ndarray]:
    """Name -> (I, J, K); ITK's arrays run backwards, with vectors last."""
    has_vectors = int(reader.GetNumberOfComponents()) > 1
    spatial = values.shape[:-1] if has_vectors else values.shape
    if np.iscomplexobj(values):
        raise ItemError("complex_values", f"{path.name} holds complex numbers; save their magnitude")
    if len(spatial) == 4 and spatial[0] == 1:
        values, spatial = values[0], spatial[1:]
    count = values.shape[-1] if has_vectors else spatial[0] if len(spatial) == 4 else 1
    if len(spatial) > 4 or (len(spatial) == 4 and has_vectors) or count > MOST_CHANNELS:
        raise ItemError(
            "four_dimensional",
            f"{path.name} has shape {tuple(reversed(values.shape))}: a series, not channels of one scan; split it",
        )
    if 1 in spatial[-3:]:
        raise ItemError("two_dimensional", f"{path.name} has shape {tuple(reversed(spatial))}: one slice is no volume")
    if has_vectors:
        return {f"channel {number}": values[..., number].transpose(2, 1, 0) for number in range(count)}
    if len(spatial) == 4:
        return {f"channel {number}": values[number].transpose(2, 1, 0) for number in range(count)}
    return {"": values.transpose(2, 1, 0)}
