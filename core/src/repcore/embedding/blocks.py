"""Rows in blocks of work, each read, prepared and put through a network by one process.

How many rows a block has is a function of the data alone, so that results are the same, bit for bit, whoever works on
them: this process, several processes, or one that goes on where another was stopped. The first rows are looked at
before: how many items a row has, what they cost and weigh, and how long they take.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from repcore.data.shared_work import forks, processors, shared_out
from repcore.embedding.batch_memory import cost_budget
from repcore.embedding.options import InferenceOptions
from repcore.embedding.windows import WINDOW_ROWS, PreparedRow, prepare_row, prepared_windows, size_of
from repcore.interfaces import DatasetReader, Preprocessor
from repcore.memory import available_memory

BLOCKS = 64  # of much data: enough to share out evenly
FEW_BLOCKS = 8  # of few rows
LEAST_ITEMS = 8  # of a block, but for the last one
SORTED_BATCHES = 4  # of a block whose items differ in cost, so that like is batched with like
LOOKED_AT_ROWS = 8
LOOKED_AT_BYTES = 64 * 2**20
TRIAL_ITEMS = 8
MOST_PREPARING = 16  # processes that feed one device
WORTH_SECONDS = 2.0  # of work that is left: less is done before processes have begun
COPIES = 3  # of a block's prepared bytes, in the process that works on it

Result = TypeVar("Result")


@dataclass(slots=True)
class Look:
    """The first rows of the data.

    Args:
        rows: as prepared, by number; used again where their turn comes.
        seconds: of reading and preparing one.
        costs: of all their items.
        bytes: of the items of one.
    """

    rows: dict[int, PreparedRow]
    seconds: float
    costs: list[int]
    bytes: float

    @property
    def items_a_row(self) -> float:
        return max(1.0, len(self.costs) / max(1, sum(bool(row.items) for row in self.rows.values())))


def look_at(reader: DatasetReader, preprocessor: Preprocessor) -> Look:
    """The first few rows of the data, prepared; fewer where they are large."""
    found: dict[int, PreparedRow] = {}
    held = 0
    began = time.perf_counter()
    for row in range(min(LOOKED_AT_ROWS, len(reader))):
        found[row] = prepare_row(reader, preprocessor, row)
        held += sum(size_of(item.values) for item in found[row].items)
        if held > LOOKED_AT_BYTES:
            break
    count = max(1, len(found))
    costs = [preprocessor.cost(item.meta) for row in found.values() for item in row.items]
    return Look(found, (time.perf_counter() - began) / count, costs, held / count)


def block_rows(total: int, look: Look, batch_size: int, budget: int | None = None) -> int:
    """Rows of a block: a 64th of the data, and no fewer than fill a batch, or an 8th of few data.

    Args:
        total: rows of the data.
        budget: most padded cost of a batch.
    """
    largest = max(look.costs, default=1)
    batch = batch_size if budget is None else max(1, min(batch_size, budget // max(1, largest)))
    if len(set(look.costs)) > 1 and look.items_a_row < batch:
        batch *= SORTED_BATCHES
    filling = -(-batch // look.items_a_row)
    few = max(LEAST_ITEMS // look.items_a_row, -(-total // FEW_BLOCKS))
    return int(max(1, min(WINDOW_ROWS, max(min(filling, few), -(-total // BLOCKS)))))


def decided(
    function: Callable[[list[PreparedRow], InferenceOptions], Any],
    preprocessor: Preprocessor,
    reader: DatasetReader,
    options: InferenceOptions,
    rows: int,
) -> tuple[InferenceOptions, dict[int, PreparedRow]]:
    """Options that leave nothing open: rows of a window, most cost of a batch, processes; and rows prepared on the way.

    Args:
        function: of prepared rows and options; tried on a few items, unless these are all there are.
        rows: that are to be worked on.
    """
    if options.item_timeout is not None:  # items may hang: none is looked at here
        spare = max(1, processors() - 1) if options.workers is None else options.workers
        return replace(options, window=options.window or WINDOW_ROWS, workers=spare), {}
    if None not in (options.window, options.workers, options.cost_budget):
        return options, {}
    look = look_at(reader, preprocessor)
    if len(look.rows) == len(reader) and len(look.costs) <= TRIAL_ITEMS:  # a trial would be the work itself
        return replace(options, window=options.window or WINDOW_ROWS, workers=options.workers or 0), look.rows
    trial, budget = trial_rows(look), options.cost_budget
    if budget is None and trial:
        with one_thread():
            budget = cost_budget(lambda few: function(few, options), trial, preprocessor, options.device)
    window = options.window or WINDOW_ROWS
    if options.window is None and shares_all(options):
        window = block_rows(len(reader), look, options.batch_size, budget)
    chosen = replace(options, cost_budget=budget, window=window)
    if chosen.workers is None:
        chosen = replace(chosen, workers=worth(look, rows, chosen, lambda few: function(few, chosen)))
    return chosen, look.rows


def shares_all(options: InferenceOptions) -> bool:
    """Whether processes share all of the work: another device than a CPU belongs to one process, and items with a time
    limit have processes of their own."""
    return options.item_timeout is None and torch.device(options.device).type == "cpu"


def trial_rows(look: Look) -> list[PreparedRow]:
    """A few items of rows that can be used."""
    found: list[PreparedRow] = []
    left = TRIAL_ITEMS
    for row in look.rows.values():
        if row.items and left:
            found.append(replace(row, items=row.items[:left]))
            left -= len(found[-1].items)
    return found


@dataclass(slots=True)
class Work(Generic[Result]):
    """One function from rows to rows: what every process does with its blocks."""

    function: Callable[[list[PreparedRow], InferenceOptions], Result]
    preprocessor: Preprocessor
    reader: DatasetReader
    options: InferenceOptions
    whole: bool
    held: dict[int, PreparedRow]

    def here(self, rows: np.ndarray) -> Iterator[Result]:
        """Results of a block: one, or several where its rows fill more than the bytes of a window."""
        for window in prepared_windows(
            self.reader, self.preprocessor, rows, most_rows=len(rows), most_bytes=self.options.window_bytes,
            whole=self.whole, held=self.held,
        ):  # fmt: skip
            yield self.function(window, self.options)

    def apart(self, rows: np.ndarray) -> list[Result]:
        """The same in another process."""
        return list(self.here(rows))


def in_blocks(work: Work[Result], rows: np.ndarray) -> Iterator[Result]:
    """The work on all rows, block by block, in order, by as many processes as its options say.

    Raises:
        WorkerLostError: a process was killed.
    """
    blocks = blocks_of(rows, work.options.window or WINDOW_ROWS)
    if work.options.workers:
        for found in shared_out(work.apart, blocks, work.options.workers):
            yield from found
        return
    for block in blocks:
        yield from work.here(block)


def blocks_of(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Rows cut into blocks; consecutive rows are cut where all rows of the data would be."""
    if not len(rows):
        return []
    is_run = int(rows[-1]) - int(rows[0]) + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    first = size - int(rows[0]) % size if is_run else size
    return [one for one in np.split(rows, range(first, len(rows), size)) if len(one)]


