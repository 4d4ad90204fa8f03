"""Finding and loading plugins, each in isolation: one broken plugin never hurts another, and is never silent.

Every plugin goes through the same phases: blocked? -> does it fit this core? -> import its tiny module ->
contract version -> hooks valid? -> collect its specs -> name clashes. A failure stops that plugin only and leaves a
:class:`PluginRecord` with the problem and its remedy, which ``repcore plugins --doctor`` prints.

Differences from ``pluggy.PluginManager.load_setuptools_entrypoints``: that call stops at the first plugin that
fails to import and silently skips a second plugin of the same name; pluggy still validates every hook here.

Environment: ``REPCORE_PLUGINS`` (only these), ``REPCORE_DISABLE_PLUGINS`` (not these), both comma separated;
``REPCORE_STRICT_PLUGINS=1`` turns any problem into an error; ``REPCORE_TRACE=1`` prints every import and hook call
with its plugin and duration on standard error.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import pluggy

from repcore import hooks
from repcore.errors import PluginError, closest
from repcore.specs import HOOK_OF_KIND, SPEC_TYPES, PluginInfo, Spec
from repcore.untrusted import printable

SLOW_MILLISECONDS = 100.0
BUILT_IN = "core"
ALLOW_LIST, DISABLE_LIST = "REPCORE_PLUGINS", "REPCORE_DISABLE_PLUGINS"  # environment variables
TRACE = "REPCORE_TRACE"
RESERVED_DOMAINS = frozenset(
    [
        "list",
        "show",
        "plugins",
        "plan",
        "embed",
        "fit",
        "apply",
        "probe",
        "index",
        "search",
        "runs",
        "compare",
        "audit",
        "explore",
        "compat",
        "import",
        "pull",
        "verify",
        "bench",
        "report",
        "inspect",
        "demo",
        "predict",
        "export",
        "new-plugin",
        "core",
    ]
)
RESERVED_COMMANDS = frozenset({"train", "finetune", "prepare"})

PluginStatus = Literal[
    "ok",
    "slow",
    "missing-dependency",
    "duplicate",
    "disabled",
    "incompatible",
    "import-error",
    "invalid-hook",
    "bad-spec",
]
WORKING: tuple[PluginStatus, ...] = ("ok", "slow", "missing-dependency", "duplicate")
HEALTHY: tuple[PluginStatus, ...] = ("ok", "slow", "disabled")


@dataclass(slots=True)
class PluginRecord:
    """What is known about one plugin after loading. ``problem`` and ``remedy`` are empty when all is well."""

    name: str
    target: str
    distribution: str = ""
    version: str = ""
    location: str = ""
    status: PluginStatus = "ok"
    problem: str = ""
    remedy: str = ""
    where: str = ""
    milliseconds: float = 0.0
    info: PluginInfo | None = None
    specs: list[Spec] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def domain(self) -> str:
        """The plugin's domain; by its name if it never told us."""
        return self.info.domain if self.info else self.name

    @property
    def label(self) -> str:
        """Name and version for messages."""
        return f"{self.name} {self.version}".strip()

    @property
    def is_first_party(self) -> bool:
        """True for the core itself and for ``repcore-<name>``."""
        return self.name == BUILT_IN or self.distribution == f"repcore-{self.name}"

    def fail(self, status: PluginStatus, problem: str, remedy: str, where: str = "") -> None:
        """Record a problem; its specs no longer count unless the status is a working one."""
        self.status, self.problem, self.remedy, self.where = status, problem, remedy, where
        if status not in WORKING:
            self.specs.clear()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry point before it is loaded."""

    name: str
    target: str
    distribution: str
    version: str
    location: str
    requires: tuple[str, ...] = ()


def find_candidates() -> list[Candidate]:
    """Every entry point of our group in every distribution, sorted by name; stale second copies included."""
    found = []
    for distribution in importlib.metadata.distributions():
        text = distribution.read_text("entry_points.txt") or ""
        if hooks.ENTRY_POINT_GROUP not in text:
            continue
        metadata = distribution.metadata  # parsed at every access
        for point in distribution.entry_points:
            if point.group == hooks.ENTRY_POINT_GROUP:
                found.append(
                    Candidate(
                        name=point.name,
                        target=point.value,
                        distribution=metadata["Name"] or "",
                        version=metadata["Version"] or "",
                        location=str(distribution.locate_file("")),
                        requires=tuple(metadata.get_all("Requires-Dist") or ()),
                    )
                )
    return sorted(found, key=lambda one: (one.name, one.distribution != f"repcore-{one.name}"))


def load_plugins(candidates: Iterable[Candidate] | None = None) -> list[PluginRecord]:
    """Load the built-in specs and every plugin.

    Args:
        candidates: entry points to load instead of the installed ones (tests).

    Raises:
        PluginError: only with ``REPCORE_STRICT_PLUGINS=1``: the first problem found.
    """
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    core = core_version()
    built_in = Candidate(BUILT_IN, "repcore.builtins", "repcore", core, "")
    records: list[PluginRecord] = []
    first: dict[str, PluginRecord] = {}
    for candidate in [built_in, *(find_candidates() if candidates is None else candidates)]:
        record = PluginRecord(
            candidate.name, candidate.target, candidate.distribution, candidate.version, candidate.location
        )
        records.append(record)
        if candidate.name in first:
            _mark_second_owner(record, first[candidate.name])
            continue
        first[candidate.name] = record
        _load_one(manager, record, candidate, core)
    _mark_spec_duplicates(records)
    if os.environ.get("REPCORE_STRICT_PLUGINS") == "1":
        _raise_first_problem(records)
    return records


def core_version() -> str:
    """Version of the installed core; ``0+unknown`` when it runs from a source tree that is not installed."""
    try:
        return importlib.metadata.version("repcore")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


def unknown_names(records: Iterable[PluginRecord]) -> list[tuple[str, str]]:
    """Names of no installed plugin in the environment's allow and disable lists, each with its variable."""
    known = {record.name for record in records}
    return [(name, variable) for variable in (ALLOW_LIST, DISABLE_LIST) for name in sorted(_names_in(variable) - known)]


