"""Processes that read and prepare rows: their parent alone decides when they end, and the death of one is one error.

A signal for the whole process group (Ctrl-C, ``scancel``, systemd) asks the parent to stop, which needs its workers
until the step in hand is finished. A worker that is killed from outside, mostly for want of memory, is noted when it
happens and told where the next rows are asked for, never in the middle of a step.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import types
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from repcore import stopping
from repcore.data.handing_over import failures_are_handed_over
from repcore.data.worker_ends import killed_at_exit, words_of
from repcore.errors import RunError

END_SECONDS = 5.0  # to wait for a killed worker, which the system may still hold
FEWER = "fewer --workers (or data.workers); 0 reads in the command's own process"


class WorkerLostError(RunError):
    """A worker process died that nobody had told to end."""


class WorkerLoader(DataLoader):  # type: ignore[type-arg]
    """A loader whose workers leave stopping to their parent; :class:`WorkerLostError` where one has died."""

    def __init__(self, dataset: Any, **options: Any) -> None:
        super().__init__(dataset, worker_init_fn=begin_worker, **options)

    def __iter__(self) -> Any:
        if not self.num_workers:
            return super().__iter__()
        loaded = super().__iter__()
        workers = list(getattr(loaded, "_workers", ()))
        killed_at_exit(workers)
        return _rows_of(loaded, _Watched(workers))


def begin_worker(number: int) -> None:
    """``worker_init_fn``: torch has just put a handler of its own for SIGTERM, which ends a worker."""
    stopping.left_to_parent()
    failures_are_handed_over(number)


class _Watched:
    """The workers of one loader.

    Attributes:
        is_waiting: their parent waits for rows, and may be told at once; it might wait for ever on half a message.
    """

    def __init__(self, workers: list[Any]) -> None:
        self.workers, self.is_waiting, self.parent = workers, False, os.getpid()

    def check(self) -> None:
        """Raises WorkerLostError: one of them is dead; the others end with it, for nobody takes their rows."""
        for one in self.workers:
            code = one.exitcode
            if code:  # 0: it has handed over all its rows
                self.is_waiting = False  # the deaths that follow are meant
                for other in self.workers:
                    if other.is_alive():
                        other.kill()
                        other.join(END_SECONDS)
                raise WorkerLostError(f"a worker process that reads and prepares rows {words_of(code)}", hint=FEWER)


def _rows_of(loaded: Iterator[Any], watched: _Watched) -> Iterator[Any]:
    with _told_of_deaths(watched):
        while True:
            try:
                watched.is_waiting = True
                watched.check()
                found = next(loaded)
            except StopIteration:
                return
            except RuntimeError:
                watched.check()  # torch has seen it first
                raise
            finally:
                watched.is_waiting = False
            yield found


_WATCHED: list[_Watched] = []
_BEFORE: list[Any] = []  # the handler that ours has taken the place of


@contextlib.contextmanager
def _told_of_deaths(watched: _Watched) -> Iterator[None]:
    """In place of torch's handler, which raises wherever the parent is: in the middle of an optimiser step, too."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _WATCHED:
        _BEFORE[:] = [signal.signal(signal.SIGCHLD, _told)]
    _WATCHED.append(watched)
    try:
        yield
    finally:
        _WATCHED.remove(watched)
        if not _WATCHED:
            signal.signal(signal.SIGCHLD, _BEFORE.pop() or signal.SIG_DFL)


def _told(number: int, frame: types.FrameType | None) -> None:
    for one in list(_WATCHED):
        if one.is_waiting and one.parent == os.getpid():
            one.check()
