"""Labels of new data are read as what the model answers, whatever their cells alone would be taken for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from repcore.data.expected_labels import expecting
from repcore.data.labels import LabelColumn, read_label, read_labels
from repcore.specs import TargetSpec


def read(target: TargetSpec, cells: list[Any], name: str = "y", **settings: Any) -> LabelColumn:
    with expecting(target):
        (one,) = read_labels({name: cells}, **settings)
    return one


@pytest.mark.parametrize(
    ("names", "cells", "words"),
    [
        (("0", "00", "1"), ["00", "0", "1", "", "0.0"], ["00", "0", "1", None, "0"]),  # codes stay codes
        (("1", "2", "3"), [0, 1, 1.0, 3], ["0", "1", "1", "3"]),  # fewer classes, one new: behind the model's own
        (("1", "2", "30"), ["30"] * 5, ["30"] * 5),  # one class alone is a label
        (("neg", "pos"), [0, 1, 1, None], ["neg", "pos", "pos", None]),
        (("neg", "pos"), ["-", "+", "positive", "n"], ["neg", "pos", "pos", "neg"]),
        (("0", "1"), ["yes", "no", "yes"], ["1", "0", "1"]),
        (("0", "1"), [-1, 1, 1], ["0", "1", "1"]),
        (("-1", "1"), [0, 1], ["-1", "1"]),
        (("0", "1"), [-1, 0, 1], ["-1", "0", "1"]),  # -1 beside 0 is undecided: no class of the model
        (("a b", "c"), ["c", "a b"], ["c", "a b"]),
        (tuple(map(str, range(40))), [3.0, 17.0, 39.0, 22.0], ["3", "17", "39", "22"]),  # many numbers: no values
        (("low", "high"), ["2020-01-01", "x"], ["2020-01-01", "x"]),
    ],
)
def test_classes_are_those_of_the_model(names: tuple[str, ...], cells: list[Any], words: list[str | None]) -> None:
    one = read(TargetSpec("y", "class", names=names), cells)
    assert one.target is not None
    assert one.target.kind == "class"
    assert one.target.names[: len(names)] == names
    found = [None if np.isnan(value) else one.target.names[int(value)] for value in one.values]
    assert found == words


def test_a_word_that_is_read_as_another_is_said() -> None:
    one = read(TargetSpec("y", "class", names=("neg", "pos")), [0, 1])
    assert one.odd == ["column 'y': '0' is read as the class 'neg'", "column 'y': '1' is read as the class 'pos'"]
    assert read(TargetSpec("y", "class", names=("1", "2")), [2.0, 1.0]).odd == []


@pytest.mark.parametrize("cells", [[0, 1, 1, 0], ["3", "3", "3"], [1, 2, 3, 4], ["1.5", "2.5"]])
def test_few_numbers_are_values_where_the_model_answers_values(cells: list[Any]) -> None:
    one = read(TargetSpec("y", "regression"), cells)
    assert one.target is not None
    assert one.target.kind == "regression"
    assert one.values.tolist() == [float(cell) for cell in cells]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["a", "b", "a"], [[1, 0, 0], [0, 1, 0], [1, 0, 0]]),  # one label a row
        (["a;c", "b", ""], [[1, 0, 1], [0, 1, 0], [np.nan] * 3]),
        (["a|b"], [[1, 1, 0]]),
        (["['a', 'c']", "[]"], [[1, 0, 1], [0, 0, 0]]),
        (["[1, 0, 1]", "[0, 0, 1]"], [[1, 0, 1], [0, 0, 1]]),
        (["c, a"], [[1, 0, 1]]),
    ],
)
def test_several_labels_are_those_of_the_model(cells: list[Any], values: list[list[float]]) -> None:
    one = read(TargetSpec("y", "multilabel", names=("a", "b", "c")), cells)
    assert one.target is not None
    assert (one.target.kind, one.target.names) == ("multilabel", ("a", "b", "c"))
    np.testing.assert_array_equal(one.values, values)
    further = read(TargetSpec("y", "multilabel", names=("b", "c")), ["a", "b"])
    assert further.target is not None
    assert further.target.names == ("b", "c", "a")  # what the model does not know stands behind


def test_a_column_of_a_multilabel_model_is_yes_or_no_and_others_are_as_always() -> None:
    model = TargetSpec("all-binary", "multilabel", names=("t1", "id"))
    assert read(model, [1, 1, 1], "id").values.tolist() == [1, 1, 1]  # its name would make it an identifier
    other = read(model, [1.5, 2.5], "mass")
    assert other.target is not None
    assert other.target.kind == "regression"
    outside = read_label("y", [0, 1, 1])
    assert outside.target is not None
    assert outside.target.kind == "class"  # what is expected counts while data is opened, not afterwards
    with expecting(TargetSpec("y", "class", names=("0", "1"))):
        asked = read_label("y", [0, 1, 1], kind="regression")
    assert asked.target is not None
    assert asked.target.kind == "regression"  # the user's word counts more
