"""Signs before thousands are read where a column shows that they are such, and named where it does not."""

from __future__ import annotations

import numpy as np
import pytest

from repcore.data.cells import TableNumbers, numbers_as_written
from repcore.data.grouped import comma_meaning
from repcore.data.labels import read_labels


@pytest.mark.parametrize(
    ("cells", "values", "words"),
    [
        (["900.50", "1,050.00", "12,345,678.25"], [900.5, 1050.0, 12345678.25], "decimals with a point: a comma"),
        (["900,50", "1 050,00", "-12 345 678,25"], [900.5, 1050.0, -12345678.25], "decimal comma: a blank"),
        (["3\u202f990,00", "7\u00a0001,5", "2"], [3990.0, 7001.5, 2.0], "decimal comma: a blank"),
        (["1'050.5", "12\u2019345.0", "3.25"], [1050.5, 12345.0, 3.25], "decimals with a point: an apostrophe"),
        (["1,200,000", "1,300,000", "950,000"], [1.2e6, 1.3e6, 950e3], "decimals with a point: a comma"),
        (["1 200", "900", "-3 450"], [1200.0, 900.0, -3450.0], "decimals with a point: a blank"),
        (["998", "1,006", "1,010"], [998.0, 1006.0, 1010.0], "decimals with a point: a comma"),  # 1.01 has no zero
        (["\u22121,050.00", "", ">3"], [-1050.0, np.nan, np.nan], "decimals with a point: a comma"),
    ],
)
def test_signs_before_thousands(cells: list[str], values: list[float], words: str) -> None:
    numbers, said = numbers_as_written("price", cells)
    np.testing.assert_array_equal(numbers.values, values)
    assert said.startswith(words)


@pytest.mark.parametrize(
    "cells",
    [
        ["1,234", "2,345"],  # decimals fit as well
        ["1,234", "0.5", "2.75"],  # a slip of one cell
        ["1,230", "99"],  # whole numbers end far below
        ["1 234", "5 678"],  # two numbers
        ["1,050.00", "1 050.00"],  # two signs
        ["1,050.00", "2,5"],  # two signs of decimals
    ],
)
def test_what_is_not_shown_is_not_read(cells: list[str]) -> None:
    numbers, said = numbers_as_written("price", cells)
    assert "before thousands" not in said
    assert np.isnan(numbers.values[0])
    assert "thousands" in numbers.odd


def test_what_a_column_shows_holds_for_the_table() -> None:
    columns = {"price": ["3,990.00", "4,100.00", "950.00"], "volume": ["1,234", "2,345", "3,456"]}
    numbers, said = TableNumbers(columns).read("volume")
    assert numbers.values.tolist() == [1234.0, 2345.0, 3456.0]
    assert said.endswith("such as '1,234': column 'price' shows it")
    assert TableNumbers(columns, ",").read("volume")[0].values.tolist() == [1.234, 2.345, 3.456]
    labels = {one.name: one for one in read_labels({name: cells * 4 for name, cells in columns.items()})}
    assert labels["volume"].values[:3].tolist() == [1234.0, 2345.0, 3456.0]
    assert labels["price"].values[:3].tolist() == [3990.0, 4100.0, 950.0]


@pytest.mark.parametrize(
    ("columns", "meaning"),
    [
        ([["9,993", "1,204"], ["2,100", "5,600"]], "unclear"),
        ([["9,993", "1,204"], ["0,100", "5,600"]], "decimal"),
        ([["9,993", "1,204"], ["12,5", "5,600"]], "decimal"),
        ([["9,993", "997", "1,200"]], "thousands"),
        ([["9,993", "1,204"], ["1.5", "2.25"]], "thousands"),
        ([["9,993", "1,204"], ["5,400,120", "5,400,121"]], "thousands"),
        ([["1,204", "1,250"], ["255", "17"]], "unclear"),  # a colour tells nothing of other columns
        ([["1,5", "2,5"], ["1.5", "2.5"]], ""),
        ([["15", "2.5"]], ""),
    ],
)
def test_commas_of_files_of_numbers(columns: list[list[str]], meaning: str) -> None:
    assert comma_meaning(columns)[0] == meaning
