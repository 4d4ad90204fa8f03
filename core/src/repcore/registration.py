"""All hooks of a plugin at once, for plugins whose specs lie in several modules.

A plugin of one system may define the hooks of :mod:`repcore.hooks` one by one. With several systems each gets a module
of tuples (``ENCODERS``, ``RECIPES``, ...) below ``registration/``, and ``_plugin.py`` stays the table of contents::

    plugin = Registration(PluginInfo(title="Audio", domain="audio", api_version=1), parts=(recordings, ssamba))

The entry point then names that object: ``audio = "repcore_audio._plugin:plugin"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from repcore.errors import PluginError, closest
from repcore.hooks import hookimpl
from repcore.specs import HOOK_OF_KIND, PluginInfo, Spec

CONSTANT_OF_HOOK = {hook: hook.removeprefix("repcore_").upper() for hook in HOOK_OF_KIND.values()}
"""Hook -> the tuple of a part that it gathers: ``repcore_encoders`` -> ``ENCODERS``."""


class Registration:
    """What a plugin registers: who it is, and the modules that hold its specs.

    Args:
        info: who the plugin is.
        parts: modules with tuples of specs named after the hooks; order is the order of listing.

    Raises:
        PluginError: a part holds a tuple of specs under a name that no hook gathers, so that it would be lost.
    """

    def __init__(self, info: PluginInfo, parts: Sequence[ModuleType]) -> None:
        self.info, self.parts = info, tuple(parts)
        for part in self.parts:
            _refuse_lost(part)

    def _gathered(self, hook: str) -> list[Any]:  # specs of the hook's kind, which the loader checks
        return [spec for part in self.parts for spec in getattr(part, CONSTANT_OF_HOOK[hook], ())]

    @hookimpl
    def repcore_plugin_info(self) -> PluginInfo:
        return self.info


def _refuse_lost(part: ModuleType) -> None:
    known = set(CONSTANT_OF_HOOK.values())
    for name, value in vars(part).items():
        holds_specs = isinstance(value, list | tuple) and any(isinstance(one, Spec) for one in value)
        if holds_specs and name not in known and not name.startswith("_"):
            raise PluginError(
                f"{part.__name__}.{name} holds specs, but no hook gathers that name",
                did_you_mean=closest(name, known),
            )


def _hook(name: str) -> Any:  # a method as pluggy wants it: marked, no arguments beside self
    def gathered(self: Registration) -> list[Any]:
        return self._gathered(name)

    gathered.__name__ = name
    return hookimpl(gathered)


for _name in CONSTANT_OF_HOOK:
    setattr(Registration, _name, _hook(_name))
