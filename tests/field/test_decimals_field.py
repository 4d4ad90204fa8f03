"""Decimals with a comma in every reader of numbers: one column shows the sign, the others follow, guesses are said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repcore.data.accounting import account_of
from repcore.data.number_tables import NumberTable
from repcore_pointcloud.formats.text import read_text
from repcore_timeseries.configs.series import SeriesTableConfig
from repcore_timeseries.datasets.tables import SeriesTable

DAYS = [f"2021-01-0{day}" for day in range(1, 5)]
GROUPED = ["1.100", "1.200", "1.300", "2.400"]
COMMAS = ["1.234,5", "0,5", "12,25", "7,5"]


def table(folder: Path, **columns: list[str]) -> Path:
    path = folder / "a.csv"
    rows = ["\n", *(";".join(cells) + "\n" for cells in zip(*columns.values(), strict=True))]
    path.write_text(";".join(columns) + "".join(rows))
    return path


def test_channels_of_a_series(tmp_path: Path) -> None:
    both = SeriesTable(SeriesTableConfig(path=str(table(tmp_path, time=DAYS, mass=GROUPED, height=COMMAS))))
    assert both[0].inputs.values.T.tolist() == [[1100.0, 1200.0, 1300.0, 2400.0], [1234.5, 0.5, 12.25, 7.5]]
    path = table(tmp_path, time=DAYS, mass=GROUPED, n=["1", "2", "4", "3"])
    alone = SeriesTable(SeriesTableConfig(path=str(path)))
    assert np.allclose(alone[0].inputs.values[:, 0], [1.1, 1.2, 1.3, 2.4])
    assert "numbers of column 'mass': decimals with a point" in "\n".join(account_of(alone).sentences())
    asked = SeriesTable(SeriesTableConfig(path=str(path), decimal="comma"))
    assert asked[0].inputs.values[:, 0].tolist() == [1100.0, 1200.0, 1300.0, 2400.0]


def test_long_tables_of_series(tmp_path: Path) -> None:
    path = table(tmp_path, time=[*DAYS, *DAYS], variable=["a"] * 4 + ["b"] * 4, value=[*GROUPED, *COMMAS])
    reader = SeriesTable(SeriesTableConfig(path=str(path)))
    assert reader[0].inputs.values.T.tolist() == [[1100.0, 1200.0, 1300.0, 2400.0], [1234.5, 0.5, 12.25, 7.5]]


def test_inputs_of_a_table_of_numbers(tmp_path: Path) -> None:
    found = NumberTable(table(tmp_path, mass=GROUPED, height=COMMAS))
    assert found.inputs["mass"].values.tolist() == [1100.0, 1200.0, 1300.0, 2400.0]
    assert "column 'height' has a decimal comma" in "\n".join(found.account.sentences())


@pytest.mark.parametrize("separator", [";", "\t"])
def test_points_in_text(tmp_path: Path, separator: str) -> None:
    rows = ["1.234,5;2.345,5;0,5;1.100", "1.235;2.346;0,75;1.200", "1.236,25;2.347;1,5;1.300", "1;2.348,75;2;1.400"]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(["x;y;z;i", *rows]).replace(";", separator))
    found = read_text(path).columns
    assert found["x"].tolist() == [1234.5, 1235.0, 1236.25, 1.0]
    assert found["i"].tolist() == [1100.0, 1200.0, 1300.0, 1400.0]
    path.write_text("x;y;z\n1.234;2.345;0.500\n1.235;2.346;0.750\n".replace(";", separator))
    assert np.allclose(read_text(path).columns["x"], [1.234, 1.235])
