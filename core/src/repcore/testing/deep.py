"""Import everything a plugin names, in another process: an import that hangs or kills the interpreter is a finding."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping

from repcore.plugins import PluginRecord, missing_modules
from repcore.specs import Spec

TIMEOUT_SECONDS = 120.0
PROGRAM = """
import importlib, json, sys
for target in json.load(sys.stdin):
    print(json.dumps({"begin": target}), flush=True)
    try:
        module, _, attribute = target.partition(":")
        getattr(importlib.import_module(module), attribute)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        text = " ".join(str(error).split())
        print(json.dumps({"problem": type(error).__name__ + ": " + text}), flush=True)
print(json.dumps({"end": True}), flush=True)
"""


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


def import_problems(record: PluginRecord, timeout: float = TIMEOUT_SECONDS) -> list[str]:
    """What cannot be imported of what a plugin registered; empty if all can.

    Specs whose optional modules are missing are left out: the loader already reports them.

    Args:
        timeout: seconds for one round of imports; the target being imported then is reported.
    """
    users: dict[str, str] = {}
    for spec in record.specs:
        if not missing_modules(spec):
            for field, target in targets_of(spec).items():
                users.setdefault(target, f"{spec.kind} {record.domain}/{spec.name}, {field}")
    return [f"{users[target]} = {target}: {problem}" for target, problem in failing_targets(users, timeout)]


def failing_targets(targets: Iterable[str], timeout: float = TIMEOUT_SECONDS) -> list[tuple[str, str]]:
    """Targets that cannot be imported, each with the reason."""
    waiting, found = list(targets), []
    while waiting:
        begun, problems, end = _round(waiting, timeout)
        found.extend(problems)
        if not end:
            return found
        victim = begun[-1] if begun else waiting[0]
        found.append((victim, end))
        waiting = waiting[len(begun) or 1 :]  # go on behind the one that ended the process
    return found


def _round(targets: list[str], timeout: float) -> tuple[list[str], list[tuple[str, str]], str]:
    """One process: targets begun, problems met, and how it ended (empty = regularly)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", PROGRAM]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(targets),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            check=False,
        )
        output, ending = done.stdout, f"the interpreter ended with exit code {done.returncode}"
        if done.returncode < 0:
            ending = f"the interpreter was killed by signal {-done.returncode}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else (error.stdout or "")
        ending = f"no end after {timeout:g} s"
    begun: list[str] = []
    problems: list[tuple[str, str]] = []
    for line in output.splitlines():
        message = _message(line)
        if "begin" in message:
            begun.append(message["begin"])
        elif "problem" in message:
            problems.append((begun[-1], message["problem"]))
        elif "end" in message:
            return begun, problems, ""
    return begun, problems, ending


def _message(line: str) -> dict[str, str]:
    """A line of ours; anything that an import printed is no message."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
