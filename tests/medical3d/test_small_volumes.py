"""The judge of the preset `small` on labels of voxels: which scans fit, which choose, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from tests.medical3d.benchmark_parts import small_volumes as judge


def test_dice_is_the_mean_over_foreground_classes_of_the_scan() -> None:
    labels = np.asarray([0, 0, 1, 1, 1, 1, 2, 2])
    answered = np.asarray([0, 1, 1, 1, 0, 0, 2, 2])
    assert judge.dice(answered, labels) == pytest.approx((2 * 2 / (3 + 4) + 1) / 2)
    assert judge.dice(np.where(labels == 2, 0, labels), labels) == 0.5
    assert judge.dice(np.full(4, 2), np.asarray([0, 1, 1, 1])) == 0.0  # only classes of the labels count


def test_scans_that_choose_are_not_those_that_fit_and_numbers_are_nested() -> None:
    train = np.arange(100, 190)
    few, every = judge.Labelled(train, 10), judge.Labelled(train, 0)
    assert len(few.rows) == 10
    assert every.rows.tolist() == train.tolist()
    for part in (few, every):
        assert not set(part.kept) & set(part.held)
        assert set(part.kept) | set(part.held) <= set(part.rows)
        assert len(part.held) <= judge.HELD
    assert set(few.rows) <= set(every.rows)


def test_voxels_are_drawn_alike_for_every_side_and_class() -> None:
    part = judge.Labelled(np.arange(6), 0)
    labels = np.repeat([0, 1, 2], [40_000, 3000, 200])
    own = np.arange(len(labels), dtype=np.float32)[:, None]
    part.add(3, {"place": own, "trained all-linear": -own}, labels)
    found, classes = part.drawn[3]
    assert np.bincount(classes).tolist() == [1000, 1000, 200]  # 6,000 a class over six scans
    np.testing.assert_array_equal(found["place"], -found["trained all-linear"])
    np.testing.assert_array_equal(labels[found["place"][:, 0].astype(int)], classes)
    assert part.frequency[3] == {0: 40_000, 1: 3000, 2: 200}
    part.add(9, {"place": own}, labels)
    assert 9 not in part.drawn  # no labelled scan


def test_sides_have_their_own_features_and_names() -> None:
    sides = ["trained", "random twin"]
    own = judge.candidates("trained", sides)
    assert {name.split()[0] for names, _ in own for name in names[:1]} == {"trained"}
    assert all(names[1] in ("place", "filters-and-place") for names, _ in own)
    raw = judge.candidates("baseline", sides)
    assert all(len(names) == 1 for names, _ in raw)
    assert judge.in_words("trained", own[0]) == "all-linear + place, dense-mlp@1"
