"""Validation batches are made once, kept within a bound, and are the same at every validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch

from repcore.data.batching import LoadedBatch
from repcore.embedding.windows import size_of
from repcore.interfaces import Batch
from repcore.training.loaders import FixedBatches, HeldBatches, StreamLoader

ROWS, SIZE = 10, 4
BATCH_BYTES = size_of(Batch(inputs=torch.zeros(SIZE, dtype=torch.int64), size=SIZE))


class Loads:
    """Stands in for loaders: a batch holds the numbers of its rows, and which rows were read is noted."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __call__(self, fixed: FixedBatches) -> StreamLoader:
        return cast(StreamLoader, self._batches(fixed))

    def _batches(self, fixed: FixedBatches) -> Iterator[LoadedBatch]:
        for keys in fixed:
            self.read += [key.index for key in keys]
            yield LoadedBatch(Batch(inputs=torch.tensor([key.index for key in keys]), size=len(keys)))


def held(most_bytes: int) -> tuple[HeldBatches, Loads]:
    loads = Loads()
    return HeldBatches(FixedBatches(np.arange(ROWS), SIZE, seed=0), loads, most_bytes), loads


def rows(batches: HeldBatches) -> list[list[int]]:
    pairs: list[tuple[int, Any]] = list(zip(batches.numbers, batches, strict=True))
    assert [number for number, _ in pairs] == [0, 1, 2]
    return [loaded.batch.inputs.tolist() for _, loaded in pairs]


WHOLE = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("most_bytes", "kept"), [(10**6, 10), (2 * BATCH_BYTES, 8), (BATCH_BYTES + 1, 4), (BATCH_BYTES - 1, 0)]
)
def test_batches_are_alike_each_time_and_only_what_is_not_kept_is_read_again(most_bytes: int, kept: int) -> None:
    batches, loads = held(most_bytes)
    for _ in range(3):
        assert rows(batches) == WHOLE
    assert loads.read == [*range(ROWS), *range(kept, ROWS), *range(kept, ROWS)]


def test_what_one_validation_does_to_its_batches_the_next_does_not_see() -> None:
    batches, _ = held(10**6)
    for _ in range(2):
        for loaded in batches:
            loaded.batch.inputs.zero_()
    assert rows(batches) == WHOLE


def test_a_validation_that_broke_off_leaves_what_it_made() -> None:
    batches, loads = held(10**6)
    next(iter(batches))
    assert rows(batches) == WHOLE
    assert loads.read == list(range(ROWS))
