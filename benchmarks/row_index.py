"""The index of shards at size: build time, bytes, memory and random access, for row counts that no test writes.

    python benchmarks/row_index.py --rows 100000000

Shards are synthetic: the index sees only how many rows each has and where they begin.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from repcore.data.shards.row_index import RowIndex, ShardRows, open_index

SHARD_ROWS = 10_000
GROUP_ROWS = 1_000
LOOKUPS = 100_000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000_000)
    rows = options.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="repcore-index-") as name:
        os.environ["REPCORE_CACHE"] = name
        found = {"rows": rows, "tar": measured("tar", rows), "parquet": measured("parquet", rows)}
    print(json.dumps(found, indent=2))


def measured(kind: str, rows: int) -> dict[str, float]:
    """Figures of one index."""
    began = time.monotonic()
    open_index(f"synthetic-{kind}", lambda folder: shards(kind, rows))
    built = time.monotonic() - began
    before = resident()
    began = time.monotonic()
    index = open_index(f"synthetic-{kind}", lambda folder: iter(()))
    opened = time.monotonic() - began
    after = resident()
    size = sum(one.stat().st_size for one in index.folder.iterdir())
    wanted = np.random.default_rng(0).integers(0, rows, LOOKUPS).tolist()
    began = time.monotonic()
    total = sum(look_up(index, kind, row) for row in wanted)
    seconds = time.monotonic() - began
    assert total == sum(row % SHARD_ROWS if kind == "tar" else row % GROUP_ROWS for row in wanted)
    return {
        "build_seconds": round(built, 2),
        "open_seconds": round(opened, 4),
        "bytes": size,
        "bytes_a_row": round(size / rows, 3),
        "resident_mib_after_opening": round((after - before) / 2**20, 1),
        "resident_mib_after_lookups": round((resident() - before) / 2**20, 1),
        "lookups_a_second": round(LOOKUPS / seconds),
    }


def shards(kind: str, rows: int) -> Iterator[ShardRows]:
    """Shards of equal size; a row of a tar begins at 1,024 bytes times its number."""
    for first in range(0, rows, SHARD_ROWS):
        count = min(SHARD_ROWS, rows - first)
        if kind == "tar":
            yield ShardRows(count, 1024 * np.arange(count))
        else:
            starts = np.arange(0, count, GROUP_ROWS)
            yield ShardRows(count, starts, np.diff(np.append(starts, count)))


def look_up(index: RowIndex, kind: str, row: int) -> int:
    """The row's number in its shard or row group, which the caller knows."""
    return index.place_of(row)[1] // 1024 if kind == "tar" else index.block_of(row)[2]


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
