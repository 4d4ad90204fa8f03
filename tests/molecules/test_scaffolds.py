"""Scaffolds and the balanced split: golden index lists, and its rules on small cases."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from repcore.errors import ConfigError
from repcore_molecules.smiles.scaffolds import balanced_scaffold_split, scaffold_of, scaffolds_of

SHARED = Path(__file__).resolve().parents[3] / "shared"
GOLDEN = SHARED / "golden" / "selformer" / "scaffold_split.json"


@pytest.mark.skipif(not GOLDEN.is_file(), reason="golden data of SELFormer is not beside the repository")
@pytest.mark.parametrize("name", ["esol", "bbbp", "freesolv"])
def test_split_equals_the_reference(name: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    with (SHARED / "data" / "molecules" / name / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        scaffolds = scaffolds_of(row["smiles"] for row in csv.DictReader(file))
    split = balanced_scaffold_split(scaffolds)
    assert set(split.train) == set(golden["train"])
    assert set(split.validation) == set(golden["val"])
    assert set(split.test) == set(golden["test"])
    assert len(split.train) + len(split.validation) + len(split.test) == golden["n_valid"]


def test_scaffolds() -> None:
    assert scaffold_of("CCCc1ccccc1") == "c1ccccc1"
    assert scaffold_of("CCO") == ""
    assert scaffold_of("C1CC") is None
    assert scaffold_of("C[C@H]1CC[C@@H](O)CC1") == "C1CCCCC1"
    assert scaffolds_of(["CCO", "bad", "CCO"]) == ["", None, ""]


def test_no_scaffold_is_on_two_sides_and_invalid_rows_are_in_none() -> None:
    scaffolds = [None if row % 17 == 0 else f"s{row % 40}" for row in range(500)]
    for seed in range(5):
        split = balanced_scaffold_split(scaffolds, seed=seed)
        parts = [{scaffolds[row] for row in part} for part in (split.train, split.validation, split.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        rows = sorted([*split.train, *split.validation, *split.test])
        assert rows == [row for row in range(500) if scaffolds[row] is not None]
    assert balanced_scaffold_split(scaffolds, seed=1) == balanced_scaffold_split(scaffolds, seed=1)
    assert balanced_scaffold_split(scaffolds, seed=1) != balanced_scaffold_split(scaffolds, seed=2)


def test_big_groups_come_first() -> None:
    scaffolds: list[str | None] = [f"small{row}" for row in range(80)] + ["big"] * 20
    assert set(range(80, 100)) <= set(balanced_scaffold_split(scaffolds).train)


def test_fractions_must_add_up() -> None:
    with pytest.raises(ConfigError, match="do not add up"):
        balanced_scaffold_split(["a"], fractions=(0.5, 0.1, 0.1))
    assert balanced_scaffold_split([]).train == []
