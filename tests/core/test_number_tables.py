"""Tables of numbers: which columns are inputs, which are labels, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from repcore.data.number_tables import NumberTable, share_of_numbers
from repcore.errors import DataError, ItemError


@pytest.mark.parametrize(
    ("text", "label", "inputs", "targets"),
    [
        ("a,b,kind\n1.5,2,cat\n3,4,dog\n5,6,cat\n7,8,dog\n", None, [[1.5, 2], [3, 4]], {"kind": ("cat", "dog")}),
        ("kind;a\nx;1,5\ny;2,5\nx;3,5\ny;4,5\n", None, [[1.5], [2.5]], {"kind": ("x", "y")}),
        ("id,a,grade\n7,1,0\n8,2,1\n9,3,1\n", "Grade", [[1], [2]], {"grade": ("0", "1")}),
        ("a,kind\n1,x\n2,y\n", "kind", [[1], [2]], {"kind": ("x", "y")}),  # too few rows to be sure, but asked for
        ("a,grade\n1,0\n2,1\n3,1\n", None, [[1, 0], [2, 1]], {}),
        ("a,remark\n1,a long day\n2,no sleep\n3,tired\n", None, [[1], [2]], {}),
    ],
    ids=["words-are-a-label", "decimal-commas", "label-and-id", "asked-words", "numbers-are-inputs", "free-text"],
)
def test_columns_are_sorted(
    tmp_path: Path, text: str, label: str | None, inputs: list[list[float]], targets: dict[str, tuple[str, ...]]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    table = NumberTable(path, label=label)
    assert [table.sample(row, str(row)).inputs.tolist() for row in range(2)] == inputs
    assert {one.name: one.names for one in table.targets} == targets
    assert table.sample(1, "1").targets == dict.fromkeys(targets, 1)
    told = " ".join(table.account.sentences())
    for name in text.split("\n")[0].replace(";", ",").split(","):  # nothing is left out without a word
        assert name in table.inputs or f"{name!r}" in told
    assert share_of_numbers(path) > 0


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n3,none\n4,high\n5,6,7,8\n9,10\n11,12\n")
    table = NumberTable(path)
    assert table.sample(0, "0").inputs.tolist() == [1.0, 2.0]
    for row, said in ((1, "column 'b': 'none' is no number"), (2, "'high' is no number"), (3, "malformed_row")):
        with pytest.raises(ItemError, match=said):
            table.sample(row, str(row))


def test_tables_without_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prose.csv"
    path.write_text("who,what\nAda,first\nBo,second\n")
    assert share_of_numbers(path) == 0.0
    assert share_of_numbers(tmp_path / "nothing.csv") == 0.0
    with pytest.raises(DataError, match=r"prose.csv has no column of numbers(.|\n)*who, what"):
        NumberTable(path)
    path.write_text("a,b\n1,5\n2,5\n")
    with pytest.raises(DataError, match="can be no label"):
        NumberTable(path, label="b")
