"""The conformance kit on this plugin, without any allowance."""

from __future__ import annotations

from repcore.testing.pytest_plugin import BoundCheck, parametrize_checks


@parametrize_checks("timeseries")
def test_contract(check: BoundCheck) -> None:
    check()
