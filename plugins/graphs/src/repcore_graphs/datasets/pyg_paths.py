"""Which files of torch-geometric a path stands for, told by names alone: torch-geometric takes seconds to import, and
every reader is asked about every path."""

from __future__ import annotations

import re
from pathlib import Path

from repcore.errors import DataError

SUFFIXES = (".pt", ".pth")
SETTINGS = ("pre_filter.pt", "pre_transform.pt")  # torch-geometric's own notes beside the data
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


def sniff(path: Path) -> float:
    """0.6 for a folder with ``processed/data.pt``, 0.3 for any ``.pt`` file: it may hold weights instead."""
    try:
        files = next(iter(find_files(path).values()))
    except (DataError, OSError):
        return 0.0
    return 0.6 if files[0].parent.name == "processed" else 0.3


def find_files(path: Path) -> dict[str, list[Path]]:
    """The files that a path stands for, by part of a split (``""`` = none is declared), in order.

    One file; a folder with ``data.pt``; with ``train.pt`` and others; or with one file a graph (``data_0.pt``, ...).

    Raises:
        DataError: none.
    """
    if path.is_file() and path.suffix in SUFFIXES:
        return {"": [path]}
    for folder in (path / "processed", path):
        found = _in_folder(folder) if folder.is_dir() else []
        whole = [file for file in found if file.stem in ("data", "dataset")]
        if whole:
            return {"": whole[:1]}
        parts = {PARTS.get(file.stem.lower(), ""): [file] for file in found}
        if "train" in parts and len(parts) == len(found) and "" not in parts:
            return {part: parts[part] for part in dict.fromkeys(PARTS.values()) if part in parts}
        if found:
            return {"": found}
    raise DataError(f"{path} holds no torch-geometric data", expected="a .pt file, or processed/data.pt in the folder")


def _in_folder(folder: Path) -> list[Path]:
    found = [file for file in folder.iterdir() if file.suffix in SUFFIXES and file.name not in SETTINGS]
    return sorted(found, key=_natural)


def _natural(file: Path) -> list[tuple[int, str]]:
    """``data_2.pt`` before ``data_10.pt``."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", file.name)]
