"""Which checks a plugin's specs demand, and on what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from repcore.config.matching import missing_needs, views_fit
from repcore.config.plain import field_types
from repcore.errors import NotInstalledError, RepcoreError
from repcore.plugins import PluginRecord, missing_modules
from repcore.registry import Entry, Registry
from repcore.specs import GENERIC, RecipeSpec
from repcore.testing import (
    boxed_checks,
    capability_checks,
    checkpoint_checks,
    command_checks,
    data_checks,
    dense_writer_checks,
    element_checks,
    encoder_checks,
    estimator_checks,
    model_probe_checks,
    objective_checks,
    op_checks,
    picture_checks,
    plugin_checks,
    preprocessor_checks,
    probe_checks,
    settings_checks,
    sniff_checks,
    split_checks,
    task_checks,
    view_checks,
    writer_checks,
)
from repcore.testing.boxed_checks import BoxedSubject
from repcore.testing.check import Check, Level, NotJudgedError, SubjectError, fail
from repcore.testing.checkpoint_checks import CheckpointSample, CheckpointSubject
from repcore.testing.command_checks import CommandSubject
from repcore.testing.deep import PluginSubject
from repcore.testing.dense_writer_checks import DenseWriterSubject
from repcore.testing.element_checks import ElementSubject
from repcore.testing.estimator_checks import EstimatorSubject
from repcore.testing.model_probe_checks import ModelProbeSubject
from repcore.testing.op_checks import OpSubject
from repcore.testing.probe_checks import ProbeSubject
from repcore.testing.settings_checks import ConfigSubject, PresetsSubject
from repcore.testing.sniff_checks import SnifferSubject
from repcore.testing.split_checks import SplitSubject
from repcore.testing.subjects import DatasetSubject, EncoderSubject, ObjectiveSubject, RecipeSubject
from repcore.testing.task_checks import TaskSubject
from repcore.testing.view_checks import ViewsSubject
from repcore.testing.writer_checks import WriterSubject

TRIED_RECIPES = 2  # for an objective of any domain: one that needs more than an encoder is built nowhere


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
    """Everything due at a level, in order: plugin, settings, then each kind of spec as in :data:`KINDS`.

    Args:
        samples: full name of a checkpoint layout -> weights to try its converter on.
    """
    plan = _Plan(registry, record, samples or {})
    return [one for one in plan.all() if level == "full" or one.check.level == "fast"]


@dataclass(frozen=True, slots=True)
class Unreached:
    """What no recipe builds, and why some recipes cannot be looked at: they name parts that are not installed."""

    name: str
    absent: tuple[str, ...]


def _no_way_to_build(subject: Unreached) -> None:
    if subject.absent:
        raise NotJudgedError("; ".join(subject.absent))
    fail(f"no recipe of the plugin uses {subject.name} and its spec has no example, so nothing can be checked")


UNREACHABLE = Check("has-recipe-or-example", _no_way_to_build)


class _Plan:
    """The specs of one plugin, sorted into subjects."""

    def __init__(self, registry: Registry, record: PluginRecord, samples: Mapping[str, CheckpointSample]) -> None:
        self.registry, self.record, self.samples = registry, record, samples
        self.answers: dict[tuple[str, str], Any] = {}
        self.opened: dict[str, RecipeSubject] = {}  # recipes of other plugins, for objectives of any domain
        self.entries: list[Entry[Any]] = [Entry(f"{record.domain}/{spec.name}", spec, record) for spec in record.specs]
        self.recipes = [
            RecipeSubject(registry, entry, preset)
            for entry in self._of("recipe")
            for preset in _defaults_first(entry.spec)
        ]

    def all(self) -> Iterator[DueCheck]:
        """Every check of every level, by kind in the order of the specs."""
        subject = PluginSubject(self.registry, self.record)
        yield from _each(plugin_checks.CHECKS, f"plugin {self.record.name}", subject)
        for entry in self.entries:
            if getattr(entry.spec, "config", ""):
                yield from self._on(entry, settings_checks.CONFIG_CHECKS, ConfigSubject(entry), "config of ")
        for kind, checks_of in KINDS.items():
            for entry in self._of(kind):
                yield from checks_of(self, entry)

    def recipe(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        yield from self._on(entry, settings_checks.RECIPE_CHECKS, PresetsSubject(self.registry, entry))

    def dataset(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        recipe = self._recipe_with("dataset", entry)
        if entry.spec.sniff:
            yield from self._on(entry, sniff_checks.CHECKS, SnifferSubject(entry), "sniffer of ")
        if recipe is None and not entry.spec.embedded and not entry.spec.example:
            return
        subject = DatasetSubject(entry, recipe)
        yield from self._on(entry, data_checks.CHECKS, subject)
        if entry.spec.render:
            yield from self._on(entry, picture_checks.CHECKS, subject, "pictures of ")

    def preprocessor(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        recipe = self._recipe_with("preprocessor", entry)
        if recipe is None:
            yield from self._unreached(entry)
            return
        yield from self._on(entry, preprocessor_checks.CHECKS, recipe)
        if entry.spec.baselines:
            yield from self._on(entry, preprocessor_checks.BASELINE_CHECKS, recipe, "baselines of ")
        for name in entry.spec.splits:
            yield from self._on(entry, split_checks.CHECKS, SplitSubject(recipe, name), f"split {name} of ")
        yield from self._elements(entry, recipe)

    def _elements(self, entry: Entry[Any], recipe: RecipeSubject) -> Iterator[DueCheck]:
        """What a preprocessor says about elements."""
        yield from self._on(entry, element_checks.RESTORE_CHECKS, recipe)
        if entry.spec.labelled_item:
            yield from self._on(entry, element_checks.LABELLED_ITEM_CHECKS, recipe)
        for name in entry.spec.divisions:
            one = ElementSubject(recipe, name)
            yield from self._on(entry, element_checks.DIVISION_CHECKS, one, f"division {name} of ")
        for name in entry.spec.element_metrics:
            one = ElementSubject(recipe, name)
            yield from self._on(entry, element_checks.METRIC_CHECKS, one, f"metric {name} of ")

    def views(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        recipe = self._recipe_with("views", entry) or self._recipe_taking(entry)
        if recipe is None:
            yield from self._unreached(entry)
        else:
            yield from self._on(entry, view_checks.CHECKS, ViewsSubject(entry, recipe))

    def encoder(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        promised = capability_checks.checks_of(entry.spec)
        yield from self._network(entry, (*encoder_checks.CHECKS, *promised), self._encoder(entry))

    def objective(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        recipe = self._recipe_with("objective", entry) or self._recipe_for(entry)
        subject = ObjectiveSubject(entry, recipe, None if recipe else self._partner(entry))
        more = objective_checks.MASK_CHECKS if _has_setting(entry, "mask_ratio") else ()
        yield from self._network(entry, (*objective_checks.CHECKS, *more), subject)

    def task(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        for one in self._of("encoder"):
            found = self._encoder(one)
            if (found.recipe is not None or one.spec.example) and _takes(entry, found):
                yield from self._on(entry, task_checks.CHECKS, TaskSubject(entry, found))
                return
        yield from self._on(entry, task_checks.CHECKS, TaskSubject(entry, None))

    def probe(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        if entry.spec.sees == "model":
            yield from self._on(entry, model_probe_checks.CHECKS, ModelProbeSubject(entry))
        else:
            yield from self._on(entry, probe_checks.CHECKS, ProbeSubject(entry))

    def estimator(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        yield from self._on(entry, estimator_checks.CHECKS, EstimatorSubject(self.registry, entry))

    def writer(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        yield from self._on(entry, writer_checks.CHECKS, WriterSubject(entry))

    def dense_writer(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        yield from self._on(entry, dense_writer_checks.CHECKS, DenseWriterSubject(entry, self.recipes, self.answers))

    def op(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        yield from self._on(entry, op_checks.CHECKS, OpSubject(entry))

    def checkpoint(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        weights = CheckpointSubject(self.registry, entry, self.samples.get(entry.full_name))
        yield from self._on(entry, checkpoint_checks.CHECKS, weights)

    def command(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        yield from self._on(entry, command_checks.CHECKS, CommandSubject(entry))

    def model(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        yield from self._on(entry, boxed_checks.CHECKS, BoxedSubject(self.registry, entry))

    def _of(self, kind: str) -> list[Entry[Any]]:
        return [entry for entry in self.entries if entry.spec.kind == kind]

    def _on(self, entry: Entry[Any], checks: Sequence[Check], subject: Any, prefix: str = "") -> Iterator[DueCheck]:
        missing = missing_modules(entry.spec)
        reason = f"needs {', '.join(missing)}: {' && '.join(missing.values())}" if missing else ""
        yield from _each(checks, f"{prefix}{entry.spec.kind} {entry.full_name}", subject, reason)

    def _unreached(self, entry: Entry[Any]) -> Iterator[DueCheck]:
        absent = []
        for one in self.recipes:
            try:
                _ = one.resolved
            except NotInstalledError as error:
                absent.append(f"preset {one.preset} of {one.entry.full_name}: {error.summary}")
            except RepcoreError:  # the recipe's own check reports it
                continue
        yield from self._on(entry, (UNREACHABLE,), Unreached(entry.full_name, tuple(absent)))

    def _network(
        self, entry: Entry[Any], checks: Sequence[Check], subject: EncoderSubject | ObjectiveSubject
    ) -> Iterator[DueCheck]:
        """All checks with a recipe; those on a fixed batch with an example only; otherwise one that says so."""
        if subject.recipe is None and not entry.spec.example:
            yield from self._unreached(entry)
            return
        chosen = [one for one in checks if subject.recipe is not None or not one.needs_rows]
        yield from self._on(entry, chosen, subject)

    def _encoder(self, entry: Entry[Any]) -> EncoderSubject:
        return EncoderSubject(entry, self._recipe_with("encoder", entry))

    def _recipe_taking(self, entry: Entry[Any]) -> RecipeSubject | None:
        """A recipe on whose data these views can be built: views of a role belong to no recipe."""
        if not entry.spec.role:
            return None
        for one in self.recipes:
            with suppress(RepcoreError):
                if views_fit(entry, one.resolved.preprocessor.entry):
                    return replace(one, views=entry.full_name)
        return None

    def _recipe_for(self, entry: Entry[Any]) -> RecipeSubject | None:
        """For an objective of any domain: the installed recipe whose encoder offers most, if it can be built
        there."""
        is_method = entry.spec.labels == "required"  # whose example gives settings alone
        if self.record.domain != GENERIC or (entry.spec.example and not is_method):
            return None
        found: list[tuple[bool, int, RecipeSubject]] = []
        for one in self.registry.entries("recipe"):
            # a method of fine-tuning is built around the recipe's encoder, whose run it cannot be
            name = "" if is_method else entry.full_name
            open_data = self.opened.get(one.full_name)
            subject = RecipeSubject(self.registry, one, one.spec.default, objective=name, data_of=open_data)
            with suppress(RepcoreError):
                encoder = subject.resolved.encoder.entry
                if not missing_needs(entry, encoder):
                    found.append((open_data is None, -len(encoder.spec.capabilities), subject))
        for _, _, subject in sorted(found, key=lambda one: one[:2])[:TRIED_RECIPES]:  # those with open data first
            with suppress(SubjectError):
                _ = subject.parts
                self.opened.setdefault(subject.entry.full_name, subject)
                return subject
        return None

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


KINDS: Mapping[str, Callable[[_Plan, Entry[Any]], Iterator[DueCheck]]] = {
    "recipe": _Plan.recipe,
    "dataset": _Plan.dataset,
    "preprocessor": _Plan.preprocessor,
    "views": _Plan.views,
    "encoder": _Plan.encoder,
    "objective": _Plan.objective,
    "task": _Plan.task,
    "probe": _Plan.probe,
    "estimator": _Plan.estimator,
    "writer": _Plan.writer,
    "dense-writer": _Plan.dense_writer,
    "op": _Plan.op,
    "checkpoint": _Plan.checkpoint,
    "command": _Plan.command,
    "model": _Plan.model,
}
"""Kind of spec -> its checks. A system only names others (``names-valid``); its replay is proved on golden data."""


def _takes(task: Entry[Any], encoder: EncoderSubject) -> bool:
    """Whether a task can be built around an encoder: one of several encoders of a domain may lack what it needs."""
    try:
        TaskSubject(task, encoder).build()
    except Exception:  # the next encoder, or a check that says why
        return False
    return True


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
