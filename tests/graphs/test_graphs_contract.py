"""The conformance kit on this plugin, without any allowance."""

from __future__ import annotations

import pytest

from repcore.registry import Registry, default
from repcore.testing.check import NotJudgedError
from repcore.testing.plan import due_checks
from repcore.testing.pytest_plugin import BoundCheck, parametrize_checks


@parametrize_checks("graphs")
def test_contract(check: BoundCheck) -> None:
    check()


def test_what_only_a_recipe_with_another_plugin_builds_is_not_judged_without_it() -> None:
    alone = Registry([one for one in default().records if one.name != "generic"])
    graphs = next(one for one in alone.records if one.name == "graphs")
    due = [one for one in due_checks(alone, graphs, "fast") if "graphs/signals" in one.target]
    unreached = next(one for one in due if one.check.id == "has-recipe-or-example")
    with pytest.raises(NotJudgedError, match=r"preset tiny of graphs/gin: .*not installed"):
        unreached.check.function(unreached.subject)
