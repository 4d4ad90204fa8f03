"""Folders KEY=VALUE are columns: of molecules by (shard, row), of every other reader in the joined table."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore import registry
from repcore.cli.main import run
from repcore.data.accounting import Accounting, account_of
from repcore.data.readers import local_path, open_data
from repcore.data.shards.joined import joined
from repcore.data.shards.numbered import numbered_tables
from repcore.data.shards.parquet_table import ShardedTable, parquet_shards
from repcore.data.shards.partitions import partitions_of
from repcore.data.shards.shard import Shard
from repcore.data.tables import Table
from repcore.errors import DataError

NULL = "__HIVE_DEFAULT_PARTITION__"
SMILES = ("CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCl", "CCBr", "CC#N")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    yield
    fsspec.filesystem("memory").store.clear()


def write(folder: Path, parts: dict[str, dict[str, list[Any]]]) -> Path:
    for name, columns in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(pa.table(columns), path, row_group_size=3)
            continue
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        content = ("\n".join(lines) + "\n").encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def molecules(folder: Path, years: tuple[int, ...] = (2023, 2024), suffix: str = "parquet") -> Path:
    return write(folder, {f"year={year}/part-0.{suffix}": {"smiles": list(SMILES)} for year in years})


def sharded(folder: Path) -> ShardedTable:
    return ShardedTable(parquet_shards(folder)[""])


def table(folder: Path) -> Table:
    return Table(joined(folder, numbered_tables(folder)))


LEVELS = {
    "year=2023/site=north%20sea/a.parquet": {"x": [1, 2, 3, 4]},
    "year=2023/site=50%25/a.parquet": {"x": [5]},
    f"year={NULL}/site=01/a.parquet": {"x": [6, 7]},
    "year=-4/site=/b.parquet": {"x": [8]},
}
SAID = {  # in the order of names
    "x": [8, 5, 1, 2, 3, 4, 6, 7],
    "year": [-4, *[2023] * 5, None, None],
    "site": [None, "50%", *["north sea"] * 4, "01", "01"],
}


def test_several_levels_are_columns_by_row(tmp_path: Path) -> None:
    one = sharded(write(tmp_path / "data", LEVELS))
    assert one.columns == ["x", "year", "site"]
    assert {name: one.cells(name) for name in one.columns} == SAID
    order = np.random.default_rng(0).permutation(8)
    assert [one.value(row, "site") for row in order] == [SAID["site"][row] for row in order]
    assert one.slice(1, 7, "year") == SAID["year"][1:7]
    assert one.require("YEAR") == "year"
    with pytest.raises(IndexError):
        one.value(8, "year")


def test_the_joined_table_has_the_same_columns(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", LEVELS)
    one = table(folder)
    assert {name: one.cells(name) for name in one.columns} == SAID
    assert [one.name for one in numbered_tables(folder)] == ["data.parquet"]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv"])
def test_parts_of_text(tmp_path: Path, suffix: str) -> None:
    sign = "\t" if suffix == "tsv" else ","
    for year, lines in {2023: ["a{}b", '"two\nlines"{}1', "x{}2"], NULL: ["b{}a", "3{}y", "4{}z{}more"]}.items():
        path = tmp_path / "data" / f"year={year}" / f"data_0.{suffix}"
        path.parent.mkdir(parents=True)
        content = "\n".join(one.replace("{}", sign) for one in lines).encode()
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    one = table(tmp_path / "data")
    assert one.columns == ["a", "b", "year"]
    assert one.cells("a")[:3] == ["two\nlines", "x", "y"]
    assert one.cells("year")[:3] == ["2023", "2023", ""]
    assert list(one.problems()) == [3], "a row with too many cells stays one"


def test_text_without_a_header_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "year=1"
    folder.mkdir(parents=True)
    (folder / "part-0.csv").write_text("1.5,2\n2.5,3\n3.5,9\n")
    with pytest.raises(DataError, match=r"year=1/part-0\.csv has no header"):
        table(tmp_path / "data")


@pytest.mark.parametrize("read", [sharded, table])
def test_a_column_of_the_files_wins(tmp_path: Path, read: Any) -> None:
    parts = {f"year={one}/part-0.parquet": {"x": [one], "year": [one + 100]} for one in (1, 2)}
    one = read(write(tmp_path / "data", parts))
    assert (one.columns, one.cells("year")) == (["x", "year"], [101, 102])
    account = Accounting()
    sharded(tmp_path / "data").tell(account)
    assert any("year: the files have a column of that name, which is read" in text for text in account.notes)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["year=1/a.parquet", "month=1/a.parquet"], r"do not say the same columns(.|\n)*year(.|\n)*month"),
        (["year=1/a.parquet", "year=1/month=2/a.parquet"], "do not say the same columns"),
        (["year=1/part-0.parquet", "part-1.parquet", "part-0.parquet"], r"do not say the same columns(.|\n)*none"),
        (["year=1/year=2/a.parquet"], "say 'year' twice"),
    ],
)
@pytest.mark.parametrize("read", [sharded, table])
def test_other_keys_are_refused(tmp_path: Path, names: list[str], said: str, read: Any) -> None:
    with pytest.raises(DataError, match=said):
        read(write(tmp_path / "data", {one: {"x": [1]} for one in names}))


def test_what_stays_text_and_what_are_numbers() -> None:
    def values(*texts: str) -> list[Any]:
        return partitions_of([Shard(f"k={one}/a.parquet", 1, "") for one in texts]).values["k"]

    assert values("1", "-20", NULL) == [1, -20, None]
    assert values("1", "01") == ["1", "01"]
    assert values("9223372036854775808") == ["9223372036854775808"]
    assert values("a=b", "+1", "%FF", "٣") == ["a=b", "+1", "%FF", "٣"]
    assert values(NULL) == [None]


@pytest.mark.parametrize(
    ("names", "tables"),
    [
        (["k=1/0a1b2c3d4e5f60718293a4b5c6d7e8f9-0.parquet"], ["data.parquet"]),
        (["k=1/part.0.parquet", "k=2/part.7.parquet"], ["data.parquet"]),
        (["k=1/l=2/part-00003-1234.c000.snappy.parquet"], ["data.parquet"]),
        (["_k=1/x.parquet", "_k=2/x.parquet", "_SUCCESS"], ["data.parquet"]),
        (["edges/k=1/0.csv", "edges/k=2/0.csv"], ["edges.csv"]),
        (["k=1/recording_0001.parquet", "k=2/recording_0002.parquet"], []),
        (["k=1/walk_0001.csv", "k=2/walk_0002.csv"], []),
        (["k=1/0.parquet", "k=2/photo.jpg"], []),
        (["k=1/0.parquet", "k=2/plain/0.parquet"], []),
    ],
)
def test_which_files_below_partitions_are_one_table(tmp_path: Path, names: list[str], tables: list[str]) -> None:
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"x")
    assert [one.name for one in numbered_tables(tmp_path / "data")] == tables


def test_data_elsewhere_have_them_too(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    write(tmp_path / "data", LEVELS)
    system.put(str(tmp_path / "data"), "/bucket/data", recursive=True)
    one, whole = sharded(local_path("memory://bucket/data")), table(local_path("memory://bucket/data"))
    assert {name: one.cells(name) for name in one.columns} == SAID
    assert {name: whole.cells(name) for name in whole.columns} == SAID


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_molecules_take_them_as_label_group_id_and_split(tmp_path: Path, suffix: str) -> None:
    folder = str(molecules(tmp_path / "data", suffix=suffix))

    def opened(**options: Any) -> Any:
        return open_data(registry.default(), folder, domain="molecules", options=options)[1]

    found = opened(labels=["year"], label_kind="class")
    assert [found[row].targets["year"] for row in (0, 7, 8, 15)] == [0, 0, 1, 1]
    assert {opened(group="year")[row].group for row in (0, 15)} == {"2023", "2024"}
    assert opened(id_column="year").id_of(15) == "2024"
    assert list(map(str, opened().values("year"))) == ["2023"] * 8 + ["2024"] * 8
    assert any(text.startswith("year: read from names of folders (year=...)") for text in account_of(found).notes)


def test_a_folder_of_a_split_declares_it(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "data", {f"split={one}/a.parquet": {"smiles": list(SMILES)} for one in ("train", "val", "test")}
    )
    reader: Any = open_data(registry.default(), str(folder), domain="molecules")[1]
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 8, "validation": 8, "test": 8}


def test_other_readers_see_them_as_columns(tmp_path: Path) -> None:
    whole = {"source": [0, 1, 2, 0, 1, 2], "target": [1, 2, 3, 4, 5, 6], "kind": [7, 7, 7, 9, 9, 9]}
    rows = {
        f"kind={one}/part-0.parquet": {name: whole[name][first : first + 3] for name in ("source", "target")}
        for one, first in ((7, 0), (9, 3))
    }
    write(tmp_path, {"whole.parquet": whole})
    reader: Any = open_data(registry.default(), str(write(tmp_path / "net", rows)), domain="graphs")[1]
    same: Any = open_data(registry.default(), str(tmp_path / "whole.parquet"), domain="graphs")[1]
    assert str(reader[0].inputs) == str(same[0].inputs)
    assert reader.targets == same.targets
    assert any("kind: read from names of folders" in text for text in account_of(reader).notes)


def test_the_identity_follows_the_values(tmp_path: Path) -> None:
    folder = molecules(tmp_path / "data")
    first = sharded(folder).fingerprint
    shutil.move(folder / "year=2024", folder / "year=2025")
    assert sharded(folder).fingerprint != first


def test_inspect_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(molecules(tmp_path / "data"))]) == 0
    assert "year" in capsys.readouterr().out
