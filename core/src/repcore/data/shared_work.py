"""Work shared out to processes: one function, many units, results in the order of the units.

Each process computes with one thread. Networks gain less from threads than from further processes, and threads that
wait for one another on a busy machine cost many times the work itself.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import Dataset

from repcore.data.spent import Handed, metered, taken
from repcore.data.workers import WorkerLoader

Unit = TypeVar("Unit")
Result = TypeVar("Result")

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class _Units(Dataset[Any], Generic[Unit, Result]):
    """Number of a unit -> its result, in a worker process."""

    def __init__(self, work: Callable[[Unit], Result], units: Sequence[Unit]) -> None:
        self.work, self.units = work, units

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, number: int) -> Handed[Result]:
        return metered(self.work, self.units[number])


def shared_out(work: Callable[[Unit], Result], units: Sequence[Unit], processes: int) -> Iterator[Result]:
    """``work(unit)`` of every unit, in order.

    Args:
        work: what it gives is pickled; it is pickled itself where processes are not forked.
        processes: how many work side by side; 0 = this one.

    Raises:
        WorkerLostError: one of the processes was killed.
    """
    if not processes:
        yield from map(work, units)
        return
    count = min(processes, len(units))
    for found in WorkerLoader(_Units(work, units), batch_size=None, num_workers=count, collate_fn=_as_it_is):
        yield taken(found)


def _as_it_is(found: Any) -> Any:
    return found


def processors() -> int:
    """Processes that can compute side by side here: threads that torch may use (``OMP_NUM_THREADS`` and the scheduler's
    mask are obeyed), and no more than a container is allowed."""
    return max(1, min(torch.get_num_threads(), _allowed()))


def _allowed() -> int:
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):  # "max": no quota
        return os.cpu_count() or 1


def forks() -> bool:
    """Whether processes are forked here, so that they start in no time with everything that is loaded."""
    usual = multiprocessing.get_all_start_methods()[0]
    return (multiprocessing.get_start_method(allow_none=True) or usual) == "fork"
