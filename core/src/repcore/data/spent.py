"""Processor seconds by stage of work: of this process, and of those that hand their results to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")

READING, PREPARING, ENCODER, WRITING = STAGES = ("reading", "preparing", "encoder", "writing")

_SPENT = dict.fromkeys(STAGES, 0.0)
_HELPERS: dict[int, None] = {}  # processes that have handed results to this one, in the order of their first

Handed = tuple[Result, dict[str, float], int]
"""A result, the seconds by stage that it took, and the process in which it arose."""


@contextmanager
def spent_on(stage: str) -> Iterator[None]:
    """Within it the seconds of all threads of this process are those of the stage."""
    began = time.process_time()
    try:
        yield
    finally:
        _SPENT[stage] += time.process_time() - began


class Meter:
    """Seconds by stage from now on."""

    def __init__(self) -> None:
        self._before, self._helpers = dict(_SPENT), len(_HELPERS)

    def seconds(self) -> dict[str, float]:
        """Stages in their order, with processor seconds of this process and of those that helped it."""
        return {stage: _SPENT[stage] - self._before[stage] for stage in STAGES}

    def helpers(self) -> int:
        """Processes that began to help since."""
        return len(_HELPERS) - self._helpers


def metered(work: Callable[[Given], Result], given: Given) -> Handed[Result]:
    """For a process that helps another: what it hands over."""
    meter = Meter()
    return work(given), meter.seconds(), os.getpid()


def taken(handed: Handed[Result]) -> Result:
    """The result that :func:`metered` gave in another process, whose seconds count here."""
    result, seconds, process = handed
    for stage, one in seconds.items():
        _SPENT[stage] += one
    _HELPERS[process] = None
    return result
