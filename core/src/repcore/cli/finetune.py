"""``repcore <domain> finetune``: train a model on labels, beside the same network from random parameters."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import stopping
from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.cli.options import RUNS_FOLDER, device_option, json_option, reader_options, reading_options
from repcore.devices import torch_device
from repcore.errors import ConfigError, DataError, RunError
from repcore.launching import is_first_process

if TYPE_CHECKING:
    from repcore.embedding.model import Model
    from repcore.interfaces import DatasetReader
    from repcore.specs import TargetSpec
    from repcore.training.finetune_plan import FinetuneOutcome
    from repcore.training.run_folder import RunFolder

BEGUN = "begun.json"
NOT_STORED = ("resume", "out", "device", "as_json")


@click.command("finetune")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.argument("overrides", nargs=-1)
@click.option("--data", help="Labelled data: path, or the name of a data set.")
@click.option("--task", help="Registered task; by the kind of label if left out.")
@click.option("--method", metavar="NAME", help="How to learn from labels (repcore list objectives), with settings "
              "method.KEY=VALUE; by default the task's plain loss.")  # fmt: skip
@click.option("--label", help="Label column.")
@reading_options
@click.option("--ignore", type=int, help="Label value that means unlabelled, of points, voxels, nodes, ...")
@click.option("--split", default="random", show_default=True, help="random, group, stratified, declared, "
              "folds:K, stratified-folds:K, group-folds:K, column:NAME, held-out:GROUP,GROUP, or one of the "
              "domain's own such as scaffold.")  # fmt: skip
@click.option("--keep-copies-together", is_flag=True, help="Rows with the same content stay on one side of a split.")
@click.option("--group", metavar="NAME", help="Split within samples: a label of elements (sector), or a way of the "
              "domain (blocks:20); its groups are split like rows.")  # fmt: skip
@click.option("--labels", help="Labelled training rows that count: a number or a share such as 5, 0.1 or 10%.")
@click.option("--folds", type=int, help="Cross-validation with K folds; groups and classes are respected.")
@click.option("--seeds", type=int, default=1, show_default=True, help="Number of seeds.")
@click.option("--ensemble", type=int, default=1, show_default=True, help="Networks trained into one model.")
@click.option(
    "--twin/--no-twin", default=True, show_default=True, help="Also train the random-init twin, for comparison."
)
@click.option(
    "--plain/--no-plain", default=True, show_default=True, help="With --method: also train with the task's plain loss."
)
@click.option("--resume", metavar="RUN", help="Go on with an interrupted fine-tuning: folder, name, or latest.")
@click.option("--name", help="Name of the run folder; by default domain, label and time.")
@click.option("--out", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True, help="Folder of runs.")
@device_option
@json_option
@click.pass_context
def finetune_command(
    ctx: click.Context, /, model: Path | None, overrides: tuple[str, ...], resume: str | None, **given: Any
) -> None:
    """Fine-tune MODEL (a folder, a run, an installed model) on labels; `repcore predict` takes what is left.

    OVERRIDES such as trainer.epochs=10 trainer.patience=3 task.head=first-token task.class_weights=balanced
    finetune.layer_decay=0.75 finetune.frozen_epochs=2 method.temperature=0.1.

    \b
    Example:
      repcore DOMAIN finetune runs/latest/model --data labelled.csv --label y --split random
      repcore predict runs/latest new.csv -o predictions.csv
    """
    from repcore.training.run_folder import RunFolder, check_run_name

    check_run_name(given["name"])
    folder = None
    request = {"model": "" if model is None else _lasting(model), "overrides": list(overrides), **given}
    if resume is not None:
        folder = RunFolder.open(resume, given["out"])
        request = _resumed(folder, model, given["data"], overrides)
    elif model is None or not given["data"]:
        hint = f"repcore {ctx.obj} finetune MODEL --data PATH --label NAME"
        raise ConfigError("which model, and which data?", hint=hint)
    request["settings"] = tuple(request["settings"])
    _run(ctx.obj, request, folder, {**given, "resumed": resume is not None})


def _resumed(folder: RunFolder, model: Path | None, data: str | None, overrides: tuple[str, ...]) -> dict[str, Any]:
    """What was asked for when it began; the model and the data may lie in another place now, and are compared."""
    from repcore.training.run_folder import REQUEST

    stored: dict[str, Any] | None = folder.read_json(REQUEST)
    if stored is None:
        raise RunError(f"{folder.path} is not a fine-tuning", hint="pre-training goes on with: train --resume")
    if overrides:
        raise ConfigError(
            f"--resume goes on with the run's own settings and takes no others ({overrides[0]})",
            expected="MODEL and --data PATH, where the same ones lie now",
        )
    places = {
        "model": folder.place_of(str(stored["model"])) if model is None else _lasting(model),
        "data": folder.place_of(str(stored["data"])) if data is None else data,
    }
    if model is None and not _is_there(places["model"]):
        raise ConfigError(
            f"{places['model']!r}, the model that {folder.path} began with, does not exist",
            needed_for="its preprocessor, and the weights that further networks (seeds, folds, members) begin from",
            hint=f"finetune MODEL --resume {folder.path.name} says where it lies now",
        )
    folder.point_latest_again()
    return {**stored, **places}


def _is_there(model: str) -> bool:
    from repcore.checkpoints.places import named_model

    return "://" in model or Path(model).exists() or named_model(model) is not None


def _lasting(model: Path) -> str:
    """The model's path without ``latest``: this very run becomes the latest one."""
    real = model.resolve()
    if real == model.absolute():
        return str(model)
    return str(real) if model.is_absolute() else os.path.relpath(real)


