"""Numbered parts are one table for every reader of tables; other names stay files of their own."""

from __future__ import annotations

import gzip
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from repcore import registry
from repcore.data.accounting import account_of
from repcore.data.readers import open_data, recognise
from repcore.data.shards import joined as joining
from repcore.data.shards.joined import joined
from repcore.data.shards.numbered import numbered_tables
from repcore.data.tables import Table
from repcore.errors import DataError

MINUTE = np.timedelta64(1, "m")
DAY = np.datetime64("2024-01-01T00:00:00")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))


def parts(folder: Path, table: pa.Table, names: tuple[str, ...] = ("part-00000.parquet", "part-00001.parquet")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cuts = np.linspace(0, len(table), len(names) + 1).astype(int)
    for name, first, last in zip(names, cuts, cuts[1:], strict=False):
        pq.write_table(table.slice(first, last - first), folder / name)
    return folder


def series(rows: int = 120) -> pa.Table:
    return pa.table({"time": DAY + np.arange(rows) * MINUTE, "level": np.sin(np.arange(rows) / 7.0)})


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (["part-00000.parquet", "part-00001.parquet"], "data.parquet"),
        (["part-00000-a1b2-c000.snappy.parquet", "part-00007-a1b2-c000.snappy.parquet"], "data.parquet"),
        (["edges-00000-of-00002.parquet", "edges-00001-of-00002.parquet"], "edges.parquet"),
        (["part.9.parquet", "part.10.parquet", *(f"part.{one}.parquet" for one in range(9))], "data.parquet"),
        (["table_0001.parquet", "table_0002.parquet"], "table.parquet"),
        (["0000.parquet", "0001.parquet"], "data.parquet"),
        (["part-000.csv", "part-001.csv"], "data.csv"),
        (["chunk-20240101.csv", "chunk-20240102.csv", "chunk-20240105.csv"], "data.csv"),
        (["nodes/part-0.parquet", "nodes/part-1.parquet"], "nodes.parquet"),
        (["recording_0001.parquet", "recording_0002.parquet"], None),
        (["Patient001.parquet", "Patient002.parquet"], None),
        (["north.parquet", "south.parquet"], None),
        (["2019.parquet", "2020.parquet"], None),
        (["run_0001.csv", "run_0002.csv"], None),
        (["walk_0001.csv", "walk_0002.csv"], None),
    ],
)
def test_names_tell_parts_from_files_of_their_own(tmp_path: Path, names: list[str], table: str | None) -> None:
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"x")
    assert [one.name for one in numbered_tables(tmp_path / "data")] == ([] if table is None else [table])


def test_parts_follow_their_numbers(tmp_path: Path) -> None:
    names = tuple(f"part.{one}.parquet" for one in range(12))
    folder = parts(tmp_path / "data", pa.table({"row": np.arange(24)}), names)
    assert Table(joined(folder, numbered_tables(folder))).cells("row") == list(range(24))


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["x-00000-of-00003.parquet", "x-00002-of-00003.parquet"], "x-00001-of-00003.parquet"),
        (["part-00000.parquet", "part-00002.parquet"], "part-00001.parquet"),
        (["table_0001.parquet", "table_0002.parquet", "table_0005.parquet"], "table_0003.parquet, table_0004.parquet"),
        (["shard-01.csv", "shard-03.csv"], "shard-02.csv"),
        (["x-000000-of-999999.parquet"], "x-000001-of-999999.parquet"),
    ],
)
def test_missing_parts_are_named(tmp_path: Path, names: list[str], missing: str) -> None:
    for name in names:
        pq.write_table(series(), tmp_path / name)
    with pytest.raises(DataError, match=f"are missing(.|\n)*{missing}"):
        open_data(registry.default(), str(tmp_path))


def test_a_list_of_edges_in_parts_is_one_graph(tmp_path: Path) -> None:
    ends = np.arange(40)
    edges = pa.table({"source": ends, "target": (ends * 7 + 1) % 40})
    folder = parts(tmp_path / "net", edges)
    pq.write_table(edges, tmp_path / "whole.parquet")
    part, reader = open_data(registry.default(), str(folder))
    _, whole = open_data(registry.default(), str(tmp_path / "whole.parquet"))
    assert part.name == "graphs/edge-list"
    assert len(reader) == 1
    assert (reader[0].inputs.edge_index == whole[0].inputs.edge_index).all()
    assert any("read as one table, net.parquet" in text for text in account_of(reader).notes)


def test_edges_and_nodes_in_parts_are_the_tables_of_one_graph(tmp_path: Path) -> None:
    ends = np.arange(30)
    parts(tmp_path / "net" / "edges", pa.table({"source": ends, "target": (ends + 1) % 30}))
    parts(tmp_path / "net" / "nodes", pa.table({"id": np.arange(35), "weight": np.arange(35) / 2}))
    _, reader = open_data(registry.default(), str(tmp_path / "net"), domain="graphs")
    assert len(reader) == 1
    assert reader[0].inputs.num_nodes == 35, "five nodes have no edge"


