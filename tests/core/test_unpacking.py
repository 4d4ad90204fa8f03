"""What a packed table unpacks to is bounded, and what a table of usual size holds is read as before."""

from __future__ import annotations

import base64
import gzip
import io
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore.data import labels, records, tables
from repcore.data.accounting import Accounting
from repcore.data.encodings import open_bytes
from repcore.data.records import universal_lines
from repcore.data.shards.parquet_table import ShardedTable, parquet_shards
from repcore.data.shards.tar_rows import row_at, tar_index, tar_store
from repcore.data.tables import Names, Table
from repcore.errors import DataError, ItemError
from repcore.files import read_parquet
from repcore.reporting import Wait

MIB = 2**20


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))


def bomb(path: Path, kind: str) -> Path:
    """A file of a few kilobytes that stands for gigabytes of values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "run":  # one number, 2^22 times
        indices, texts = pa.array(np.zeros(2**22, np.int8)), pa.array([7], pa.int64())
        cells = pa.DictionaryArray.from_arrays(indices, texts)
    elif kind == "text":  # a text of 1 MiB, 10,000 times: 10 GiB
        cells = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10_000, np.int32)), pa.array(["C" * MIB]))
    else:  # each text begins with all of the one before: 20 times 1 MiB
        cells = pa.array(["C" * MIB + f"{number}" for number in range(20)])
    encoding = {"use_dictionary": False, "column_encoding": {"smiles": "DELTA_BYTE_ARRAY"}} if kind == "prefix" else {}
    pq.write_table(pa.table({"smiles": cells}), path, compression="zstd", store_schema=False, **encoding)
    return path


@pytest.mark.parametrize("kind", ["run", "text", "prefix"])
def test_a_parquet_file_that_stands_for_gigabytes_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bomb(tmp_path / "shards" / "train-0.parquet", kind)
    assert path.stat().st_size < 200_000
    if kind != "text":
        monkeypatch.setenv("REPCORE_TABLE_MIB", "8")
    pool = pa.default_memory_pool()
    peak = pool.max_memory() or 0
    for read in (Table, read_parquet, lambda path: ShardedTable(*parquet_shards(path.parent).values()).cells("smiles")):
        with pytest.raises(DataError, match=r"REPCORE_TABLE_MIB") as refused:
            read(path)
        assert path.name in str(refused.value)
    assert (pool.max_memory() or 0) - peak < 900 * MIB


DAMAGED = (
    "UEFSMRUEFQoVCkwVAhUAEgAAAQAAAEMVABUSFRIsFQIVEBUGFQYcNgAoAUMYAUMREQAAAAIAAAACAQECABUEGSw1ABgGc2NoZW1hFQIAFQwlAxgB"
    "eSUATBwAAAAWAhkcGRwmABwVDBk1AAYQGRgBeRUAFgIWchZyJi4mCBw2ACgBQxgBQxERABksFQQVABUCABUAFRAVAgA8FgIZBhkmAAIAAAAWchYC"
    "JggWcgAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjYuMC4xGRwcAAAAmAAAAFBBUjE="
)


def test_damaged_facts_of_a_column_are_an_error(tmp_path: Path) -> None:
    """Found by fuzzing: pyarrow ends the process (SIGABRT) when they are looked at before the column is read."""
    path = tmp_path / "t.parquet"
    path.write_bytes(base64.b64decode(DAMAGED))
    code = f"from pathlib import Path\nfrom repcore.data.tables import Table\nTable(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "is damaged or not what its name says" in done.stderr


def test_a_member_of_holes_is_refused(tmp_path: Path) -> None:
    """A header in GNU's old form: 64 MiB, of which one block is stored."""
    head = tarfile.TarInfo("row.wav")
    head.type, head.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, 512)  # where stored bytes belong, and how many
    block[483:495] = b"%011o\0" % (64 * MIB)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "a.tar").write_bytes(bytes(block) + b"x" * 512 + bytes(10240))
    store = tar_store(tmp_path / "a.tar")
    index = tar_index(store)
    assert len(index) == 1
    with pytest.raises(ItemError, match=r"announces 67,108,864 bytes, of which 512 are stored") as refused:
        row_at(store, index, 0)
    assert refused.value.status == "too_large"


def test_the_limit_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    texts = ["C" * 1000, "O" * 500, None]
    pq.write_table(pa.table({"smiles": texts * 400, "y": np.arange(1200)}), path)
    assert Table(path).cells("smiles") == texts * 400
    monkeypatch.setenv("REPCORE_TABLE_MIB", "0.5")  # of 0.6 MB
    with pytest.raises(DataError, match=r"unpacks to more than 0 MiB"):
        read_parquet(path)
    monkeypatch.setenv("REPCORE_TABLE_MIB", "0.01")
    with pytest.raises(DataError, match="announces more than"):  # from the footer alone
        read_parquet(path)


