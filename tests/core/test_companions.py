"""Columns beside values that say how they are meant: relations, units, quantities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from repcore.data.accounting import Accounting
from repcore.data.companions import Meaning
from repcore.data.labels import LabelColumn, read_labels

VALUES = [f"{10 * row + 5.5}" for row in range(10)]
CHEMBL = {
    "Standard Type": ["IC50"] * 10,
    "Standard Relation": ["'='"] * 7 + ["'>'", "'~'", ""],
    "Standard Value": VALUES,
    "Standard Units": ["nM"] * 10,
}


def read(
    columns: Mapping[str, Sequence[str]], account: Accounting | None = None, meaning: Meaning | None = None
) -> dict[str, LabelColumn]:
    found = read_labels(columns, account=account, meaning=meaning or Meaning())
    return {one.name: one for one in found}


def test_bounds_count_as_missing_and_are_named() -> None:
    account = Accounting()
    found = read(CHEMBL, account)
    one = found["Standard Value"]
    assert one.target is not None
    assert (one.target.kind, one.target.unit) == ("regression", "nM")
    known = [float(value) for value in VALUES]
    assert np.array_equal(one.values, [*known[:7], np.nan, np.nan, known[9]], equal_nan=True)
    assert [name for name, other in found.items() if other.target is not None] == ["Standard Value"]
    bounds = "2 of 10 filled cells are bounds by column 'Standard Relation' ('>75.5' in row 7, '~85.5' in row 8)"
    assert account.odd_cells == [f"column 'Standard Value': {bounds} and count as missing"]


def test_several_units_or_quantities_are_no_target_unless_one_is_asked_for() -> None:
    mixed = {**CHEMBL, "Standard Units": ["nM", "ug.mL-1"] * 5}
    refused = read(mixed)["Standard Value"]
    assert refused.target is None
    assert "2 units by column 'Standard Units' ('nM' 4 times, 'ug.mL-1' 4 times)" in refused.reason
    one = read(mixed, meaning=Meaning(unit="nM"))["Standard Value"]
    assert one.values[[0, 2, 4, 6]].tolist() == [5.5, 25.5, 45.5, 65.5]
    assert np.isnan(one.values).sum() == 6
    assert any("4 of 8 values have another unit than 'nM'" in text for text in one.odd)
    kinds = {**CHEMBL, "Standard Type": ["Ki"] + ["IC50"] * 9}
    assert "2 quantities by column 'Standard Type'" in read(kinds)["Standard Value"].reason
    assert read(kinds, meaning=Meaning(quantity="Ki"))["Standard Value"].reason == "every filled cell is 5.5"
    assert "no value has the unit 'M'" in read(CHEMBL, meaning=Meaning(unit="M"))["Standard Value"].reason
    plain = read(mixed, meaning=Meaning(ignore=True))
    assert plain["Standard Value"].values.tolist() == [float(value) for value in VALUES]


@pytest.mark.parametrize(
    ("value", "relation"),
    [("ic50", "ic50_qualifier"), ("IC50 (nM)", "IC50 relation"), ("value", "relation"), ("MIC value", "mic_operator")],
)
def test_names_of_relations(value: str, relation: str) -> None:
    found = read({value: VALUES, relation: ["="] * 8 + ["<", ">="]})
    assert np.isnan(found[value].values).nonzero()[0].tolist() == [8, 9]
    assert found[relation].target is None


def test_words_that_are_no_relations_and_types_without_units_stay_labels() -> None:
    found = read({"value": VALUES, "type": ["a", "b"] * 5, "relation": ["son", "daughter"] * 5})
    assert found["value"].values.tolist() == [float(value) for value in VALUES]
    assert [one.target.names for one in found.values() if one.target and one.target.names] == [
        ("a", "b"),
        ("daughter", "son"),
    ]


def test_the_column_is_meant_the_same_where_it_is_asked_for_alone() -> None:
    alone = read_labels({"Standard Value": VALUES}, beside={name: CHEMBL[name] for name in CHEMBL})[0]
    assert np.isnan(alone.values).nonzero()[0].tolist() == [7, 8]
