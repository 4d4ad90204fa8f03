"""Checks of config dataclasses and recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from repcore.config.describe import describe, json_schema
from repcore.config.plain import to_plain
from repcore.config.resolve import ResolvedRun, resolve_plain, resolve_run
from repcore.config.validate import build
from repcore.errors import ConfigError, NotInstalledError
from repcore.registry import Entry, Registry
from repcore.specs import RecipeSpec
from repcore.testing.check import Check, NotJudgedError, fail


@dataclass(frozen=True, slots=True)
class ConfigSubject:
    """The config dataclass that a spec names."""

    entry: Entry[Any]

    @property
    def config(self) -> type:
        """The dataclass."""
        loaded: type = self.entry.load("config")
        return loaded


def help_on_every_field(subject: ConfigSubject) -> None:
    """Every setting says what it means."""
    silent = [row.path for row in describe(subject.config) if not row.help]
    if silent:
        fail(f"no help text: {', '.join(silent)}")


def unknown_key_rejected(subject: ConfigSubject) -> None:
    """A setting that does not exist is an error that names it."""
    try:
        build(subject.config, {"no_such_setting": 1}, prefix="part")
    except ConfigError as error:
        if "no_such_setting" not in str(error):
            fail(f"the error does not name the unknown setting: {error}")
        return
    fail("a setting that does not exist is accepted")


def roundtrip(subject: ConfigSubject) -> None:
    """Defaults survive the way through JSON, and editors get a schema. A reader's ``path`` may be required."""
    required = [one.name for one in dataclasses.fields(subject.config) if _is_required(one)]
    surplus = [name for name in required if name != "path" or subject.entry.spec.kind != "dataset"]
    if surplus:
        fail(f"settings without a default: {', '.join(surplus)}; a part must work when it is only named")
    defaults = build(subject.config, dict.fromkeys(required, "data"), prefix="part")
    again = build(subject.config, to_plain(defaults), prefix="part")
    if again != defaults:
        fail(f"defaults read back differ: {again} instead of {defaults}")
    json_schema(subject.config)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def frozen(subject: ConfigSubject) -> None:
    """Settings cannot change under a run and are given by name."""
    parameters = subject.config.__dataclass_params__  # type: ignore[attr-defined]
    if not parameters.frozen:
        fail("the dataclass is not frozen: @dataclass(frozen=True, kw_only=True)")
    positional = [one.name for one in dataclasses.fields(subject.config) if one.init and not one.kw_only]
    if positional:
        fail(f"fields that are not keyword-only: {', '.join(positional)}")


@dataclass(frozen=True, slots=True)
class PresetsSubject:
    """A recipe with all its presets."""

    registry: Registry
    entry: Entry[RecipeSpec]

    def resolved(self) -> Iterator[tuple[str, ResolvedRun]]:
        """Validated settings by preset.

        Raises:
            NotJudgedError: after all others, if presets name parts of plugins that are not installed.
        """
        missing = []
        for preset in self.entry.spec.presets:
            try:
                yield preset, resolve_run(self.registry, self.entry.full_name, preset=preset)
            except NotInstalledError as error:
                missing.append(f"preset {preset}: {error.summary} ({error.facts['hint']})")
        if missing:
            raise NotJudgedError("; ".join(missing))


def presets_resolve(subject: PresetsSubject) -> None:
    """Each preset validates and reads back from its own JSON."""
    for preset, resolved in subject.resolved():
        again = resolve_plain(subject.registry, resolved.plain(), "check")
        if again.plain() != resolved.plain():
            fail(f"preset {preset!r} read back from its JSON differs")


def needs_met(subject: PresetsSubject) -> None:
    """Each preset's views are there where its objective expects some (what parts declare is compared on resolving)."""
    for preset, resolved in subject.resolved():
        if resolved.objective.entry.spec.views and resolved.views is None:
            fail(f"preset {preset!r}: objective {resolved.objective.name} expects views, the recipe names none")


CONFIG_CHECKS = (
    Check("help-on-every-field", help_on_every_field),
    Check("unknown-key-rejected", unknown_key_rejected),
    Check("roundtrip", roundtrip),
    Check("frozen", frozen),
)
RECIPE_CHECKS = (Check("presets-resolve", presets_resolve), Check("needs-met", needs_met))
