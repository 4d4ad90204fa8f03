"""Tabular files: whatever the file looks like, rows are kept, and what cannot be read is said."""

from __future__ import annotations

import gzip
import os
import pickle
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repcore.data import tables
from repcore.data.accounting import Accounting
from repcore.data.tables import Table, file_fingerprint, number, table_suffix
from repcore.errors import DataError, ItemError

NOISE = random.Random(0)  # the same in every test process

PLAIN = b"smiles,y\nCCO,1\nCC,2\n"
ROWS = [("CCO", "1"), ("CC", "2")]


def table(folder: Path, content: bytes | str, name: str = "data.csv") -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Table(path)


def rows(read: Table) -> list[tuple[str, ...]]:
    return [tuple(read.value(row, column) for column in read.columns) for row in range(len(read))]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        b"smiles,y\r\nCCO,1\nCC,2\r",
        b"smiles,y\rCCO,1\r\nCC,2",
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.rstrip(b"\n"),
        b"\n\n" + PLAIN + b"\n\n",
        b'"smiles","y"\n"CCO","1"\nCC,2\n',
        b"smiles;y\nCCO;1\nCC;2\n",
        b"smiles\ty\nCCO\t1\nCC\t2\n",
        b"smiles|y\nCCO|1\nCC|2\n",
        b" smiles , y\nCCO,1\nCC,2\n",
    ],
    ids=["lf", "crlf", "cr", "mixed", "mixed-2", "bom", "no-end", "blank-lines", "quoted", ";", "tab", "|", "padded"],
)
def test_one_table_in_many_spellings(content: bytes, tmp_path: Path) -> None:
    read = table(tmp_path, content)
    assert read.columns == ["smiles", "y"]
    assert rows(read) == ROWS
    assert read.problems() == {}


@pytest.mark.parametrize("name", ["data.csv.gz", "data.CSV.GZ", "data.tsv.gz"])
def test_gz(name: str, tmp_path: Path) -> None:
    content = PLAIN.replace(b",", b"\t") if "tsv" in name else PLAIN
    assert rows(table(tmp_path, gzip.compress(content), name)) == ROWS


def test_line_endings_at_the_border_of_a_block(tmp_path: Path) -> None:
    """A \\r\\n that is cut in two by the reading block is one line end."""
    filler = "x" * ((1 << 20) - len("smiles,y\n") - 3)
    content = f"smiles,y\n{filler},1\r\nCC,2\r\n"
    assert content.encode()[(1 << 20) - 1 :][:2] == b"\r\n"
    read = table(tmp_path, content)
    assert len(read) == 2
    assert rows(read)[1] == ("CC", "2")


def test_line_breaks_inside_quotes_belong_to_the_cell(tmp_path: Path) -> None:
    read = table(tmp_path, 'name,y\n"two\nlines",1\n"a ""quoted"" one",2\n"with, comma",3\n')
    assert rows(read) == [("two\nlines", "1"), ('a "quoted" one', "2"), ("with, comma", "3")]


