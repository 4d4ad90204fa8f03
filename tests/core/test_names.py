"""Names that are written in several ways: joined where they are the same, said where they nearly are."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from repcore.data.accounting import Accounting
from repcore.data.catalogue import class_target
from repcore.data.headers import is_text
from repcore.data.label_facts import label_facts, label_warnings
from repcore.data.names import alike, composed, nearly, unpadded
from repcore.data.scales import other_unit
from repcore.data.splits import folder_part
from repcore.data.tables import Table
from repcore.specs import TargetSpec

DECOMPOSED = unicodedata.normalize("NFD", "Größe")


def test_composed_names_are_equal() -> None:
    assert DECOMPOSED != "Größe"
    assert composed(DECOMPOSED) == "Größe"
    target, place = class_target("c", ["Größe", DECOMPOSED, "a"])
    assert target.names == ("Größe", "a")
    assert place[DECOMPOSED] == place["Größe"] == 0


def test_near_misses_are_said() -> None:
    assert nearly(["case_1", "case_2"], ["case_001", "case_002", "x"]).startswith("2 of 3 differ in leading zeros")
    assert nearly(["s0"], ["s0"]) == ""  # the same name is no misspelling
    assert nearly(["IMG.png"], ["img.png"]).startswith("1 of 1 differ in upper and lower case")
    assert nearly(["1"], ["1.0"]).startswith("1 of 1 differ")
    assert nearly(["a10"], ["a1"]) == ""


def test_classes_that_differ_in_case_are_a_warning() -> None:
    alike = TargetSpec("y", "class", names=("Dog", "cat", "dog "))
    told = list(label_warnings("y", label_facts(alike, [0, 1, 2])))
    assert "label y: classes 'Dog' and 'dog ' differ in case, blanks or signs only" in told
    signed = TargetSpec("y", "class", names=("-1", "1", "1.5", "15"))
    assert not any("differ in case" in one for one in label_warnings("y", label_facts(signed, [0, 1, 2, 3])))


def test_many_columns_that_say_the_same_are_one_sentence() -> None:
    account = Accounting()
    for number in range(2000):
        account.guess(f"label 'b{number}'", "class (0, 1)", "cells are 0 and 1", "label_kind=class")
    account.guess("label 'y'", "regression", "numbers from 0 to 1")
    said = account.sentences()
    assert said[0].startswith("label 'b0', 'b1', 'b2' and 1,997 more: class (0, 1) (cells are 0 and 1)")
    assert len(said) == 2


def test_utf16_without_its_mark_is_text(tmp_path: Path) -> None:
    assert is_text("smiles\ty\nCCO\t1\n".encode("utf-16-le"))
    assert not is_text(bytes(range(64)) * 4)


def test_names_behind_a_comma_in_a_smi_file(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CCO,m0\nCCN,m1\nCCC,m2\n", encoding="utf-8")
    table = Table(tmp_path / "a.smi", is_data=lambda text: text.startswith("CC"))
    assert table.cells(table.columns[0]) == ["CCO", "CCN", "CCC"]


def test_names_that_are_nearly_alike_are_said() -> None:
    assert alike(["0", "00", "1"]).startswith("'0' and '00' differ in leading zeros")
    assert alike(["Ab", "ab", "c"]).startswith("'Ab' and 'ab' differ in upper and lower case only (1 such)")
    assert alike(["a1", "a10", "b"]) == ""


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (
            [4.1, 5.2, 3900.0, 6.0],
            "1 of 4 rows have another extent (r2 3900) than the others (4.1 to 6), about 750 times",
        ),
        ([4.1, 5200.0, 3.9, 6000.0], "2 of 4 rows"),
        ([1.0, 8.0, 60.0, 500.0, 4000.0], ""),  # CAD models of every size
        ([4.1, 5.2], ""),
        ([0.0, float("nan"), 3.0], ""),
    ],
)
def test_sizes_in_another_unit(sizes: list[float], said: str) -> None:
    told = other_unit("extent", [f"r{row}" for row in range(len(sizes))], sizes)
    assert told.startswith(said) if said else told == ""


def test_numbers_join_with_names_that_have_leading_zeros() -> None:
    assert unpadded(["0007", "0010", "x01"]) == {"7": "0007", "10": "0010"}
    assert unpadded(["007", "0007", "08", "8"]) == {}  # two names, or one that is there


@pytest.mark.parametrize(
    ("name", "part"),
    [("Fold1", "fold-1"), ("fold_02", "fold-2"), ("cv3", "fold-3"), ("split-4", "fold-4"), ("Train", "train"),
     ("folder1", None), ("scaffold", None), ("dogs", None)],
)  # fmt: skip
def test_folders_of_folds_are_parts(name: str, part: str | None) -> None:
    assert folder_part(name) == part
