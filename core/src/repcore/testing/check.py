"""What a conformance check is: a function on a subject that raises :class:`CheckFailedError` with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

Level = Literal["fast", "full"]


class CheckFailedError(AssertionError):
    """The plugin does not keep the contract; the message says how."""


class SubjectError(Exception):
    """What a check needs could not be made; its checks count as not run."""


class NotJudgedError(Exception):
    """A check cannot say anything here; it counts as skipped, with this reason."""


class TimedOutError(BaseException):
    """A check took longer than a machine of this speed may; no ``except Exception`` on the way keeps it going."""


@dataclass(frozen=True, slots=True)
class Check:
    """A named check.

    Args:
        id: for reports and ``expected_failures``.
        function: gets the subject of its kind, for example an encoder with a way to make batches.
        level: ``full`` ones take longer and run on request.
        needs_rows: it chooses its own batches, which a fixed example batch does not allow.
    """

    id: str
    function: Callable[[Any], None]
    level: Level = "fast"
    needs_rows: bool = False


def fail(message: str) -> NoReturn:
    """End a check."""
    raise CheckFailedError(message)
