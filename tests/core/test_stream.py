"""The endless training stream: a pure function of seed and position, complete, and the same for any start."""

from __future__ import annotations

import itertools
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repcore.config import DataConfig, TrainerConfig
from repcore.data.seeds import generator, mix
from repcore.data.stream import WINDOW_BATCHES, Blocks, EndlessBatches, StreamOrder
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Progress
from repcore.training.plan import stream_order

HERE = Progress(step=0, total_steps=1)


def rows(order: StreamOrder, micro_batches: int, start: int = 0) -> list[list[int]]:
    return [[key.index for key in order.keys(number, HERE)] for number in range(start, start + micro_batches)]


def costs_of(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 100, count)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.booleans(), st.integers(0, 2**62))
def test_asking_out_of_order_or_again_gives_the_same(count: int, batch: int, bucketed: bool, seed: int) -> None:
    costs = costs_of(count) if bucketed else None
    first = StreamOrder(range(count), batch, seed, costs=costs)
    second = StreamOrder(range(count), batch, seed, costs=costs)
    numbers = [0, 1, 2, 70, 3, 200, 0, 70]
    forwards = [first.keys(number, HERE) for number in sorted(numbers)]
    anyhow = {number: second.keys(number, HERE) for number in numbers}
    assert forwards == [anyhow[number] for number in sorted(numbers)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 4))
