"""Every conformance check that this plugin's specs call for, one pytest test each."""

from __future__ import annotations

from collections.abc import Callable

from repcore.testing.pytest_plugin import parametrize_checks


@parametrize_checks("timeseries")
def test_contract(check: Callable[[], None]) -> None:
    check()
