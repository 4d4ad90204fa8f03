"""How surely each reader of images fits a path, from names only."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from repcore_medical3d.datasets.images import parsed_line
from repcore_medical3d.formats.images import DICOM_SUFFIXES, PICTURE_SUFFIXES, SUFFIXES

LOOKED_AT = 3000  # paths of a large tree that are enough to know


def folder(path: Path) -> float:
    """Any tree with pictures, or one picture; DICOM files alone are more likely slices of a volume."""
    if path.is_file():
        return 0.9 if path.suffix.lower() in SUFFIXES else 0.0
    suffixes = {one.suffix.lower() for one in islice(path.rglob("*"), LOOKED_AT)}
    if suffixes & set(PICTURE_SUFFIXES):
        return 0.5
    return 0.2 if suffixes & set(DICOM_SUFFIXES) else 0.0


def list_file(path: Path) -> float:
    """A text file whose first line is an image's name and 0/1 labels."""
    if not path.is_file() or path.suffix.lower() not in (".txt", ".csv", ".list"):
        return 0.0
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = next((one for one in file if one.strip()), "")
    name, labels = parsed_line(line) if line.strip() else ("", None)
    if labels is None or len(labels) < 2:
        return 0.0
    return 0.95 if Path(name).suffix.lower() in SUFFIXES else 0.6