def _names_in(variable: str) -> set[str]:
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}


def _load_one(manager: pluggy.PluginManager, record: PluginRecord, candidate: Candidate, core: str) -> None:
    only, without = _names_in(ALLOW_LIST), _names_in(DISABLE_LIST)
    if record.name != BUILT_IN and (record.name in without or (only and record.name not in only)):
        record.fail("disabled", f"switched off by {ALLOW_LIST} or {DISABLE_LIST}", "unset the variable")
        return
    problem = _unmet_core_requirement(candidate.requires, core)
    if problem:
        record.fail("incompatible", problem, f'pip install --upgrade repcore "{record.distribution}"')
        return
    started = time.thread_time()  # a busy machine makes no plugin slow
    try:
        with _traced(record, f"import {candidate.target}"):
            path, _, attribute = candidate.target.partition(":")
            module = importlib.import_module(path)
            contents = getattr(module, attribute) if attribute else module
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may even call sys.exit at import
        record.fail("import-error", _one_line(error), _import_remedy(record, error), _last_frame(error))
        return
    try:
        _register(manager, record, contents)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # hook bodies are foreign code, too
        record.fail(
            "bad-spec",
            _one_line(error),
            f"fix or remove it: pip uninstall {record.distribution}",
            _last_frame(error),
        )
    if record.status not in WORKING:
        return
    record.milliseconds = 1000.0 * (time.thread_time() - started)
    _note_missing_modules(record)
    if record.status == "ok" and record.milliseconds > SLOW_MILLISECONDS and record.name != BUILT_IN:
        record.status = "slow"
        record.problem = f"listing it took {record.milliseconds:.0f} ms of computing (limit {SLOW_MILLISECONDS:.0f} ms)"
        record.remedy = f"import heavy modules inside functions: python -X importtime -c 'import {record.target}'"


