"""Trying a plugin's code in another process: an import that hangs or kills the interpreter is a finding, not the end.

Jobs are tried one after the other in one process; where a job ends it, the next process goes on behind that job. A
watching thread in that process ends it when it computed for too long, or computed nothing for as long: a busy machine
makes an import slow, but never idle.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from repcore.plugins import PluginRecord, missing_modules
from repcore.registry import Registry
from repcore.specs import EncoderSpec, Spec
from repcore.testing import limits

TIMEOUT_SECONDS = 120.0
PROGRAM = """
import importlib, json, os, sys, threading, time

def tell(**message):
    sys.__stdout__.write(json.dumps(message) + chr(10))
    sys.__stdout__.flush()

def watch(limit):
    last, since = time.process_time(), time.monotonic()
    while True:
        time.sleep(min(0.2, limit / 4))
        used, now = time.process_time(), time.monotonic()
        if used >= limit:
            tell(ending=f"no end after {used:.0f} s of computing")
            os._exit(1)
        if used > last + 0.02 * (now - since) + 0.01:
            last, since = used, now
        elif now - since >= limit:
            tell(ending=f"no end: nothing was computed for {now - since:.0f} s")
            os._exit(1)

def load(target):
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)

# what libraries themselves set when they are imported is not watched
WATCHED = ("CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS", "PYTHONPATH")

def state():
    import logging, random
    import numpy, torch
    root = logging.getLogger()
    return {
        "the working directory": os.getcwd(),
        "the environment": [os.environ.get(name) for name in WATCHED] + sorted(n for n in os.environ if "REPCORE" in n),
        "Python's random state": random.getstate(),
        "NumPy's random state": repr(numpy.random.get_state()),
        "torch's random state": torch.get_rng_state().tolist(),
        "torch's default dtype": str(torch.get_default_dtype()),
        "the root logger": (root.level, len(root.handlers)),
    }

