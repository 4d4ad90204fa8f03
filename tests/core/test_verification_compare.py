"""Every comparison kind and modifier of golden format 1: what passes, and what must fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from repcore.errors import DataError
from repcore.verification.compare import Extras, check_rule, compare_tensor
from repcore.verification.documents import Unavailable, compare_document, compare_lines
from repcore.verification.golden import Golden

NAN, INF = float("nan"), float("inf")


def passes(stored: Any, produced: Any, rule: dict[str, Any], **extras: torch.Tensor) -> bool:
    return compare_tensor("x", torch.as_tensor(stored), produced, rule, Extras(**extras)).passed


def test_exact() -> None:
    rule = {"kind": "exact"}
    assert passes([1, 2], torch.tensor([1, 2], dtype=torch.int32), rule)
    assert passes([True, False], [1, 0], rule)
    assert not passes([1, 2], [1, 3], rule)
    assert not passes([1, 2], [1.0, 2.0], rule)  # a float result is not an integer result
    assert passes([0.5, NAN], [0.5, NAN], rule)
    assert passes([0.1], torch.tensor([0.1], dtype=torch.float64), rule)  # cast to float32 first
    assert not passes([0.1], [0.1000001], rule)
    assert not passes([2**60], [2**60 + 1], rule)  # beyond what a float could tell


def test_absolute_and_the_shape_of_scalars() -> None:
    rule = {"kind": "absolute", "tolerance": 0.1}
    assert passes([1.0], torch.tensor(1.05), rule)
    assert not passes([1.0], torch.tensor(1.2), rule)
    assert not passes([[1.0, 2.0]], [[1.0], [2.0]], rule)
    assert not passes([1.0, 1.0], [1.0], rule)


def test_produced_values_are_cast_to_the_stored_dtype_first() -> None:
    stored = torch.tensor([0.04], dtype=torch.float32)
    assert passes(stored, torch.tensor([0.04], dtype=torch.float64), {"kind": "absolute", "tolerance": 1e-12})


@pytest.mark.parametrize(
    "kind", [{"kind": "absolute", "tolerance": 1e9}, {"kind": "allclose", "rtol": 1.0, "atol": 1e9}]
)
def test_no_tolerance_hides_values_that_are_not_finite(kind: dict[str, Any]) -> None:
    assert not passes([1.0], [NAN], kind)
    assert not passes([1.0], [INF], kind)
    assert not passes([INF], [1.0], kind)
    assert not passes([INF], [-INF], kind)
    assert passes([INF, NAN], [INF, NAN], kind)
    assert not passes([INF], [INF], {**kind, "must_be_finite": True})


def test_relative_to_max_and_allclose() -> None:
    assert passes([0.0, 100.0], [0.9, 100.0], {"kind": "relative_to_max", "tolerance": 0.01})
    assert not passes([0.0, 100.0], [1.1, 100.0], {"kind": "relative_to_max", "tolerance": 0.01})
    assert not passes([0.0], [1e-9], {"kind": "relative_to_max", "tolerance": 0.01})
    assert passes([100.0, 0.0], [100.9, 0.05], {"kind": "allclose", "rtol": 0.01, "atol": 0.06})
    assert not passes([100.0, 0.0], [100.9, 0.07], {"kind": "allclose", "rtol": 0.01, "atol": 0.06})


def test_errors_are_measured() -> None:
    row = compare_tensor("x", torch.tensor([1.0, -4.0]), [1.5, -4.0], {"kind": "absolute", "tolerance": 1.0})
    assert (row.max_absolute, row.max_relative, row.compared) == (0.5, 0.125, 2)


def test_directions_whose_sign_is_free() -> None:
    rule = {"kind": "cosine_sign_free", "tolerance": 1e-5}
    assert passes([[1.0, 0.0], [0.0, 2.0]], [[-3.0, 0.0], [0.0, 1.0]], rule)
    assert not passes([[1.0, 0.0]], [[1.0, 0.1]], rule)
    assert not passes([[1.0, 0.0]], [[0.0, 0.0]], rule)


def test_partitions_up_to_relabelling() -> None:
    rule = {"kind": "partition", "agreement": 0.8}
    assert passes([0, 0, 1, 1, 2], [7, 7, 3, 3, 0], rule)
    assert passes([0, 0, 1, 1, 2], [7, 7, 3, 3, 3], rule)  # one of five moved
    assert not passes([0, 0, 1, 1, 2], [7, 7, 7, 7, 7], rule)  # merging everything agrees on two


def test_valid_rows_leave_padding_out() -> None:
    rule = {"kind": "absolute", "tolerance": 0.0, "valid_rows": "mask"}
    stored, produced = torch.zeros(2, 2, 3), torch.zeros(2, 2, 3)
    produced[0, 1] = 9.0
    mask = torch.tensor([[1, 0], [1, 1]])
    assert passes(stored, produced, rule, valid=mask)
    produced[1, 1] = 9.0
    assert not passes(stored, produced, rule, valid=mask)
    with pytest.raises(DataError, match="valid_rows 'mask'"):
        passes(stored, produced, rule)


def test_ignored_rows_and_allowed_outliers() -> None:
    rule = {"kind": "exact", "ignored_rows": [1]}
    assert passes([[1], [2], [3]], [[1], [9], [3]], rule)
    assert not passes([[1], [2], [3]], [[1], [2], [9]], rule)
    outliers = {"kind": "absolute", "tolerance": 0.1, "allowed_outliers": 2}
    assert passes([0.0] * 5, [1.0, 1.0, 0.0, 0.0, 0.0], outliers)
    assert not passes([0.0] * 5, [1.0, 1.0, 1.0, 0.0, 0.0], outliers)


def test_entries_with_a_tiny_raw_gradient_are_skipped_only_when_it_is_given() -> None:
    rule = {"kind": "absolute", "tolerance": 0.1, "skip_where_raw_gradient_below": 1e-7}
    gradient = torch.tensor([1e-9, 1.0])
    assert passes([0.0, 0.0], [5.0, 0.0], rule, raw_gradient=gradient)
    assert not passes([0.0, 0.0], [0.0, 5.0], rule, raw_gradient=gradient)
    assert not passes([0.0, 0.0], [5.0, 0.0], rule)


def test_alternative_is_used_after_the_first_rule_and_said() -> None:
    rule = {"kind": "exact", "alternative": {"when": "another resize", "kind": "absolute", "tolerance": 2}}
    stored = torch.tensor([10, 20], dtype=torch.uint8)
    row = compare_tensor("x", stored, torch.tensor([12, 20], dtype=torch.uint8), rule)
    assert row.passed
    assert "another resize" in row.detail
    assert not compare_tensor("x", stored, torch.tensor([13, 20], dtype=torch.uint8), rule).passed


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(DataError, match="roughly"):
        check_rule({"kind": "roughly"})
    with pytest.raises(DataError, match="tolerence"):
        check_rule({"kind": "absolute", "tolerence": 1.0})
    with pytest.raises(DataError, match="needs a number 'tolerance'"):
        passes([1.0], [1.0], {"kind": "absolute"})


def test_every_rule_of_the_shared_folders_is_known(shared: Path) -> None:
    folders = sorted(path.parent for path in (shared / "golden").glob("*/manifest.json"))
    assert len(folders) >= 7
    for folder in folders:
        golden = Golden.open(folder)
        for stage in golden.stages:
            check_rule(stage.compare)
        names = [name for stage in golden.stages for name in golden.expected(stage.name)]
        assert sorted(names) == sorted(golden.outputs)


DOCUMENT = {"a": {"train": [1, 2], "n": 3}, "b": {"train": [4], "n": 1, "note": "x"}}


def rows_pass(produced: Any, tmp_path: Path, fields: tuple[str, ...] = ("*.train", "*.n"), **rule: Any) -> bool:
    rows, _ = compare_document(DOCUMENT, produced, fields, {"kind": "exact_json", **rule}, tmp_path)
    return all(row.passed for row in rows)


def test_documents(tmp_path: Path) -> None:
    good = {"a": {"train": [2, 1], "n": 3}, "b": {"train": [4], "n": 1}}
    assert rows_pass(good, tmp_path, lists_as_sets=True)
    assert not rows_pass(good, tmp_path)
    assert not rows_pass({**good, "b": {"train": [4, 4], "n": 1}}, tmp_path, lists_as_sets=True)
    assert not rows_pass({"a": good["a"]}, tmp_path, lists_as_sets=True)  # one is missing
    assert not rows_pass({**good, "c": {"n": 0}}, tmp_path, lists_as_sets=True)  # one is invented
    assert not rows_pass({**good, "b": {"train": [4], "n": True}}, tmp_path, lists_as_sets=True)
    assert not rows_pass({}, tmp_path, ("nothing*",))


def test_flat_documents_with_tolerance(tmp_path: Path) -> None:
    stored = {"x.weight": 1.0, "y.weight": 2.0}

    def ok(produced: dict[str, float]) -> bool:
        rows, _ = compare_document(stored, produced, ("*",), {"kind": "exact_json", "rtol": 0.01}, tmp_path)
        return all(row.passed for row in rows)

    assert ok({"x.weight": 1.009, "y.weight": 2.0})
    assert not ok({"x.weight": 1.02, "y.weight": 2.0})
    assert not ok({"x.weight": 1.0})


def test_a_data_set_may_be_missing_only_outside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    good = {"a": {"train": [1, 2], "n": 3}}

    def failed(path: Path) -> tuple[bool, list[str]]:
        rows, missing = compare_document(
            DOCUMENT, {**good, "b": Unavailable(path)}, ("*.train", "*.n"), {"kind": "exact_json"}, folder
        )
        return not all(row.passed for row in rows), missing

    outside = tmp_path / "data.csv"
    assert failed(outside) == (False, [f"b: no data set at {outside}"])
    assert failed(folder / "data.csv")[0]
    outside.write_text("x")
    assert failed(outside)[0]


def test_lines() -> None:
    stored = [{"ids": [1, 2], "text": "a"}, {"text": None}, {"ids": [3], "text": "c"}]
    rule = {"kind": "exact_json", "ignored_lines": [2]}

    def ok(**produced: Any) -> bool:
        return all(row.passed for row in compare_lines(stored, produced, ("ids", "text"), rule))

    assert ok(ids=[[1, 2], None, [9]], text=["a", None, "other"])
    assert not ok(ids=[[1, 3], None, [3]], text=["a", None, "c"])
    assert not ok(ids=[[1, 2], [], [3]], text=["a", None, "c"])
    assert not ok(ids=[[1, 2], None], text=["a", None, "c"])
    assert not ok(text=["a", None, "c"])
    assert not ok(ids=[[1, 2], None, [3]], text=["a", None, "c"], more=[1, 2, 3])


def test_measured_rounding_is_granted_beyond_the_tolerance_and_never_hides_a_difference() -> None:
    for rule in ({"kind": "absolute", "tolerance": 0.1}, {"kind": "allclose", "rtol": 0.0, "atol": 0.1}):
        rounding = torch.tensor([0.05, 0.05])
        assert passes([1.0, 2.0], [1.14, 2.0], rule, rounding=rounding)
        assert not passes([1.0, 2.0], [1.16, 2.0], rule, rounding=rounding)
        assert not passes([1.0, 2.0], [1.14, 2.0], rule, rounding=torch.tensor([0.0, 9.0]))  # the other element's
        assert not passes([1.0, 2.0], [1.6, 2.0], rule, rounding=torch.tensor([9.0, 9.0]))  # at most four tolerances
        assert not passes([1.0, NAN], [1.14, 2.0], rule, rounding=rounding)
    assert not passes([1.0], [2.0], {"kind": "exact"}, rounding=torch.tensor([9.0]))
    row = compare_tensor("x", torch.tensor([1.0]), [1.14], {"kind": "absolute", "tolerance": 0.1},
                         Extras(rounding=torch.tensor([0.05])))  # fmt: skip
    assert row.max_absolute == pytest.approx(0.14)
    assert "1 of 1 differ, within the rounding of float32" in row.detail
