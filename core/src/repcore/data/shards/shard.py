"""One file of a data set in many files, and the list that stands in for files elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repcore.files import read_json_file

LISTING = "remote-listing.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a data set: its name below the root, bytes, and what changes when the file does."""

    name: str
    size: int
    stamp: str


def listing(folder: Path) -> dict[str, Any] | None:
    """``address`` and ``files`` (name, bytes and stamp of each) of a folder that stands in for an address; None of any
    other folder."""
    if not (folder / LISTING).is_file():
        return None
    found: dict[str, Any] = read_json_file(folder / LISTING)
    return found


def names_elsewhere(folder: Path) -> list[str] | None:
    """Names of the files at the address that a folder stands in for; None where it is a folder like any other."""
    record = listing(folder)
    return None if record is None else [str(one[0]) for one in record["files"]]
