"""``repcore inspect``: what a path holds, which readers fit, and what is wrong, before a run is spent on it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.cli.options import item_timeout_option, json_option, reader_options
from repcore.errors import ConfigError

if TYPE_CHECKING:
    from repcore.config.resolve import ResolvedPart
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
    guesses, labels, unusable rows, copies, leaks, and the command that fits. Exit code 1 where no row can be used.

    \b
    Example:
      repcore inspect molecules.csv
    """
    if given["full"] and given["rows"] is not None:
        raise ConfigError("--full and --rows were both given", hint="one of them")
    from repcore.data.inspection import SAMPLED_ROWS, SECONDS, inspect_reader
    from repcore.data.readers import local_path, open_data, recognise

    known, path = registry.default(), local_path(data)
    taker, name, fitted = _consumer(given)
    domain = given["domain"] or (name.rpartition("/")[0] or None)
    options = reader_options({"settings": given["settings"]})
    part, reader = open_data(
        known, data, domain=domain, reader=given["reader"], options=options, preprocessor=name or None
    )
    recipes = _recipes_for(part.entry)
    reporter = ConsoleReporter()
    words = taker
    if fitted is None and (taker or recipes):
        fitted, words, recipes = _first_that_prepares(taker, recipes, reader)
    rows = None if given["full"] else given["rows"] or SAMPLED_ROWS
    seconds = SECONDS if given["rows"] is None and not given["full"] else None
    timeout, why = given["item_timeout"] or None, words if fitted is None and recipes else ""
    found = inspect_reader(reader, fitted, reporter, rows=rows, seconds=seconds, item_timeout=timeout, unprepared=why)
    reporter.close()
    fits = recognise(known, path, domain) if path.exists() else None
    next_step = _next_step(data, part, recipes, given, found)
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
    if not found.usable or (given["strict"] and not found.is_clean):
        ctx.exit(1)


def _scores(fits: Recognition | None) -> dict[str, float]:
    return {} if fits is None else {one.entry.full_name: one.score for one in fits.fits}


def _fits(fits: Recognition) -> str:
    from repcore.data.misfits import HARDLY

    surely = [one for one in fits.fits if one.score > HARDLY]
    return ", ".join(f"{one.entry.full_name} {one.score:.2f}" for one in surely or fits.fits)


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
    from repcore.config.recipes import recipe_preprocessor

    recipe = registry.default().recipe(given["recipe"], given["domain"]).full_name
    return recipe, recipe_preprocessor(registry.default(), recipe, None), None


def _recipes_for(entry: Any) -> list[str]:  # entry of a data set
    """Recipes of the reader's domain whose preprocessor takes its samples; those with an objective of the domain first,
    since one of every domain (statistics that are predicted) may need its plugin, and rows that differ by more."""
    from repcore.config.matching import reads_for
    from repcore.config.recipes import learns_by_own_objective, recipe_preprocessor

    known = registry.default()
    fitting = []
    for recipe in known.entries("recipe", entry.full_name.rpartition("/")[0]):
        name = recipe_preprocessor(known, recipe.full_name, None)
        if name and reads_for(entry, known.preprocessor(name)):
            fitting.append(recipe.full_name)
    return sorted(fitting, key=lambda name: not learns_by_own_objective(known, name))


def _first_that_prepares(
    taker: str, recipes: list[str], reader: DatasetReader
) -> tuple[Preprocessor | None, str, list[str]]:
    """The preprocessor of what was asked for, else of the first recipe whose preprocessor can be fitted on these rows;
    what it is called, or why there is none; and the recipes, that one first."""
    if taker:
        fitted, words = _preprocessor(taker, reader, asked=True)
        return fitted, words, recipes
    prepared: list[tuple[Preprocessor, str]] = []
    failures = []
    for recipe in recipes:
        fitted, words = _preprocessor(recipe, reader, asked=False)
        if fitted is None:
            failures.append(words)
            continue
        prepared.append((fitted, words))
        if len(recipes) == 1 or _learns_from(recipe, fitted):
            return (
                fitted,
                words,
                [recipe, *(one for one in recipes if one != recipe and _may_learn(one, recipe, fitted))],
            )
    if prepared:
        return prepared[0][0], prepared[0][1], recipes
    return None, failures[0], recipes


