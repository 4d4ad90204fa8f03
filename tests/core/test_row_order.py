"""The order of rows with ids never changes a probe's splits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from repcore.data.split_plans import SplitInputs, in_rows, order_by_id, plan_splits


def _parts(ids: list[str], split: str, labels: np.ndarray, groups: list[str]) -> list[list[str]]:
    order = order_by_id(ids)
    inputs = SplitInputs(ids=[ids[row] for row in order], labels=labels[order], groups=[groups[row] for row in order])
    plan = in_rows(plan_splits(split, inputs, [0, 1]), order)
    return [[ids[row] for row in part] for folds in plan.folds for one in folds for part in (one.train, one.test)]


@given(order=st.permutations(range(30)), split=st.sampled_from(["random", "stratified", "group", "folds:3"]))
def test_permuted_rows_give_the_same_parts_in_the_same_order(order: list[int], split: str) -> None:
    ids = [f"set/m{number}" for number in range(30)]
    labels, groups = np.arange(30) % 3, [f"g{number % 7}" for number in range(30)]
    shuffled = _parts([ids[row] for row in order], split, labels[order], [groups[row] for row in order])
    assert shuffled == _parts(ids, split, labels, groups)


def test_row_numbers_and_ids_that_are_not_unique_keep_their_order() -> None:
    assert order_by_id([str(number) for number in range(12)]).tolist() == list(range(12))
    assert order_by_id(["b", "a", "b"]).tolist() == [0, 1, 2]
