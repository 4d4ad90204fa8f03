"""Whole numbers that float64 rounds: labels keep them as they are written, or say that they are rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from repcore.data.cells import first_inexact
from repcore.data.expected_labels import expecting
from repcore.data.given import given_reader
from repcore.data.labels import read_label
from repcore.specs import TargetSpec

BIG = 2**53
PAIR = (BIG + 1, BIG + 2)  # one float


@pytest.mark.parametrize("make", [int, str, np.int64, np.uint64, lambda value: f" {value}", lambda value: f"{value}."])
@pytest.mark.parametrize("kind", ["auto", "class"])
def test_classes_keep_every_digit(make: Any, kind: Any) -> None:
    cells = [make(value) for value in (BIG, BIG + 1, 5)] * 6
    found = read_label("k", cells, kind=kind)
    assert found.target is not None
    assert [name.rstrip(".") for name in found.target.names] == ["5", str(BIG), str(BIG + 1)]
    np.testing.assert_array_equal(found.values, [1, 2, 0] * 6)


@pytest.mark.parametrize("gap", [1, 1024])
def test_two_numbers_that_differ_are_never_one_class(gap: int) -> None:
    for cells in ([-BIG - 1, -BIG - 1 - gap] * 6, [10**400 + 1, 10**400 + 1 + gap] * 6):
        found = read_label("k", cells)
        assert found.target is not None
        assert set(found.target.names) == set(map(str, cells))


def test_identifiers_are_no_label_and_values_are_said_to_be_rounded() -> None:
    once = read_label("k", [BIG + 1 + 2 * row for row in range(40)])
    assert once.target is None
    assert "none twice: identifiers" in once.reason
    cells = [str(BIG + 1 + 2 * (row % 30)) for row in range(40)]
    for one in (read_label("k", cells), read_label("k", cells, kind="regression")):
        assert one.target is not None
        assert one.target.kind == "regression"
        assert f"{BIG + 1} are rounded" in one.reason
        assert "label_kind=class" in one.reason
    assert read_label("k", [BIG + 1] * 9).reason == f"every filled cell is {BIG + 1}"


def test_exact_numbers_are_read_as_before() -> None:
    assert not first_inexact([BIG, 2**60, 1e300, "1e300", True, None, "12", str(2**62), "1" * 15, "nan", 0.1])
    assert first_inexact([1, str(BIG + 1)]) == str(BIG + 1)
    times = read_label("k", [1.7e18 + 1e9 * row for row in range(40)])
    assert times.target is not None
    assert times.target.kind == "regression"
    assert "rounded" not in times.reason


def test_a_model_answers_the_class_that_is_written() -> None:
    with expecting(TargetSpec("k", "class", names=(str(BIG), "7"))):
        found = read_label("k", [str(BIG + 1), str(BIG), "7.0"])
    assert found.target is not None
    assert found.target.names == (str(BIG), "7", str(BIG + 1))
    np.testing.assert_array_equal(found.values, [2, 0, 1])


@pytest.mark.parametrize("name", ["int64", "Int64", "text", "arrow"])
def test_labels_beside_objects_keep_every_digit(name: str) -> None:
    values = [*PAIR] * 6
    labels: Any = {
        "int64": lambda: np.array(values, np.int64),
        "Int64": lambda: pd.array(values, dtype="Int64"),
        "text": lambda: list(map(str, values)),
        "arrow": lambda: pd.array(values, dtype=pd.ArrowDtype(pa.int64())),
    }[name]()
    frame = pd.DataFrame({"points": [np.full((3, 2), float(row)) for row in range(12)], "k": labels})
    reader = given_reader(frame, lambda *_: pytest.fail("opened"), None)
    assert [one.names for one in reader.targets] == [tuple(map(str, PAIR))]
    assert [reader[row].targets["k"] for row in range(4)] == [0, 1, 0, 1]


@pytest.mark.parametrize("kind", ["Int64", "Float64", "boolean", "string"])
def test_gaps_of_a_nullable_column_beside_objects_are_missing_labels(kind: str) -> None:
    cells: list[Any] = {"string": ["a", None, "b"]}.get(kind, [1, None, 0])  # type: ignore[assignment]
    frame = pd.DataFrame({"points": [np.full((3, 2), float(row)) for row in range(12)]})
    frame["k"] = pd.array(cells * 4, dtype=kind)
    reader = given_reader(frame, lambda *_: pytest.fail("opened"), None)
    assert len(reader.targets) == 1
    assert [bool(np.isnan(reader[row].targets["k"])) for row in range(3)] == [False, True, False]
    pairs = given_reader(list(zip(frame["points"], frame["k"], strict=True)), lambda *_: pytest.fail("opened"), None)
    assert len(pairs.targets) == 1
    assert np.isnan(pairs[1].targets["label"])
