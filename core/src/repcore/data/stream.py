"""The endless training stream: order and seeds are a pure function of (run seed, epoch, index).

Epoch e is a permutation of the training items drawn from (seed, e); the stream is epoch after epoch without a gap
and without a dropped remainder. An optimiser step covers as many stream positions as all devices take in all its
micro-batches, which are dealt out to these in turn: which micro-batches a step has does not depend on how many devices
make them. So a run can go on from any optimiser step without saved sampler state, with any number of loader workers.

Where rows lie in shards that have to be fetched, epochs are shuffled by blocks (:func:`block_shuffled`): few shards are
read at a time, and each once an epoch.

With known costs, a window of 64 steps is sorted by cost, cut into steps of similar items, and the steps are
shuffled: padding shrinks, every item still comes once an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from repcore.data.seeds import generator, mix
from repcore.errors import DataError
from repcore.interfaces import Progress

WINDOW_BATCHES = 64


@dataclass(frozen=True, slots=True)
class ItemKey:
    """What a loader worker needs for one training item."""

    index: int
    seed: int
    progress: Progress


class Blocks(NamedTuple):
    """How an epoch is shuffled by blocks.

    Args:
        rows: neighbours that make up a block.
        mixed: blocks whose rows are shuffled with each other.
    """

    rows: int
    mixed: int


def block_shuffled(indices: np.ndarray, blocks: Blocks, draw: np.random.Generator) -> np.ndarray:
    """Places of ``indices`` in an order that reads few blocks at a time, int64 (N,).

    Blocks are taken in random order, ``mixed`` together, whose rows are then shuffled. Block k holds the rows
    [k * rows, (k + 1) * rows) as far as they are among the indices, so that blocks are shards of that many rows.
    """
    numbers, block_of = np.unique(indices // blocks.rows, return_inverse=True)
    together = draw.permutation(len(numbers))[block_of] // blocks.mixed
    return np.lexsort((draw.random(len(indices)), together))


class StreamOrder:
    """Which items make up micro-batch m on this device.

    Args:
        indices: rows of the data set that belong to the training split.
        batch_size: items of a micro-batch on one device.
        seed: run seed.
        costs: cost of each entry of ``indices``, to form batches of similar cost; None = plain order.
        world / rank: number of devices and this one's number.
        accumulate: micro-batches of an optimiser step on one device.
        blocks: shuffle epochs by blocks; None = all rows with each other.

    Raises:
        DataError: no items.
    """

    def __init__(
        self,
        indices: Sequence[int] | np.ndarray,
        batch_size: int,
        seed: int,
        *,
        costs: np.ndarray | None = None,
        world: int = 1,
        rank: int = 0,
        accumulate: int = 1,
        blocks: Blocks | None = None,
    ) -> None:
        self.indices = np.asarray(indices, dtype=np.int64)
        if len(self.indices) == 0:
            raise DataError("the training split is empty", hint="lower data.validation_share or check the data")
        self.batch_size, self.seed, self.world, self.rank = batch_size, seed, world, rank
        self.accumulate = accumulate
        self.costs = None if costs is None else np.asarray(costs)
        self.blocks = blocks
        self._epochs: dict[int, np.ndarray] = {}
        self._window: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    @property
    def micro_batches_per_epoch(self) -> float:
        """Micro-batches on this device for one pass over the items."""
        return len(self.indices) / (self.world * self.batch_size)

    def epoch_of(self, micro_batch: int) -> int:
        """Epoch in which a micro-batch begins."""
        return micro_batch * self.world * self.batch_size // len(self.indices)

    def positions(self, micro_batch: int) -> np.ndarray:
        """Stream positions of this device's items in a micro-batch, int64 (batch_size,)."""
        step, within = divmod(micro_batch, self.accumulate)
        if self.costs is None:
            block = np.arange(step * self._step_items, (step + 1) * self._step_items)
        else:
            window, place = divmod(step, WINDOW_BATCHES)
            block = self._sorted_window(window)[place]
        return block[within * self.world + self.rank :: self.accumulate * self.world]

    @property
    def _step_items(self) -> int:
        return self.accumulate * self.world * self.batch_size

    def keys(self, micro_batch: int, progress: Progress) -> list[ItemKey]:
        """Rows and seeds of this device's items in a micro-batch."""
        keys = []
        for position in self.positions(micro_batch):
            epoch, within = divmod(int(position), len(self.indices))
            index = int(self.indices[self._epoch(epoch)[within]])
            keys.append(ItemKey(index, mix(self.seed, "item", epoch, index), progress))
        return keys

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            if len(self._epochs) > 2:  # a window straddles at most a few epochs of a tiny data set
                self._epochs.pop(min(self._epochs))
            draw = generator(self.seed, "order", epoch)
            self._epochs[epoch] = (
                draw.permutation(len(self.indices))
                if self.blocks is None
                else block_shuffled(self.indices, self.blocks, draw)
            )
        return self._epochs[epoch]

    def _sorted_window(self, number: int) -> np.ndarray:
        """Stream positions of a window as (WINDOW_BATCHES, items of a step)."""
        if self._window[0] != number:
            whole = self._step_items
            positions = np.arange(number * WINDOW_BATCHES * whole, (number + 1) * WINDOW_BATCHES * whole)
            epochs, within = np.divmod(positions, len(self.indices))
            entries = np.empty(len(positions), np.int64)
            for epoch in np.unique(epochs):
                chosen = epochs == epoch
                entries[chosen] = self._epoch(int(epoch))[within[chosen]]
            assert self.costs is not None
            order = np.argsort(self.costs[entries], kind="stable")
            batches = positions[order].reshape(WINDOW_BATCHES, whole)
            shuffled = generator(self.seed, "window", number).permutation(WINDOW_BATCHES)
            self._window = (number, batches[shuffled])
        return self._window[1]


class EndlessBatches:
    """Batch sampler over a :class:`StreamOrder`, from any micro-batch on; it never ends.

    Args:
        order: the stream.
        start: first micro-batch.
        accumulate: micro-batches of one optimiser step.
        total_steps: optimiser steps of the whole run, for :class:`Progress`.
    """

    def __init__(self, order: StreamOrder, *, start: int, accumulate: int, total_steps: int) -> None:
        self.order, self.start, self.accumulate, self.total_steps = order, start, accumulate, total_steps

    def progress(self, step: int) -> Progress:
        """Where the run is at an optimiser step."""
        per_epoch = self.order.micro_batches_per_epoch / self.accumulate
        return Progress(
            step=step,
            total_steps=self.total_steps,
            epoch=self.order.epoch_of(step * self.accumulate),
            total_epochs=self.total_steps / per_epoch,
            steps_per_epoch=max(1, round(per_epoch)),
        )

    def __iter__(self) -> Iterator[list[ItemKey]]:
        micro_batch = self.start
        while True:
            yield self.order.keys(micro_batch, self.progress(micro_batch // self.accumulate))
            micro_batch += 1
