"""``repcore inspect``: what a path holds, which readers fit, and what is wrong, before a run is spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.cli.options import item_timeout_option, json_option, reader_options
from repcore.errors import ConfigError

if TYPE_CHECKING:
    from repcore.data.inspection import Inspection
    from repcore.data.readers import Recognition
    from repcore.interfaces import DatasetReader, Preprocessor

SHOWN_LABELS = 12
SHOWN_FACTS = 16


@click.command("inspect")
@click.argument("data")
@click.option("--domain", help="Only readers of this domain.")
@click.option("--reader", help="Reader to use instead of the one that fits best.")
@click.option("--model", type=click.Path(path_type=Path), help="Prepare rows as this model would.")
@click.option("--recipe", help="Prepare rows as a new run of this recipe would, for example audio/ssamba.")
@click.option("--read", "settings", multiple=True, metavar="KEY=VALUE", help="Reader settings (repeatable).")
@click.option("--rows", type=int, help="Most rows to look at; by default up to 5000, as many as 30 s allow.")
@click.option("--full", is_flag=True, help="Look at every row.")
@item_timeout_option(60.0)
@click.option("--strict", is_flag=True, help="Exit with 1 if there is anything to warn about.")
@json_option
@click.pass_context
def inspect_command(ctx: click.Context, /, data: str, **given: Any) -> None:
    """Look at DATA (a path or the name of a data set) as train would: files and rows used, ignored or unreadable,
    guesses, labels, unusable rows, copies, leaks, and the command that fits.

    \b
    Example:
      repcore inspect molecules.csv
    """
    if given["full"] and given["rows"] is not None:
        raise ConfigError("--full and --rows were both given", hint="one of them")
    from repcore.data.inspection import SAMPLED_ROWS, SECONDS, inspect_reader
    from repcore.data.readers import open_data, recognise

    known, path = registry.default(), Path(data).expanduser()
    taker, name, fitted = _consumer(given)
    domain = given["domain"] or (name.rpartition("/")[0] or None)
    options = reader_options(None, given["settings"])
    part, reader = open_data(
        known, data, domain=domain, reader=given["reader"], options=options, preprocessor=name or None
    )
    recipes = _recipes_for(part.entry)
    reporter = ConsoleReporter()
    words = taker
    if fitted is None and (taker or recipes):
        words = taker or recipes[0]
        fitted, words = _preprocessor(words, reader, asked=bool(taker))
    rows = None if given["full"] else given["rows"] or SAMPLED_ROWS
    seconds = SECONDS if given["rows"] is None and not given["full"] else None
    found = inspect_reader(
        reader, fitted, reporter, rows=rows, seconds=seconds, item_timeout=given["item_timeout"] or None
    )
    reporter.close()
    fits = recognise(known, path, domain) if path.exists() else None
    next_step = _next_step(data, part.name, recipes, given["reader"], fits)
    if given["as_json"]:
        record = {"reader": part.name, "fits": _scores(fits), "sniffers_failed": list(fits.problems) if fits else []}
        show_json({**record, "prepared_as": words, "recipes": recipes, "next": next_step, **found.to_json()})
    else:
        say(f"read by {part.name}" + (f" (fits: {_fits(fits)})" if fits and fits.fits else ""))
        say(f"prepared as {words} would" if fitted is not None else f"not prepared{words and ': '}{words}")
        for problem in fits.problems if fits else ():
            say(f"warning: {problem}")
        _show(found)
        say(f"next: {next_step}")
    if given["strict"] and not found.is_clean:
        ctx.exit(1)


def _scores(fits: Recognition | None) -> dict[str, float]:
    return {} if fits is None else {one.entry.full_name: one.score for one in fits.fits}


def _fits(fits: Recognition) -> str:
    return ", ".join(f"{one.entry.full_name} {one.score:.2f}" for one in fits.fits)


def _consumer(given: Mapping[str, Any]) -> tuple[str, str, Preprocessor | None]:
    """What rows are prepared as, the name of its preprocessor, and the preprocessor itself where it is fitted already.

    Raises:
        ConfigError: both a model and a recipe are given.
    """
    if given["model"] is not None and given["recipe"] is not None:
        raise ConfigError("--model and --recipe were both given", hint="one of them")
    if given["model"] is not None:
        from repcore.embedding.model import load

        model = load(given["model"])
        return str(given["model"]), model.folder.preprocessor_name, model.preprocessor
    if given["recipe"] is None:
        return "", "", None
    from repcore.config.resolve import recipe_preprocessor

    recipe = registry.default().recipe(given["recipe"], given["domain"]).full_name
    return recipe, recipe_preprocessor(registry.default(), recipe, None), None


def _recipes_for(entry: Any) -> list[str]:  # entry of a data set
    """Recipes of the reader's domain whose preprocessor takes its samples."""
    from repcore.config.matching import reads_for
    from repcore.config.resolve import recipe_preprocessor

    known = registry.default()
    fitting = []
    for recipe in known.entries("recipe", entry.full_name.rpartition("/")[0]):
        name = recipe_preprocessor(known, recipe.full_name, None)
        if name and reads_for(entry, known.preprocessor(name)):
            fitting.append(recipe.full_name)
    return fitting