def test_tables_of_every_type_are_read_as_they_are(tmp_path: Path) -> None:
    """Repeated texts are read as numbers first; types, missing values, lists and metadata come back the same."""
    held = pa.table(
        {
            "text": ["a", "b", None] * 9,
            "large": pa.array(["q", None, "e"] * 9, pa.large_string()),
            "bytes": [b"1", b"", None] * 9,
            "coded": pa.array(["u", None, "v"] * 9).dictionary_encode(),
            "lists": [["x", "y"], [], None] * 9,
            "parts": [{"a": "k", "b": 1}] * 27,
            "numbers": [1.5, None, 2.0] * 9,
            "vectors": pa.array([[1.0, 2.0]] * 27, pa.list_(pa.float32(), 2)),
        }
    ).replace_schema_metadata({"key": "value"})
    path = tmp_path / "t.parquet"
    pq.write_table(held, path, row_group_size=10)
    found = read_parquet(path)
    assert found.schema.equals(pq.read_table(path).schema, check_metadata=True)
    assert found.to_pylist() == held.to_pylist()
    pq.write_table(held.slice(0, 0), path)
    assert read_parquet(path).schema.equals(pq.read_table(path).schema)


def test_a_packed_text_that_stands_for_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"smiles,y\n" + b"CCO,1\n" * 40_000))
    assert len(Table(path)) == 40_000
    with open_bytes(path) as file:
        assert file.read(10) == b"smiles,y\nC"
    monkeypatch.setenv("REPCORE_TABLE_MIB", "0.2")
    with pytest.raises(DataError, match=r"unpacks to more than 0 MiB"):
        Table(tmp_path / "t.csv.gz", encoding="utf-8")


def test_a_small_file_of_much_content_is_no_burden_on_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "x,1\n" * 20_000)
    monkeypatch.setattr(tables, "HELD_BYTES", 100_000)
    assert Table(path).cells("b") == ["1"] * 20_000
    (copy,) = (tmp_path / "cache" / "tables").glob("*.arrow")
    assert Table(path)._table.num_rows == 20_000
    assert pa.ipc.open_file(pa.py_buffer(copy.read_bytes())).read_all().num_rows == 20_000


def test_a_line_without_end_is_a_row_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_LINE", 3 * MIB)
    path = tmp_path / "t.csv"
    path.write_text("smiles,y\nCCO,1\n" + "C" * (8 * MIB) + ",2\nCCC,3\n")
    tracemalloc.start()
    table = Table(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 * MIB
    assert (table.value(0, "smiles"), table.value(2, "smiles")) == ("CCO", "CCC")
    assert len(table) == 3
    with pytest.raises(ItemError, match="its line has more than 3,145,728 characters") as refused:
        table.value(1, "smiles")
    assert refused.value.status == "malformed_row"
    path.write_text("C" * (8 * MIB) + ",y\nCCC,3\n")
    with pytest.raises(DataError, match=r"the first line of .* it is no table"):
        Table(path)


def test_a_control_character_is_refused_by_the_name_of_its_column(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,smiles\na,CCO\nb\x07c,CC\n")
    table = Table(path)
    assert table.value(0, "id") == "a"
    with pytest.raises(ItemError, match=r"column 'id' holds the control character U\+0007"):
        table.value(1, "smiles")


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_lines_are_the_same_wherever_blocks_are_cut(ends: str) -> None:
    wanted = ["a" * (MIB - 2), "", "b", "c" * 2 * MIB, "d"]
    for shift in range(4):
        lines = ["x" * shift, *wanted]
        assert list(universal_lines(io.StringIO(ends.join(lines), newline=""))) == lines
        assert list(universal_lines(io.StringIO(ends.join(lines) + ends, newline=""))) == lines


def test_many_quotation_marks_that_are_never_closed_are_looked_through_a_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a look at the lines below it; a long cell after a few of them is still one cell."""
    path, cell = tmp_path / "t.csv", "y" + "\n" * 30
    path.write_text("a,b\n" + 'C,5" x\n"x,1\nC,2\n' * 3 + f'"{cell}",2\n')
    monkeypatch.setattr(records, "MANY_OPEN", 4)
    assert Table(path).cells("a")[-1] == cell
    monkeypatch.setattr(records, "MANY_OPEN", 1)
    monkeypatch.setattr(tables, "FORMAT", 99)
    tables._read_table.cache_clear()
    assert Table(path).cells("a")[-1] != cell


def test_labels_of_a_very_wide_table_are_looked_for_in_its_first_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST_JUDGED", 5)
    columns = {f"c{number}": ["0.5", "1.5", "0.25"] for number in range(9)}
    account = Accounting()
    found = labels.read_labels(columns, kinds={"c7": "regression"}, account=account)
    assert [one.name for one in found] == ["c0", "c1", "c2", "c3", "c4", "c7"]
    assert any("in the first 5 of 9 columns" in one for one in account.notes)
    assert len(labels.read_labels(columns, kinds=dict.fromkeys(columns, "auto"))) == 9
    names = Names(["b", "a"])
    assert ("a" in names, "c" in names, list(names), names[0]) == (True, False, ["b", "a"], "b")


def test_long_reading_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(Wait, "FIRST", 0.0)
    monkeypatch.setattr(Wait, "EVERY", 0.0)
    monkeypatch.setattr(Wait, "say", told.append)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "x,1\n" * 9000)
    Table(path)
    assert "reading t.csv: 8,192 rows" in told
    pq.write_table(pa.table({"a": ["x"] * 9000}), tmp_path / "t.parquet")
    Table(tmp_path / "t.parquet")
    assert told[-1] == "reading t.parquet: 9,000 of 9,000 rows"
