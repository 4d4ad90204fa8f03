"""Which shard a row lies in, and where in it: built once, kept in the cache, memory-mapped.

Rows are numbered through all shards in the order of their names. A shard of a format with blocks (row groups of
parquet) needs 16 bytes a block; one without (a tar archive) 8 bytes a row, the place at which the row begins. Only the
pages that are touched come into memory.

    <cache>/shards/<key>/
      facts.json      fingerprint, rows of each shard, what the format adds (columns, kinds of members)
      places.raw      int64, one a block or row: where it begins in its shard (row number or byte)
      ends.raw        int64, one a block: rows up to its end, over all shards; only where there are blocks
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.preparation import cache_root
from repcore.data.whole_folders import appearing_whole
from repcore.errors import DataError
from repcore.files import read_json_file, write_text

FORMAT = 1  # of the index; raised when the same shards are indexed otherwise


@dataclass(frozen=True, slots=True)
class ShardRows:
    """What the index keeps of one shard.

    Args:
        rows: number of rows.
        places: where each block or row begins.
        block_rows: rows of each block; None where every row has a place of its own.
    """

    rows: int
    places: np.ndarray
    block_rows: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class RowIndex:
    """Rows of all shards, found by number.

    Args:
        facts: what was written beside it.
        starts: int64 (S + 1), rows before each shard.
        places: int64, memory-mapped; see the head of this module.
        ends: int64 (blocks), memory-mapped; None where every row has a place.
        entries: int64 (S + 1), places before each shard.
        folder: where it lies, with whatever else the format keeps there.
    """

    facts: Mapping[str, Any]
    starts: np.ndarray
    places: np.ndarray
    ends: np.ndarray | None = None
    entries: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    folder: Path = Path()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def shard_of(self, row: int) -> tuple[int, int]:
        """Number of the shard, and the row's number in it.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        shard = int(self.starts.searchsorted(row, side="right")) - 1
        return shard, row - int(self.starts[shard])

    def block_of(self, row: int) -> tuple[int, int, int, int]:
        """Of a row: its shard, the block's number in the shard, the row's number in the block, and the block's rows."""
        assert self.ends is not None
        shard, _ = self.shard_of(row)
        block = int(self.ends.searchsorted(row, side="right"))
        first = int(self.ends[block - 1]) if block else 0
        return shard, block - int(self.entries[shard]), row - first, int(self.ends[block]) - first

    def place_of(self, row: int) -> tuple[int, int, int | None]:
        """Of a row with a place of its own: its shard, where it begins, and where the next of the shard begins."""
        shard, _ = self.shard_of(row)
        following = int(self.places[row + 1]) if row + 1 < int(self.starts[shard + 1]) else None
        return shard, int(self.places[row]), following


def open_index(
    key: str, read: Callable[[Path], Iterable[ShardRows]], facts: Callable[[], Mapping[str, Any]] = dict
) -> RowIndex:
    """The index kept under a key, made first where it is not there.

    Args:
        key: of the store, and of how it is read.
        read: gives what to keep of each shard, in order; called with the folder where the index has to be made.
        facts: called after ``read`` is through: what to write beside it.

    Raises:
        DataError: the cache cannot be written.
    """
    folder = cache_root() / "shards" / f"{key}-{FORMAT}"
    if not (folder / "facts.json").is_file():
        cannot = f"the index of these shards cannot be written to {str(folder.parent)!r}"
        with appearing_whole(folder, (folder / "facts.json").is_file, cannot) as partial:
            _fill(partial, read(partial), facts)
    return _opened(folder)


def _fill(folder: Path, shards: Iterable[ShardRows], facts: Callable[[], Mapping[str, Any]]) -> None:
    rows: list[int] = []
    entries: list[int] = []
    has_blocks = False
    with (folder / "places.raw").open("wb") as places, (folder / "ends.raw").open("wb") as ends:
        before = 0
        for one in shards:
            places.write(np.ascontiguousarray(one.places, "<i8").data)
            if one.block_rows is not None:
                has_blocks = True
                ends.write(np.ascontiguousarray(before + np.cumsum(one.block_rows), "<i8").data)
            before += one.rows
            rows.append(one.rows)
            entries.append(len(one.places))
    if not has_blocks:
        (folder / "ends.raw").unlink()
    write_text(folder / "facts.json", json.dumps({**facts(), "rows": rows, "entries": entries}))


def _opened(folder: Path) -> RowIndex:
    try:
        facts = read_json_file(folder / "facts.json")
        starts, entries = (np.concatenate([[0], np.cumsum(facts.pop(name))]).astype(np.int64) for name in _SUMMED)
        places = _mapped(folder / "places.raw", int(entries[-1]))
        ends = _mapped(folder / "ends.raw", int(entries[-1])) if (folder / "ends.raw").is_file() else None
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the index {str(folder)!r} is damaged: {error}", hint="remove that folder") from error
    return RowIndex(facts, starts, places, ends, entries, folder)


_SUMMED = ("rows", "entries")


def _mapped(path: Path, count: int) -> np.ndarray:
    if path.stat().st_size != 8 * count:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes instead of {8 * count:,}")
    # a plain view of the map: its elements cost a tenth of those of a memmap
    return np.asarray(np.memmap(path, "<i8", "r", shape=(count,))) if count else np.zeros(0, np.int64)
