"""Looking up what plugins registered: by kind and name, with owners, near misses and remedies.

Full names are ``<domain>/<name>``; the short name works where it is unambiguous or a domain is given: it is looked for
in that domain, then in ``generic``, then in core. Underscores are read as hyphens. ``plugin:domain/name`` picks one of
two owners of the same name.
Nothing of a plugin but its tiny listing module is imported before :meth:`Entry.load`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from repcore import plugins
from repcore.errors import NotInstalledError, PluginError, RegistryError, RepcoreError, closest
from repcore.memory import is_out_of_memory
from repcore.plugins import BUILT_IN, WORKING, PluginRecord
from repcore.specs import (
    GENERIC,
    SPEC_TYPES,
    CheckpointSpec,
    DatasetSpec,
    EncoderSpec,
    EstimatorSpec,
    ModelSpec,
    ObjectiveSpec,
    OpSpec,
    PreprocessorSpec,
    ProbeSpec,
    RecipeSpec,
    Spec,
    SystemSpec,
    TaskSpec,
    ViewsSpec,
    WriterSpec,
)

S = TypeVar("S", bound=Spec)

GENERIC_KINDS = ("objective", "estimator", "task")
"""Kinds whose entries in the domain ``generic`` are listed with every domain."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[S]):
    """One registered spec with its owner."""

    full_name: str
    spec: S
    plugin: PluginRecord

    @property
    def domain(self) -> str:
        """First half of the full name; empty for what core itself provides."""
        return self.full_name.rpartition("/")[0]

    def load(self, field: str = "target", key: str | None = None) -> Any:  # the author's own object
        """Import what a target field names.

        Args:
            field: spec field, ``"target"``, ``"config"``, ``"sniff"``, ...
            key: entry of a field that maps names to targets.

        Raises:
            PluginError: the field is empty, a needed module is missing, or importing it fails; names the plugin.
        """
        value = getattr(self.spec, field)
        target = value.get(key, "") if key is not None else value
        what = f"{self.spec.kind} {self.full_name}"
        if not target:
            raise PluginError(f"{what} has no {field}" + (f" {key!r}" if key else ""), plugin=self.plugin.label)
        missing = plugins.missing_modules(self.spec)
        if missing:
            raise PluginError(
                f"{what} needs {', '.join(missing)}, which is not installed",
                plugin=self.plugin.label,
                hint=" && ".join(missing.values()),
            )
        try:
            return import_target(target)
        except RepcoreError:
            raise
        except Exception as error:
            if is_out_of_memory(error):  # of the machine, no fault of the plugin
                raise
            raise PluginError(
                f"{what}: cannot import {target} ({type(error).__name__}: {error})",
                plugin=f"{self.plugin.label} ({self.plugin.distribution})",
                hint="repcore plugins --doctor --deep",
            ) from error


