"""Streams that look at labels: balanced classes, pairs, labelled beside unlabelled; pure in (seed, micro-batch)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from repcore.data.samplers import BalancedOrder, MixedOrder, PairOrder, endless
from repcore.data.stream import StreamOrder
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Progress

PROGRESS = Progress(step=0, total_steps=10)
ROWS = np.arange(100, 140)
CLASSES = np.array([0] * 20 + [1] * 10 + [2] * 6 + [3] * 2 + [-1] * 2)
CLASS_OF = dict(zip(ROWS.tolist(), CLASSES.tolist(), strict=True))


def rows_of(order: StreamOrder, micro_batch: int) -> list[int]:
    return [key.index for key in order.keys(micro_batch, PROGRESS)]


def test_balanced_batches_show_classes_in_equal_parts() -> None:
    order = BalancedOrder(ROWS, 8, 3, classes=CLASSES, per_class=4)
    shown: Counter[int] = Counter()
    for number in range(20):
        rows = rows_of(order, number)
        counts = Counter(CLASS_OF[row] for row in rows)
        assert sorted(counts.values()) == [4, 4]
        assert -1 not in counts
        shown.update(counts)
    assert set(shown.values()) == {40}  # four classes in turn
    seen = [row for number in range(10) for row in rows_of(order, number) if CLASS_OF[row] == 0]
    assert sorted(seen) == list(range(100, 120))  # the rows of a class in turn


def test_few_classes_fill_the_batch() -> None:
    order = BalancedOrder(ROWS[:30], 9, 0, classes=CLASSES[:30], per_class=2)
    assert sorted(Counter(CLASS_OF[row] for row in rows_of(order, 5)).values()) == [4, 5]
    alone = BalancedOrder(ROWS[36:38], 6, 0, classes=CLASSES[36:38], per_class=2)
    assert Counter(rows_of(alone, 0)) == {136: 3, 137: 3}
    keys = alone.keys(0, PROGRESS)
    assert len({key.seed for key in keys}) == 6  # a row that comes twice is drawn twice


@pytest.mark.parametrize("kind", ["balanced", "pairs", "mixed"])
def test_any_micro_batch_is_known_without_those_before(kind: str) -> None:
    def make(rank: int = 0, world: int = 1) -> StreamOrder:
        if kind == "balanced":
            return BalancedOrder(ROWS, 8, 5, classes=CLASSES, per_class=2, rank=rank, world=world)
        if kind == "pairs":
            return PairOrder(ROWS, 8, 5, classes=CLASSES, rank=rank, world=world)
        return MixedOrder(ROWS[:38], 8, 5, unlabelled=np.arange(38, 60), ratio=3.0, rank=rank, world=world)

    first, second = make(), make()
    for number in range(6):
        first.keys(number, PROGRESS)
    assert first.keys(6, PROGRESS) == second.keys(6, PROGRESS)
    apart = [make(rank, 2).keys(3, PROGRESS) for rank in (0, 1)]
    assert apart == [first.keys(6, PROGRESS), first.keys(7, PROGRESS)]  # devices share one stream


def test_pairs_are_of_one_class() -> None:
    order = PairOrder(ROWS, 8, 1, classes=CLASSES)
    firsts: list[int] = []
    for number in range(10):
        rows = rows_of(order, number)
        firsts += rows[:4]
        for one, other in zip(rows[:4], rows[4:], strict=True):
            assert CLASS_OF[one] == CLASS_OF[other]
            assert (one != other) == (CLASS_OF[one] >= 0)  # what has no class is its own partner
    assert sorted(firsts) == ROWS.tolist()  # an epoch of anchors
    with pytest.raises(ConfigError, match=r"data.batch_size=7 is odd"):
        PairOrder(ROWS, 7, 1, classes=CLASSES)


def test_labelled_and_unlabelled_rows_keep_their_ratio() -> None:
    free = np.arange(200, 215)
    order = MixedOrder(ROWS, 10, 1, unlabelled=free, ratio=4.0)
    assert order.micro_batches_per_epoch == 20  # of the labelled rows
    labelled = [row for number in range(20) for row in rows_of(order, number)[:2]]
    unlabelled = [row for number in range(15) for row in rows_of(order, number)[2:]]
    assert sorted(labelled) == ROWS.tolist()
    assert sorted(unlabelled) == sorted(free.tolist() * 8)
    with pytest.raises(DataError, match="no training row is without a label"):
        MixedOrder(ROWS, 10, 1, unlabelled=free[:0], ratio=4.0)
    with pytest.raises(ConfigError, match="no room for 1 labelled row to 99 unlabelled"):
        MixedOrder(ROWS, 10, 1, unlabelled=free, ratio=99.0)


def test_streams_without_classes_are_refused() -> None:
    with pytest.raises(DataError, match="no training row has a class"):
        BalancedOrder(ROWS, 8, 0, classes=np.full(len(ROWS), -1), per_class=4)
    with pytest.raises(ConfigError, match=r"data.per_class=9 is above data.batch_size=8"):
        BalancedOrder(ROWS, 8, 0, classes=CLASSES, per_class=9)


def test_an_endless_stream_of_permutations() -> None:
    whole = endless(4, ("x",), 7, 0, 30)
    assert sorted(whole[7:14].tolist()) == list(range(7))
    np.testing.assert_array_equal(endless(4, ("x",), 7, 11, 9), whole[11:20])


def test_a_small_batch_shows_the_classes_that_a_loss_needs() -> None:
    order = BalancedOrder(ROWS, 8, 3, classes=CLASSES, per_class=4, fewest=3)
    assert order.per_class == 2
    for number in range(6):
        assert len({CLASS_OF[row] for row in rows_of(order, number)}) >= 3
    tiny = BalancedOrder(ROWS, 3, 3, classes=CLASSES, per_class=4, fewest=3)  # K above the batch, too
    assert len({CLASS_OF[row] for row in rows_of(tiny, 0)}) == 3
    roomy = BalancedOrder(ROWS, 12, 3, classes=CLASSES, per_class=4, fewest=3)
    plain = BalancedOrder(ROWS, 12, 3, classes=CLASSES, per_class=4)
    assert [rows_of(roomy, number) for number in range(4)] == [rows_of(plain, number) for number in range(4)]


@pytest.mark.parametrize(("rows", "size", "way"), [(40, 2, "batch_size=12"), (30, 12, "labels of 3 classes")])
def test_impossible_batches_are_refused_with_their_numbers(rows: int, size: int, way: str) -> None:
    with pytest.raises(ConfigError, match=rf"3 classes.*batch_size={size} and data.per_class=4") as caught:
        BalancedOrder(ROWS[:rows], size, 0, classes=CLASSES[:rows], per_class=4, fewest=3)
    assert way in str(caught.value)