def imported_by(package):
    # modules of others that the files of a package import when they are imported
    import ast, importlib.util, pathlib
    spec = importlib.util.find_spec(package) if package else None
    own, found = package.partition(".")[0], set()
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in pathlib.Path(folder).rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Import):
                    found.update(one.name for one in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    found.update([node.module, *(node.module + "." + one.name for one in node.names)])
    return sorted(one for one in found if one.partition(".")[0] != own)

work = json.load(sys.stdin)
threading.Thread(target=watch, args=(work["limit"],), daemon=True).start()
if work["effects"]:  # what other libraries do when they are imported is theirs: sklearn.svm draws a random number
    for name in imported_by(work["package"]):
        try:
            importlib.import_module(name)
        except BaseException:
            pass
before = state() if work["effects"] else {}
for number, (target, example) in enumerate(work["jobs"]):
    tell(begin=number)
    try:
        loaded = load(target)
        if example:
            config, batch = load(example)()
            loaded(config).eval()(batch)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        tell(problem=type(error).__name__ + ": " + " ".join(str(error).split()))
if work["effects"]:
    after = state()
    tell(effects=[name for name in before if before[name] != after[name]])
tell(end=True)
"""
Job = tuple[str, str]  # a target to import; an example to build and run it on, or ""


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What importing a plugin showed.

    Args:
        problems: what cannot be imported, with the spec that names it.
        effects: global state that changed, in words.
    """

    problems: list[str]
    effects: list[str]


@dataclasses.dataclass(slots=True)
class _Round:
    """What one process told."""

    begun: list[int] = dataclasses.field(default_factory=list)
    problems: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    effects: list[str] = dataclasses.field(default_factory=list)
    ending: str = ""  # empty when it ended regularly


def targets_of(spec: Spec) -> dict[str, str]:
    """Every ``module:attribute`` of a spec by field name."""
    found = {}
    for field in dataclasses.fields(spec):
        if not field.metadata.get("target"):
            continue
        value = getattr(spec, field.name)
        named = value.items() if isinstance(value, Mapping) else [("", value)]
        found.update({f"{field.name}{f'[{key}]' if key else ''}": target for key, target in named if target})
    return found


def import_problems(record: PluginRecord, timeout: float = TIMEOUT_SECONDS, *, examples: bool = False) -> list[str]:
    """What cannot be imported of what a plugin registered; empty if all can.

    Specs whose optional modules are missing are left out: the loader already reports them.

    Args:
        timeout: seconds that one round of imports may compute, or wait without computing, on a machine of the
            speed of :mod:`repcore.testing.limits`; slower ones get more. The target being imported then is reported.
        examples: also build every encoder that has an example and run it once.
    """
    users = _users(record)
    if examples:
        for spec in record.specs:
            if isinstance(spec, EncoderSpec) and spec.example and not missing_modules(spec):
                users[spec.target, spec.example] = f"encoder {record.domain}/{spec.name} on its example"
    return [f"{users[job]} = {job[0]}: {problem}" for job, problem in failing_jobs(list(users), timeout)]


def try_imports(record: PluginRecord, timeout: float = TIMEOUT_SECONDS) -> Trial:
    """Import everything that a plugin registered, once, and look at what that changes besides.

    Modules of others that its files import are imported first, so that what these change is not said of the plugin.
    """
    users = _users(record)
    package = record.target.partition(":")[0].rpartition(".")[0]
    failed, effects = _all_rounds(list(users), timeout, effects=True, package=package)
    return Trial([f"{users[job]} = {job[0]}: {problem}" for job, problem in failed], effects)


@dataclasses.dataclass(frozen=True)
class PluginSubject:
    """A loaded plugin among the others."""

    registry: Registry
    record: PluginRecord

    @cached_property
    def trial(self) -> Trial:
        """One import of everything in a subprocess, which several checks look at."""
        return try_imports(self.record)

    @property
    def package(self) -> str:
        """Top package of its listing module."""
        return self.record.target.partition(":")[0].partition(".")[0]


def _users(record: PluginRecord) -> dict[Job, str]:
    """Every import that a plugin's usable specs ask for, with the first field that does."""
    users: dict[Job, str] = {}
    for spec in record.specs:
        if not missing_modules(spec):
            for field, target in targets_of(spec).items():
                users.setdefault((target, ""), f"{spec.kind} {record.domain}/{spec.name}, {field}")
    return users


def failing_targets(targets: Iterable[str], timeout: float = TIMEOUT_SECONDS) -> list[tuple[str, str]]:
    """Targets that cannot be imported, each with the reason."""
    return [(target, problem) for (target, _), problem in failing_jobs([(one, "") for one in targets], timeout)]


def failing_jobs(jobs: Sequence[Job], timeout: float = TIMEOUT_SECONDS) -> list[tuple[Job, str]]:
    """Jobs that fail, each with the reason."""
    return _all_rounds(jobs, timeout, effects=False)[0]


def _all_rounds(
    jobs: Sequence[Job], timeout: float, *, effects: bool, package: str = ""
) -> tuple[list[tuple[Job, str]], list[str]]:
    """As many processes as it takes; failed jobs with their reasons, and what the last process saw change."""
    waiting = list(jobs)
    found: list[tuple[Job, str]] = []
    changed: list[str] = []
    while waiting:
        done = _round(waiting, timeout, effects=effects, package=package)
        found.extend((waiting[number], problem) for number, problem in done.problems)
        changed = done.effects
        if not done.ending:
            break
        victim = done.begun[-1] if done.begun else 0
        found.append((waiting[victim], done.ending))
        waiting = waiting[victim + 1 :]
    return found, changed


def _round(jobs: Sequence[Job], timeout: float, *, effects: bool, package: str) -> _Round:
    """One process over all jobs, or until one ends it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    last_resort = limits.waiting(timeout)  # where code that holds the interpreter's lock keeps the watching thread out
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=json.dumps(
                {"jobs": jobs, "effects": effects, "package": package, "limit": limits.computing(timeout)}
            ),
            capture_output=True,
            text=True,
            timeout=last_resort,
            env=environment,
            check=False,
        )
        output, ending = done.stdout, f"the interpreter ended with exit code {done.returncode}"
        if done.returncode < 0:
            ending = f"the interpreter was killed by signal {-done.returncode}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else (error.stdout or "")
        ending = f"no end after {last_resort:.0f} s"
    result = _Round(ending=ending)
    for line in output.splitlines():
        message = _message(line)
        if "begin" in message:
            result.begun.append(message["begin"])
        elif "problem" in message:
            result.problems.append((result.begun[-1], message["problem"]))
        elif "ending" in message:
            result.ending = message["ending"]
        elif "effects" in message:
            result.effects = message["effects"]
        elif "end" in message:
            result.ending = ""
    return result


def _message(line: str) -> dict[str, Any]:
    """A line of ours; anything that an import printed is no message."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
