"""``repcore plugins``: what is installed, what is wrong with it, and what to do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.plugins import HEALTHY, PluginRecord

if TYPE_CHECKING:
    from repcore.testing.report import CheckResult


@click.group("plugins", invoke_without_command=True)
@click.option("--doctor", is_flag=True, help="Explain every problem and its remedy; exit code 1 if there is one.")
@click.option("--deep", is_flag=True, help="With --doctor: import everything each plugin registers, in a subprocess.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def plugins_command(ctx: click.Context, doctor: bool, deep: bool, as_json: bool) -> None:
    """Installed plugins and their health.

    \b
    Example:
      repcore plugins --doctor
      repcore plugins check molecules
    """
    if ctx.invoked_subcommand is not None:
        return
    records = registry.default().records
    found = {} if not deep else _deep_problems(records)
    ops = _op_notes() if doctor else []
    if as_json:
        rows = [{**_as_json(one), "import_problems": found.get(one.name, [])} for one in records]
        show_json({"plugins": rows, "ops": ops} if doctor else rows)
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
    if doctor and (found or any(one.status not in HEALTHY for one in records)):
        ctx.exit(1)


@plugins_command.command("check")
@click.argument("name")
@click.option(
    "--level", type=click.Choice(["fast", "full"]), default="fast", show_default=True, help="full also trains."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def check_command(ctx: click.Context, name: str, level: Literal["fast", "full"], as_json: bool) -> None:
    """Conformance checks of one plugin: NAME is a plugin, its distribution, or a listing module.

    \b
    Example:
      repcore plugins check molecules --level full
    """
    from repcore.testing import check_plugin

    reporter = ConsoleReporter()
    done: list[str] = []

    def show(result: CheckResult, due: int) -> None:
        done.append(result.id)
        reporter.progress("checking", len(done), due, f"{result.id}, {result.target}")

    report = check_plugin(name, level, on_result=show)
    reporter.close()
    if as_json:
        say(report.to_json())
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


def _deep_problems(records: list[PluginRecord]) -> dict[str, list[str]]:
    from repcore.testing.deep import import_problems

    found = {record.name: import_problems(record) for record in records if record.specs}
    return {name: problems for name, problems in found.items() if problems}
