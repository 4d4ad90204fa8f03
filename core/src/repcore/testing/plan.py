"""Which checks a plugin's specs demand, and on what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repcore.config.plain import field_types
from repcore.errors import RepcoreError
from repcore.plugins import PluginRecord, missing_modules
from repcore.registry import Entry, Registry
from repcore.specs import RecipeSpec
from repcore.testing import (
    checkpoint_checks,
    data_checks,
    encoder_checks,
    objective_checks,
    op_checks,
    plugin_checks,
    settings_checks,
)
from repcore.testing.check import Check, Level, fail
from repcore.testing.checkpoint_checks import CheckpointSample, CheckpointSubject
from repcore.testing.deep import PluginSubject
from repcore.testing.op_checks import OpSubject
from repcore.testing.settings_checks import ConfigSubject, PresetsSubject
from repcore.testing.subjects import DatasetSubject, EncoderSubject, ObjectiveSubject, RecipeSubject


@dataclass(frozen=True, slots=True)
class DueCheck:
    """One check on one subject.

    Args:
        target: the subject in words.
        missing: why it cannot run here (an optional module is not installed); empty if it can.
    """

    check: Check
    target: str
    subject: Any  # what the check's function takes
    missing: str = ""

    @property
    def name(self) -> str:
        """Check and target, unique within a plan."""
        return f"{self.check.id}@{self.target}"


def due_checks(
    registry: Registry, record: PluginRecord, level: Level, samples: Mapping[str, CheckpointSample] | None = None
) -> list[DueCheck]:
    """Everything due at a level, in order: plugin, settings, recipes, data, encoders, objectives, ops, checkpoints.

    Args:
        samples: full name of a checkpoint layout -> weights to try its converter on.
    """
    plan = _Plan(registry, record, samples or {})
    return [one for one in plan.all() if level == "full" or one.check.level == "fast"]


def _no_way_to_build(entry: Entry[Any]) -> None:
    fail(f"no recipe of the plugin uses {entry.full_name} and its spec has no example, so nothing can be checked")


UNREACHABLE = Check("has-recipe-or-example", _no_way_to_build)


class _Plan:
    """The specs of one plugin, sorted into subjects."""

    def __init__(self, registry: Registry, record: PluginRecord, samples: Mapping[str, CheckpointSample]) -> None:
        self.registry, self.record, self.samples = registry, record, samples
        self.entries: list[Entry[Any]] = [Entry(f"{record.domain}/{spec.name}", spec, record) for spec in record.specs]
        self.recipes = [
            RecipeSubject(registry, entry, preset)
            for entry in self._of("recipe")
            for preset in _defaults_first(entry.spec)
        ]

    def all(self) -> Iterator[DueCheck]:
        """Every check of every level."""
        subject = PluginSubject(self.registry, self.record)
        yield from _each(plugin_checks.CHECKS, f"plugin {self.record.name}", subject)
        for entry in self.entries:
            if getattr(entry.spec, "config", ""):
                yield from self._on(entry, settings_checks.CONFIG_CHECKS, ConfigSubject(entry), "config of ")
        for entry in self._of("recipe"):
            yield from self._on(entry, settings_checks.RECIPE_CHECKS, PresetsSubject(self.registry, entry))
        for entry in self._of("dataset"):
            recipe = self._recipe_with("dataset", entry)
            if recipe is not None or entry.spec.embedded or entry.spec.example:
                yield from self._on(entry, data_checks.DATASET_CHECKS, DatasetSubject(entry, recipe))
        for entry in self._of("preprocessor"):
            recipe = self._recipe_with("preprocessor", entry)
            checks = (UNREACHABLE,) if recipe is None else data_checks.PREPROCESSOR_CHECKS
            yield from self._on(entry, checks, recipe or entry)
        for entry in self._of("encoder"):
            subject_of_encoder = self._encoder(entry)
            yield from self._network(entry, encoder_checks.CHECKS, subject_of_encoder)
        for entry in self._of("objective"):
            recipe = self._recipe_with("objective", entry)
            objective = ObjectiveSubject(entry, recipe, None if recipe else self._partner(entry))
            more = objective_checks.MASK_CHECKS if _has_setting(entry, "mask_ratio") else ()
            yield from self._network(entry, (*objective_checks.CHECKS, *more), objective)
        for entry in self._of("op"):
            yield from self._on(entry, op_checks.CHECKS, OpSubject(entry))
        for entry in self._of("checkpoint"):
            weights = CheckpointSubject(self.registry, entry, self.samples.get(entry.full_name))
            yield from self._on(entry, checkpoint_checks.CHECKS, weights)

    def _of(self, kind: str) -> list[Entry[Any]]:
        return [entry for entry in self.entries if entry.spec.kind == kind]

    def _on(self, entry: Entry[Any], checks: Sequence[Check], subject: Any, prefix: str = "") -> Iterator[DueCheck]:
        missing = missing_modules(entry.spec)
        reason = f"needs {', '.join(missing)}: {' && '.join(missing.values())}" if missing else ""
        yield from _each(checks, f"{prefix}{entry.spec.kind} {entry.full_name}", subject, reason)

    def _network(
        self, entry: Entry[Any], checks: Sequence[Check], subject: EncoderSubject | ObjectiveSubject
    ) -> Iterator[DueCheck]:
        """All checks with a recipe; those on a fixed batch with an example only; otherwise one that says so."""
        if subject.recipe is None and not entry.spec.example:
            yield from self._on(entry, (UNREACHABLE,), entry)
            return
        chosen = [one for one in checks if subject.recipe is not None or not one.needs_rows]
        yield from self._on(entry, chosen, subject)

    def _encoder(self, entry: Entry[Any]) -> EncoderSubject:
        return EncoderSubject(entry, self._recipe_with("encoder", entry))

    def _partner(self, entry: Entry[Any]) -> EncoderSubject | None:
        """An encoder with an example that offers what an objective without a recipe needs."""
        for one in self._of("encoder"):
            if one.spec.example and set(entry.spec.needs) <= {*one.spec.capabilities, *one.spec.levels}:
                return EncoderSubject(one, None)
        return None

    def _recipe_with(self, kind: str, entry: Entry[Any]) -> RecipeSubject | None:
        """The first preset, defaults first, whose part of this kind is the entry."""
        for recipe in sorted(self.recipes, key=lambda one: one.preset != one.entry.spec.default):
            try:
                part = getattr(recipe.resolved, kind)
            except RepcoreError:  # the recipe's own check reports it
                continue
            if part is not None and part.name == entry.full_name:
                return recipe
        return None


def _has_setting(entry: Entry[Any], name: str) -> bool:
    """Whether a config has a field; False if it cannot be looked at, which another check reports."""
    try:
        return name in field_types(entry.load("config"))
    except RepcoreError:
        return False


def _defaults_first(spec: RecipeSpec) -> list[str]:
    return [spec.default, *(one for one in spec.presets if one != spec.default)]


def _each(checks: Sequence[Check], target: str, subject: Any, missing: str = "") -> Iterator[DueCheck]:
    for check in checks:
        yield DueCheck(check, target, subject, missing)
