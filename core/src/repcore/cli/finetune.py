"""``repcore <domain> finetune``: train a model on labels, beside the same network from random weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.cli.options import RUNS_FOLDER, device_option, json_option, reader_options, torch_device
from repcore.errors import ConfigError, DataError

if TYPE_CHECKING:
    from repcore.embedding.model import Model
    from repcore.specs import TargetSpec
    from repcore.training.finetune import FinetuneResult, FinetuneSettings


@click.command("finetune")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--data", required=True, help="Labelled data: path, or the name of a data set.")
@click.option("--task", help="Registered task; by the kind of label if left out.")
@click.option("--label", help="Label column.")
@click.option("--reader", help="Registered reader to use instead of the one that fits best.")
@click.option("--id-column", help="Column with ids.")
@click.option("--read", "settings", multiple=True, metavar="KEY=VALUE", help="Further reader settings (repeatable).")
@click.option("--split", default="random", show_default=True, help="As in probe: random, group, scaffold, ...")
@click.option("--seeds", type=int, default=1, show_default=True, help="Number of seeds.")
@click.option("--twin/--no-twin", default=True, show_default=True, help="Also train from random weights.")
@click.option("--out", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True, help="Folder of runs.")
@device_option
@json_option
@click.pass_context
def finetune_command(ctx: click.Context, /, model: Path, overrides: tuple[str, ...], **given: Any) -> None:
    """Fine-tune MODEL (a model or run folder) on a label; OVERRIDES such as trainer.epochs=10 task.head=first-token.

    \b
    Example:
      repcore DOMAIN finetune runs/latest/model --data labelled.csv --label y --split random
    """
    from repcore.embedding.model import load
    from repcore.evaluation.probing import chosen_targets, read_rows, split_plan
    from repcore.training.finetune import finetune

    device = torch_device(given["device"])
    opened = load(model)
    if opened.domain != ctx.obj:
        raise ConfigError(
            f"{model} is a model of {opened.domain}, not of {ctx.obj}", hint=f"repcore {opened.domain} finetune {model}"
        )
    dataset, reader = _open(opened, given)
    targets = chosen_targets(reader, [given["label"]] if given["label"] else [])
    if len(targets) > 1:
        raise DataError("which label?", labels=", ".join(one.name for one in targets), hint="--label NAME")
    settings = _settings(opened, targets[0], dataset, given["task"], overrides)
    rows = read_rows(reader)
    seeds = list(range(given["seeds"]))
    plan = split_plan(opened.registry, opened.folder.preprocessor_name, rows, targets[0], given["split"], seeds)
    reporter = ConsoleReporter()
    results = []
    for seed, folds in zip(seeds, plan.folds, strict=True):
        for split in folds:
            for start in ("model", "random") if given["twin"] else ("model",):
                reporter.info(f"seed {seed}, from {start} weights")
                results.append(
                    finetune(
                        opened,
                        settings,
                        rows,
                        split,
                        reporter,
                        seed=seed,
                        start=start,
                        root=given["out"],
                        device=device,
                    )
                )
    reporter.close()
    _show(results, targets[0], plan.title, given["as_json"])


def _open(model: Model, given: dict[str, Any]) -> tuple[Any, Any]:
    from repcore.data.readers import open_data

    return open_data(
        model.registry,
        given["data"],
        domain=model.domain,
        reader=given["reader"],
        options=reader_options(given["id_column"], given["settings"]),
        preferences={"labels": [given["label"]]} if given["label"] else {},
    )


def _settings(
    model: Model, target: TargetSpec, dataset: Any, task: str | None, overrides: tuple[str, ...]
) -> FinetuneSettings:
    from repcore.config.resolve import ResolvedPart, resolve_sections
    from repcore.training.finetune import DEFAULTS, FinetuneSettings

    known = registry.default()
    if task is None:
        wanted = (target.kind, target.level)
        offered = [*known.entries("task", model.domain), *known.entries("task", "")]  # the domain's own come first
        fitting = [entry for entry in offered if (entry.spec.target_kind, entry.spec.target_level) == wanted]
        if not fitting:
            raise ConfigError(f"no task for {target.kind} labels of {target.level} level", hint="--task NAME")
        entry = fitting[0]
    else:
        entry = known.task(task, model.domain)
    sections = resolve_sections(DEFAULTS, overrides, {"task": entry.load("config")})
    part = ResolvedPart(entry, sections.pop("task"))
    return FinetuneSettings(part, target, dataset, sections)


def _record(one: FinetuneResult) -> dict[str, Any]:
    place = {"start": one.start, "seed": one.seed, "run": str(one.run.folder)}
    return {**place, "rows": one.rows, "test": dict(one.scores)}


def _show(results: list[FinetuneResult], target: TargetSpec, split: str, as_json: bool) -> None:
    if as_json:
        show_json(
            [
                {
                    "start": one.start,
                    "seed": one.seed,
                    "run": str(one.run.folder),
                    "rows": one.rows,
                    "test": dict(one.scores),
                }
                for one in results
            ]
        )
        return
    rows = results[0].rows
    say(f"{target.name} ({target.kind}): {split} split, {rows['train']} / {rows['validation']} / {rows['test']} rows")
    metrics = list(results[0].scores)
    cells = [(one.start, one.seed, *(float(one.scores[name]) for name in metrics)) for one in results]
    for start in dict.fromkeys(one.start for one in results):
        own = [one for one in results if one.start == start]
        if len(own) > 1:
            cells.append((start, "mean", *(sum(float(one.scores[name]) for one in own) / len(own) for name in metrics)))
    table(("start", "seed", *metrics), cells)
    say(f"model: {next(one for one in results if one.start == 'model').run.folder / 'model'}")
