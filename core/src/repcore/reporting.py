"""Where long work says what it is doing: a small protocol, so that no module prints."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Protocol

from repcore.errors import shortened
from repcore.untrusted import printable

BASELINE = "_baseline"  # a metric NAME_baseline is the baseline of NAME (for example a unigram predictor)


class Reporter(Protocol):
    """Receives messages and progress; the command line shows them, a library user may ignore them."""

    def info(self, text: str) -> None:
        """One line that a user should read."""
        ...

    def warn(self, text: str) -> None:
        """One line about something unexpected that does not stop the work."""
        ...

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        """Called often; ``done == total`` ends a phase."""
        ...


class LogReporter:
    """Default outside the command line: standard logging, no progress."""

    def __init__(self) -> None:
        self._log = logging.getLogger("repcore")

    def info(self, text: str) -> None:
        self._log.info("%s", printable(shortened(text)))

    def warn(self, text: str) -> None:
        self._log.warning("%s", printable(shortened(text)))

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        return None


class PrintedReporter:
    """Messages on standard error, progress at most every few seconds: what calls from Python show when asked to."""

    EVERY = 5.0  # seconds

    def __init__(self) -> None:
        self._last = 0.0

    def _say(self, text: str) -> None:
        sys.stderr.write(printable(shortened(text)) + "\n")

    def info(self, text: str) -> None:
        self._say(text)

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}")

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        if done >= total or now - self._last >= self.EVERY:
            self._last = now
            self._say(f"{label} {done:,}/{total:,}  {detail}".rstrip())


class Wait:
    """Says what long reading is at, where nobody else does: after a few seconds for the first time, then now and then.

    Args:
        doing: ``reading big.csv.gz``.
    """

    FIRST, EVERY = 5.0, 10.0  # seconds
    say: ClassVar[Callable[[str], None] | None] = None  # where waiting is told; the command line sets it

    def __init__(self, doing: str) -> None:
        self._doing, self._next = doing, time.monotonic() + self.FIRST

    def at(self, place: str) -> None:
        """How far it is, in words; called often."""
        if Wait.say is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.EVERY
            Wait.say(f"{self._doing}: {place}")


@contextmanager
def counting(label: str, total: int, progress: bool | Callable[[int, int], None]) -> Iterator[Callable[[int], None]]:
    """Tell how far a long call from Python is: yields a function that is told how many rows more are done.

    Args:
        progress: True = a bar on standard error; a function is called with (done, total); False = nothing.
    """
    if progress is True:
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda rows: bar.advance(task, rows)
        return
    done = 0

    def add(rows: int) -> None:
        nonlocal done
        done += rows
        if callable(progress):
            progress(done, total)

    yield add


def figures_in_words(values: Mapping[str, float]) -> str:
    """``loss 1.795  masked_accuracy 0.494 (baseline 0.428)``: a baseline stands behind its figure."""
    words = []
    for name, value in values.items():
        if not name.endswith(BASELINE):
            baseline = values.get(name + BASELINE)
            words.append(f"{name} {value:.4g}" + ("" if baseline is None else f" (baseline {baseline:.4g})"))
    return "  ".join(words)