def import_target(target: str) -> Any:  # the author's own object
    """Import ``"package.module:attribute"``."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Registry:
    """Everything that loaded plugins registered.

    Args:
        records: as :func:`repcore.plugins.load_plugins` returns them.
    """

    def __init__(self, records: Iterable[PluginRecord]) -> None:
        self.records = list(records)
        self._entries: dict[str, dict[str, list[Entry[Any]]]] = {spec.kind: {} for spec in SPEC_TYPES}
        for record in sorted(self.records, key=lambda one: not one.is_first_party):
            if record.status not in WORKING:
                continue
            for spec in record.specs:
                full = spec.name if record.name == BUILT_IN else f"{record.domain}/{spec.name}"
                self._entries[spec.kind].setdefault(full, []).append(Entry(full, spec, record))

    def entries(self, kind: str, domain: str | None = None) -> list[Entry[Any]]:
        """All entries of a kind, sorted by full name; each name once, with its winning owner.

        With ``domain``, those of the domain; objectives, estimators and tasks that take any encoder count as well.
        """
        kind = self.kind(kind)
        found = [owners[0] for owners in self._entries[kind].values()]
        fitting = {None, domain, GENERIC} if kind in GENERIC_KINDS else {None, domain}
        chosen = (one for one in found if domain is None or one.domain in fitting)
        return sorted(chosen, key=lambda one: one.full_name)

    def kind(self, word: str) -> str:
        """A kind from what a user typed (``encoders`` or ``encoder``).

        Raises:
            RegistryError: there is no such kind.
        """
        lower = word.lower()
        for candidate in (lower, lower.removesuffix("s")):
            if candidate in self._entries:
                return candidate
        raise RegistryError(
            f"no kind {word!r}",
            did_you_mean=closest(lower, self._entries),
            expected=", ".join(self._entries),
        )

    def domains(self) -> list[str]:
        """Domains of the plugins that work; trained models alone make none."""
        working = (r for r in self.records if r.status in WORKING and r.name != BUILT_IN and r.info)
        return sorted({r.domain for r in working if not r.specs or any(one.kind != "model" for one in r.specs)})

    def require_domain(self, domain: str | None) -> None:
        """Refuse a domain that nobody has; None is any.

        Raises:
            RegistryError: names the nearest one, or how to install it.
        """
        if not domain or any(domain in (one.domain, one.name) for one in self.records):
            return
        installable = installable_domains()
        raise RegistryError(
            f"no domain {domain!r}" + (": the plugin is not installed" if domain in installable else ""),
            did_you_mean="" if domain in installable else closest(domain, [*self.domains(), *installable]),
            domains=", ".join(self.domains()) or "none is installed",
            hint=install_command(domain) if domain in installable else "",
        )

    def get(self, kind: str, name: str, domain: str | None = None) -> Entry[Any]:
        """The entry with this name.

        Args:
            kind: ``"encoder"``, ``"recipe"``, ...
            name: full, short or owner-qualified name.
            domain: where a short name is looked for first.

        Raises:
            RegistryError: unknown or ambiguous; names near misses, what is installed, or the plugin that failed.
        """
        known = self._entries[self.kind(kind)]
        owner, _, plain = name.rpartition(":")
        plain = plain.replace("_", "-")
        candidates = [plain] if "/" in plain or domain is None else [f"{domain}/{plain}", f"{GENERIC}/{plain}", plain]
        for candidate in candidates:
            for entry in known.get(candidate, ()):
                if not owner or entry.plugin.name == owner:
                    return entry
        matches = [full for full in known if full.rpartition("/")[2] == plain] if "/" not in plain else []
        if len(matches) == 1 and domain is None and not owner:
            return known[matches[0]][0]
        if len(matches) > 1 and domain is None:
            raise RegistryError(f"{kind} {name!r} is ambiguous", could_be=", ".join(sorted(matches)))
        raise self._unknown(kind, candidates[0], known)

    def find(self, name: str, domain: str | None = None) -> list[Entry[Any]]:
        """Entries of any kind with this full or short name."""
        found = []
        for kind in self._entries:
            try:
                found.append(self.get(kind, name, domain))
            except RegistryError:
                continue
        return found

    def _unknown(self, kind: str, name: str, known: dict[str, list[Entry[Any]]]) -> RegistryError:
        domain = name.partition("/")[0] if "/" in name else ""
        for record in self.records:
            if domain and domain in (record.name, record.domain) and record.status not in WORKING:
                return RegistryError(
                    f"{kind} {name!r} belongs to plugin {record.label}, which is not loaded ({record.status})",
                    problem=record.problem,
                    hint=record.remedy or "repcore plugins --doctor",
                )
        if domain and domain not in self.domains() and domain in installable_domains():
            return NotInstalledError(f"no {kind} {name!r}: the plugin is not installed", hint=install_command(domain))
        near = closest(name, known) or closest(name.rpartition("/")[2], [k.rpartition("/")[2] for k in known])
        same_domain = [full for full in known if full.startswith(f"{domain}/")] if domain else []
        listed = sorted(same_domain or known)
        installed = ", ".join(listed[:12]) + (", ..." if len(listed) > 12 else "")
        others = self._of_other_kinds(kind, name.rpartition("/")[2])
        hint = "repcore DOMAIN train RECIPE objective=NAME" if kind == "recipe" and "objective " in others else ""
        return RegistryError(
            f"no {kind} {name!r}", found_instead=others, did_you_mean=near, installed=installed or "none", hint=hint
        )

    def _of_other_kinds(self, kind: str, short: str) -> str:
        """What else has this short name: somebody may have taken an objective for a recipe."""
        return ", ".join(
            f"{other} {full}"
            for other, entries in self._entries.items()
            for full in sorted(entries)
            if other not in (kind, "system") and full.rpartition("/")[2] == short
        )

    # one typed door for each kind that core itself uses
    def encoder(self, name: str, domain: str | None = None) -> Entry[EncoderSpec]:
        return self.get("encoder", name, domain)

    def objective(self, name: str, domain: str | None = None) -> Entry[ObjectiveSpec]:
        return self.get("objective", name, domain)

    def dataset(self, name: str, domain: str | None = None) -> Entry[DatasetSpec]:
        return self.get("dataset", name, domain)

    def preprocessor(self, name: str, domain: str | None = None) -> Entry[PreprocessorSpec]:
        return self.get("preprocessor", name, domain)

    def views(self, name: str, domain: str | None = None) -> Entry[ViewsSpec]:
        return self.get("views", name, domain)

    def recipe(self, name: str, domain: str | None = None) -> Entry[RecipeSpec]:
        """A recipe; every one belongs to a domain.

        Raises:
            RegistryError: there is none, or it is of another domain than the one that was asked for.
        """
        entry = self.get("recipe", name, domain)
        if domain is not None and entry.domain not in (domain, GENERIC):
            raise RegistryError(
                f"recipe {entry.full_name} is of the domain {entry.domain}, not of {domain!r}",
                recipes_there=", ".join(one.full_name for one in self.entries("recipe", domain)),
                hint="leave the domain out, or name a recipe of it",
            )
        return entry

    def system(self, name: str, domain: str | None = None) -> Entry[SystemSpec]:
        return self.get("system", name, domain)

    def checkpoint(self, name: str, domain: str | None = None) -> Entry[CheckpointSpec]:
        return self.get("checkpoint", name, domain)

    def op(self, name: str) -> Entry[OpSpec]:
        """An op; one that moved from a domain to core is still known by the domain's name for it."""
        try:
            return self.get("op", name)
        except RegistryError:
            moved = self._entries["op"].get(name.rpartition("/")[2].replace("_", "-"))
            if not moved:
                raise
            return moved[0]

    def task(self, name: str, domain: str | None = None) -> Entry[TaskSpec]:
        return self.get("task", name, domain)

    def probe(self, name: str, domain: str | None = None) -> Entry[ProbeSpec]:
        return self.get("probe", name, domain)

    def estimator(self, name: str, domain: str | None = None) -> Entry[EstimatorSpec]:
        return self.get("estimator", name, domain)

    def writer(self, name: str) -> Entry[WriterSpec]:
        return self.get("writer", name)

    def model(self, name: str) -> Entry[ModelSpec]:
        return self.get("model", name)


@lru_cache(maxsize=1)
def default() -> Registry:
    """The registry of the installed plugins, loaded once."""
    return Registry(plugins.load_plugins())


def refresh() -> Registry:
    """Load again, after an install in a running notebook."""
    importlib.invalidate_caches()
    default.cache_clear()
    return default()


def installable_domains() -> list[str]:
    """First-party domains, read from core's own extras (core's code names none).

    An extra is a domain when it asks for the distribution ``repcore-<extra>``; the others (``onnx``, ``search``)
    add libraries and may bear the name of a command.
    """
    try:
        extras = importlib.metadata.metadata("repcore").get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    asked = _asked_for()
    return sorted(extra for extra in extras if f"repcore-{extra}" in asked)


def _asked_for() -> set[str]:
    """Distributions that core's own metadata names, extras included."""
    try:
        lines = importlib.metadata.requires("repcore") or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    return {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines}


def install_command(domain: str) -> str:
    """How to get a first-party domain."""
    return f'pip install "repcore[{domain}]"'


def models_distribution(domain: str) -> str:
    """The first-party distribution of trained models of a domain; empty where core's extras name none."""
    name = f"repcore-{domain}-models"
    return name if name in _asked_for() else ""
