"""Rows that repeat another row: a random split says how many test rows it has seen, or keeps copies together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from repcore import registry
from repcore.data.copies import copies_across, joined_keys
from repcore.evaluation.copied_rows import with_copies
from repcore.evaluation.probing import LabelledRows, read_rows, split_plan
from repcore.interfaces import Item, Sample
from repcore.specs import TargetSpec
from repcore.training.finetune_parts import with_validation

VALUE = TargetSpec("y", "regression")
TIMES = 6


class Words:
    """Forty words, each six times: three times as it is, three times in capitals; the label is the word's number."""

    targets: Sequence[TargetSpec] = (VALUE,)
    splits: Mapping[str, Sequence[int]] = {}
    fingerprint = "words"

    def __len__(self) -> int:
        return 40 * TIMES

    def __getitem__(self, row: int) -> Sample:
        word = f"word-{row % 40}"
        return Sample(f"{row:03d}", word.upper() if (row // 40) % 2 else word, {"y": float(row % 40)})


class Lower:
    """Prepares both spellings alike."""

    def prepare(self, sample: Sample) -> list[Item]:
        return [Item(np.frombuffer(sample.inputs.lower().encode(), np.uint8))]

    def cost(self, meta: Mapping[str, Any]) -> int:
        return 1


def error_of_memory(train: np.ndarray, test: np.ndarray, rows: LabelledRows) -> float:
    """RMSE of a model that knows every training word by heart and else says the mean."""
    labels = rows.labels(VALUE)
    known = {str(rows.samples[row].inputs).lower(): labels[row] for row in train}  # type: ignore[union-attr]
    guess = [known.get(str(rows.samples[row].inputs).lower(), labels[train].mean()) for row in test]  # type: ignore[union-attr]
    return float(np.sqrt(np.mean((labels[test] - np.asarray(guess)) ** 2)))


@pytest.mark.parametrize("split", ["random", "folds:4"])
def test_copies_x_6_are_said_and_kept_together_on_demand(split: str) -> None:
    preprocessor: Any = Lower()
    known = registry.default()
    rows = with_copies(read_rows(Words()), preprocessor)  # type: ignore[arg-type]
    plan = split_plan(known, "", rows, VALUE, split, [0])
    said = copies_across(plan, rows.copies, rows.ids)
    tested = sum(len(one.test) for one in plan.folds[0])
    assert said.startswith(f"{tested} of {tested} test rows are copies of training rows")
    assert "--keep-copies-together" in said
    assert error_of_memory(plan.folds[0][0].train, plan.folds[0][0].test, rows) == 0.0

    together = with_copies(read_rows(Words()), preprocessor, together=True)  # type: ignore[arg-type]
    kept = split_plan(known, "", together, VALUE, split, [0])
    assert copies_across(kept, together.copies, together.ids) == ""
    assert kept.title == f"{split}, copies together"
    for one in kept.folds[0]:
        assert error_of_memory(one.train, one.test, together) > 5.0
    validated = with_validation(kept.folds[0][0], together, VALUE, 0)
    assert validated.validation is not None
    assert error_of_memory(validated.train, validated.validation, together) > 5.0


def test_data_without_copies_are_split_as_if_they_were_not_asked_for() -> None:
    rows = with_copies(read_rows(Words()))  # type: ignore[arg-type]
    alone = dataclasses.replace(rows, copies=[None] * len(rows.ids), together=True)
    plain = dataclasses.replace(alone, together=False)
    for split in ("random", "folds:4"):
        kept, free = (split_plan(registry.default(), "", one, VALUE, split, [0]) for one in (alone, plain))
        assert kept.title == free.title
        for one, other in zip(kept.folds[0], free.folds[0], strict=True):
            np.testing.assert_array_equal(one.test, other.test)


def test_equal_inputs_are_found_without_a_preprocessor_and_other_spellings_are_not() -> None:
    rows = with_copies(read_rows(Words()))  # type: ignore[arg-type]
    assert rows.copies[0] == rows.copies[80] == rows.copies[160]
    assert rows.copies[40] == rows.copies[120]
    assert rows.copies[0] != rows.copies[40]


def test_data_without_copies_are_split_as_ever() -> None:
    class Single(Words):
        def __len__(self) -> int:
            return 40

    plain = read_rows(Single())  # type: ignore[arg-type]
    rows = with_copies(plain, together=False)
    assert set(rows.copies) == {None}
    first, second = (split_plan(registry.default(), "", one, VALUE, "random", [3]) for one in (plain, rows))
    assert copies_across(second, rows.copies, rows.ids) == ""
    np.testing.assert_array_equal(first.folds[0][0].test, second.folds[0][0].test)


def test_keys_join_through_others() -> None:
    keys = joined_keys([["p1"], ["p2", "c"], ["c"], [], ["p3"]])
    assert keys[1] == keys[2]
    assert keys[3] is None
    assert len({keys[0], keys[1], keys[4]}) == 3
    assert joined_keys([["p1"], ["c"], ["c"]], alone=False)[0] is None
