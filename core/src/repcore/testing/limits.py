"""Time limits that follow the machine: a slow or busy one gets more, a check that hangs is ended and named.

Speed is measured once by a fixed piece of work. The clock of a check is the processor time of its process, so that
neighbours cost nothing; wall time counts only where a check waits without computing. A check's own subprocesses are
held to the same: see :func:`computing` and :func:`waiting`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import FrameType

from repcore.testing.check import Level, TimedOutError

CALIBRATION = """
import hashlib
value, block = 0, bytes(1 << 20)
for number in range(60_000):
    value += number * number % 7
for _ in range(8):
    hashlib.sha256(block).digest()
"""
CALIBRATION_SECONDS = 0.012  # of that work on an idle core of a plain server
SECONDS: dict[Level, float] = {"fast": 120.0, "full": 600.0}
WAITING = 10.0  # times the limit that a check may wait without computing


@lru_cache(maxsize=1)
def slowness() -> float:
    """How many times slower than the machine of the limits this one is now, at least 1; measured once."""
    work = compile(CALIBRATION, "calibration", "exec")
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        exec(work, {})
        taken.append(time.perf_counter() - started)
    return max(1.0, sorted(taken)[1] / CALIBRATION_SECONDS)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End what runs inside after so many seconds of computing, or ten times as many of waiting.

    Works in the main thread where the system has interval timers; elsewhere there is no limit.

    Raises:
        TimedOutError: from inside, at the line that is running.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    started, computed = time.perf_counter(), time.process_time()

    def look(number: int, frame: FrameType | None) -> None:
        used, passed = time.process_time() - computed, time.perf_counter() - started
        if used >= seconds or passed >= WAITING * seconds:
            where = f" in {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
            raise TimedOutError(f"no end after {used:.0f} s of computing, {passed:.0f} s in all{where}")

    before = signal.signal(signal.SIGALRM, look)
    delay, every = signal.setitimer(signal.ITIMER_REAL, min(seconds, 1.0), min(seconds, 1.0))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, delay, every)
        signal.signal(signal.SIGALRM, before)


def seconds_of(level: Level) -> float:
    """Limit of one check on this machine."""
    return computing(SECONDS[level])


def computing(seconds: float) -> float:
    """Processor time that work of so many seconds on the machine of the limits may take on this one."""
    return seconds * slowness()


def waiting(seconds: float) -> float:
    """Wall time that the same work may take among busy neighbours; more than this is hanging, not computing."""
    return WAITING * computing(seconds)
