"""For a plugin's own test suite: one pytest test for each conformance check.

from repcore.testing.pytest_plugin import parametrize_checks

@parametrize_checks("repcore-sleep", expected_failures={"finite-on-batch-1-and-2": "needs pairs"})
def test_contract(check):
    check()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import pytest

from repcore.testing.check import Level
from repcore.testing.checkpoint_checks import CheckpointSample
from repcore.testing.kit import find_plugin, plan, reason_of, refuse_unknown, run_check
from repcore.testing.plan import DueCheck


@dataclass(frozen=True, slots=True)
class BoundCheck:
    """A due check as a callable for a test function."""

    due: DueCheck
    expected: str | None

    def __call__(self) -> None:
        """Run it; fails, skips or counts as an expected failure like any pytest test."""
        result = run_check(self.due, self.expected)
        if result.status == "skipped":
            pytest.skip(result.message)
        if result.status == "expected":
            pytest.xfail(result.message)
        if result.status != "passed":
            pytest.fail(f"{self.due.name}: {result.message}", pytrace=False)


def parametrize_checks(
    name_or_module: str | ModuleType,
    level: Level = "fast",
    expected_failures: Mapping[str, str] | None = None,
    *,
    checkpoints: Mapping[str, CheckpointSample] | None = None,
) -> pytest.MarkDecorator:
    """Parametrise a test function's argument ``check``; arguments as :func:`repcore.testing.check_plugin`."""
    known, record = find_plugin(name_or_module)
    due = plan(known, record, level, checkpoints)
    expected = dict(expected_failures or {})
    refuse_unknown(expected, due)
    bound = [pytest.param(BoundCheck(one, reason_of(one, expected)), id=one.name.replace(" ", "-")) for one in due]
    return pytest.mark.parametrize("check", bound)
