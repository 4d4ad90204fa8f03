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


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        ("IC50", "unit", ("nM", "uM")), ("Solubility", "Units", ("mg/L", "g/L")),
        ("IC50", "Einheit", ("\u00b5M", "nM")),
        ("level", "unit", ("dB", "dBA")), ("gap", "Unit\u00e9", ("eV", "Ha")), ("mass", "Unit of measure", ("kg", "g")),
    ],
)  # fmt: skip
def test_a_column_that_is_called_unit_belongs_to_the_one_column_of_numbers(
    value: str, unit: str, words: tuple[str, str]
) -> None:
    columns = {"site": ["north", "south"] * 5, value: VALUES, unit: [words[row % 2] for row in range(10)]}
    found = read(columns)
    assert (found[value].target, found[unit].target) == (None, None)
    assert f"2 units by column {unit!r}" in found[value].reason
    same = read({**columns, unit: [words[0]] * 10})
    assert same[value].target is not None
    assert same[value].target.unit == words[0]
    kept = read(columns, meaning=Meaning(unit=words[0]))[value]
    assert np.isnan(kept.values).sum() == 5


def test_words_that_are_no_units_stay_classes() -> None:
    for words in (("ICU", "ward"), ("A", "B"), ("US", "UK"), ("sales", "HR")):
        found = read({"age_score": VALUES, "unit": [words[row % 2] for row in range(10)]})
        assert [one.target.kind for one in found.values() if one.target] == ["regression", "class"]


def test_whose_units_and_relations_are_is_said_where_several_columns_fit() -> None:
    account = Accounting()
    columns = {"Ki": VALUES, "EC50": [f"{value}1" for value in VALUES], "unit": ["nM", "uM"] * 5}
    found = read(columns, account)
    assert found["unit"].target is None
    assert "nothing says whether of 'Ki', 'EC50'" in found["unit"].reason
    assert found["Ki"].target is not None
    assert any("nothing says whether of" in text for text in account.sentences())
    beside = read({"Ki": VALUES, "unit": ["nM", "uM"] * 5, "logP": [f"{value}1" for value in VALUES]})
    assert "2 units" in beside["Ki"].reason
    assert beside["logP"].target is not None


@pytest.mark.parametrize(
    ("value", "relation", "exact"),
    [("Ki", "relation", "="), ("pIC50", "qualifier", "="), ("Ki_nM", "Ki_op", ""), ("MIC", "cmp", "=")],
)
def test_relations_beside_the_one_column_of_numbers_make_bounds(value: str, relation: str, exact: str) -> None:
    found = read({relation: [exact] * 8 + ["<", ">"], value: VALUES})
    assert np.isnan(found[value].values).nonzero()[0].tolist() == [8, 9]
    assert found[relation].target is None


@pytest.mark.parametrize(
    ("what", "value"),
    [("assay", "result"), ("endpoint", "value"), ("property", "measurement"), ("Eigenschaft", "Wert")],
)
def test_values_of_several_endpoints_are_no_target_unless_one_is_asked_for(what: str, value: str) -> None:
    columns = {what: ["logP", "logS"] * 5, value: VALUES}
    found = read(columns)
    assert [one.name for one in found.values() if one.target] == []
    assert f"2 quantities by column {what!r}" in found[value].reason
    one = read(columns, meaning=Meaning(quantity="logS"))[value]
    assert one.values[1::2].tolist() == [15.5, 35.5, 55.5, 75.5, 95.5]
    plain = read({what: ["logP", "logS"] * 5, "pIC50": VALUES})
    assert len([one for one in plain.values() if one.target]) == 2
