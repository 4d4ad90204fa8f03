"""The conformance kit on this plugin, without any allowance."""

from __future__ import annotations

import pytest

from repcore.config.resolve import resolve_run
from repcore.errors import NotInstalledError
from repcore.registry import Registry, default
from repcore.testing.check import NotJudgedError
from repcore.testing.pytest_plugin import BoundCheck, parametrize_checks
from repcore.testing.settings_checks import PresetsSubject


@parametrize_checks("molecules")
def test_contract(check: BoundCheck) -> None:
    check()


def test_a_preset_whose_plugin_is_missing_is_skipped_with_the_command_that_brings_it() -> None:
    """The plugin needs no other one: presets that learn by an objective of another are refused alone."""
    alone = Registry([one for one in default().records if one.name != "generic"])
    subject = PresetsSubject(alone, alone.recipe("molecules/selformer"))
    looked_at = []
    with pytest.raises(NotJudgedError, match=r'preset small: .*not installed \(pip install "repcore\[generic\]"\)'):
        looked_at.extend(preset for preset, _ in subject.resolved())
    assert set(looked_at) == set(subject.entry.spec.presets) - {"small"}
    with pytest.raises(NotInstalledError, match="computed-targets"):
        resolve_run(alone, "molecules/selformer", preset="small")
