"""Splits: exact partition, group integrity, class shares, leakage detection, files by id."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repcore.data.split_files import read_split, split_hash, write_split
from repcore.data.split_plans import SplitInputs, SplitPlan, plan_splits
from repcore.data.splits import (
    check_leakage,
    declared_split,
    fold_splits,
    group_split,
    named_split,
    random_split,
    stratified_split,
)
from repcore.errors import ConfigError, DataError
from repcore.interfaces import ProbeSplit


def rows(split: ProbeSplit) -> list[int]:
    parts = [split.train, split.test] + ([split.validation] if split.validation is not None else [])
    return sorted(int(row) for part in parts for row in part)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.integers(3, 300), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_random_split_uses_every_row_once_in_the_given_shares(count: int, seed: int) -> None:
    split = random_split(count, generator=generator(seed))
    assert rows(split) == list(range(count))
    assert split.validation is not None
    # largest remainder: within one row of the exact share, except that no part may be empty
    assert abs(len(split.test) - 0.1 * count) <= 1
    again = random_split(count, generator=generator(seed))
    assert np.array_equal(split.train, again.train)


def test_random_splits_of_two_seeds_differ() -> None:
    assert not np.array_equal(
        random_split(100, generator=generator(0)).test, random_split(100, generator=generator(1)).test
    )


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (1.2, -0.4, 0.2)])
def test_impossible_fractions_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match="fractions"):
        random_split(10, generator=generator(), fractions=fractions)


def test_too_few_rows_are_refused_by_number() -> None:
    with pytest.raises(DataError, match=r"2 row\(s\) cannot fill 3 parts"):
        random_split(2, generator=generator())


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=20, max_size=200), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_stratified_split_keeps_class_shares(labels: list[str | None], seed: int) -> None:
    split = stratified_split(labels, generator=generator(seed))
    assert rows(split) == list(range(len(labels)))
    for name in set(labels):
        members = [row for row, label in enumerate(labels) if label == name]
        share = len(set(members) & {int(row) for row in split.test}) / len(members)
        # whole rows: at most two away from the part's exact share
        assert abs(share - len(split.test) / len(labels)) * len(members) <= 2.0


def test_stratified_split_refuses_a_continuous_target() -> None:
    with pytest.raises(DataError, match="all 30 labels are different"):
        stratified_split(np.arange(30) * 0.1, generator=generator())


@given(st.lists(st.sampled_from([*"abcdefghij", None]), min_size=12, max_size=150), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_groups_never_straddle(groups: list[str | None], seed: int) -> None:
    distinct = len({group for group in groups if group}) + sum(group is None for group in groups)
    if distinct < 3:
        with pytest.raises(DataError, match="cannot fill 3 parts"):
            group_split(groups, generator=generator(seed))
        return
    split = group_split(groups, generator=generator(seed))
    assert rows(split) == list(range(len(groups)))
    assert min(len(split.train), len(split.test), len(split.validation)) >= 1  # type: ignore[arg-type]
    check_leakage(split, groups=groups)


def test_a_group_larger_than_the_test_part_goes_to_train() -> None:
    groups = ["large"] * 60 + [f"small {i}" for i in range(40)]
    for seed in range(5):
        assert set(range(60)) <= {int(row) for row in group_split(groups, generator=generator(seed)).train}


def test_a_part_without_a_share_stays_empty() -> None:
    groups = [f"g{i % 13}" for i in range(60)]
    for split in (
        group_split(groups, generator=generator(), fractions=(0.5, 0.0, 0.5)),
        random_split(60, generator=generator(), fractions=(0.5, 0.0, 0.5)),
        stratified_split([i % 2 for i in range(60)], generator=generator(), fractions=(0.5, 0.0, 0.5)),
    ):
        assert split.validation is None
        assert 25 <= len(split.test) <= 35


@pytest.mark.parametrize("mode", ["plain", "labels", "groups"])
def test_folds_test_every_row_once(mode: str) -> None:
    labels = [i % 3 for i in range(50)]
    groups = [f"g{i // 4}" for i in range(50)]
    folds = fold_splits(
        50,
        5,
        generator=generator(),
        labels=labels if mode == "labels" else None,
        groups=groups if mode == "groups" else None,
    )
    assert sorted(int(row) for fold in folds for row in fold.test) == list(range(50))
    for fold in folds:
        assert rows(fold) == list(range(50))
        check_leakage(fold, groups=groups if mode == "groups" else None)
        if mode == "labels":
            counts = np.bincount([labels[int(row)] for row in fold.test], minlength=3)
            assert counts.max() - counts.min() <= 1


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(DataError, match="3 groups cannot fill 4 folds"):
        fold_splits(9, 4, generator=generator(), groups=list("aaabbbccc"))


def test_columns_name_parts_or_folds() -> None:
    (split,) = named_split(["Train", "valid", "TEST", "train", ""], source="split")
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == ([0, 3], [1], [2])  # type: ignore[union-attr]
    folds = named_split([1, 2, 1, 3], source="fold")
    assert [fold.test.tolist() for fold in folds] == [[0, 2], [1], [3]]
    with pytest.raises(DataError, match="column 'price' does not name a split"):
        named_split([f"{i}.5" for i in range(200)], source="price")


def test_declared_split_without_test_uses_validation() -> None:
    split = declared_split({"train": [0, 1], "val": [2]})
    assert split.test.tolist() == [2]
    assert split.validation is None
    with pytest.raises(DataError, match="declares no usable split"):
        declared_split({"train": [0, 1]})


def test_leakage_is_named() -> None:
    split = ProbeSplit(train=np.array([0, 1]), test=np.array([2, 3]))
    with pytest.raises(DataError, match=r"1 id\(s\) are in both the train and the test part: same"):
        check_leakage(split, ids=["same", "b", "c", "same"])
    with pytest.raises(DataError, match=r"1 group\(s\) .* speaker 7"):
        check_leakage(split, groups=["speaker 7", None, None, "speaker 7"])
    with pytest.raises(DataError, match=r"1 row\(s\)"):
        check_leakage(ProbeSplit(train=np.array([0, 1]), test=np.array([1])))
    check_leakage(split, ids=list("abcd"), groups=[None, None, None, None])


def test_plans_say_whether_seeds_change_the_split() -> None:
    inputs = SplitInputs(
        ids=[f"id {i}" for i in range(40)], groups=[f"g{i % 9}" for i in range(40)], labels=np.arange(40) % 2
    )
    assert plan_splits("random", inputs, (0, 1, 2)).seeded
    assert len(plan_splits("stratified-folds:4", inputs, (0, 1)).folds[1]) == 4
    fixed = plan_splits(
        lambda given, seed: ProbeSplit(np.arange(27, 36), np.arange(9)), inputs_without_groups(), (0, 1)
    )
    assert not fixed.seeded
    assert not SplitPlan.fixed(fixed.folds[0], 3).seeded
    for one in plan_splits("group", inputs, (0, 1, 2)).folds:
        check_leakage(one[0], groups=inputs.groups)


def inputs_without_groups() -> SplitInputs:
    return SplitInputs(ids=[str(i) for i in range(40)])


def test_a_plugin_split_that_breaks_groups_is_refused_unless_allowed() -> None:
    def careless(given: SplitInputs, seed: int) -> ProbeSplit:
        return ProbeSplit(train=np.array([0, 1]), test=np.array([2]))

    inputs = SplitInputs(ids=list("abc"), groups=["p", "q", "p"])
    with pytest.raises(DataError, match="group"):
        plan_splits(careless, inputs, (0,))
    plan_splits(careless, inputs, (0,), allow_shared_groups=True)


@pytest.mark.parametrize(
    ("split", "error", "words"),
    [
        ("randon", ConfigError, "did you mean: random"),
        ("group", DataError, "the data has none"),
        ("stratified", DataError, "one class label"),
        ("column:fold", DataError, "no column 'fold'"),
        ("declared", DataError, "declares no usable split"),
    ],
)
def test_what_a_split_lacks_is_said(split: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        plan_splits(split, inputs_without_groups(), (0,))
    assert words in str(caught.value)


def test_split_file_survives_reordered_rows(tmp_path: Path) -> None:
    ids = [f"mol {i}" for i in range(30)]
    split = random_split(30, generator=generator())
    write_split(tmp_path / "split.json", split, ids, title="random", seed=0)
    order = generator(1).permutation(30)
    moved = [ids[i] for i in order]
    read = read_split(tmp_path / "split.json", moved)
    assert {moved[row] for row in read.test} == {ids[row] for row in split.test}
    assert split_hash(read, moved) == split_hash(split, ids)
    assert not list(tmp_path.glob("*.part"))


def test_split_file_problems_are_named(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    write_split(path, ProbeSplit(np.array([0]), np.array([1])), ["a", "b"])
    with pytest.raises(DataError, match=r"1 of 2 ids of split\.json are not in the data"):
        read_split(path, ["a", "x"])
    with pytest.raises(DataError, match="more than once"):
        read_split(path, ["a", "a", "b"])
    path.write_text(json.dumps({"format": 1, "parts": {"train": ["a"], "test": ["a"]}}))
    with pytest.raises(DataError, match="both the train and the test part"):
        read_split(path, ["a", "b"])
    path.write_bytes(b"\x80\x00junk")
    with pytest.raises(DataError, match="cannot be read as a split file"):
        read_split(path, ["a"])
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match="is not a split file"):
        read_split(path, ["a"])