def _register(manager: pluggy.PluginManager, record: PluginRecord, module: object) -> None:
    """Validate the hooks, then call each once and keep its specs."""
    problem, remedy = _hook_problem(module)
    if not problem:
        try:
            manager.register(module, record.name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            problem, remedy = (
                _one_line(error),
                "compare its signature with repcore.hooks: hooks take no arguments",
            )
    if problem:
        if manager.has_plugin(record.name):
            manager.unregister(name=record.name)
        record.fail("invalid-hook", problem, remedy, getattr(module, "__file__", "") or "")
        return
    with _traced(record, "repcore_plugin_info"):
        info = module.repcore_plugin_info()  # type: ignore[attr-defined]
    if not isinstance(info, PluginInfo):
        raise PluginError(f"repcore_plugin_info returned {type(info).__name__}", expected="a repcore.specs.PluginInfo")
    record.info = info
    if not hooks.API_OLDEST <= info.api_version <= hooks.API_VERSION:
        side = "repcore" if info.api_version > hooks.API_VERSION else record.distribution
        record.fail(
            "incompatible",
            f"written for contract {info.api_version}; this core serves {hooks.API_OLDEST} to {hooks.API_VERSION}",
            f"pip install --upgrade {side}",
        )
        return
    for spec_type in SPEC_TYPES:
        hook = getattr(module, HOOK_OF_KIND[spec_type.kind], None)
        if hook is not None:
            with _traced(record, HOOK_OF_KIND[spec_type.kind]):
                record.specs.extend(_checked(hook(), spec_type))
    if record.name != BUILT_IN:
        _refuse_reserved_words(record)


@contextmanager
def _traced(record: PluginRecord, what: str) -> Iterator[None]:
    """One line on standard error with ``REPCORE_TRACE=1``, also when the call fails."""
    started = time.perf_counter()
    try:
        yield
    finally:
        if os.environ.get(TRACE) == "1":
            milliseconds = 1000.0 * (time.perf_counter() - started)
            sys.stderr.write(printable(f"repcore: {record.name}: {what}: {milliseconds:.2f} ms") + "\n")


def _refuse_reserved_words(record: PluginRecord) -> None:
    """Core's own commands cannot be taken over, neither by a domain nor by a command of a plugin."""
    if record.domain in RESERVED_DOMAINS:
        raise PluginError(f"domain {record.domain!r} is a command of repcore itself", hint="choose another domain")
    for spec in record.specs:
        if spec.kind == "command" and spec.name in RESERVED_COMMANDS:
            raise PluginError(f"command {spec.name!r} is core's own in every domain", hint="choose another name")


def _hook_problem(module: object) -> tuple[str, str]:
    """What pluggy would overlook or report badly: (problem, remedy), both empty when fine."""
    known = {"repcore_plugin_info", *HOOK_OF_KIND.values()}
    for name, value in vars(module).items():
        if not name.startswith("repcore_") or not inspect.isfunction(value):
            continue
        marker = getattr(value, f"{hooks.PROJECT}_impl", None)
        if name not in known:
            near = closest(name, known)
            return (
                f"unknown hook {name}",
                f"did you mean {near}?" if near else "see repcore.hooks for the list",
            )
        if marker is None:
            return f"{name} is not marked as a hook", "put @hookimpl from repcore.hooks above it"
        if marker.get("wrapper") or marker.get("hookwrapper"):
            return f"{name} is a wrapper", "registration hooks cannot be wrapped: return your own specs"
        if inspect.signature(value).parameters:
            return (
                f"{name}{inspect.signature(value)} takes arguments",
                f"define it as: def {name}() -> list[...]",
            )
    if not hasattr(module, "repcore_plugin_info"):
        return "repcore_plugin_info is missing", "every plugin must say who it is: see repcore.hooks"
    return "", ""


def _checked(specs: object, spec_type: type[Spec]) -> list[Spec]:
    hook = HOOK_OF_KIND[spec_type.kind]
    if not isinstance(specs, list | tuple):
        raise PluginError(f"{hook} returned {type(specs).__name__}", expected=f"a list of {spec_type.__name__}")
    seen: set[str] = set()
    for spec in specs:
        if not isinstance(spec, spec_type):
            raise PluginError(f"{hook} returned a {type(spec).__name__}", expected=f"only {spec_type.__name__}")
        if spec.name in seen:
            raise PluginError(f"{hook} returned {spec.name!r} twice", hint="names are unique per kind")
        seen.add(spec.name)
    return list(specs)


def missing_modules(spec: Spec) -> Mapping[str, str]:
    """Importable modules that a spec needs and that are absent -> the command that installs each.

    Only specs with install ``hints`` need modules; an objective's ``needs`` are capabilities of its encoder.
    """
    hints: Mapping[str, str] | None = getattr(spec, "hints", None)
    if hints is None:
        return {}
    return {
        name: hints.get(name, f"pip install {name}")
        for name in getattr(spec, "needs", ())
        if importlib.util.find_spec(name.partition(".")[0]) is None
    }


def _note_missing_modules(record: PluginRecord) -> None:
    hinted = [spec for spec in record.specs if getattr(spec, "hints", None) is not None]
    named = {name for spec in hinted for name in getattr(spec, "needs", ())}
    if all(importlib.util.find_spec(name.partition(".")[0]) for name in sorted(named)):
        return  # each is looked for once: many specs need the same ones
    for spec in hinted:
        for module, command in missing_modules(spec).items():
            record.notes.append(f"{spec.kind} {record.domain}/{spec.name} needs {module}: {command}")
            record.status = "missing-dependency"
            record.problem = f"{spec.kind} {record.domain}/{spec.name} cannot be used: no module {module!r}"
            record.remedy = command


def _unmet_core_requirement(requires: tuple[str, ...], version: str) -> str:
    """Why the running core does not satisfy a plugin's own requirement on it; empty if it does."""
    relevant = [line for line in requires if line.replace(" ", "").startswith("repcore") and line[7:8] in "<>=!~ (;["]
    if not relevant or version == "0+unknown":
        return ""
    if all(_plainly_met(line, version) for line in relevant):
        return ""
    from packaging.requirements import Requirement

    for line in relevant:
        requirement = Requirement(line)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not requirement.specifier.contains(version, prereleases=True):
            return f"it requires repcore{requirement.specifier}; installed is {version}"
    return ""


def _plainly_met(line: str, version: str) -> bool:
    """Whether bounds of the usual form ``repcore>=0.1,<0.2`` hold; spares `list` the import of packaging."""
    form = re.fullmatch(r"repcore(?:>=([0-9.]+))?,?(?:<([0-9.]+))?", _ordered_bounds(line))
    if form is None or not re.fullmatch(r"[0-9.]+", version):
        return False
    here, lower, upper = (tuple(int(one) for one in text.split(".") if one) for text in (version, *form.groups("0")))
    return here >= lower and (form[2] is None or here < upper)


def _ordered_bounds(line: str) -> str:
    """A requirement without blanks and brackets, its lower bound first (metadata writes ``<0.2,>=0.1``)."""
    bounds = re.sub(r"[\s()]", "", line).removeprefix("repcore").split(",")
    return "repcore" + ",".join(sorted(bounds, key=lambda one: not one.startswith(">=")))


def _mark_second_owner(record: PluginRecord, winner: PluginRecord) -> None:
    if record.distribution == winner.distribution:
        record.fail(
            "duplicate",
            f"distribution {record.distribution} is installed twice; the copy in {winner.location} is used",
            f"delete the metadata of the other copy in {record.location}",
        )
    else:
        record.fail(
            "duplicate",
            f"plugin name {record.name!r} is also used by {winner.distribution} {winner.version}, which is loaded",
            f"pip uninstall {record.distribution}",
        )


def _mark_spec_duplicates(records: list[PluginRecord]) -> None:
    """Two specs with one full name: the first-party one (else the first by plugin name) keeps it."""
    owners: dict[tuple[str, str], tuple[PluginRecord, Spec]] = {}
    ranked = sorted((one for one in records if one.status in WORKING), key=lambda one: not one.is_first_party)
    for record in ranked:
        for spec in list(record.specs):
            key = (spec.kind, f"{record.domain}/{spec.name}")
            if key not in owners:
                owners[key] = (record, spec)
                continue
            winner, other = owners[key]
            note = (
                f"{spec.kind} {key[1]} is defined by both {winner.name} ({getattr(other, 'target', '-')}) and "
                f"{record.name} ({getattr(spec, 'target', '-')}); plain lookups give {winner.name}'s"
            )
            record.notes.append(note)
            record.status, record.problem = "duplicate", note
            record.remedy = f"ask for it as {record.name}:{key[1]}, or pip uninstall {record.distribution}"


def _raise_first_problem(records: list[PluginRecord]) -> None:
    for record in records:
        if record.status not in HEALTHY or record.status == "slow":
            raise PluginError(
                f"plugin {record.label!r} is not in order ({record.status}): {record.problem}",
                where=record.where,
                hint=record.remedy,
            )


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _last_frame(error: BaseException) -> str:
    """File and line of the last frame that is not import machinery."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _import_remedy(record: PluginRecord, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = record.target.partition(".")[0]
        if error.name.partition(".")[0] == package:
            return f"pip install --force-reinstall {record.distribution}"
        return f"pip install {error.name.partition('.')[0]}"
    return f"pip install --upgrade {record.distribution}  (or: pip uninstall {record.distribution})"