def test_every_item_once_an_epoch(count: int, batch: int, epochs: int) -> None:
    """Whole epochs, cut where the batch borders do not fall on them."""
    order = StreamOrder(np.arange(count) * 3, batch, seed=1)
    stream = list(itertools.chain.from_iterable(rows(order, -(-count * epochs // batch))))
    for epoch in range(epochs):
        assert sorted(stream[epoch * count : (epoch + 1) * count]) == [3 * one for one in range(count)]


def test_epochs_differ_and_so_do_seeds() -> None:
    order = StreamOrder(range(30), 30, seed=1)
    first, second = rows(order, 2)
    assert first != second
    assert rows(StreamOrder(range(30), 30, seed=2), 1)[0] != first


def test_an_items_seed_depends_on_epoch_and_item_only() -> None:
    """So that the batch size, the number of devices and the order leave augmentations as they are."""

    def seeds(batch: int, world: int, costs: np.ndarray | None) -> set[tuple[int, int]]:
        orders = [StreamOrder(range(24), batch, 7, costs=costs, world=world, rank=rank) for rank in range(world)]
        found = [order.keys(number, HERE) for order in orders for number in range(24 // (batch * world))]
        return {(key.index, key.seed) for one in found for key in one}

    assert seeds(4, 1, None) == seeds(6, 2, None) == seeds(3, 4, None)
    order = StreamOrder(range(24), 24, 7)
    (first, second) = ({key.index: key.seed for key in order.keys(number, HERE)} for number in (0, 1))
    assert all(first[index] != second[index] for index in range(24))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_ranks_together_see_what_one_device_would(count: int, batch: int, world: int, bucketed: bool) -> None:
    costs = costs_of(count) if bucketed else None
    alone = StreamOrder(range(count), batch * world, 3, costs=costs)
    ranks = [StreamOrder(range(count), batch, 3, costs=costs, world=world, rank=rank) for rank in range(world)]
    for number in (0, 1, 5, 64):
        together = [key for order in ranks for key in order.keys(number, HERE)]
        assert Counter(together) == Counter(alone.keys(number, HERE))
        assert all(len(order.keys(number, HERE)) == batch for order in ranks)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.sampled_from([1, 2, 4]), st.booleans())
def test_a_step_has_the_same_micro_batches_whoever_makes_them(
    count: int, batch: int, world: int, bucketed: bool
) -> None:
    costs = costs_of(count) if bucketed else None
    alone = StreamOrder(range(count), batch, 3, costs=costs, accumulate=4)
    ranks = [
        StreamOrder(range(count), batch, 3, costs=costs, world=world, rank=rank, accumulate=4 // world)
        for rank in range(world)
    ]
    for step in (0, 1, 63, 64):
        own = [alone.keys(4 * step + place, HERE) for place in range(4)]
        dealt = [order.keys(4 // world * step + place, HERE) for place in range(4 // world) for order in ranks]
        assert dealt == own


def test_buckets_hold_similar_costs_and_every_item() -> None:
    count, batch = WINDOW_BATCHES * 8, 8
    costs = costs_of(count)
    bucketed = StreamOrder(range(count), batch, 0, costs=costs)
    plain = StreamOrder(range(count), batch, 0)
    window = rows(bucketed, WINDOW_BATCHES)
    assert sorted(itertools.chain(*window)) == list(range(count))

    def padding(batches: list[list[int]]) -> float:
        return float(np.mean([costs[one].max() * len(one) / costs[one].sum() for one in batches]))

    assert padding(window) < 1.05 < padding(rows(plain, WINDOW_BATCHES))
    heads = [costs[one].mean() for one in window]
    assert heads != sorted(heads), "batches are shuffled again, so that training does not see a ramp"


def test_equal_costs_still_give_every_item_once_an_epoch() -> None:
    order = StreamOrder(range(10), 3, 0, costs=np.ones(10))
    window = list(itertools.chain(*rows(order, WINDOW_BATCHES)))
    counted = Counter(window)
    whole, rest = divmod(len(window), 10)
    assert set(counted.values()) <= {whole, whole + 1}
    assert sum(value == whole + 1 for value in counted.values()) == rest


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("bucketed", [False, True])
def test_tiny_data_sets_fill_every_batch(count: int, bucketed: bool) -> None:
    """A batch larger than the data set runs through several epochs at once."""
    order = StreamOrder(range(count), 16, 0, costs=np.arange(count) if bucketed else None)
    for one in rows(order, 70):
        assert len(one) == 16
        assert set(one) <= set(range(count))
    assert order.micro_batches_per_epoch == count / 16


def test_an_empty_split_is_an_error() -> None:
    with pytest.raises(DataError, match="training split is empty"):
        StreamOrder([], 4, 0)


@pytest.mark.parametrize("bucketed", [False, True])
@pytest.mark.parametrize("start", [0, 1, 7, 63, 64, 65, 130])
def test_a_run_goes_on_from_anywhere(start: int, bucketed: bool) -> None:
    costs = costs_of(37) if bucketed else None

    def batches(first: int, count: int) -> list[object]:
        sampler = EndlessBatches(StreamOrder(range(37), 4, 5, costs=costs), start=first, accumulate=3, total_steps=50)
        return list(itertools.islice(iter(sampler), count))

    assert batches(0, start + 5)[start:] == batches(start, 5)


def test_progress_counts_optimiser_steps() -> None:
    sampler = EndlessBatches(StreamOrder(range(40), 4, 0), start=0, accumulate=2, total_steps=20)
    steps = [keys[0].progress.step for keys in itertools.islice(iter(sampler), 6)]
    assert steps == [0, 0, 1, 1, 2, 2]
    later = sampler.progress(7)  # 14 micro-batches of 4 = 56 items = epoch 1 of 40
    assert (later.epoch, later.total_steps, later.steps_per_epoch, later.total_epochs) == (1, 20, 5, 4.0)


def test_mix_separates_positions_words_and_order() -> None:
    seeds = [mix(1, 2), mix(2, 1), mix(1), mix(1, 0), mix(0, 1), mix("1"), mix("a", 1), mix(1, "a"), mix(), mix(-1)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= one < 2**63 for one in seeds)
    assert mix(12, "order", 3) == 8870436764425618808, "stored runs depend on this value"


def test_mix_flips_half_of_the_bits() -> None:
    """Avalanche: neighbouring inputs give unrelated seeds. Mean of 63 fair bits is 31.5, its error here 0.1."""
    changed = [bin(mix(0, number) ^ mix(0, number + 1)).count("1") for number in range(2000)]
    assert abs(np.mean(changed) - 31.5) < 0.5


def test_generators_are_independent_of_each_other() -> None:
    assert generator(1, "x").integers(1 << 62) == generator(1, "x").integers(1 << 62)
    draws = np.array([generator(0, "item", number).random() for number in range(2000)])
    assert abs(draws.mean() - 0.5) < 0.03  # 4.6 standard errors
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 5), st.booleans(), st.integers(0, 2**40))
def test_blocks_are_read_a_few_at_a_time_and_once_an_epoch(
    count: int, size: int, mixed: int, bucketed: bool, seed: int
) -> None:
    chosen = np.sort(np.random.default_rng(seed).permutation(2 * count)[:count])  # others are held out
    costs = costs_of(count) if bucketed else None
    order = StreamOrder(chosen, 1, seed, costs=costs, blocks=Blocks(size, mixed))
    if not bucketed:
        again = StreamOrder(chosen, 4, seed, blocks=Blocks(size, mixed))
        late = [row for batch in rows(again, 3, start=7) for row in batch]
        early = [row for batch in rows(order, 12, start=28) for row in batch]
        assert late == early
    for epoch in range(2) if not bucketed else ():
        stream = np.array(rows(order, count, start=epoch * count))[:, 0]
        assert sorted(stream) == chosen.tolist()
        numbers = stream // size
        groups: list[set[int]] = []
        for number in numbers:
            if not groups or (number not in groups[-1] and len(groups[-1]) == mixed):
                groups.append(set())
            groups[-1].add(int(number))
        assert sum(map(len, groups)) == len(set(numbers.tolist())), "a block that was left comes again"


def test_blocks_and_what_is_in_them_are_shuffled_anew_every_epoch() -> None:
    order = StreamOrder(range(60), 60, 3, blocks=Blocks(10, 2))
    first, second = rows(order, 2)
    assert [row // 10 for row in first] != [row // 10 for row in second]
    inside = [[row for row in epoch if row < 10] for epoch in (first, second)]
    assert sorted(inside[0]) == sorted(inside[1]) == list(range(10))
    assert inside[0] != inside[1]
    assert inside[0] != list(range(10))


@pytest.mark.parametrize("sampler", ["balanced", "pairs", "mixed"])
def test_an_order_by_labels_does_not_go_by_blocks(sampler: str) -> None:
    resolved = SimpleNamespace(
        data=DataConfig(block_rows=5, sampler=sampler),  # type: ignore[arg-type]
        trainer=TrainerConfig(),
        objective=SimpleNamespace(entry=SimpleNamespace(spec=None)),
    )
    parts: Any = SimpleNamespace(resolved=resolved, labels=None, train=np.arange(9))
    with pytest.raises(ConfigError, match=r"block_rows is for data\.sampler=uniform"):
        stream_order(parts)
