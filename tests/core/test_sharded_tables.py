"""A folder of parquet files as one table: every row once, in order, in bounded memory, through a small index."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore.data.shards import parquet_table, row_index
from repcore.data.shards.parquet_table import ShardedTable, parquet_shards
from repcore.errors import DataError

ROWS = (7, 5, 11)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))


def write(folder: Path, names: list[str], rows: tuple[int, ...] = ROWS, group: int = 4) -> Path:
    first = 0
    for name, count in zip(names, rows, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = np.arange(first, first + count)
        table = pa.table({"text": [f"row {one}" for one in numbers], "number": numbers})
        pq.write_table(table, path, row_group_size=group)
        first += count
    return folder


def sharded(folder: Path, **options: int) -> ShardedTable:
    return ShardedTable(parquet_shards(folder)[""], **options)


def three(tmp_path: Path) -> Path:
    return write(tmp_path / "data", [f"part-{one:05}.parquet" for one in range(3)])


def test_rows_of_all_shards_in_the_order_of_names(tmp_path: Path) -> None:
    table = sharded(three(tmp_path))
    assert len(table) == 23
    assert [table.value(row, "number") for row in range(23)] == list(range(23))
    assert table.slice(5, 15, "text") == [f"row {one}" for one in range(5, 15)]
    assert table.cells("number") == list(range(23))
    assert table.require("TEXT") == "text"
    with pytest.raises(IndexError):
        table.value(23, "text")


def test_a_bounded_memory_gives_the_same_cells_in_any_order(tmp_path: Path) -> None:
    table = sharded(three(tmp_path), kept_bytes=40)
    rows = [int(one) for _ in range(6) for one in np.random.default_rng(0).permutation(23)]
    assert [table.value(row, "text") for row in rows] == [f"row {row}" for row in rows]
    assert len(table._kept) <= 2
    assert len(list((tmp_path / "cache" / "tables").glob("*.arrow"))) == 3, "thrashing shards get a copy"
    again = pickle.loads(pickle.dumps(table))
    assert again.value(20, "text") == "row 20"


def test_the_index_is_built_once_and_notices_a_changed_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = three(tmp_path)
    first = sharded(folder).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(parquet_table.pq, "read_metadata", lambda file: pytest.fail("the footers are read again"))
        assert sharded(folder).fingerprint == first
    copied = write(tmp_path / "copy", [f"part-{one:05}.parquet" for one in range(3)])
    assert sharded(copied).fingerprint == first, "content, not place and time"
    write(folder, ["part-00002.parquet"], (12,))
    assert len(sharded(folder)) == 24
    assert sharded(folder).fingerprint != first


def test_a_byte_in_the_middle_of_a_shard_changes_the_fingerprint(tmp_path: Path) -> None:
    path = three(tmp_path) / "part-00001.parquet"
    pq.write_table(pa.table({"text": [f"row {one}" for one in range(20_000)], "number": range(20_000)}), path)
    first, before = sharded(tmp_path / "data").fingerprint, path.stat()
    content = bytearray(path.read_bytes())
    content[2000] ^= 1  # the footer does not know
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sharded(tmp_path / "data").fingerprint != first


def test_the_index_needs_sixteen_bytes_a_row_group(tmp_path: Path) -> None:
    table = sharded(three(tmp_path))
    index = next((tmp_path / "cache" / "shards").iterdir())
    assert (index / "places.raw").stat().st_size + (index / "ends.raw").stat().st_size == 16 * (2 + 2 + 3)
    assert isinstance(table.index.places.base, np.memmap)
    (index / "ends.raw").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        sharded(tmp_path / "data")
    assert row_index.FORMAT >= 1


@pytest.mark.parametrize(
    "names",
    [
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"],
        ["train/a.parquet", "train/b.parquet", "test/a.parquet"],
    ],
)
def test_parts_of_a_split_by_names_of_files_or_folders(tmp_path: Path, names: list[str]) -> None:
    parts = parquet_shards(write(tmp_path / "data", names))
    assert {name: len(ShardedTable(one)) for name, one in parts.items()} == {"train": 12, "test": 11}
    assert list(parts) == ["train", "test"]


def test_what_is_wrong_with_a_shard_names_it(tmp_path: Path) -> None:
    gap = write(tmp_path / "gap", ["x-00000-of-00003.parquet", "x-00002-of-00003.parquet"], (1, 1))
    with pytest.raises(DataError, match=r"1 of 3 shards .* are missing(.|\n)*x-00001-of-00003\.parquet"):
        parquet_shards(gap)
    other = three(tmp_path)
    pq.write_table(pa.table({"text": ["a"], "weight": [1.0]}), other / "part-00003.parquet")
    with pytest.raises(DataError, match=r"part-00003\.parquet has other columns(.|\n)*weight(.|\n)*number"):
        sharded(other)
    (other / "part-00003.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"part-00003\.parquet .* is damaged"):
        sharded(other)
    (other / "part-00003.parquet").unlink()
    table = sharded(other)
    (other / "part-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"part-00001\.parquet .* is gone"):
        table.value(8, "text")
