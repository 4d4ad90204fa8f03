"""``repcore plugins``: what is installed, what is wrong with it, and what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, complain, say, show_json, table
from repcore.credentials import with_credentials
from repcore.errors import PluginError, RegistryError, closest
from repcore.plugins import HEALTHY, PluginRecord, find_candidates

if TYPE_CHECKING:
    from repcore.testing.plan import DueCheck


@click.group("plugins", invoke_without_command=True)
@click.option("--doctor", is_flag=True, help="Explain every problem and its remedy; exit code 1 if there is one.")
@click.option(
    "--deep", is_flag=True, help="With --doctor: import everything each plugin registers and run its examples, apart."
)
@click.option(
    "--timeout",
    type=float,
    default=120.0,
    show_default=True,
    help="Seconds of computing that each plugin gets with --deep; slow machines give more.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def plugins_command(ctx: click.Context, doctor: bool, deep: bool, timeout: float, as_json: bool) -> None:
    """Installed plugins and their health.

    \b
    Example:
      repcore plugins --doctor
      repcore plugins check molecules
    """
    if ctx.invoked_subcommand is not None:
        return
    records = registry.default().records
    found = {} if not deep else _deep_problems(records, timeout)
    ops = _op_notes() if doctor else []
    machine = _machine() if deep else {}
    if as_json:
        rows = [{**_as_json(one), "import_problems": found.get(one.name, [])} for one in records]
        show_json({"plugins": rows, "ops": ops, "machine": machine} if doctor else rows)
    else:
        table(
            ("plugin", "distribution", "version", "api", "status", "ms", "provides"),
            [
                (
                    one.name,
                    one.distribution,
                    one.version,
                    one.info.api_version if one.info else "",
                    one.status,
                    f"{one.milliseconds:.0f}",
                    _counts(one),
                )
                for one in records
            ],
        )
        if doctor:
            _explain(records, found, ops)
        for name, value in machine.items():
            say(f"{name}: {value}")
    if doctor and (found or any(one.status not in HEALTHY for one in records)):
        ctx.exit(1)


@plugins_command.command("check")
@click.argument("name")
@click.option(
    "--level", type=click.Choice(["fast", "full"]), default="fast", show_default=True, help="full also trains."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def check_command(ctx: click.Context, name: str, level: Literal["fast", "full"], as_json: bool) -> None:
    """Conformance checks of one plugin: NAME is a plugin, its distribution, or a listing module.

    \b
    Example:
      repcore plugins check molecules --level full
    """
    from repcore.testing import check_plugin

    reporter = ConsoleReporter()

    def show(check: DueCheck, number: int, due: int) -> None:
        if sys.stderr.isatty():
            reporter.progress("checking", number - 1, due, f"{check.check.id}, {check.target}")
        else:
            complain(f"check {number} of {due}: {check.check.id}, {check.target}")

    complain(f"finding out what plugin {name} has to keep")
    report = check_plugin(name, level, on_start=show)
    reporter.close()
    if as_json:
        show_json(json.loads(report.to_json()))
    else:
        table(("check", "target", "status", "seconds", "message"), report.rows())
        say(report.summary())
    if not report.ok:
        ctx.exit(1)


def _counts(record: PluginRecord) -> str:
    counted = Counter(spec.kind for spec in record.specs)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))


def _as_json(record: PluginRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "domain": record.domain,
        "api_version": record.info.api_version if record.info else None,
        "status": record.status,
        "problem": record.problem,
        "remedy": record.remedy,
        "where": record.where,
        "notes": record.notes,
        "milliseconds": round(record.milliseconds, 1),
        "provides": dict(Counter(spec.kind for spec in record.specs)),
    }


def _explain(records: list[PluginRecord], found: dict[str, list[str]], ops: list[dict[str, str]]) -> None:
    for one in records:
        if one.problem:
            say(f"{one.label or one.name}: {one.status}")
            say(f"  problem: {one.problem}")
            if one.where:
                say(f"  where:   {one.where}")
            say(f"  try:     {one.remedy}")
        for note in one.notes:
            if note != one.problem:
                say(f"  note:    {note}")
        for problem in found.get(one.name, []):
            say(f"{one.label}: {problem}")
    for op in ops:
        say(f"op {op['op']}: {op['implementation']} is not used here: {op['reason']}")
    if not found and all(one.status in HEALTHY for one in records):
        say("all plugins are in order")


def _op_notes() -> list[dict[str, str]]:
    """Implementations that cannot run on this machine, with the op's own reason."""
    from repcore.ops import why_unusable

    notes = []
    for entry in registry.default().entries("op"):
        for choice in entry.spec.implementations:
            reason = why_unusable(entry.full_name, choice)
            if reason:
                notes.append({"op": entry.full_name, "implementation": choice, "reason": reason})
    return notes


def _deep_problems(records: list[PluginRecord], timeout: float) -> dict[str, list[str]]:
    from repcore.testing.deep import import_problems

    reporter = ConsoleReporter()
    found = {}
    tried = [record for record in records if record.specs]
    for number, record in enumerate(tried):
        reporter.progress("trying", number, len(tried), record.name)
        found[record.name] = import_problems(record, timeout, examples=True)
    reporter.close()
    return {name: problems for name, problems in found.items() if problems}


def _machine() -> dict[str, str]:
    """Versions that matter and what torch can compute on."""
    import importlib.metadata
    import platform

    import torch

    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    names = ("torch", "lightning", "numpy", "pluggy")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **versions, "cuda": ", ".join(devices) or "no CUDA device"}


@plugins_command.command("install")
@click.argument("what", nargs=-1, required=True)
def install_command(what: tuple[str, ...]) -> None:
    """Install plugins into the environment of this very command; WHAT is a domain, a folder, or anything pip takes.

    No plugin is loaded, so this also works while one is broken.

    \b
    Example:
      repcore plugins install molecules
      repcore plugins install ./repcore-mri-sleep
    """
    domains = registry.installable_domains()
    _pip("install", *(f"repcore[{one}]" if one in domains else one for one in map(with_credentials, what)))


@plugins_command.command("uninstall")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def uninstall_command(name: str, yes: bool) -> None:
    """Remove the distribution of the plugin NAME. No plugin is loaded, so this also works on a broken one.

    \b
    Example:
      repcore plugins uninstall mri-sleep --yes
    """
    found = find_candidates()
    owners = sorted({one.distribution for one in found if name in (one.name, one.distribution)})
    if len(owners) != 1:
        raise RegistryError(
            f"{len(owners) or 'no'} distributions have a plugin {name!r}",
            did_you_mean=closest(name, [one.name for one in found]) if not owners else None,
            distributions=", ".join(owners or sorted({one.distribution for one in found})),
        )
    _pip("uninstall", *(["--yes"] if yes else []), owners[0])


def _pip(*arguments: str) -> None:
    """The pip of the running interpreter, so that a plugin never lands in another environment."""
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], check=False)
    if done.returncode != 0:
        raise PluginError(f"pip {arguments[0]} ended with exit code {done.returncode}", environment=sys.prefix)
