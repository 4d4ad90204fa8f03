"""Checks of what a plugin says about itself: light to list, complete, every name and target real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from repcore import hooks
from repcore.config.matching import ROLES
from repcore.errors import RegistryError
from repcore.plugins import SLOW_MILLISECONDS
from repcore.testing import limits
from repcore.testing.check import Check, fail
from repcore.testing.deep import PluginSubject
from repcore.testing.distribution_checks import imports_declared, no_side_effects, wheel_has_data_files

HEAVY = ("torch", "numpy", "lightning", "pydantic", "sklearn", "pyarrow", "scipy", "pandas", "PIL")
PROGRAM = """
import json, sys, time
before = set(sys.modules)
started, computed = time.perf_counter(), time.process_time()
import {module}
spent = time.process_time() - computed, time.perf_counter() - started
found = sorted({{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names))
print(json.dumps([*(1000 * one for one in spent), found]))
"""
TRIES = 3


def listing_is_light(subject: PluginSubject) -> None:
    """The listing module imports its own package and core only, within the time limit."""
    tried = [_listing(subject) for _ in range(TRIES)]
    imported = tried[0][2]
    own = {subject.package, "repcore", "pluggy", "tests"}
    foreign = sorted(set(imported) - own)
    heavy = [name for name in foreign if name in HEAVY] or foreign
    if heavy:
        fail(
            f"importing {subject.record.target} imports {', '.join(heavy)}; only repcore.hooks and repcore.specs may be"
        )
    computed, passed = min(one[0] for one in tried), min(one[1] for one in tried)
    if computed > limits.computing(SLOW_MILLISECONDS) or passed > limits.waiting(SLOW_MILLISECONDS):
        fail(
            f"importing {subject.record.target} takes {computed:.0f} ms of computing, {passed:.0f} ms in all, "
            f"limit {SLOW_MILLISECONDS:.0f} ms on an idle machine"
        )


def _listing(subject: PluginSubject) -> tuple[float, float, list[str]]:
    """Milliseconds of computing and in all, and the top packages that are imported."""
    program = "import repcore.hooks, repcore.specs\n" + PROGRAM.format(module=subject.record.target.partition(":")[0])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        fail(f"{subject.record.target} cannot be imported alone: {done.stderr.strip().splitlines()[-1:]}")
    computed, passed, names = json.loads(done.stdout.splitlines()[-1])
    return float(computed), float(passed), list(names)


def info_complete(subject: PluginSubject) -> None:
    """The plugin and each of its specs say what they are; of a trained model its card does (``model-tells``)."""
    info = subject.record.info
    lacking = (
        ["PluginInfo"]
        if info is None
        else [f"PluginInfo.{one}" for one in ("title", "summary") if not getattr(info, one)]
    )
    lacking += [
        f"summary of {spec.kind} {spec.name}"
        for spec in subject.record.specs
        if not spec.summary and spec.kind != "model"
    ]
    if lacking:
        fail(f"empty: {', '.join(lacking)}")


def api_version(subject: PluginSubject) -> None:
    """Written for the contract of this core."""
    info = subject.record.info
    if info is None or not hooks.API_OLDEST <= info.api_version <= hooks.API_VERSION:
        fail(f"contract {info and info.api_version}; this core serves {hooks.API_OLDEST} to {hooks.API_VERSION}")


def names_valid(subject: PluginSubject) -> None:
    """Names that specs use for one another exist."""
    wrong = []
    for spec in subject.record.specs:
        for kind, names in _references(spec).items():
            for name in names:
                try:
                    subject.registry.get(kind, name, subject.record.domain)
                except RegistryError:
                    wrong.append(f"{spec.kind} {spec.name} names {kind} {name!r}, which does not exist")
    if wrong:
        fail("; ".join(wrong))


def _references(spec: Any) -> dict[str, tuple[str, ...]]:  # each kind has its own fields
    if spec.kind == "system":
        return {kind: getattr(spec, f"{kind}s") for kind in ("encoder", "objective", "recipe", "checkpoint")}
    if spec.kind == "objective":
        return {"views": (spec.views,) if spec.views and spec.views not in ROLES else ()}
    if spec.kind == "checkpoint":
        return {"encoder": (spec.encoder,) if spec.encoder else ()}
    return {}


def targets_resolve(subject: PluginSubject) -> None:
    """Everything the specs name can be imported."""
    problems = subject.trial.problems
    if problems:
        fail("; ".join(problems))


def needs_have_hints(subject: PluginSubject) -> None:
    """Every optional module comes with the command that installs it."""
    lacking = [
        f"{spec.kind} {spec.name} needs {module}"
        for spec in subject.record.specs
        if hasattr(spec, "hints")
        for module in getattr(spec, "needs", ())
        if not spec.hints.get(module)
    ]
    if lacking:
        fail(f"no install command for: {', '.join(lacking)}")


CHECKS = (
    Check("listing-is-light", listing_is_light),
    Check("info-complete", info_complete),
    Check("api-version", api_version),
    Check("names-valid", names_valid),
    Check("targets-resolve", targets_resolve),
    Check("needs-have-hints", needs_have_hints),
    Check("imports-declared", imports_declared),
    Check("no-side-effects", no_side_effects),
    Check("wheel-has-data-files", wheel_has_data_files, level="full"),
)