def _same_start(folder: RunFolder, model: Model, reader: DatasetReader) -> None:
    """Keep what the run began from, or refuse to go on from something else.

    Raises:
        RunError: another model lies at the path, or the data has changed.
    """
    from repcore.data.differences import data_stamps, difference

    found = {"model": model.identity(), "data": reader.fingerprint}
    begun = folder.read_json(BEGUN)
    if begun is None:
        folder.write_json(BEGUN, {**found, "stamps": data_stamps(reader)})
        return
    for what, identity in found.items():
        if begun.get(what) != identity:
            raise RunError(
                f"the {what} is not the one that {folder.path} began with",
                differs=difference(begun.get("stamps"), data_stamps(reader)) if what == "data" else "",
                was=str(begun.get(what))[:16],
                is_now=identity[:16],
                hint="fine-tune anew under another --name",
            )


def _run(domain: str, request: dict[str, Any], folder: RunFolder | None, given: dict[str, Any]) -> None:
    from repcore.data.copies import copies_across
    from repcore.embedding.model import load
    from repcore.evaluation.copied_rows import labelled_rows
    from repcore.evaluation.dense_answers import with_ignored
    from repcore.evaluation.probing import chosen_targets
    from repcore.training.finetune_checks import check_start
    from repcore.training.finetune_plan import FinetuneRequest, record_of, run_plan
    from repcore.training.finetune_request import finetune_settings, request_plan, settings_for_rows, tell_rows
    from repcore.training.methods import further_columns, method_columns
    from repcore.training.way_on import making_room

    device = torch_device(given["device"])
    opened = load(request["model"])
    if opened.domain != domain:
        raise ConfigError(
            f"{request['model']} is a model of {opened.domain}, not of {domain}",
            hint=shlex.join(["repcore", opened.domain, "finetune", str(request["model"])]),
        )
    dataset, reader = _open(opened, request)
    level = None if request["label"] else "item" if any(one.level == "item" for one in reader.targets) else None
    targets = chosen_targets(reader, [request["label"]] if request["label"] else [], level)
    if len(targets) > 1:
        raise DataError("which label?", labels=", ".join(one.name for one in targets), hint="--label NAME")
    targets[0] = with_ignored(targets[0], request["ignore"])
    asked = request["task"], tuple(request["overrides"]), request.get("method")
    settings = finetune_settings(opened, targets[0], dataset, *asked)
    if set(columns := method_columns(settings.method)) - {one.name for one in reader.targets}:
        dataset, reader = _open(opened, request, columns)
        settings = replace(settings, dataset=dataset)
    rows = labelled_rows(
        opened, reader, targets[0], request.get("group"), together=bool(request.get("keep_copies_together")),
        further=further_columns(opened.encoder, settings.method, reader.targets),
    )  # fmt: skip
    reporter = ConsoleReporter()
    tell_rows(rows, targets[0], reader, reporter, settings)
    plan = request_plan(opened, rows, targets[0], request)
    settings = settings_for_rows(settings, opened, rows, plan, *asked)
    plain = bool(request.get("method") and request.get("plain", True))
    wanted = FinetuneRequest(list(range(request["seeds"])), request["ensemble"], request["twin"], plain)
    if leak := copies_across(plan, rows.copies, rows.ids):
        reporter.warn(leak)
    if folder is None:
        check_start(opened, settings, rows, plan, wanted, reporter)
        folder = _new_folder(domain, request, targets[0].name, given["out"])
    resume = shlex.join(["repcore", domain, "finetune", "--resume", str(folder.path)])
    with making_room(folder, lambda: True, lambda: resume):
        _same_start(folder, opened, reader)
        if given["resumed"]:
            folder.note_command()
        with stopping.going_on_with(lambda: resume):  # also what Lightning turns into an exit: a second Ctrl-C
            outcome = run_plan(opened, settings, rows, plan, wanted, folder, reporter, device=device)
        reporter.close()
        record = record_of(outcome, {**_storable(request), "data_fingerprint": reader.fingerprint})
        folder.write_json("finetune.json", record)
    if is_first_process():
        _show(outcome, record, targets[0], plan.title, given["as_json"])


