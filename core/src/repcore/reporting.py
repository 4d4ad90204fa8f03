"""Where long work says what it is doing: a small protocol, so that no module prints."""

from __future__ import annotations

import logging
from typing import Protocol


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
