"""Loaders over the endless training stream and the fixed validation batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from repcore.data.batching import LoadedBatch, TrainingCollator, TrainingItems
from repcore.data.seeds import mix
from repcore.data.stream import EndlessBatches, ItemKey
from repcore.data.workers import WorkerLoader
from repcore.embedding.windows import size_of
from repcore.interfaces import Progress
from repcore.specs import TargetSpec

HELD_BYTES = 256 * 2**20  # of validation batches that are kept from one validation to the next


class StreamLoader(WorkerLoader):
    """A loader without a state of its own: a resumed run builds it at the right micro-batch instead."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return None


class FixedBatches:
    """Batch sampler over given rows, in order of cost, the same at every validation.

    Each rank takes every ``world``-th batch; ``numbers`` are those of its batches among all. Seeds depend on the run
    seed and the row only.
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
        progress: Progress | None = None,
    ) -> None:
        rows = np.asarray(indices, dtype=np.int64)
        if costs is not None:
            rows = rows[np.argsort(costs, kind="stable")]
        batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        self.batches, self.numbers = batches[rank::world], range(rank, len(batches), world)
        self.seed = seed
        self.progress = progress or Progress(step=0, total_steps=1)

    def __len__(self) -> int:
        return len(self.batches)

    def after(self, count: int) -> FixedBatches:
        """Without the first ``count`` batches."""
        rest = copy.copy(self)
        rest.batches, rest.numbers = self.batches[count:], self.numbers[count:]
        return rest

    def __iter__(self) -> Iterator[list[ItemKey]]:
        for batch in self.batches:
            yield [ItemKey(int(row), mix(self.seed, "validation", int(row)), self.progress) for row in batch]


class HeldBatches:
    """Fixed batches that are read and prepared once, and kept as far as they fit: they are alike at every validation.

    What is given out is a copy, so that nobody changes what the next validation sees.

    Args:
        fixed: all of them.
        load: a loader over some of them.
        most_bytes: kept at most; the batches after these are made anew each time.
    """

    def __init__(
        self, fixed: FixedBatches, load: Callable[[FixedBatches], StreamLoader], most_bytes: int = HELD_BYTES
    ) -> None:
        self.numbers = fixed.numbers
        self._fixed, self._load, self._room = fixed, load, most_bytes
        self._held: list[LoadedBatch] = []

    def __iter__(self) -> Iterator[LoadedBatch]:
        yield from (copy.deepcopy(one) for one in self._held)
        rest = self._fixed.after(len(self._held))
        for loaded in self._load(rest) if len(rest) else ():
            self._room -= size_of(loaded.batch)
            if self._room < 0:  # and stays below: what is kept are the first ones, without a gap
                yield loaded
                continue
            self._held.append(loaded)
            yield copy.deepcopy(loaded)


def build_loader(
    items: TrainingItems,
    batches: EndlessBatches | FixedBatches,
    targets: Sequence[TargetSpec],
    *,
    domain: str,
    workers: int,
    pin_memory: bool,
) -> StreamLoader:
    """A loader of :class:`repcore.data.batching.LoadedBatch`."""
    return StreamLoader(
        items,
        batch_sampler=batches,
        collate_fn=TrainingCollator(items.preprocessor, targets, domain),
        num_workers=workers,
        persistent_workers=False,
        pin_memory=pin_memory,
        multiprocessing_context="fork" if workers and torch.multiprocessing.get_start_method() == "fork" else None,
    )