def test_ragged_rows_stay_rows_and_carry_their_problem(tmp_path: Path) -> None:
    read = table(tmp_path, "smiles,y\nCCO,1\nCC\nC,1,2,3\nN,4\n")
    assert len(read) == 4
    assert read.value(0, "smiles") == "CCO"
    assert read.value(3, "y") == "4"
    assert read.problems() == {1: "1 fields instead of 2", 2: "4 fields instead of 2"}
    for row in (1, 2):
        with pytest.raises(ItemError, match="fields instead of 2") as raised:
            read.value(row, "smiles")
        assert raised.value.status == "malformed_row"
    assert read.slice(0, 4, "smiles") == ["CCO", "CC", "C", "N"], "what they have is given"


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pq.write_table(pa.table({"smiles": ["CCO", None], "y": [1.5, float("nan")]}), tmp_path / "data.parquet")
    read = Table(tmp_path / "data.parquet")
    assert read.value(0, "y") == 1.5
    assert read.value(1, "smiles") is None
    (tmp_path / "twice.parquet.gz").write_bytes(gzip.compress((tmp_path / "data.parquet").read_bytes()))
    with pytest.raises(DataError, match="compresses itself"):
        Table(tmp_path / "twice.parquet.gz")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"  \n\n", "nothing but blanks"),
        ("a.csv", b"smiles,y\n", "a header but no rows"),
        ("a.csv", NOISE.randbytes(3000) + b"\0", "is binary"),
        ("a.csv", pickle.dumps({"a": 1}), "is binary"),
        ("a.csv", gzip.compress(PLAIN, mtime=0), "is binary"),
        ("a.csv.gz", PLAIN, "is damaged"),
        ("a.csv.gz", gzip.compress(PLAIN * 100, mtime=0)[:40], "is damaged"),
        ("a.csv.gz", gzip.compress(NOISE.randbytes(200_000).hex().encode(), mtime=0)[:-20], "is damaged"),
        ("a.parquet", PLAIN, "is damaged"),
        ("a.png", b"x", "is not a table by its name"),
        ("a.gz", b"x", "is not a table by its name"),
    ],
)
def test_what_cannot_be_read_is_said(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as raised:
        table(tmp_path, content, name)
    assert name in str(raised.value)


@pytest.mark.parametrize("mark", ["\x1b[31m", "\x07", "\x1b]0;x\x07"])
def test_controls_in_every_id_are_no_sign_of_a_binary_file(mark: str, tmp_path: Path) -> None:
    rows = "".join(f"{mark}{number},C\n" for number in range(40))
    read = table(tmp_path, f"id,smiles\n{rows}".encode(), "a.csv")
    assert len(read) == 40
    words = f"holds the control character U+{ord(mark[0]):04X}, which no text has"
    assert list(read.problems()) == list(range(40))
    assert all(words in one for one in read.problems().values())


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Table(tmp_path / "lost.csv")
    with pytest.raises(DataError, match="is not a file"):
        Table(tmp_path)


def test_truncated_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": list(range(1000))}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(DataError, match="is damaged"):
        table(tmp_path, whole[: len(whole) // 2], "half.parquet")


def test_text_that_is_not_utf8_is_read_in_its_code_page(tmp_path: Path) -> None:
    read = table(tmp_path, "name,y\ncaf\xe9,1\n".encode("latin-1"))
    assert read.value(0, "name") == "caf\xe9"
    assert read.encoding.name == "cp1252"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("CCO ethanol\nCC\tethane\nC\n", [("CCO", "ethanol"), ("CC", "ethane"), ("C", "")]),
        ("smiles name\nCCO ethanol\n", [("CCO", "ethanol")]),
        ("SMILES\nCCO\n", [("CCO", "")]),
        ("CCO two words\r\n\r\n  CC  x \r\n", [("CCO", "two words"), ("CC", "x")]),
        ("CC(=O)O\n", [("CC(=O)O", "")]),
    ],
)
@pytest.mark.parametrize("name", ["a.smi", "a.smiles", "a.smi.gz"])
def test_smi_files(content: str, expected: list[tuple[str, str]], name: str, tmp_path: Path) -> None:
    raw = content.encode()
    read = table(tmp_path, gzip.compress(raw) if name.endswith("gz") else raw, name)
    assert read.columns == ["smiles", "name"]
    assert rows(read) == expected


def test_words_behind_molecules_that_are_no_names_are_said(tmp_path: Path) -> None:
    account = Accounting()
    table(tmp_path, "CCO low\nCCC high\n" * 6, "a.smi").tell(account)
    assert "2 different names such as 'low' in 12 lines are used as no label" in account.guesses[0].reason
    plain = Accounting()
    table(tmp_path, "".join(f"CCO mol{row}\n" for row in range(12)), "b.smi").tell(plain)
    assert plain.guesses == []


def test_smi_with_a_delimited_header_is_a_table(tmp_path: Path) -> None:
    read = table(tmp_path, "id,smiles\n1,CCO\n", "a.smi")
    assert read.columns == ["id", "smiles"]


def test_a_smi_file_with_nothing_but_a_header(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        table(tmp_path, "smiles\n", "a.smi")


def test_columns_are_found_without_case_and_near_misses_are_named(tmp_path: Path) -> None:
    read = table(tmp_path, "SMILES,logS\nC,1\n")
    assert read.require("smiles") == "SMILES"
    with pytest.raises(DataError, match="no column 'lgS'") as raised:
        read.require("lgS")
    assert "logS" in str(raised.value)


def test_a_row_outside_is_an_index_error(tmp_path: Path) -> None:
    read = table(tmp_path, PLAIN)
    for row in (-1, 2):
        with pytest.raises(IndexError):
            read.value(row, "y")


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 65])
def test_large_files_are_memory_mapped_and_equal(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the border lowered, the mapped copy gives what the small path gives, whatever the chunk borders."""
    monkeypatch.setattr(tables, "ROWS_PER_CHUNK", 8)
    content = "a,b\n" + "".join(f"r{row},{row}\n" if row != 5 else "ragged\n" for row in range(count))
    small = table(tmp_path, content)
    monkeypatch.setattr(tables, "SMALL_FILE_BYTES", 0)
    large = table(tmp_path, content)
    assert [large.slice(0, count, name) for name in "ab"] == [small.slice(0, count, name) for name in "ab"]
    assert large.problems() == small.problems() == ({5: "1 fields instead of 2"} if count > 5 else {})
    for row in range(count):
        if row != 5:
            assert large.value(row, "b") == str(row) == small.value(row, "b")
    (copy,) = (Path(os.environ["REPCORE_CACHE"]) / "tables").glob(f"{large.fingerprint[:24]}*.arrow")
    before = copy.stat().st_mtime_ns
    assert len(table(tmp_path, content)) == count
    assert copy.stat().st_mtime_ns == before, "the copy is made once"


def test_large_parquet_is_mapped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_PER_CHUNK", 8)
    monkeypatch.setattr(tables, "SMALL_FILE_BYTES", 0)
    pq.write_table(pa.table({"x": list(range(50))}), tmp_path / "a.parquet", row_group_size=11)
    read = Table(tmp_path / "a.parquet")
    assert [read.value(row, "x") for row in range(50)] == list(range(50))


def test_a_broken_large_file_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SMALL_FILE_BYTES", 0)
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    content = gzip.compress(b"a,b\n" + NOISE.randbytes(300_000).hex().encode() + b",1\n")[:-30]
    with pytest.raises(DataError, match="is damaged"):
        table(tmp_path, content, "a.csv.gz")
    assert not list((tmp_path / "cache").rglob("*.arrow*"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(
    cells=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0", min_codepoint=32), max_size=12)] * 2),
        min_size=1,
        max_size=20,
    )
)
def test_written_by_csv_read_by_table(cells: list[tuple[str, str]], tmp_path: Path) -> None:
    import csv

    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("first", "second"), *cells])
    assert rows(Table(path)) == cells


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1.5", 1.5),
        (" 2 ", 2.0),
        ("", None),
        ("NaN", None),
        ("n/a", None),
        ("-", None),
        (None, None),
        (3, 3.0),
        (True, 1.0),
    ],
)
def test_numbers_and_missing_words(cell: object, value: float | None) -> None:
    assert number(cell) == value


def test_a_word_is_no_number() -> None:
    assert number(float("nan")) is None
    with pytest.raises(ValueError, match="active"):
        number("active")


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    first = table(tmp_path, PLAIN, "a.csv").fingerprint
    assert table(tmp_path, PLAIN, "b.csv").fingerprint == first
    assert table(tmp_path, PLAIN.replace(b"2", b"3"), "a.csv").fingerprint != first
    assert file_fingerprint(tmp_path / "b.csv") == first


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.csv", ".csv"), ("a.CSV.GZ", ".csv"), ("a.v2.tsv", ".tsv"), ("a.gz", ""), ("a", ""), ("a.txt.gz", ".txt")],
)
def test_suffixes(name: str, suffix: str) -> None:
    assert table_suffix(Path(name)) == suffix


def test_lists_and_structures_of_parquet_do_not_end_the_table(tmp_path: Path) -> None:
    from repcore.data.labels import read_labels

    words = [["joy"], ["joy", "anger"], ["fear"], None] * 3
    held = {"y": [0.5, 1.5, 2.5, 3.5] * 3, "words": words, "bits": [[row, 1] for row in range(12)],
            "facts": [{"a": row} for row in range(12)]}  # fmt: skip
    pq.write_table(pa.table(held), tmp_path / "a.parquet")
    opened = Table(tmp_path / "a.parquet")
    found = {one.name: one for one in read_labels({name: opened.cells(name) for name in opened.columns})}
    assert found["y"].values.tolist() == held["y"]
    assert found["words"].target is not None
    assert found["words"].target.names == ("anger", "fear", "joy")
    assert found["words"].values[:3].tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    assert opened.value(3, "words") is None
    assert (found["bits"].target, found["facts"].target) == (None, None)
    assert opened.value(2, "facts") == '{"a": 2}'


def test_a_header_among_the_rows_is_a_header_once_more(tmp_path: Path) -> None:
    body = "a,x\nb,z\n"
    for end in ("", '"c","q"\n'):  # plain lines at once, and one by one
        opened = table(tmp_path, f"compound,klass\n{body}compound,klass\n{body}{end}")
        assert opened.has_header
        assert rows(opened)[:4] == [("a", "x"), ("b", "z")] * 2
        assert (opened.counts.rows, opened.counts.headers) == (4 + bool(end), 2)
        account = Accounting()
        opened.tell(account)
        assert any("the header stands among the rows 1 times" in note for note in account.notes)
    assert rows(table(tmp_path, "a\na\nb\n"))[-1] == ("b",), "one column: a value like the header"


def test_a_row_that_sums_up_the_others_is_said_and_merged_cells_are_no_header(tmp_path: Path) -> None:
    account = Accounting()
    table(tmp_path, "name,y\na,1\nb,2\nTotal,3\n").tell(account)
    assert any("row 2, which begins with 'Total', is a row like the others" in note for note in account.notes)
    merged = table(tmp_path, ",assay,assay\nsmiles,ic50,logp\nCCO,1.5,2\nCCN,2.5,3\nCCC,3.5,1\n")
    assert merged.columns == ["smiles", "ic50", "logp"]
    assert rows(merged)[0] == ("CCO", "1.5", "2")
    assert (merged.counts.rows, merged.counts.comments, merged.counts.headers) == (3, 1, 1)
    twice = table(tmp_path, "smiles,y,y\nCCO,1.5,2\nCCN,2.5,3\nCCC,3.5,1\n")
    assert twice.columns == ["smiles", "y", "y.1"]
