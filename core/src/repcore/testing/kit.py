"""``check_plugin``: run every conformance check that a plugin's specs demand, and count them.

The number due follows from the specs before anything runs, so that checks that silently did not run show up.
Importing this module is cheap; torch comes with the first plan.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from repcore import plugins, registry
from repcore.errors import ConfigError, PluginError, RegistryError, closest
from repcore.plugins import WORKING, Candidate, PluginRecord
from repcore.registry import Registry
from repcore.testing.check import CheckFailedError, Level, NotJudgedError, SubjectError, TimedOutError
from repcore.testing.report import CheckResult, CheckStatus, Report

if TYPE_CHECKING:
    from repcore.testing.checkpoint_checks import CheckpointSample
    from repcore.testing.plan import DueCheck

LEVELS: tuple[Level, ...] = ("fast", "full")


def check_plugin(
    name_or_module: str | ModuleType,
    level: Level = "fast",
    expected_failures: Mapping[str, str] | None = None,
    on_result: Callable[[CheckResult, int], None] | None = None,
    *,
    on_start: Callable[[DueCheck, int, int], None] | None = None,
    checkpoints: Mapping[str, CheckpointSample] | None = None,
) -> Report:
    """Check one plugin.

    Args:
        name_or_module: name or distribution of an installed plugin, or a listing module (or its dotted name) that
            need not be installed.
        level: ``full`` adds checks that train for some seconds.
        expected_failures: ``"check-id"`` or ``"check-id@target"`` -> reason. One that passes is a failure.
        on_result: called with each result and the number due, to show progress.
        on_start: called before each check with it, its number from 1 and the number due.
        checkpoints: full name of a checkpoint layout -> small published weights to try its converter on; without
            them the checks of converters are skipped and say so.

    Raises:
        PluginError: the plugin cannot be loaded. RegistryError: there is none of this name.
        ConfigError: an unknown level, or an expected failure that names no due check.
    """
    known, record = find_plugin(name_or_module)
    due = plan(known, record, level, checkpoints)
    expected = dict(expected_failures or {})
    refuse_unknown(expected, due)
    results = []
    for number, one in enumerate(due, 1):
        if on_start is not None:
            on_start(one, number, len(due))
        results.append(run_check(one, reason_of(one, expected)))
        if on_result is not None:
            on_result(results[-1], len(due))
    return Report(plugin=record.name, level=level, due=len(due), results=results)


def find_plugin(name_or_module: str | ModuleType) -> tuple[Registry, PluginRecord]:
    """A working plugin and the registry it is in.

    Raises:
        RegistryError: no such plugin. PluginError: it cannot be loaded.
    """
    wanted = name_or_module if isinstance(name_or_module, str) else name_or_module.__name__
    if "." in wanted or not isinstance(name_or_module, str):
        known = _with_module(wanted)
    else:
        known = registry.default()
    found = [one for one in known.records if wanted in (one.name, one.distribution, one.target)]
    if not found:
        names = [one.name for one in known.records]
        raise RegistryError(f"no plugin {wanted!r}", did_you_mean=closest(wanted, names), installed=", ".join(names))
    if found[0].status not in WORKING:
        problem = f"{found[0].status}: {found[0].problem}"
        raise PluginError(f"plugin {found[0].label} cannot be loaded", problem=problem, hint=found[0].remedy)
    return known, found[0]


def _with_module(target: str) -> Registry:
    """The installed plugins and one more by its listing module; an installed one with this target is enough."""
    installed = plugins.find_candidates()
    if any(one.target == target for one in installed):
        return registry.default()
    name = target.removesuffix("._plugin").rpartition(".")[2].removeprefix("repcore_")
    return Registry(plugins.load_plugins([*installed, Candidate(name, target, "", "", "")]))


def plan(
    known: Registry, record: PluginRecord, level: Level, checkpoints: Mapping[str, CheckpointSample] | None = None
) -> list[DueCheck]:
    """Every check due; arguments as :func:`check_plugin`.

    Raises:
        ConfigError: unknown level.
    """
    if level not in LEVELS:
        raise ConfigError(f"level {level!r} is unknown", expected=" or ".join(LEVELS))
    from repcore.testing.plan import due_checks
    from repcore.testing.randomness import own_randomness

    with own_randomness():  # what goes together is found out by building it
        return due_checks(known, record, level, checkpoints)


def refuse_unknown(expected: Mapping[str, str], due: Sequence[DueCheck]) -> None:
    """Expected failures must name checks that are due, otherwise a typing error would hide one.

    Raises:
        ConfigError: names the unknown ones.
    """
    names = {name for one in due for name in (one.check.id, one.name)}
    unknown = [name for name in expected if name not in names]
    if unknown:
        raise ConfigError(
            f"expected failures name no due check: {', '.join(unknown)}", did_you_mean=closest(unknown[0], names)
        )


def reason_of(due: DueCheck, expected: Mapping[str, str]) -> str | None:
    """Why a check is expected to fail; None if it is not."""
    return expected.get(due.name, expected.get(due.check.id))


def run_check(due: DueCheck, expected: str | None = None) -> CheckResult:
    """Run one check; whatever the plugin's code does, the result says it."""
    started = time.perf_counter()
    status: CheckStatus
    status, message = ("skipped", due.missing) if due.missing else _outcome(due)
    if expected is not None and status == "failed":
        status, message = "expected", f"{expected} ({message})"
    elif expected is not None and status == "passed":
        status, message = "unexpected-pass", f"was expected to fail: {expected}"
    return CheckResult(due.check.id, due.target, status, time.perf_counter() - started, message)


def _outcome(due: DueCheck) -> tuple[CheckStatus, str]:
    from repcore.testing.limits import limited, seconds_of
    from repcore.testing.randomness import own_randomness

    try:
        with own_randomness(), limited(seconds_of(due.check.level)):
            due.check.function(due.subject)
    except CheckFailedError as failure:
        return "failed", str(failure)
    except NotJudgedError as reason:
        return "skipped", str(reason)
    except SubjectError as problem:
        return "not-run", str(problem)
    except TimedOutError as problem:
        return "timed-out", str(problem)
    except (Exception, SystemExit) as error:  # foreign code may do anything
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        return "failed", f"{type(error).__name__}: {error}{where}"
    return "passed", ""