def worth(look: Look, rows: int, options: InferenceOptions, function: Callable[[list[PreparedRow]], Any]) -> int:
    """Processes that the work is worth: none for what is done in two seconds, else as many as there are processors and
    memory for.

    Args:
        rows: that are left.
        options: with the rows of a window.
        function: of prepared rows; tried on a few where processes would run it.
    """
    if not forks():
        return 0
    if not shares_all(options):
        spare = min(processors() - 1, MOST_PREPARING)
        return spare if rows * look.seconds > WORTH_SECONDS else 0
    window = options.window or WINDOW_ROWS
    held = COPIES * min(look.bytes * window, options.window_bytes)
    count = min(processors(), -(-rows // window), int(available_memory() / 4 / max(1.0, held)))
    if count < 2:
        return 0
    trial = trial_rows(look)
    seconds = _trial_seconds(function, trial) * look.items_a_row if trial else 0.0
    return count if rows * (look.seconds + seconds) > WORTH_SECONDS else 0


def _trial_seconds(function: Callable[[list[PreparedRow]], Any], trial: Sequence[PreparedRow]) -> float:
    """Seconds of one item, by one thread: as it will be computed, and the first call has warmed up."""
    with one_thread():
        for _ in range(2):
            began = time.perf_counter()
            function(list(trial))
            seconds = time.perf_counter() - began
    return seconds / sum(len(row.items) for row in trial)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch uses one thread inside: with a few items several wait for each other, on a busy machine for long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
