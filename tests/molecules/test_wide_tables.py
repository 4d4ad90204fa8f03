"""Molecules in tables of very many columns: the first ones are tried, and those that a usual name points at."""

from __future__ import annotations

from pathlib import Path

import pytest

from repcore.data.tables import Table
from repcore.errors import DataError
from repcore_molecules.datasets import molecule_column, table_files
from repcore_molecules.datasets.table_files import molecules_in

ROWS = 6


def table(path: Path, last: str) -> Table:
    names = [*(f"c{number}" for number in range(40)), last]
    lines = [",".join([*(str(number * row % 7) for number in range(40)), "C" * (row + 3)]) for row in range(ROWS)]
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    return Table(path)


def test_of_a_very_wide_table_the_first_columns_and_usual_names_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(molecule_column, "MOST_JUDGED", 5)
    tried: list[str] = []
    column_as = molecule_column.column_as

    def noted(name: str, *given: object) -> object:
        tried.append(name)
        return column_as(name, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(molecule_column, "column_as", noted)
    assert molecules_in(table(tmp_path / "a.csv", "smiles"), None, None).name == "smiles"
    assert tried == ["c0", "c1", "c2", "c3", "c4", "smiles"]
    unnamed = table(tmp_path / "b.csv", "last")
    with pytest.raises(DataError):
        molecules_in(unnamed, None, None)
    assert molecules_in(unnamed, "last", None).name == "last"  # a name is found at once
    monkeypatch.setattr(molecule_column, "MOST_JUDGED", 5000)
    assert table_files.molecules_in(unnamed, None, None).name == "last"
