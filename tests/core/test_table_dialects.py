"""Encoding, delimiter, header and quoting are judged from the content; no record is lost."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from repcore.data.accounting import Accounting
from repcore.data.tables import Table
from repcore.errors import DataError


def _table(folder: Path, content: bytes | str, name: str = "data.csv", **asked: object) -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Table(path, **asked)  # type: ignore[arg-type]


def _rows(read: Table) -> list[tuple[str, ...]]:
    return [tuple(read.slice(row, row + 1, column)[0] for column in read.columns) for row in range(len(read))]


def _said(read: Table) -> str:
    account = Accounting()
    read.tell(account)
    return "\n".join(account.sentences())


CELLS = [("CCO", "-2.0"), ("CCN", "-1.63"), ("c1ccccc1", "-0.89"), ("CC(=O)O", "-0.52")] * 3
TEXT = "smiles,y\n" + "".join(f"{a},{b}\n" for a, b in CELLS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    read = _table(tmp_path, TEXT.replace("CCN,", "\xe9thanol\xfc,").encode(encoding))
    assert read.columns == ["smiles", "y"]
    assert len(read) == len(CELLS)
    assert read.value(1, "smiles") == "\xe9thanol\xfc"
    assert ("encoding of data.csv" in _said(read)) == (not encoding.startswith("utf-8"))


def test_a_damaged_byte_in_utf8_stays_utf8(tmp_path: Path) -> None:
    content = TEXT.replace("CCN,", "\xe9\xe9\xe9,").encode().replace(b"c1ccccc1", b"c1\xffcc", 1)
    read = _table(tmp_path, content)
    assert read.value(1, "smiles") == "\xe9\xe9\xe9"
    assert read.value(2, "smiles") == "c1\ufffdcc"
    assert "UTF-8 but for 1 bytes" in _said(read)


def test_cyrillic_code_page(tmp_path: Path) -> None:
    words = ["вода кипит при ста градусах", "спирт горит ясным пламенем", "соль растворяется в воде"] * 5
    read = _table(tmp_path, ("имя,y\n" + "".join(f"{one},1\n" for one in words)).encode("cp1251"))
    assert read.value(0, read.columns[0]) == words[0]


@pytest.mark.parametrize(
    ("text", "columns", "first"),
    [
        ("smiles y\nCCO -2.0\nCCN -1.6\nC 1\n", ["smiles", "y"], ("CCO", "-2.0")),
        ("smiles\tname, common\ty\nCCO\tn\t-2\nCCN\tn\t1\n", ["smiles", "name, common", "y"], ("CCO", "n", "-2")),
        ("smiles;active;logS\nCCO;0;-2,0\nCCN;1;-1,63\n", ["smiles", "active", "logS"], ("CCO", "0", "-2,0")),
        ("# by X\n# date, time\nsmiles,y\nCCO,1\nCCN,2\n", ["smiles", "y"], ("CCO", "1")),
        ("sep=;\nsmiles;y\nCCO;1\nCCN;2\n", ["smiles", "y"], ("CCO", "1")),
        ("# smiles y\nCCO 1\nCCN 2\nCCC 3\n", ["smiles", "y"], ("CCO", "1")),
        ("CCO,-2.0\nCCN,-1.63\nCCC,1\n", ["column0", "column1"], ("CCO", "-2.0")),
        ("0.1,2.5\n1.5,3.5\n2.5,4.5\n", ["column0", "column1"], ("0.1", "2.5")),
        ("a1.wav,dog\nb2.wav,cat\nc3.wav,dog\n", ["column0", "column1"], ("a1.wav", "dog")),
        ("file,what\na1.wav,dog\nb2.wav,cat\nc3.wav,dog\n", ["file", "what"], ("a1.wav", "dog")),
        ("smiles,y,\nCCO,1,\nCCN,2,\n", ["smiles", "y"], ("CCO", "1")),
        ("smiles,y\nCCO,1,\nCCN,2,\n", ["smiles", "y"], ("CCO", "1")),
        ("smiles,y,y\nCCO,1,2\nCCN,2,3\n", ["smiles", "y", "y.1"], ("CCO", "1", "2")),
        (",smiles,y\n110,CCO,1\n118,CCN,2\n", ["column0", "smiles", "y"], ("110", "CCO", "1")),
        ('"smiles","y"\n"1","CCO",1\n"2","CCN",2\n', ["column0", "smiles", "y"], ("1", "CCO", "1")),
        ("name,y\n#N/A,1\nb,2\n", ["name", "y"], ("#N/A", "1")),
        ("smiles,a,b,c\nCCO,,,1\nCCN,,,2\nC,1,1,1\n", ["smiles", "a", "b", "c"], ("CCO", "", "", "1")),
    ],
    ids=["blanks", "tab-commas", "decimal-comma", "comments", "sep=", "commented-header", "no-header", "numbers",
         "no-header-text",
         "header-text",
         "trailing", "trailing-rows", "twice", "pandas", "r", "excel-error", "empty-cells"],
)  # fmt: skip
def test_tables_as_people_write_them(text: str, columns: list[str], first: tuple[str, ...], tmp_path: Path) -> None:
    read = _table(tmp_path, text)
    assert read.columns == columns
    assert _rows(read)[0] == first
    assert read.problems() == {}


@pytest.mark.parametrize("row", [5, 4000])
def test_a_text_behind_lines_that_end_in_a_delimiter_shifts_no_column(row: int, tmp_path: Path) -> None:
    rows = "".join(f"{one},{one}.5,{'x' * (one == row)}\n" for one in range(row + 7))
    read = _table(tmp_path, "id,y\n" + rows)
    assert read.columns == ["id", "y"]
    assert (read.value(2, "id"), read.value(2, "y")) == ("2", "2.5")
    assert read.problems() == {row: "3 fields instead of 2"}  # the text is said, never dropped in silence


def test_values_of_the_domain_are_no_header(tmp_path: Path) -> None:
    text = "CCO\nCCN\nCCC\nc1ccccc1\n"
    is_data = {"CCO", "CCN", "CCC", "c1ccccc1"}.__contains__
    assert len(_table(tmp_path, text, is_data=is_data)) == 4
    assert _table(tmp_path, text, "data.txt").columns == ["column0"]
    assert "header of data.txt: none" in _said(_table(tmp_path, text, "data.txt"))
    assert len(_table(tmp_path, text, header=False)) == 4
    assert _table(tmp_path, text, header=True).columns == ["CCO"]


def test_prose_is_one_column(tmp_path: Path) -> None:
    read = _table(tmp_path, "The quick brown fox jumps.\nIt is late.\nNobody cares, it seems.\nEnd of it.\n", "a.txt")
    assert read.columns == ["column0"]
    assert len(read) == 4


@pytest.mark.parametrize("broken", ['"CCN,2', 'CCN,"2', 'CCN,2"', '"CCN",2"x', 'C"C"N,2'])
@pytest.mark.parametrize("place", [0, 5, 19])
def test_an_unclosed_quote_swallows_nothing(broken: str, place: int, tmp_path: Path) -> None:
    lines = [f'"C{"C" * row}",{row}' if row % 2 else f"C{'C' * row},{row}" for row in range(20)]
    lines[place] = broken
    read = _table(tmp_path, "smiles,y\n" + "\n".join(lines) + "\n")
    assert len(read) == 20
    whole = [row for row in range(20) if row != place]
    assert [read.value(row, "y") for row in whole] == [str(row) for row in whole]


def test_two_unclosed_quotes_swallow_nothing(tmp_path: Path) -> None:
    lines = [f"C{'C' * row},{row}" for row in range(20)]
    lines[3], lines[9] = 'C,"3', 'CC,9"'
    read = _table(tmp_path, "smiles,y\n" + "\n".join(lines))
    assert len(read) == 20
    assert "never closed" in _said(read)


def test_control_characters_mark_their_row(tmp_path: Path) -> None:
    read = _table(tmp_path, TEXT.replace("CCN,", "CC\0N,", 1))
    assert len(read) == len(CELLS)
    assert list(read.problems()) == [1]
    assert "holds the control character U+0000, which no text has" in read.problems()[1]


def test_counts_add_up(tmp_path: Path) -> None:
    read = _table(tmp_path, "# remark\nsmiles,y\n\nCCO,1\n# inside\nCCN,2,3,4\n\nC,3\n\x1a")
    counts = read.counts
    assert (counts.rows, counts.headers, counts.comments, counts.blank, counts.malformed) == (3, 1, 2, 3, 1)
    assert "1 of the rows malformed" in _said(read)


CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8)
ODD = st.sampled_from(["", ">10", "1,5", "12_13", "50%", "#N/A", "-", "a\nb", 'say "x"', "2021-03-01", "1e400", "None"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=120)
@example(cells=[["a", "b"], ["\n", "\n"]], delimiter=",", encoding="utf-8", quote_all=True, blank=[], ends="\n")
@given(
    cells=st.lists(st.lists(CELL | ODD, min_size=3, max_size=3), min_size=3, max_size=12),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    quote_all=st.booleans(),
    blank=st.lists(st.integers(0, 10), max_size=3),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_random_tables_keep_every_record(
    cells: list[list[str]], delimiter: str, encoding: str, quote_all: bool, blank: list[int], ends: str, tmp_path: Path
) -> None:
    """What csv writes comes back: every record a row, cell by cell when everything is quoted."""
    assume(any(any(cell.strip() for cell in row) for row in cells))
    path = tmp_path / "a.csv"
    rows = [["id", *[f"c{place}" for place in range(len(cells[0]))]], *[[f"r{n}", *row] for n, row in enumerate(cells)]]
    records = []
    for row in rows:
        text = io.StringIO()
        quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
        csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=ends).writerow(row)
        records.append(text.getvalue())
    for place in blank:
        records.insert(min(place, len(records)), ends)
    path.write_bytes("".join(records).encode(encoding))
    read = Table(path)
    assert read.counts.lines - read.counts.inside_cells == len(rows) + len(blank)
    assert read.cells(read.columns[0]) == [f"r{n}" for n in range(len(cells))]
    if quote_all:
        assert [list(row)[1:] for row in _rows(read)] == cells


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=80)
@given(lines=st.lists(st.text('ab,;"\t 1.#\\', max_size=12), min_size=1, max_size=14))
def test_any_lines_are_all_accounted_for(lines: list[str], tmp_path: Path) -> None:
    """Arbitrary text: no line is lost; quoted cells may span lines, whose ends are then inside a cell."""
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines) + "\n")
    assume(any(line.strip() for line in lines))
    try:
        read = Table(path)
    except DataError:  # a header but no rows
        return
    assert read.counts.lines == len(lines)


def test_a_table_is_parsed_once_and_again_when_its_content_changes(tmp_path: Path) -> None:
    first = _table(tmp_path, TEXT)
    assert Table(tmp_path / "data.csv")._table is first._table
    assert _table(tmp_path, TEXT + "CCCC,7\n").value(len(CELLS), "y") == "7"


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_cells_between_single_quotes(sign: str, tmp_path: Path) -> None:
    rows = [("CCO", "ethanol"), (f"CC{sign}N", "5'-AMP"), ("CCC", "pro\npane"), ("CN", 'an "odd" one'), ("CF", "b")]
    written = [sign.join("'" + cell.replace("'", "''") + "'" for cell in row) for row in [("smiles", "name"), *rows]]
    read = _table(tmp_path, "\n".join(written) + "\n")
    assert read.columns == ["smiles", "name"]
    assert _rows(read) == rows
    assert "quotes of data.csv: single" in _said(read)


def test_apostrophes_are_no_quotes(tmp_path: Path) -> None:
    text = "name,y\n" + "".join(f"5'-AMP {row}'s,{row}.5\n" for row in range(6))
    assert _rows(_table(tmp_path, text))[0] == ("5'-AMP 0's", "0.5")
    listed = "id;tags\n" + "".join(f"{row};['a','b{row}']\n" for row in range(6))
    assert _rows(_table(tmp_path, listed))[1] == ("1", "['a','b1']")


def test_a_title_between_delimiters_stands_above_the_table(tmp_path: Path) -> None:
    read = _table(tmp_path, "Compounds of 2021,\n" + TEXT)
    assert (read.columns, len(read), read.counts.comments) == (["smiles", "y"], len(CELLS), 1)
    assert "lines above the table of data.csv: 1" in _said(read)
    assert _table(tmp_path, TEXT.replace("smiles,y", "smiles,"), "b.csv").columns == ["smiles", "column1"]


@pytest.mark.parametrize(
    ("above", "count"),
    [
        ("Assay report;;;\nDate: 3.4.2024;;;\n;;;\n", 3),
        ("Project;X12;;\nDate;3.4.;;\n", 2),
        ("Compound;;Assay;\n", 1),  # titles over several columns
        ("", 0),
    ],
)
def test_lines_of_a_report_that_a_spreadsheet_filled_up_stand_above_the_table(
    above: str, count: int, tmp_path: Path
) -> None:
    rows = "".join(f"{row};C{row}O;{row},5;ok\n" for row in range(9))
    read = _table(tmp_path, f"{above}Nr.;Structure;pIC50;Remark\n{rows}")
    assert (read.columns, len(read), read.counts.comments) == (["Nr.", "Structure", "pIC50", "Remark"], 9, count)
    assert (f"lines above the table of data.csv: {count}" in _said(read)) == (count > 0)


def test_a_sparse_first_row_is_no_title(tmp_path: Path) -> None:
    assert len(_table(tmp_path, "a,b,c\n1,,\n2,3,4\n3,4,5\n")) == 3
    assert _table(tmp_path, "1,,\n2,3,4\n3,4,5\n4,5,6\n", "b.csv").columns == ["column0", "column1", "column2"]


def test_quotation_marks_behind_a_backslash_stay_inside_their_cell(tmp_path: Path) -> None:
    rows = "".join(f'{a},"the \\"best\\" one, {b}",{b}\n' for a, b in CELLS)
    read = _table(tmp_path, "smiles,name,y\n" + rows)
    assert (read.columns, len(read)) == (["smiles", "name", "y"], len(CELLS))
    assert _rows(read)[1] == ("CCN", 'the "best" one, -1.63', "-1.63")
    assert "quotes in cells of data.csv: behind a backslash" in _said(read)
    folders = _table(tmp_path, "path,y\n" + '"C:\\data\\",1\n' * 9, "c.csv")
    assert _rows(folders)[0] == ("C:\\data\\", "1")


def test_a_name_above_numbers_makes_a_header_of_names_that_look_like_cells(tmp_path: Path) -> None:
    rows = "".join(f"gene{one},gene{one + 1},{100 + one}\n" for one in range(30))
    assert _table(tmp_path, "gene1,gene2,score\n" + rows).columns == ["gene1", "gene2", "score"]
    assert _table(tmp_path, rows).columns == ["column0", "column1", "column2"]
    assert not _table(tmp_path, "gene1,gene2,nd\n" + rows + "gene5,gene2,nd\n").has_header  # nd is no name


def test_titles_with_as_many_cells_as_half_the_header_stand_above_it(tmp_path: Path) -> None:
    text = "Report of plate 12,,\nDate:,2024-01-02,\n,,\nSMILES,ID,Inhibition [%]\n"
    read = _table(tmp_path, text + "".join(f"{'C' * (one + 1)}O,c{one},{one / 8}\n" for one in range(30)))
    assert read.columns == ["SMILES", "ID", "Inhibition [%]"]
    assert len(read) == 30


@pytest.mark.parametrize("above", ["", "Export of 12 March\n"])
@pytest.mark.parametrize("rows", [60, 199, 200, 600])
def test_decimal_commas_are_no_delimiter_in_a_table_of_any_length(above: str, rows: int, tmp_path: Path) -> None:
    read = _table(tmp_path, above + "name;y\n" + "".join(f"C{one};0,{100 + one}\n" for one in range(rows)))
    assert (read.columns, len(read)) == (["name", "y"], rows)
    text = above + "time;a;b\n" + "".join(f"{one};0,{100 + one};1,{200 + one}\n" for one in range(rows))
    assert _table(tmp_path, text, "b.csv").columns == ["time", "a", "b"]
    commas = "id,remark,y\n" + "".join(f"{one},good; fine,{one / 8}\n" for one in range(rows))
    assert _table(tmp_path, commas, "c.csv").columns == ["id", "remark", "y"]
