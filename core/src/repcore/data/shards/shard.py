"""One file of a data set in many files, and the name of the list that stands in for files elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

LISTING = "remote-listing.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a data set: its name below the root, bytes, and what changes when the file does."""

    name: str
    size: int
    stamp: str
