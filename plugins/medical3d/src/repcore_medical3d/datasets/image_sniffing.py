"""How surely each reader of images fits a path, from names and the headers of a few files."""

from __future__ import annotations

from pathlib import Path

from repcore.data.encodings import head_text
from repcore.data.first_files import first_files
from repcore_medical3d.datasets.dicom import sampled_headers
from repcore_medical3d.datasets.images import parsed_line
from repcore_medical3d.formats.dicom import is_dicom
from repcore_medical3d.formats.images import PICTURE_SUFFIXES, SUFFIXES

FILM_SCORE = 0.9
FIRST_BYTES = 1 << 16


def folder(path: Path) -> float:
    """Any tree with pictures, or one picture; DICOM files are films by their headers, or slices of a volume."""
    if path.is_file():
        return 0.9 if path.suffix.lower() in SUFFIXES else 0.4 if is_dicom(path) else 0.0
    suffixes = {one.suffix.lower() for one in first_files(path)}
    if suffixes & set(PICTURE_SUFFIXES):
        return 0.5
    headers = [one for one in sampled_headers(path) if one.slices]
    films = sum(1 for one in headers if one.is_projection or not any(slice_.is_placed for slice_ in one.slices))
    return 0.0 if not headers else FILM_SCORE if 2 * films > len(headers) else 0.2


def list_file(path: Path) -> float:
    """A text file whose first line is an image's name and 0/1 labels."""
    if not path.is_file() or path.suffix.lower() not in (".txt", ".csv", ".list"):
        return 0.0
    line = next((one for one in head_text(path, FIRST_BYTES).splitlines() if one.strip()), "")
    name, labels = parsed_line(line) if line.strip() else ("", None)
    if labels is None or len(labels) < 2:
        return 0.0
    return 0.95 if Path(name).suffix.lower() in SUFFIXES else 0.6
