"""The conformance kit on this plugin; one objective needs another model to be built, and its own tests judge it."""

from __future__ import annotations

from repcore.testing.pytest_plugin import BoundCheck, parametrize_checks

TEACHER = "its teacher is another model's folder, which a spec cannot hold; see test_second_stage.py"


@parametrize_checks("generic", expected_failures={"has-recipe-or-example@objective generic/token-alignment": TEACHER})
def test_contract(check: BoundCheck) -> None:
    check()
