"""Results of conformance checks: what was due, what ran, what failed and what was expected to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from repcore.errors import PluginError

CheckStatus = Literal["passed", "failed", "skipped", "expected", "unexpected-pass", "not-run", "timed-out"]
BAD: tuple[CheckStatus, ...] = ("failed", "unexpected-pass", "not-run", "timed-out")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check on one thing.

    Args:
        id: name of the check.
        target: what it looked at, for example ``"encoder audio/ssamba"``.
        status: ``expected`` = failed as announced; ``unexpected-pass`` = announced, yet passed; ``not-run`` = what it
            needs could not be made; ``timed-out`` = it did not end within what a machine of this speed may take;
            ``skipped`` = it has nothing to say here, for the reason in the message.
        seconds: duration.
        message: why it failed, was skipped or could not run.
    """

    id: str
    target: str
    status: CheckStatus
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All results of a plugin.

    Args:
        plugin: its name.
        level: ``fast`` or ``full``.
        due: number of checks that its specs demand; a green report that ran fewer is not green.
        results: in order of running.
    """

    plugin: str
    level: str
    due: int
    results: Sequence[CheckResult]

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of results by status."""
        return Counter(one.status for one in self.results)

    @property
    def ok(self) -> bool:
        """Every due check has a result and none is bad."""
        return len(self.results) == self.due and not any(one.status in BAD for one in self.results)

    @property
    def failures(self) -> list[CheckResult]:
        """What has to be put right."""
        return [one for one in self.results if one.status in BAD]

    def summary(self) -> str:
        """One line: due against what happened."""
        counted = ", ".join(f"{number} {status}" for status, number in sorted(self.counts.items()))
        lost = self.due - len(self.results)
        missing = f", {lost} without a result" if lost else ""
        return f"{self.plugin} ({self.level}): {self.due} checks due: {counted or 'none ran'}{missing}"

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Check, target, status, seconds, message."""
        return [(one.id, one.target, one.status, f"{one.seconds:.2f}", one.message) for one in self.results]

    def table(self) -> str:
        """Aligned text: the bad ones last, then the summary."""
        ordered = sorted(self.rows(), key=lambda row: row[2] in BAD)
        widths = [max((len(row[column]) for row in ordered), default=0) for column in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + f"  {row[4]}"
            for row in ordered
        ]
        return "\n".join([*(line.rstrip() for line in lines), self.summary()])

    def to_json(self) -> str:
        """Everything, for programs."""
        document: dict[str, Any] = {
            "plugin": self.plugin,
            "level": self.level,
            "ok": self.ok,
            "due": self.due,
            "counts": dict(self.counts),
            "results": [asdict(one) for one in self.results],
        }
        return json.dumps(document, indent=1)

    def raise_for_failures(self) -> None:
        """
        Raises:
            PluginError: the report is not ok; lists what failed.
        """
        if not self.ok:
            failed = "\n".join(f"{one.id} ({one.target}): {one.message}" for one in self.failures)
            raise PluginError(self.summary(), failed=failed, hint=f"repcore plugins check {self.plugin}")
