"""``repcore compare`` and ``repcore runs``: models and runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import say, show_json, table
from repcore.cli.options import RUNS_FOLDER, device_option, json_option, reading_options, work_options
from repcore.cli.vector_rows import gathered
from repcore.errors import ConfigError, DataError
from repcore.outputs import local_output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repcore.explore.compare import Contender, SideBySide


@click.command("compare")
@click.argument("sources", nargs=-1, metavar="MODEL_A MODEL_B... DATA")
@click.option("--label", required=True, help="Label that is probed.")
@click.option("--protocol", help="Probe such as ridge@1, linear@1, knn@1; by the kind of label if none is named.")
@click.option("--split", default="random", show_default=True, help="As with probe.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Number of seeds.")
@click.option("--reference", metavar="MODEL", help="The model that the others are held against; the first by default.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Also compare by the values of this column, such as a "
              "site or the declared split; group = the data's own groups (repeatable).")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also write this page (FILE.html).")
@reading_options
@work_options
@device_option
@json_option
def compare_command(sources: tuple[str, ...], label: str, **given: Any) -> None:
    """Models (or files of embeddings) on the same rows of DATA, each held against the first, or --reference.

    Probes on the same splits with paired intervals, differences by class and by group, how alike vectors are, items on
    which the models disagree most, and time and size beside quality.

    \b
    Example:
      repcore compare runs/first runs/second molecules.csv --label soluble -o compare.html
    """
    if len(sources) < 3:
        raise ConfigError(
            f"{len(sources)} arguments; two models and the data are needed",
            hint="repcore compare MODEL_A MODEL_B DATA --label NAME",
        )
    from repcore.evaluation.probing import chosen_targets
    from repcore.explore.compare import compare_models
    from repcore.explore.compare_page import write_comparison
    from repcore.explore.drawing import Sources

    output: Path | None = None if given["output"] is None else local_output(given["output"])
    if output is not None and output.suffix.lower() != ".html":
        raise ConfigError(f"-o {output.name}: a page ends in .html", hint="--json prints everything for programs")
    *paths, data = sources
    if (reference := given["reference"]) is not None:
        if reference not in paths:
            raise ConfigError(f"--reference {reference} is none of the models", models=", ".join(paths))
        paths.insert(0, paths.pop(paths.index(reference)))
    contenders = [_contender(Path(one), data, (label, *_columns(given["by"])), given) for one in paths]
    rows = contenders[0].rows.labelled
    assert rows is not None  # there are data
    (target,) = chosen_targets(rows.reader, [label])
    seeds = list(range(given["seeds"]))
    known = registry.default()
    found = compare_models(
        known, contenders, target, split=given["split"], seeds=seeds, protocol=given["protocol"], by=given["by"]
    )  # fmt: skip
    if output is not None:
        write_comparison(output, found, data, Sources(known, say).render(contenders[0].rows.origin))
    if given["as_json"]:
        show_json(found.plain())
        return
    _show(found)
    if output is not None:
        say(f"page: {output}")


def _columns(by: tuple[str, ...]) -> list[str]:
    """Those that are read as labels; the declared split and the groups are there anyhow."""
    from repcore.explore.compare import GROUP
    from repcore.explore.rows import SPLIT

    return [name for name in by if name not in (GROUP, SPLIT)]


def _contender(source: Path, data: str, labels: tuple[str, ...], given: Mapping[str, Any]) -> Contender:
    from repcore.explore.compare import Contender

    rows = gathered(source, data, given, labels)
    return Contender(str(source), rows, _parameters(rows.origin.model))


def _parameters(place: str) -> int | None:
    """Number of parameters of the model that made the vectors; None where none is known, or it has moved."""
    from repcore.checkpoints.places import model_path
    from repcore.report.collect import stored_parameters

    try:
        return stored_parameters(model_path(place)) if place else None
    except DataError:
        return None


def _show(found: SideBySide) -> None:
    headers = ("features", "probe", "metric", "mean", "sd", "seeds", "note")
    table(headers, [[row[name] for name in headers] for row in found.table.rows()])
    for sentence in found.table.verdicts():
        say(sentence)
    table(("model", "model", "linear CKA", "overlap of neighbours"), found.alike)
    clear = [one for one in found.differences if one.verdict in ("better", "worse")]
    for one in clear:
        say(f"{one.other} is {one.verdict} on {one.group}: {one.first:.3f} to {one.value:.3f} ({one.rows} test rows)")
    if found.differences and not clear:
        say("no group of test rows differs clearly")
    for pair in found.pairs if len(found.names) > 2 else ():
        say(
            f"{pair.second} is {pair.verdict} than {pair.first}: {pair.difference:+.3f}"
            if pair.verdict in ("better", "worse")
            else f"{pair.second} against {pair.first}: {pair.verdict}, {pair.difference:+.3f}"
        )
    costs = [(name, *cost.values()) for name, cost in found.costs.items()]
    table(("model", "quality", "parameters", "width", "ms a row"), costs)


@click.command("runs")
@click.argument("folder", type=click.Path(path_type=Path), default=RUNS_FOLDER)
@json_option
def runs_command(folder: Path, as_json: bool) -> None:
    """Runs in FOLDER with their key figures, the newest first.

    \b
    Example:
      repcore runs
      repcore runs elsewhere --json
    """
    from repcore.explore.runs import list_runs

    found = list_runs(folder)
    if as_json:
        show_json(found)
        return
    names = ("run", "recipe", "state", "steps", "loss", "validation_loss", "representation", "best_probe", "problem")
    if not found:
        say(f"no runs in {folder}")
        return
    table([name.replace("_", " ") for name in names], [[one.get(name) for name in names] for one in found])
