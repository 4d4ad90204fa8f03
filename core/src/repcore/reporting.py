"""Where long work says what it is doing: a small protocol, so that no module prints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

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
        self._log.info(text)

    def warn(self, text: str) -> None:
        self._log.warning(text)

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        return None


def figures_in_words(values: Mapping[str, float]) -> str:
    """``loss 1.795  masked_accuracy 0.494 (baseline 0.428)``: a baseline stands behind its figure."""
    words = []
    for name, value in values.items():
        if not name.endswith(BASELINE):
            baseline = values.get(name + BASELINE)
            words.append(f"{name} {value:.4g}" + ("" if baseline is None else f" (baseline {baseline:.4g})"))
    return "  ".join(words)