def test_series_in_parts_are_cut_nowhere(tmp_path: Path) -> None:
    folder = parts(tmp_path / "log", series())
    part, reader = open_data(registry.default(), str(folder))
    assert (part.name, len(reader)) == ("timeseries/table", 1)
    assert len(reader[0].inputs.values) == 120


def test_recordings_under_names_of_their_own_stay_rows(tmp_path: Path) -> None:
    folder = parts(tmp_path / "log", series(), ("recording_0001.parquet", "recording_0002.parquet"))
    part, reader = open_data(registry.default(), str(folder))
    assert part.name == "timeseries/recordings"
    assert [reader[one].id for one in range(len(reader))] == ["recording_0001", "recording_0002"]
    notes = account_of(reader).notes
    assert any(text.startswith("2 files with the same columns are one recording each") for text in notes)


@pytest.mark.parametrize("beside", [False, True])
def test_paths_in_parts_are_found_where_the_table_says(tmp_path: Path, beside: bool) -> None:
    folder = tmp_path / "data"
    sounds = tmp_path / "sounds" if beside else folder / "sounds"
    sounds.mkdir(parents=True)
    for one in range(6):
        with wave.open(str(sounds / f"{one}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((3000 * np.sin(np.arange(4000) / (one + 2))).astype("<i2").tobytes())
    names = [f"{'../' if beside else ''}sounds/{one}.wav" for one in range(6)]
    parts(folder, pa.table({"path": names, "kind": ["a", "b"] * 3}))
    part, reader = open_data(registry.default(), str(folder))
    assert part.name == "audio/manifest"
    assert [reader[one].targets["kind"] for one in range(6)] == [0, 1] * 3


def test_labels_in_parts_beside_pictures_and_clouds(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "clouds").mkdir()
    for one in range(6):
        picture = np.full((16, 16), 20 * one + np.arange(16), np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / f"{one}.png")
        np.save(tmp_path / "clouds" / f"{one}.npy", np.random.default_rng(one).normal(size=(300, 3)).astype(np.float32))
    for kind, domain, suffix in (("images", "medical3d", "png"), ("clouds", "pointcloud", "npy")):
        files = [f"{one}.{suffix}" for one in range(6)]
        parts(tmp_path / kind, pa.table({"file": files, "kind": ["a", "b"] * 3}))
        _, reader = open_data(registry.default(), str(tmp_path / kind), domain=domain)
        assert [reader[one].targets["kind"] for one in range(6)] == [0, 1] * 3, kind


def test_recognising_reads_the_first_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = parts(tmp_path / "log", series())
    monkeypatch.setattr(joining, "HEAD_ROWS", 20)
    (folder / "part-00001.parquet").write_bytes(b"PAR1 nothing")
    assert recognise(registry.default(), folder).fits[0].entry.full_name == "timeseries/table"
    with pytest.raises(DataError, match=r"part-00001\.parquet of .*log' is damaged"):
        open_data(registry.default(), str(folder))


def test_parts_of_other_columns_or_types_are_refused(tmp_path: Path) -> None:
    folder = parts(tmp_path / "data", pa.table({"a": [1, 2], "b": [1, 2]}))
    pq.write_table(pa.table({"a": [1.5], "b": [1]}), folder / "part-00001.parquet")
    assert Table(joined(folder, numbered_tables(folder))).cells("a") == [1.0, 1.5]
    pq.write_table(pa.table({"a": ["x"], "b": [1]}), folder / "part-00001.parquet")
    with pytest.raises(DataError, match=r"part-00001\.parquet has columns of other types"):
        joined(folder, numbered_tables(folder))
    pq.write_table(pa.table({"a": [1], "c": [1]}), folder / "part-00001.parquet")
    with pytest.raises(DataError, match=r"part-00001\.parquet has other columns"):
        joined(folder, numbered_tables(folder))


def test_parts_of_text_keep_one_header(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "part-0.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2"))
    (folder / "part-1.csv.gz").write_bytes(gzip.compress(b"a,b\r\n3,4\r\n"))
    table = Table(joined(folder, numbered_tables(folder)))
    assert (table.cells("a"), table.cells("b")) == (["1", "3"], ["2", "4"])
    (folder / "part-1.csv.gz").write_bytes(gzip.compress(b"b,a\n4,3\n"))
    with pytest.raises(DataError, match=r"first line of part part-1\.csv\.gz is not that of part-0\.csv\.gz"):
        joined(folder, numbered_tables(folder))


def test_data_are_known_by_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = parts(tmp_path / "log", series())
    first = open_data(registry.default(), str(folder))[1].fingerprint
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "other"))
    copy = parts(tmp_path / "elsewhere" / "log", series())
    assert open_data(registry.default(), str(copy))[1].fingerprint == first
    parts(copy, series(121))
    assert open_data(registry.default(), str(copy))[1].fingerprint != first