def _new_folder(domain: str, request: dict[str, Any], label: str, out: Path) -> RunFolder:
    """A run folder that knows what was asked for."""
    from repcore.training.finetune_request import name_in_folder
    from repcore.training.run_folder import REQUEST, RunFolder, run_name
    from repcore.training.way_on import making_room

    folder = RunFolder.create(out, run_name(f"{domain}/finetune-{name_in_folder(label)}", request["name"]))
    with making_room(folder, lambda: False, str):
        folder.write_json(REQUEST, _storable(request))
        folder.write_json("config.json", {"recipe": f"{domain}/finetune"})  # the training writes the whole of it
    return folder


def _storable(request: dict[str, Any]) -> dict[str, Any]:
    """What decides the result, as JSON values."""
    kept = {key: value for key, value in request.items() if key not in NOT_STORED}
    return {**kept, "settings": list(kept["settings"])}


def _open(model: Model, given: dict[str, Any], further: Sequence[str] = ()) -> tuple[Any, Any]:
    """Data set and reader; ``further`` columns are wanted as labels, too."""
    from repcore.embedding.opening import open_part_for

    return open_part_for(
        model.encoder,
        model.registry,
        given["data"],
        domain=model.domain,
        reader=given["reader"],
        options=reader_options(given),
        labels=[given["label"], *further] if given["label"] and not given.get("group") else [],
        label_kind="",
        preprocessor=model.folder.preprocessor_name,
    )


def _show(outcome: FinetuneOutcome, record: dict[str, Any], target: TargetSpec, split: str, as_json: bool) -> None:
    if as_json:
        show_json({"run": str(outcome.folder), "model": str(outcome.folder / "model"), "split": split, **record})
        return
    scored = [one for one in outcome.results if one.scores]
    rows = scored[0].rows
    say(f"{target.name} ({target.kind}): {split} split, {rows['train']} / {rows['validation']} / {rows['test']} rows")
    metrics = list(scored[0].scores)
    words = {"model": "pre-trained", "plain": "pre-trained, plain loss", "random": "random"}
    cells: list[tuple[Any, ...]] = []
    for start, word in words.items():
        own = [one for one in scored if one.part.start == start]
        names = [one.part.name.rpartition("/")[2] or "kept" for one in own]
        cells += [
            (word, name, *(one.scores[metric] for metric in metrics)) for name, one in zip(names, own, strict=True)
        ]
        if len(own) > 1:
            means = [sum(one.scores[metric] for one in own) / len(own) for metric in metrics]
            cells.append((word, "mean", *means))
    table(("start", "run", *metrics), cells)
    for note in dict.fromkeys(note for one in scored for note in one.scores.notes):
        say(f"note: {note}")
    if outcome.verdict is not None:
        say(f"pre-trained is {outcome.verdict.verdict}")
    if outcome.against_plain is not None:
        say(f"{outcome.method} is {outcome.against_plain.verdict}")
    name = "out-of-fold" if (outcome.folder / "predictions" / "out-of-fold.parquet").is_file() else "test"
    say(f"predictions: {outcome.folder / 'predictions' / f'{name}.parquet'}")
    say(f"model: {outcome.folder / 'model'}")
    output = "predictions.csv" if target.level == "item" else "answers/"
    say(f"next: repcore predict {shlex.quote(str(outcome.folder))} DATA -o {output}")
