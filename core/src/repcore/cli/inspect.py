"""``repcore inspect``: what a path holds, which readers fit, and what is wrong, before a run is spent on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.cli.options import json_option, reader_options
from repcore.errors import ConfigError

if TYPE_CHECKING:
    from repcore.data.inspection import Inspection
    from repcore.interfaces import DatasetReader, Preprocessor


@click.command("inspect")
@click.argument("data")
@click.option("--domain", help="Only readers of this domain.")
@click.option("--reader", help="Reader to use instead of the one that fits best.")
@click.option("--model", type=click.Path(path_type=Path), help="Prepare rows as this model would.")
@click.option("--recipe", help="Prepare rows as a new run of this recipe would, for example audio/ssamba.")
@click.option("--read", "settings", multiple=True, metavar="KEY=VALUE", help="Reader settings (repeatable).")
@click.option("--rows", type=int, default=5000, show_default=True, help="Most rows to look at.")
@click.option("--strict", is_flag=True, help="Exit with 1 if there is anything to warn about.")
@json_option
@click.pass_context
def inspect_command(ctx: click.Context, /, data: str, **given: Any) -> None:
    """Look at DATA (a path or the name of a data set): readers, labels, unusable rows, duplicates, leaks.

    \b
    Example:
      repcore inspect molecules.csv
    """
    from repcore.data.inspection import inspect_reader
    from repcore.data.readers import open_data, recognise

    known = registry.default()
    path = Path(data).expanduser()
    fits = recognise(known, path, given["domain"]) if path.exists() else []
    options = reader_options(None, given["settings"])
    part, reader = open_data(known, data, domain=given["domain"], reader=given["reader"], options=options)
    preprocessor = _preprocessor(given["model"], given["recipe"], reader, given["rows"])
    reporter = ConsoleReporter()
    found = inspect_reader(reader, preprocessor, reporter, rows=given["rows"])
    reporter.close()
    if given["as_json"]:
        scores = {one.entry.full_name: one.score for one in fits}
        show_json({"reader": part.name, "fits": scores, **found.to_json()})
    else:
        say(f"read by {part.name}" + (f" (fits: {_fits(fits)})" if fits else ""))
        _show(found)
    if given["strict"] and not found.is_clean:
        ctx.exit(1)


def _fits(fits: list[Any]) -> str:
    return ", ".join(f"{one.entry.full_name} {one.score:.2f}" for one in fits)


def _preprocessor(model: Path | None, recipe: str | None, reader: DatasetReader, rows: int) -> Preprocessor | None:
    """What rows are prepared with: a model's, a recipe's fitted on the rows that are looked at, or nothing.

    Raises:
        ConfigError: both are given, or the recipe prepares whole data sets at once.
    """
    if model is not None and recipe is not None:
        raise ConfigError("--model and --recipe were both given", hint="one of them")
    if model is not None:
        from repcore.embedding.model import load

        return load(model).preprocessor
    if recipe is None:
        return None
    from repcore.config.resolve import resolve_run
    from repcore.data.inspection import rows_to_look_at
    from repcore.training.assembly import build

    resolved = resolve_run(registry.default(), recipe)
    preprocessor: Preprocessor = build(resolved.preprocessor)
    if hasattr(preprocessor, "preparation"):
        raise ConfigError(
            f"--recipe {recipe}: it prepares whole data sets at once",
            hint=f"repcore {resolved.domain} prepare lists the rows that it leaves out",
        )
    preprocessor.fit(reader, rows_to_look_at(len(reader), rows))
    return preprocessor


def _show(found: Inspection) -> None:
    say(f"{found.rows:,} rows, {found.read:,} looked at; {found.groups or 'no'} groups")
    if found.cost is not None:
        say(f"cost of an item: {found.cost[0]:g} to {found.cost[2]:g}, median {found.cost[1]:g}")
    rows = []
    for name, facts in found.targets.items():
        if "classes" in facts:
            values = ", ".join(f"{key}: {count}" for key, count in list(facts["classes"].items())[:8])
        elif "min" in facts:
            values = f"{facts['min']:.4g} to {facts['max']:.4g}, mean {facts['mean']:.4g}"
        else:
            values = ""
        rows.append((name, facts["kind"], facts["level"], values, f"{facts.get('missing_share', 0.0):.1%}"))
    if rows:
        table(("label", "kind", "level", "values", "missing"), rows)
    for warning in found.warnings:
        say(f"warning: {warning}")
    for status, examples in found.examples.items():
        for example in examples:
            say(f"  {status}: {example}")
    if found.is_clean:
        say("nothing to warn about")