def _preprocessor(recipe: str, reader: DatasetReader, *, asked: bool) -> tuple[Preprocessor | None, str]:
    """The recipe's preprocessor, fitted on rows that are looked at; None and the reason where it cannot be."""
    from repcore.config.resolve import resolve_run
    from repcore.data.guard import error_in_words, is_strict
    from repcore.data.inspection import rows_to_look_at
    from repcore.training.assembly import build

    try:
        preprocessor: Preprocessor = build(resolve_run(registry.default(), recipe).preprocessor)
        preprocessor.fit(reader, rows_to_look_at(len(reader), 500))
    except Exception as error:
        if asked or is_strict():
            raise
        return None, f"{recipe} cannot prepare it: {error_in_words(error)}"
    return preprocessor, recipe


def _next_step(data: str, name: str, recipes: list[str], reader: str | None, fits: Recognition | None) -> str:
    """The command that goes on from here."""
    if not recipes:
        return f"no installed recipe takes what {name} reads; repcore list recipes"
    domain, _, recipe = recipes[0].rpartition("/")
    chosen = f" --reader {name}" if reader is not None else ""
    others = f" (or {', '.join(one.rpartition('/')[2] for one in recipes[1:4])})" if recipes[1:] else ""
    return f"repcore {domain} train {recipe} --data {data if ' ' not in data else repr(data)}{chosen}{others}"


def _show(found: Inspection) -> None:
    say(f"{found.rows:,} rows, {found.read:,} looked at; {found.groups or 'no'} groups")
    for text in found.account.sentences():
        say(text)
    if found.parts:
        say("declared splits: " + ", ".join(f"{name} {count:,}" for name, count in found.parts.items()))
    if found.cost is not None:
        say(f"cost of an item: {found.cost[0]:g} to {found.cost[2]:g}, median {found.cost[1]:g}")
    for name, value in list(found.facts.items())[:SHOWN_FACTS]:
        say(f"{name}: {_fact(value)}")
    _show_labels(found)
    for warning in found.warnings:
        say(f"warning: {warning}")
    for status, examples in found.examples.items():
        for example in examples:
            say(f"  {status}: {example}")
    if found.is_clean:
        say("nothing to warn about")


def _fact(value: Mapping[str, Any]) -> str:
    if set(value) == {"min", "median", "max"}:
        if value["min"] == value["max"]:
            return f"{value['min']:g}"
        return f"{value['min']:g} to {value['max']:g}, median {value['median']:g}"
    return ", ".join(f"{name}: {count}" for name, count in value.items())


def _show_labels(found: Inspection) -> None:
    from repcore.data.label_facts import label_in_words

    shown = list(found.targets.items())[:SHOWN_LABELS]
    rows = [
        (name, facts["kind"], facts["level"], label_in_words(facts), f"{facts.get('missing_share', 0.0):.1%}")
        for name, facts in shown
    ]
    if rows:
        table(("label", "kind", "level", "values", "missing"), rows)
    rest = Counter(facts["kind"] for _, facts in list(found.targets.items())[SHOWN_LABELS:])
    if rest:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in rest.items())
        say(f"and {sum(rest.values()):,} more labels ({kinds}); --json has all")
