"""Items read and prepared in processes of their own, each within a time and a memory limit.

A file that makes a decoder hang, crash or fill the memory then costs one row: its process is ended, a new one goes on
with the next row. Rows come back in order. Processes are forked where the system can, so that readers need not be
pickled; what comes back is.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import multiprocessing as mp
import os
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from repcore import stopping
from repcore.data.allocation import largest_item
from repcore.data.guard import error_in_words
from repcore.data.worker_ends import killed_at_exit, words_of
from repcore.errors import ItemError

Result = TypeVar("Result")
Work = Callable[[int], Result]

CRASHED = "crashed"
TIMEOUT = "timeout"
ROOM = 2  # times the largest item: a file is decoded into one array and prepared into another


def apart(
    work: Work[Result],
    rows: Iterable[int],
    seconds: float,
    failed: Callable[[int, ItemError], Result],
    processes: int = 1,
) -> Iterator[Result]:
    """``work(row)`` of every row, in order.

    Args:
        work: reads and prepares a row; what it gives is pickled.
        seconds: time limit of a row.
        failed: result of a row whose process was ended: ``timeout``, ``crashed`` or ``too_large``.
        processes: how many work side by side.
    """
    pool = [_Process(work, seconds) for _ in range(max(1, processes))]
    places = itertools.cycle(range(len(pool)))
    waiting: deque[tuple[int, _Process[Result]]] = deque()
    try:
        for row in rows:
            if len(waiting) == len(pool):
                yield _outcome(*waiting.popleft(), failed)
            process = pool[next(places)]
            process.give(row, pool)
            waiting.append((row, process))
        while waiting:
            yield _outcome(*waiting.popleft(), failed)
    finally:
        for process in pool:
            process.end()


def _outcome(row: int, process: _Process[Result], failed: Callable[[int, ItemError], Result]) -> Result:
    try:
        return process.take()
    except ItemError as error:
        return failed(row, error)


class _Process(Generic[Result]):
    """One process at a time with a pipe to it; started when first needed and after each that was ended."""

    def __init__(self, work: Work[Result], seconds: float) -> None:
        self.work, self.seconds = work, seconds
        self.pipe: Connection | None = None
        self._process: Any = None  # of a fork or a spawn context
        self._given = 0.0

    def give(self, row: int, others: Iterable[_Process[Result]]) -> None:
        if self._process is None:
            self._start([one.pipe for one in others if one.pipe is not None])
        assert self.pipe is not None
        self._given = time.monotonic()
        with contextlib.suppress(OSError):  # it is dead: take() says so
            self.pipe.send(row)

    def _start(self, foreign: list[Connection]) -> None:
        context: Any = mp.get_context("fork" if "fork" in mp.get_all_start_methods() else "spawn")
        self.pipe, theirs = context.Pipe()
        inherited = [*foreign, self.pipe] if context.get_start_method() == "fork" else []
        self._process = context.Process(target=_serve, args=(self.work, theirs, inherited), daemon=True)
        self._process.start()
        killed_at_exit([self._process])
        theirs.close()

    def take(self) -> Result:
        """What the row gave.

        Raises:
            ItemError: its process was ended, by us or by itself.
        """
        assert self.pipe is not None
        left = self.seconds - (time.monotonic() - self._given)
        try:
            if not self.pipe.poll(max(0.0, left)):
                self.end()
                raise ItemError(TIMEOUT, f"reading and preparing it took more than {self.seconds:g} s (--item-timeout)")
            answer, text = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            raise ItemError(CRASHED, f"the process that read it {self._last_words()}") from None
        if text:
            raise ItemError("failed", text)
        result: Result = answer
        return result

    def _last_words(self) -> str:
        process = self._process
        process.join(5.0)
        code = process.exitcode
        self.end()
        return words_of(code)

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None


def _serve(work: Work[Any], pipe: Connection, inherited: list[Connection]) -> None:
    """Main function of a process: rows in, results out, until the pipe is closed."""
    for one in inherited:
        one.close()
    stopping.left_to_parent()
    _end_with_parent()
    _limit_memory()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # the threads of the parent are not here
    while True:
        try:
            row = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        try:
            answer = pickle.dumps((work(row), ""), protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            answer = pickle.dumps((None, error_in_words(error)))
        try:
            pipe.send_bytes(answer)
        except OSError:
            os._exit(0)


def _end_with_parent() -> None:
    """On Linux: a process that hangs does not outlive a parent that was killed."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


def _limit_memory() -> None:
    """What is in use now and room for the largest item; beyond that allocation fails, which becomes a row."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    with contextlib.suppress(OSError, ValueError), Path("/proc/self/statm").open() as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = used + ROOM * largest_item()
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
