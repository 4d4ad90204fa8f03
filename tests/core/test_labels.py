"""Kinds of label, judged from all cells; cells that are not understood are named; nothing vanishes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repcore.data.accounting import Accounting
from repcore.data.cells import DECIMAL_SIGNS, decimal_sign, looks_like, number, read_numbers
from repcore.data.label_column import range_words
from repcore.data.label_names import are_class_numbers
from repcore.data.labels import LabelColumn, read_label, read_labels
from repcore.errors import DataError


def _kind(one: LabelColumn) -> str:
    return "none" if one.target is None else one.target.kind


@pytest.mark.parametrize(
    ("cells", "kind", "names"),
    [
        (["0", "1", "1", "0", ""], "class", ("0", "1")),
        (["1.0", "0.0", "1.0"], "class", ("0", "1")),
        (["-1", "1", "1"], "class", ("-1", "1")),
        (["1", "2", "1", "2"], "class", ("1", "2")),
        (["1", "1", "1"], "class", ("0", "1")),
        (["True", "False", "True"], "class", ("False", "True")),
        (["active", "inactive", "active"], "class", ("inactive", "active")),
        (["1", "2", "3"] * 5, "class", ("1", "2", "3")),
        (["10", "20", "11"] * 5, "regression", ()),
        (["dog", "cat", "dog", "cat"], "class", ("cat", "dog")),
        (["dog, barking", "cat", "dog, barking", "cat"], "class", ("cat", "dog, barking")),
        (["dog|cat", "cat", "bird|dog", "dog"], "multilabel", ("bird", "cat", "dog")),
        (["No Finding", "Mass|Nodule", "Effusion"] * 2, "multilabel", ("Effusion", "Mass", "No Finding", "Nodule")),
        (["a;b", "b;c", "c;a", "a", "b"], "multilabel", ("a", "b", "c")),
        (["1.5", "2.5", "-3"], "regression", ()),
        (["-2,0", "-1,63", "0,5"], "regression", ()),
        (["4.5", ">10", "<0.1", "3.3"], "regression", ()),
        ([str(1 + 0.05 * step) for step in range(20)] * 3, "regression", ()),
        (["1", "0", "True", "False"], "class", ("False", "True")),
        (["yes", "No ", "YES", "no"], "class", ("no", "YES")),
        (["t", "f", "n", "t", "f", "n"], "class", ("f", "n", "t")),
        (["music", "music,speech", "music", "music,speech"], "multilabel", ("music", "speech")),
        (["acid", "salt, other", "acid", "salt, other"], "class", ("acid", "salt, other")),
        (["['a', 'b']", "['b']", "['a']", '["c"]', "[]"], "multilabel", ("a", "b", "c")),
        (["[1, 2]", "[2, 3]", "[1, 2]", "[2, 3]"], "none", ()),
        (["\u22121.5", "\u22122.5", "3"], "regression", ()),
        (["2021-01-03", "2021-02-03"] * 4, "none", ()),
        (["50,5", "1.100,5", "1.000,5"], "regression", ()),
        (["3.5"] * 5, "none", ()),
        (["x"] * 5, "none", ()),
        (["", "nan", "n/a"], "none", ()),
        (["0", "1", "2", "3", "4"], "none", ()),
        (["12_13", "14_15", "16_17"], "none", ()),
        (["1,000", "1,317", "2,268"], "none", ()),
        (["train", "test", "val"], "none", ()),
        ([f"free text {row}" for row in range(30)], "none", ()),
    ],
)
def test_kinds(cells: Sequence[str], kind: str, names: tuple[str, ...]) -> None:
    one = read_label("y", cells)
    assert _kind(one) == kind, one.reason
    assert one.reason
    if one.target is not None:
        assert one.target.names == names
    assert len(one.values) == len(cells)


def test_values_follow_the_cells() -> None:
    assert np.allclose(read_label("y", ["-2,0", "-1,63", "0,5"]).values, [-2.0, -1.63, 0.5])
    assert [read_label("y", ["2", "1", "", "2"]).value(row) for row in (0, 1, 3)] == [1, 0, 1]
    assert math.isnan(read_label("y", ["2", "1", "", "2"]).value(2))
    many = read_label("y", ["dog|cat", "cat", "bird|dog", "dog", None])
    assert many.value(0) == [0.0, 1.0, 1.0]
    assert np.isnan(many.value(4)).all()


def test_odd_cells_are_named_and_the_column_stays() -> None:
    one = read_label("IC50", [">10", "1.5", "2.5", "#N/A", "5%", "12_13", "inf", "3,5", "1.0", "2.0", "4.0", "0.5"])
    said = " ".join(one.odd)
    assert _kind(one) == "regression"
    for looks, cell in (
        ("censored", "'>10' in row 0"),
        ("Excel error", "'#N/A' in row 3"),
        ("percent", "'5%'"),
        ("underscore digits", "'12_13'"),
        ("infinite", "'inf'"),
        ("decimal comma", "'3,5'"),
    ):
        assert looks in said
        assert cell in said
    assert int(np.isnan(one.values).sum()) == 6


def test_uncertain_is_missing_where_several_columns_have_it_and_settable() -> None:
    cells = {"Edema": ["1", "0", "-1", ""] * 5, "Mass": ["-1.0", "", "0.0", "1.0"] * 5}
    for one in read_labels(cells):
        assert one.target is not None
        assert one.target.names == ("0", "1")
        assert one.uncertain == 5
        assert "uncertain" in one.reason
    assert np.nansum(read_labels(cells, uncertain="positive")[0].values) == 10
    assert np.isnan(read_labels(cells, uncertain="negative")[0].values).sum() == 5
    (alone,) = read_labels({"y": cells["Edema"]})
    assert alone.target is not None
    assert alone.target.names == ("-1", "0", "1")


def test_groups_ids_and_split_words_are_no_labels_and_are_said() -> None:
    account = Accounting()
    found = read_labels(
        {"PatientID": ["a", "a", "b"], "id": ["1", "2", "3"], "fold": ["train", "test", "train"], "y": ["0", "1", "1"]},
        account=account,
    )
    assert [_kind(one) for one in found] == ["none", "none", "none", "class"]
    assert len(account.guesses) == 4
    assert "group" in account.guesses[0].reason


def test_kinds_can_be_set() -> None:
    cells = ["1", "2", "3"] * 5
    assert _kind(read_label("y", cells, kind="regression")) == "regression"
    assert read_label("y", ["10", "20", "11"], kind="class").target.names == ("10", "11", "20")  # type: ignore[union-attr]
    assert _kind(read_label("y", ["a/b", "a"], separator="/")) == "multilabel"
    assert read_label("y", ["b", "b"], kind="class").target.names == ("b",)  # type: ignore[union-attr]  # new data
    with pytest.raises(DataError, match="no class label"):
        read_label("y", ["", ""], kind="class")


@pytest.mark.parametrize(
    ("cell", "looks"),
    [
        (">10", "censored"), ("<= 0.5", "censored"), ("~5", "censored"), ("12.5 %", "percent"),
        ("1,234,567", "thousands"),
        ("1\u2009234.5", "thousands"), ("1\u2019234", "thousands"),
        ("1 234", "thousands"), ("1.234.567", "thousands"), ("0,52", "decimal comma"), ("#DIV/0!", "Excel error"),
        ("1_000", "underscore digits"), ("2021-03-01", "date"), ("1-Mar", "date"), ("01/02/2021", "date"),
        ("-inf", "infinite"),
        ("1-5", "range"), ("0.5 ± 0.1", "range"), ("5 nM", "number with a unit"), ("hello", "text"),
    ],
)  # fmt: skip
def test_looks(cell: str, looks: str) -> None:
    assert looks_like(cell) == looks


def test_underscore_digits_are_no_number() -> None:
    with pytest.raises(ValueError, match="underscore"):
        number("12_13")
    assert number("3,5", ",") == 3.5


def test_a_decimal_comma_needs_evidence() -> None:
    assert decimal_sign(["1,234", "2,345"]) is None, "thousands fit as well"
    assert decimal_sign(["1,5", "2.5"]) is None
    assert decimal_sign(["1,234", "2,3"]) == (",", "2 cells such as '2,3', none with a dot")


GROUPED = [f"1.{number}" for number in range(100, 158)]
UP_TO = [str(number) for number in range(900, 964, 7)]


def test_points_before_thousands_where_another_column_has_decimal_commas() -> None:
    commas = [f"-{number % 7},{number % 90 + 1}" for number in range(58)]
    account = Accounting()
    mass, _ = read_labels({"mass": [*GROUPED, *UP_TO], "logp": [*commas, *commas[:10]]}, account=account)
    assert mass.values.tolist() == [*map(float, range(1100, 1158)), *map(float, UP_TO)]
    assert "a point stands before thousands in 58 cells such as '1.100': column 'logp' has a decimal comma" in (
        mass.reason
    )
    assert any("column 'logp' has a decimal comma" in str(one) for one in account.guesses)
    beside = read_labels({"mass": [*GROUPED, *UP_TO]}, beside={"logp": commas})[0]
    assert beside.values[0] == 1100.0
    for sure in (["1.100", "2.300", "12.450"], ["1.234.567", "46.069", "78.114"]):
        found = read_labels({"mass": sure * 10}, beside={"logp": commas})[0]
        assert found.values[:3].tolist() == [float(one.replace(".", "")) for one in sure]
    signed = read_label("mass", ["-1.100,5", "900,25", "1.234", "12.345.678"])
    assert signed.values.tolist() == [-1100.5, 900.25, 1234.0, 12345678.0]


def test_points_that_may_be_either_are_refused_in_words() -> None:
    """Beside decimal commas 46.069 is 46069, or a column that another program wrote: its own cells decide."""
    commas = [f"-{number % 7},{number % 90 + 1}" for number in range(60)]
    masses = ["46.069", "78.114", "180.157"] * 20
    account = Accounting()
    mass, logp = read_labels({"mass": masses, "logp": commas}, account=account)
    assert mass.target is None
    assert logp.target is not None
    assert np.isnan(mass.values).all()
    said = " ".join(account.sentences())
    assert "60 of 60 filled cells look like thousands or decimals, which nothing in the column tells ('46.069'" in said
    large = read_labels({"mass": [*masses, "1500", "2200"], "logp": [*commas, "0,5", "0,5"]}, account=account)[0]
    assert large.values[:3].tolist() == [46.069, 78.114, 180.157]
    assert "decimals with a point in 60 cells such as '46.069', beside whole numbers above 999" in large.reason
    for sign, value in (("comma", 46069.0), ("point", 46.069)):
        asked = read_labels({"mass": masses}, beside={"logp": commas}, decimal=DECIMAL_SIGNS[sign])[0]
        assert asked.values[0] == value


def test_points_stay_decimals_without_a_sign_of_the_contrary() -> None:
    alone = read_labels({"mass": GROUPED, "logp": ["-0.52"] * 29 + ["1.5"] * 29})[0]
    assert alone.values[:2].tolist() == [1.1, 1.101]
    both = read_labels({"mass": GROUPED, "a": ["0,5", "1,5"] * 29, "b": ["0.5", "1.5"] * 29})[0]
    assert both.values[0] == 1.1, "the table has decimals of both kinds"
    prices = read_label("price", ["100", "99.875", "101.125", "98.625"])
    assert prices.values.tolist() == [100.0, 99.875, 101.125, 98.625]
    small = read_label("size", ["1", "2", "1.125", "0.125"])
    assert small.values.tolist() == [1.0, 2.0, 1.125, 0.125]


def test_a_jump_from_999_to_one_is_named_and_not_read() -> None:
    """As ``1,100`` beside 900: the cells are named and count as missing."""
    column = read_label("mass", [*UP_TO, "1.111", "1.112"])
    assert column.values[:10].tolist() == [float(text) for text in UP_TO]
    assert np.isnan(column.values[10:]).all()
    assert "2 of 12 filled cells look like thousands ('1.111' in row 10, '1.112' in row 11)" in column.odd[0]
    lost = read_label("mass", [*UP_TO, *GROUPED])
    assert lost.target is None
    assert "58 of 68 filled cells look like numbers that are not understood" in lost.reason
    over = read_label("mass", ["3", "47", "880", "1.250", "3.118"])
    assert np.isnan(over.values[3:]).all(), "decimals are not written as 1.250 beside 47"


@given(
    st.lists(st.sampled_from(["1", "2.5", "-3e2", "", "nan", None, ">1", "a", "1_0", "inf", " 7 ", "+4"]), max_size=60)
)
def test_quick_and_careful_reading_agree(cells: list[str | None]) -> None:
    column = read_numbers("y", cells)
    for row, cell in enumerate(cells):
        try:
            expected = number(cell)
        except ValueError:
            expected = None
        value = column.values[row]
        assert (math.isnan(value) and (expected is None or math.isinf(expected))) or value == expected
    assert column.missing + column.odd_count + int((~np.isnan(column.values)).sum()) == len(cells)


def test_cells_of_a_class_are_not_said_to_be_missing() -> None:
    """What the column looked like before it was decided is no news: all of its words are classes."""
    codes = read_label("odd", ["0", "00", "1", "1", "sp,ace", "0", "00", "None"] * 4)
    assert codes.target is not None
    assert codes.target.names == ("0", "00", "1", "sp,ace")
    assert codes.odd == ["column 'odd': 4 cells 'None' count as missing: another word for them makes them a class"]
    assert read_label("odd", ["0", "00", "1", "1", "sp,ace", "0"] * 4).odd == []
    lost = read_label("note", ["12", "seen at night", "by ear", "alone", "3", "two of them"])
    assert lost.target is None
    assert lost.odd == []
    assert "look like text" in lost.reason


def test_columns_that_are_lost_and_identifiers_turned_into_dates_are_losses() -> None:
    account = Accounting()
    read_labels({"id": ["MAR1", "1-Mar", "2-Mar"], "y": ["", "", ""], "z": ["3", "3", "3"]}, account=account)
    assert [one.is_loss for one in account.guesses] == [False, True, True]
    assert "'1-Mar'" in account.odd_cells[0]
    assert read_labels({"mol_id": ["a", "b", "a"]})[0].odd == [
        "column 'mol_id': 1 identifiers stand more than once, first 'a'"
    ]
    assert read_labels({"patient_id": ["a", "b", "a"]})[0].odd == []


def test_only_a_count_of_the_rows_is_a_running_number() -> None:
    ages = read_label("patient_years", [str(30 + row) for row in range(40)])
    assert ages.target is not None
    assert ages.target.kind == "regression"
    for first in (0, 1):
        counted = read_label("v", [str(first + row) for row in range(40)])
        assert (counted.target, counted.reason) == (None, "running numbers")
    assert read_label("v", ["1", "", "2", "3"] * 1).reason != "running numbers"


def test_words_that_mean_missing_are_said_where_the_others_are_classes() -> None:
    alone = read_label("call", ["None", "bird", "NA", "bird", "None", "bird"])
    assert alone.target is None
    assert "3 cells 'NA' and 'None' count as missing" in alone.reason
    two = read_label("call", ["None", "bird", "frog", "bird", "", "frog"])
    assert two.target is not None
    assert two.odd == ["column 'call': 1 cells 'None' count as missing: another word for them makes them a class"]
    assert read_label("call", ["", "bird", "frog", "bird", "", "frog"]).odd == []


@pytest.mark.parametrize(
    ("cells", "values", "unit"),
    [
        (["1.234,50", "12.000,25", "3,5", "-1.000,00"], [1234.5, 12000.25, 3.5, -1000.0], ""),
        (["058Y", "061Y", "7Y", "61Y"], [58.0, 61.0, 7.0, 61.0], "Y"),
        (["10 %", "20 %", "12.5 %", ""], [10.0, 20.0, 12.5, float("nan")], " %"),
    ],
)
def test_numbers_as_people_write_them_are_values(cells: list[str], values: list[float], unit: str) -> None:
    found = read_label("y", cells)
    assert found.target is not None
    assert found.target.kind == "regression"
    assert np.array_equal(found.values, values, equal_nan=True)
    assert found.target.unit == unit


def test_numbers_that_are_not_understood_never_become_classes() -> None:
    found = read_label("y", ["1,234", "2,345", "1,234", "2,345"] * 5)  # decimals, or thousands
    assert found.target is None
    assert "look like numbers that are not understood" in found.reason


def test_sizes_are_values_and_codes_from_0_or_1_are_classes() -> None:
    sizes, codes = [str(32 + number % 9) for number in range(90)], [str(number % 9) for number in range(90)]
    assert [read_label("nx", one).target.kind for one in (sizes, codes)] == ["regression", "class"]  # type: ignore[union-attr]


def test_occasions_are_no_labels_and_one_pair_of_findings_is_enough() -> None:
    cells = ["No Finding", "Mass", "Mass|Nodule"] * 3
    visits = [str(number % 3) for number in range(9)]
    findings, visit = read_labels({"Finding Labels": cells, "Follow-up #": visits})
    assert findings.target is not None
    assert (findings.target.kind, findings.target.names) == ("multilabel", ("Mass", "No Finding", "Nodule"))
    assert visit.target is None


@pytest.mark.parametrize(
    ("text", "looks"),
    [("1-Octyne", "text"), ("2-Decene", "text"), ("1-Mar", "date"), ("March-12", "date"), ("3 Sept 2021", "date"),
     ("1-Octanol", "text"), ("2-Mayonnaise", "text"), ("JUN-4", "date")],
)  # fmt: skip
def test_days_are_dates_and_chemicals_are_not(text: str, looks: str) -> None:
    assert looks_like(text) == looks


def test_columns_that_could_call_rows_are_proposed() -> None:
    columns = {
        "name": ["1-Octyne", "2-Decene", "water"], "batch_id": ["7", "7", "8"], "compound": ["ab", "cd", "ef"],
        "limit": [">1", ">2", ">3"], "patient": ["p1", "p2", "p3"],
    }  # fmt: skip
    account = Accounting()
    found = {one.name: one for one in read_labels(columns, id_change="--id-column", account=account)}
    proposed = {name for name, one in found.items() if one.change.startswith("--id-column")}
    assert proposed == {"name", "compound"}
    assert found["name"].reason == "its name says that it identifies rows; no cell comes twice"
    assert "--id-column name" in "\n".join(account.sentences())
    assert not any("look like dates" in sentence for sentence in account.sentences())


def test_spellings_of_yes_and_no_are_one_answer() -> None:
    assert read_label("y", ["1", "False", "true", "0", "", "1.0"]).values[[0, 1, 2, 3, 5]].tolist() == [1, 0, 1, 0, 1]
    answers = read_label("aktiv", ["ja", "nein", "ja", ""])
    assert answers.target is not None
    assert (answers.target.names, answers.values[:3].tolist()) == (("nein", "ja"), [1, 0, 1])
    assert read_label("y", ["\u22121,5", "2,5", "0,25"]).values.tolist() == [-1.5, 2.5, 0.25]
    assert read_label("y", ["['a', 'b']", "", "['b']"]).values[[0, 2]].tolist() == [[1, 1], [0, 1]]


def test_folds_and_flags_of_parts_are_no_labels() -> None:
    folds = [str(row % 5) for row in range(20)]
    found = read_labels(
        {"fold": folds, "cv_fold": folds, "is_test": ["0", "1"] * 10, "folds_change": ["1.5", "2"] * 10}
    )
    assert [_kind(one) for one in found] == ["none", "none", "none", "regression"]
    assert "in which fold a row is" in found[0].reason
    assert "rows belong to a part of a split" in found[2].reason
    assert _kind(read_labels({"fold": ["TIM barrel", "globin"] * 5})[0]) == "class"  # of a protein
    numbered = {"split": ["0", "1"] * 10, "Partition": ["1", "2.0"] * 10, "train": ["True", "False"] * 10, "cv": folds}
    assert [_kind(one) for one in read_labels(numbered)] == ["none"] * 4
    assert _kind(read_labels({"train": ["ICE", "S-Bahn"] * 10})[0]) == "class"  # a vehicle


def test_plus_and_minus_are_the_outcomes_of_a_test() -> None:
    two = read_label("ames", ["+", "-", "+", "-", ""])
    assert two.target is not None
    assert (two.target.names, two.values[:4].tolist()) == (("-", "+"), [1.0, 0.0, 1.0, 0.0])
    assert math.isnan(two.values[4])
    three = read_label("ames", ["+", "-", "+/-"] * 4)
    assert three.target is not None
    assert sorted(three.target.names) == ["+", "+/-", "-"]
    assert not np.isnan(three.values).any()
    assert np.isnan(read_label("y", ["1.5", "-", "2.5"]).values).tolist() == [False, True, False]  # alone it is a dash


def test_a_column_called_a_split_is_no_label_even_if_its_words_are_not_known() -> None:
    account = Accounting()
    found = read_labels({"Partition": ["calibration", "external"] * 5, "part": ["wing", "tail"] * 5}, account=account)
    assert [_kind(one) for one in found] == ["none", "class"]
    assert account.odd_cells == [
        (
            "column 'Partition': words such as 'calibration' are no parts of a split (train, validation, test): "
            "it divides nothing"
        )
    ]


def test_minus_one_beside_an_uncertain_column_is_uncertain_too() -> None:
    columns = {"Edema": ["-1", "0", "1", ""] * 3, "Pneumonia": ["", "-1.0", "1.0", "1"] * 3, "sign": ["2", "3"] * 6}
    found = read_labels(columns)
    assert found[0].values[:3].tolist() == pytest.approx([math.nan, 0, 1], nan_ok=True)
    assert found[1].values[:4].tolist() == pytest.approx([math.nan, math.nan, 1, 1], nan_ok=True)
    both = read_labels({"a": ["-1", "1"] * 6, "b": ["1", "-1"] * 6})  # nothing says that -1 is uncertain there
    assert [one.target.names for one in both if one.target] == [("-1", "1"), ("-1", "1")]


def test_numbers_of_classes_and_numbers_of_files() -> None:
    assert are_class_numbers("y", ["0", "1", "0"], ["patient_id", "y"])
    assert are_class_numbers("y", ["0", "1"], ["patient_id", "y"])
    assert not are_class_numbers("image", ["0", "1", "2"], ["image", "y"])
    assert not are_class_numbers("id", ["0", "1", "1"], ["id", "y"])
    assert are_class_numbers("id", ["0", "1"] * 3, ["id"])
    assert not are_class_numbers("y", ["a", "b", "a"], ["id", "y"])


def test_few_rows_of_a_column_called_label_are_classes() -> None:
    few = ["car", "Car ", "bus", "car"]
    assert read_label("label", few).target is not None
    assert read_label("vehicle", few).target is None
    assert read_label("label", ["a", "b", "c"]).target is None  # nothing comes again


@pytest.mark.parametrize(
    ("cells", "kind", "names", "values"),
    [
        ([["b", "a"], ["a"], [], None], "multilabel", ("a", "b"), [[1, 1], [1, 0], [0, 0], [np.nan, np.nan]]),
        ([["a", "b"], "a", ("b",)], "multilabel", ("a", "b"), [[1, 1], [1, 0], [0, 1]]),
        (["[0,1,1]", "[1,0,0]", ""], "multilabel", ("0", "1", "2"), [[0, 1, 1], [1, 0, 0], [np.nan] * 3]),
        (["0,1,1", "1,0,0", "0,0,1"], "multilabel", ("0", "1", "2"), [[0, 1, 1], [1, 0, 0], [0, 0, 1]]),
        (["[0 1]", "[1 1]"], "multilabel", ("0", "1"), [[0, 1], [1, 1]]),
        (["[3, 10]", "[3]", "[]"], "multilabel", ("3", "10"), [[1, 1], [1, 0], [0, 0]]),
        (["[0.5, 1.5]", "[2, 2]"], "regression", ("0", "1"), [[0.5, 1.5], [2, 2]]),
        ([np.array([0.5, 1.5]), None], "regression", ("0", "1"), [[0.5, 1.5], [np.nan, np.nan]]),
        ([[0.5], [2.0], [1.5]], "regression", (), [0.5, 2.0, 1.5]),
        (["045Y", "006M", ""], "regression", (), [45.0, 0.5, np.nan]),
    ],
)
def test_lists_and_ages_are_read(cells: list[Any], kind: str, names: tuple[str, ...], values: list[Any]) -> None:
    one = read_labels({"y": cells})[0]
    assert _kind(one) == kind, one.reason
    assert one.target is not None
    assert one.target.names == names
    assert np.array_equal(one.values, np.asarray(values, float), equal_nan=True)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([{"a": 1}, {"a": 2}], "nested or mixed values such as '{\"a\": 1}'"),
        ([[["a"]], [["b"]]], "nested or mixed values"),
        ([["a", None], ["b"]], "nested or mixed values"),
        ([["a"], [1, 2]], "nested or mixed values"),
        (["[1.5, 2]", "[1.5]"], "lists of 1 to 2 numbers"),
        ([list(map(float, range(99)))] * 3, "lists of 99 numbers"),
        (["5 nM", "3 uM", "2 nM"], "several units (2 in 'nM', 1 in 'uM')"),
    ],
)
def test_cells_that_no_label_can_be_made_of_are_named(cells: list[Any], reason: str) -> None:
    one = read_labels({"y": cells})[0]
    assert one.target is None
    assert reason in one.reason
    assert len(one.values) == len(cells)


def test_whole_numbers_in_lists_are_what_the_user_calls_them() -> None:
    cells = ["[3, 5]", "[1, 3]"]
    assert "values, or classes" in read_label("y", cells).reason
    assert read_label("y", cells, kind="regression").values.tolist() == [[3.0, 5.0], [1.0, 3.0]]
    many = read_label("y", cells, kind="multilabel")
    assert many.target is not None
    assert (many.target.names, many.values.tolist()) == (("1", "3", "5"), [[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


def test_points_that_may_stand_before_thousands_are_said() -> None:
    one = read_label("mass", GROUPED)
    assert one.values[0] == 1.1
    assert "all 58 cells are written like '1.100', which may also be 1100" in one.reason
    assert read_label("mass", GROUPED, decimal=",").values[0] == 1100.0
    assert "may also be" not in read_label("mass", ["100", "99.875", "101.125"]).reason


@pytest.mark.parametrize(
    ("cells", "values", "unit"),
    [
        (["$50.00", "-$7.25", "$ 1150", ""], [50.0, -7.25, 1150.0, np.nan], "$"),
        (["1.000,50 €", "12,00 €", "7,5€"], [1000.5, 12.0, 7.5], "€"),
        (["12,5 %", "3,25 %", "100 %"], [12.5, 3.25, 100.0], " %"),
    ],
)
def test_currencies_and_units_with_commas_are_values(cells: list[str], values: list[float], unit: str) -> None:
    one = read_label("y", cells)
    assert one.target is not None, one.reason
    assert (one.target.kind, one.target.unit) == ("regression", unit)
    assert np.array_equal(one.values, values, equal_nan=True)
    assert "several units ('" in read_label("y", ["$5", "€7", "$9"]).reason


def test_codes_that_look_like_numbers_stay_as_they_are_written() -> None:
    one = read_label("code", ["007", "7", "010"] * 4)
    assert one.target is not None
    assert (one.target.kind, one.target.names) == ("class", ("007", "7", "010"))
    assert one.values[:3].tolist() == [0.0, 1.0, 2.0]
    assert "codes such as '007', kept as they are written" in one.reason
    values = read_label("code", [f"{number:03d}" for number in range(3, 90, 7)])
    assert values.values[:2].tolist() == [3.0, 10.0]
    assert "cells such as '003' are read as numbers, --read label_kind=class takes them for codes" in values.reason
    exponents = read_label("code", ["1e5", "2e7", "1e3"] * 4)
    assert "cells such as '1e5' are read as numbers" in exponents.reason
    assert "cells such as" not in read_label("y", ["1e5", "2.5e7", "0.5", "0"]).reason
    known = read_label("code", ["1e5", "2e7", "1e3"] * 4, kind="class")
    assert known.target is not None
    assert sorted(known.target.names) == ["1e3", "1e5", "2e7"]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-1e308, 1e308, "from -1e+308 to 1e+308"), (1e9 - 3.25, 1e9 - 0.5, "from 999999996.75 to 999999999.5"),
     (0.1, 0.25, "from 0.1 to 0.25"), (3.0, 1700000000.0, "from 3 to 1700000000")],
)  # fmt: skip
def test_a_range_of_labels_is_told_in_digits_that_differ(low: float, high: float, words: str) -> None:
    assert range_words(low, high) == words


def test_words_that_may_mean_that_nothing_is_known_are_said() -> None:
    one = read_label("tox", ["toxic", "non-toxic", "unknown", "not tested", "n.d."] * 4)
    assert one.target is not None
    assert len(one.target.names) == 5
    (said,) = one.odd
    assert said.startswith(
        "column 'tox': 12 cells 'n.d.' and 'not tested' and 'unknown' may mean that nothing is known"
    )
    assert read_label("tox", ["toxic", "non-toxic", "unknowable"] * 4).odd == []