def _may_learn(recipe: str, prepared: str, fitted: Preprocessor) -> bool:
    """Whether another recipe can be proposed: one of the same preprocessor only where it can be built, too."""
    from repcore.config.recipes import recipe_preprocessor

    known = registry.default()
    own, other = (recipe_preprocessor(known, one, None) for one in (recipe, prepared))
    return own != other or _learns_from(recipe, fitted)


def _learns_from(recipe: str, fitted: Preprocessor) -> bool:
    """Whether the recipe's encoder and objective can be built for what the preprocessor found."""
    from repcore.config.resolve import resolve_run
    from repcore.errors import RepcoreError
    from repcore.training.assembly import build

    try:
        resolved = resolve_run(registry.default(), recipe).with_facts(fitted.facts())
        build(resolved.objective, build(resolved.encoder))
    except RepcoreError:
        return False
    return True


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


def _next_step(data: str, part: ResolvedPart, recipes: list[str], given: Mapping[str, Any], found: Inspection) -> str:
    """The command that goes on from here; it runs as it stands."""
    from repcore.data.readers import other_readers

    if not recipes:
        return f"no installed recipe takes what {part.name} reads; repcore list recipes"
    reader = part.name if given["reader"] is not None else ""
    settings = [f"dataset.{one}" for one in given["settings"]]
    if not found.is_trainable:
        reader, settings = _reader_with_more_rows(data, part), []
        if not reader:
            if not found.usable:
                others = ", ".join(other_readers(part.name, data).splitlines())
                changed = "--read NAME=VALUE changes how rows are read"
                return f"the reasons above: no row can be used as it is; {others or changed}"
            rows = "1 usable row is" if found.usable == 1 else f"{found.usable} copies of one row are"
            embed = f"; to embed it: repcore embed MODEL {shlex.quote(data)} -o embeddings.parquet"
            return f"more data ({rows} too few to train on){embed}"
    elif found.unprepared:
        embed = f"repcore embed MODEL {shlex.quote(data)} -o embeddings.parquet"
        return (
            f"other data, or what the warning names (no recipe could be trained on these rows); to embed them: {embed}"
        )
    domain, _, recipe = recipes[0].rpartition("/")
    others = f" (or {', '.join(one.rpartition('/')[2] for one in recipes[1:4])})" if recipes[1:] else ""
    words = ["--data", data, *(["--reader", reader] if reader else []), *settings]
    return f"repcore {domain} train {recipe} {shlex.join(words)}{others}"


def _reader_with_more_rows(data: str, part: ResolvedPart) -> str:
    """A reader that has to be asked for by name and makes several rows of what is one; empty if there is none."""
    from repcore.data.readers import open_data
    from repcore.errors import RepcoreError

    domain, known = part.name.rpartition("/")[0], registry.default()
    for entry in known.entries("dataset", domain):
        if entry.spec.sniff or entry.spec.embedded or entry.full_name == part.name:
            continue
        with suppress(RepcoreError):
            if len(open_data(known, data, domain=domain, reader=entry.full_name)[1]) > 1:
                return entry.full_name
    return ""


def _show(found: Inspection) -> None:
    say(f"{found.rows:,} rows, {found.read:,} looked at; {found.groups or 'no'} groups")
    for text in found.account.sentences():
        say(text)
    if set(found.parts) == {"train"} and found.parts["train"] == found.rows:
        say("no split is declared: every row is one to train on")
    elif found.parts:
        say("declared splits: " + ", ".join(f"{name} {count:,}" for name, count in found.parts.items()))
        say(found.no_part) if found.no_part else None
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
