"""``repcore probe``: what frozen features know, never without the random-init twin and the raw input beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.cli.options import (
    device_option,
    json_option,
    label_names,
    reader_options,
    reading_options,
    workers_option,
)
from repcore.devices import torch_device
from repcore.errors import ConfigError
from repcore.files import written_whole
from repcore.outputs import holds_vectors

if TYPE_CHECKING:
    from repcore.data.label_budgets import LabelBudget
    from repcore.evaluation.probing import FeatureSets
    from repcore.evaluation.protocol import ProbeTable
    from repcore.specs import TargetSpec

JOIN_HINT = "--id-column NAME, the same one as with embed; or --by-position if both stand in the same order"


@click.command("probe")
@click.argument("source", metavar="MODEL|EMBEDDINGS", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Labelled data: path, or the name of a data set.")
@reading_options
@click.option(
    "--label",
    help='Label columns, comma separated; all that are found by default. A name with a comma: "a, b" in double quotes.',
)
@click.option(
    "--protocol", "protocols", multiple=True, help="Probe such as ridge@1, linear@1, knn@1, retrieval@1 (repeatable)."
)
@click.option("--level", help="Labels of elements: point, voxel, frame, node or edge (dense-linear@1, ...).")
@click.option("--tokens", metavar="NAME", help="With --level: tokens or readout of the encoder, such as all.")
@click.option("--with", "joined", metavar="NAME[,NAME]", help="Raw features of the domain, such as descriptors (with "
              "--level: such as place), that the encoder's and its random twin's get beside their own.")  # fmt: skip
@click.option("--ignore", type=int, help="Label value that means unlabelled, of elements.")
@click.option("--group", metavar="NAME", help="Split within samples: a label of elements (sector), or a way of the "
              "domain (blocks:20); its groups are split like rows.")  # fmt: skip
@click.option("--share", type=float, help="Share of the labelled training elements of each class, instead of 600.")
@click.option("--labels", "budgets", help="Labelled training rows that count: numbers or shares such as 1,3,10 or 10%.")
@click.option("--metric", "element_metrics", multiple=True, metavar="NAME[:VALUE]",
              help="Metric of elements that the domain gives (repeatable); all of them by default.")  # fmt: skip
@click.option("--split", default="random", show_default=True, help="random, group, stratified, declared, "
              "folds:K, stratified-folds:K, group-folds:K, column:NAME, held-out:GROUP,GROUP, or one of the "
              "domain's own such as scaffold.")  # fmt: skip
@click.option("--keep-copies-together", is_flag=True, help="Rows with the same content stay on one side of a split.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Number of seeds.")
@click.option("--by-position", is_flag=True, help="Join embeddings of a file to rows by position instead of by id.")
@click.option("--grid", is_flag=True, help="Also every layer at full width, half, quarter and eighth, with the time of "
              "each (what embed --layer L --dim D would give).")  # fmt: skip
@click.option("--layers", metavar="all|L,L", help="Probe a weighted sum over these layers instead of the "
              "model's own vector, which is kept beside it.")  # fmt: skip
@click.option("--mix", type=click.Choice(["learned", "mean"]), help="With --layers: weights learned on labelled "
              "training rows (the default), or the mean.")  # fmt: skip
@click.option("--metrics", is_flag=True, help="Every metric, not only the main one.")
@click.option("--batch-size", type=int, default=64, show_default=True, help="Most items of a batch.")
@workers_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where results go as JSON.")
@device_option
@json_option
def probe_command(source: Path, **given: Any) -> None:
    """Probe a MODEL (model or run folder, installed model), or embeddings in a parquet or npz file, on labelled data.

    \b
    Example:
      repcore probe runs/latest/model --data esol.csv --label logS --split scaffold
    """
    from repcore.evaluation.model_probing import asks_the_model
    from repcore.evaluation.probing import chosen_targets

    seeds = list(range(given["seeds"]))
    if not seeds:
        raise ConfigError("--seeds 0: at least one is needed")
    reporter = ConsoleReporter()
    is_file = holds_vectors(source)
    _check_layers(source, given)
    _check_joined(is_file, given)
    if given["tokens"] is not None and given["level"] is None:
        raise ConfigError(f"--tokens {given['tokens']} is for labels of elements", hint="--level LEVEL")
    if given["level"] is not None:
        _elements(source, given, seeds, reporter)
        return
    if asks_the_model(registry.default(), given["protocols"]):
        _ask(source, given, seeds, reporter)
        return
    features, preprocessor = (_from_file if is_file else _from_model)(source, given, seeds, reporter)
    reporter.close()
    names, grid = label_names(given["label"]), given.pop("cells", None)
    leaks: list[str] = []
    tables = [
        _probe(features, target, preprocessor, given, seeds, budget, external=is_file, warn=leaks.append)
        for target in chosen_targets(features.rows.reader, names)
        for budget in _budgets(given) or (None,)
    ]
    for leak in dict.fromkeys(leaks):
        reporter.warn(leak)
    if grid is not None:
        from repcore.evaluation.grid import with_cost

        tables = [with_cost(one, *grid) for one in tables]
    written = _write(source, tables, given)
    if given["as_json"]:
        show_json([json.loads(one.to_json()) for one in tables])
    else:
        for one in tables:
            _show(one, features, given["metrics"])
        _say_joined(features.joined)
        say(f"results: {', '.join(str(path) for path in written)}" if written else "results were not written (no -o)")


def _check_layers(source: Path, given: dict[str, Any]) -> None:
    """Ways of looking at layers that do not go together, or not with this source."""
    asked = [word for word in ("grid", "layers") if given[word]]
    if asked and holds_vectors(source):
        raise ConfigError(
            f"--{asked[0]} needs a model; {str(source)!r} is a file of embeddings", hint="name the run folder"
        )
    if len(asked) > 1:
        raise ConfigError("--grid and --layers were both given", hint="one of them; --grid shows each layer alone")
    if given["mix"] and not given["layers"]:
        raise ConfigError(f"--mix {given['mix']} without --layers", hint="--layers all")
    if given["layers"] and given["level"] is not None:
        raise ConfigError(f"--layers is for labels of items, not of level {given['level']}", hint="leave --layers out")


def _check_joined(is_file: bool, given: dict[str, Any]) -> None:
    """Raw features beside the encoder's, where there is no encoder or it has several vectors."""
    others = [f"--{word}" for word in ("grid", "layers") if given[word]]
    if given["joined"] is not None and (is_file or others):
        words = "is for models, not for files of vectors" if is_file else f"does not go together with {others[0]}"
        raise ConfigError(f"--with {given['joined']} {words}", hint="leave --with out")


def _ask(source: Path, given: dict[str, Any], seeds: list[int], reporter: ConsoleReporter) -> None:
    """Protocols without labels that ask the network itself."""
    from repcore.embedding.inference import InferenceOptions
    from repcore.embedding.model import load
    from repcore.evaluation.model_probing import ask_model

    named = ", ".join(given["protocols"])
    if holds_vectors(source):
        raise ConfigError(f"{source} holds embeddings; {named} asks a network", hint="repcore probe MODEL --data PATH")
    unused = [f"--{word}" for word in ("label", "group", "share", "layers") if given[word] is not None]
    unused += ["--labels"] if given["budgets"] else []
    if unused or given["split"] not in ("random", "declared"):
        words = ", ".join(unused) or f"--split {given['split']}"
        raise ConfigError(
            f"{words} has no meaning with {named}, which needs no labels", hint="--split declared, or none"
        )
    split = "declared" if given["split"] == "declared" else ""
    model = load(source, device=torch_device(given["device"]))
    settings = reader_options(given)
    reader = model.reader(given["data"], reader=given["reader"], options=settings)
    options = InferenceOptions(device=model.device, workers=given["workers"])
    asked = [ask_model(model, reader, one, seeds, options, reporter, split=split) for one in given["protocols"]]
    reporter.close()
    tables = [one.table for one in asked]
    written = _write(source, tables, {**given, "split": split or "all"})
    for folder in dict.fromkeys(path.parent for path in written):
        for one in asked:
            for name, content in one.pictures.items():
                path = folder / f"{one.table.target.name}-{name}"
                with written_whole(path) as partial:
                    partial.write_bytes(content)
                written.append(path)
    if given["as_json"]:
        show_json([json.loads(one.to_json()) for one in tables])
        return
    for table_of_one in tables:
        _show(table_of_one, None, given["metrics"])
    say(f"results: {', '.join(str(path) for path in written)}" if written else "results were not written (no -o)")


def _elements(source: Path, given: dict[str, Any], seeds: list[int], reporter: ConsoleReporter) -> None:
    """Labels of points, voxels, frames, nodes or edges."""
    from repcore.embedding.inference import InferenceOptions
    from repcore.embedding.model import load
    from repcore.evaluation.dense_probing import EVERYTHING, PROTOCOL, ElementProbing
    from repcore.evaluation.element_metrics import element_metrics
    from repcore.evaluation.element_tables import element_tables

    if given["share"] is not None and not 0.0 < given["share"] <= 1.0:
        raise ConfigError(f"--share {given['share']} is outside 0 < share <= 1")
    model = load(source, device=torch_device(given["device"]))
    names = label_names(given["label"])
    settings = reader_options(given)
    reader = model.reader(
        given["data"], reader=given["reader"], options=settings, labels=() if given["group"] else names
    )
    asked = ElementProbing(
        protocols=given["protocols"] or (PROTOCOL,),
        budgets=_budgets(given) or (EVERYTHING,),
        share=given["share"],
        tokens=given["tokens"],
        joined=label_names(given["joined"]),
        metrics=element_metrics(model.registry, model.folder.preprocessor_name, given["element_metrics"]),
    )
    tables = element_tables(
        model, reader, given["level"], seeds, InferenceOptions(device=model.device, workers=given["workers"]), reporter,
        asked=asked, labels=names, ignore=given["ignore"], group=given["group"], split=given["split"],
        together=given["keep_copies_together"],
    )  # fmt: skip
    reporter.close()
    written = _write(source, tables, given)
    if given["as_json"]:
        show_json([json.loads(one.to_json()) for one in tables])
        return
    own = [one.name for one in asked.metrics]
    for table_of_one in tables:
        _show(table_of_one, None, given["metrics"], ["miou", "dice", *own] if own else None)
    _say_joined(asked.joined)
    say(f"results: {', '.join(str(path) for path in written)}" if written else "results were not written (no -o)")


def _from_model(
    source: Path, given: dict[str, Any], seeds: list[int], reporter: ConsoleReporter
) -> tuple[FeatureSets, str]:
    from repcore.embedding.inference import InferenceOptions
    from repcore.embedding.model import load
    from repcore.evaluation.copied_rows import with_copies
    from repcore.evaluation.layer_mix import MIXES, LayerChoice
    from repcore.evaluation.probing import compute_features

    model = load(source, device=torch_device(given["device"]))
    settings = reader_options(given)
    names = label_names(given["label"])
    reader = model.reader(given["data"], reader=given["reader"], options=settings, labels=names)
    options = InferenceOptions(batch_size=given["batch_size"], workers=given["workers"], device=model.device)
    if given["grid"]:
        from repcore.embedding.layers import can_stop
        from repcore.evaluation.grid import compute_grid

        features, cells = compute_grid(model, reader, seeds, options, reporter)
        given["cells"] = (cells, can_stop(model.encoder))
    else:
        mixed = LayerChoice.asked(model, given["layers"], given["mix"] or MIXES[0]) if given["layers"] else None
        joined = label_names(given["joined"])
        features = compute_features(model, reader, seeds, options, reporter, mixed=mixed, joined=joined)
    together = given["keep_copies_together"]
    features.rows = with_copies(features.rows, model.preprocessor, together=together)
    return features, model.folder.preprocessor_name


def _from_file(
    source: Path, given: dict[str, Any], seeds: list[int], reporter: ConsoleReporter
) -> tuple[FeatureSets, str]:
    """Embeddings of any origin; rows are joined by id, or by position when that was asked for."""
    import numpy as np

    from repcore.data.accounting import report_account
    from repcore.data.joins import join_rows_by_key, refuse_row_numbers
    from repcore.data.readers import open_data
    from repcore.embedding.writers import read_embeddings
    from repcore.evaluation.copied_rows import with_copies
    from repcore.evaluation.probing import FeatureSets, read_rows

    rows, header = read_embeddings(source)
    known = registry.default()
    encoder = str(header.get("encoder", ""))
    domain = encoder.rpartition("/")[0] or None
    names = label_names(given["label"])
    _, reader = open_data(
        known,
        given["data"],
        domain=domain,
        reader=given["reader"],
        options=reader_options(given),
        preferences={"labels": names} if names else {},
    )
    report_account(reader, reporter)
    labelled = with_copies(read_rows(reader), together=given["keep_copies_together"])
    reporter.warn("embeddings from a file have no random-init twin: a number alone says little")
    if given["by_position"]:
        reporter.warn(
            f"embeddings and rows are joined by position, as asked: row i of {source.name} is row i of the data"
        )
    else:
        refuse_row_numbers(rows.ids, labelled.ids, header, reader, reader_options(given))
    place = join_rows_by_key(rows.ids, labelled.ids, by_position=given["by_position"], hint=JOIN_HINT)
    vectors = np.asarray(rows.vectors, np.float64)[place]
    return FeatureSets({source.stem: vectors}, labelled, {}), ""


def _probe(
    features: FeatureSets,
    target: TargetSpec,
    preprocessor: str,
    given: dict[str, Any],
    seeds: list[int],
    budget: LabelBudget | None,
    *,
    external: bool,
    warn: Callable[[str], None],
) -> ProbeTable:
    from repcore.evaluation.probing import probe_features

    return probe_features(
        registry.default(),
        features,
        target,
        preprocessor_name=preprocessor,
        protocols=list(given["protocols"]),
        split=given["split"],
        seeds=seeds,
        external=external,
        warn=warn,
        budget=budget,
    )


def _budgets(given: dict[str, Any]) -> tuple[LabelBudget, ...]:
    from repcore.data.label_budgets import label_budgets

    return label_budgets(given["budgets"]) if given["budgets"] else ()


def _write(source: Path, tables: list[ProbeTable], given: dict[str, Any]) -> list[Path]:
    """To ``-o``, else beside the run that the model belongs to, where the report finds them."""
    from repcore.evaluation.probing import write_tables

    run = next((path for path in (source, source.parent) if (path / "metrics.jsonl").is_file()), None)
    folder = given["output"] or (None if run is None else run / "probes")
    return (
        []
        if folder is None
        else write_tables(
            folder,
            tables,
            data=given["data"],
            split=given["split"],
            kind="grid" if given.get("grid") else "layers" if given.get("layers") else "",
        )
    )


def _say_joined(names: Sequence[str]) -> None:
    if names:
        say(f"trained and random-init: features of the encoder and {', '.join(names)}")


def _show(one: ProbeTable, features: FeatureSets | None, every_metric: bool, metrics: list[str] | None = None) -> None:
    words = f"{one.target.name}: no labels, {one.split}"
    if one.labelled:
        split = f"{one.split} split" + ("" if one.split_seeded else " (the same for every seed)")
        words = f"{one.target.name} ({one.target.kind}): {split}"
    unlabelled = f", {one.rows_unlabelled:,} without a label" if one.rows_unlabelled else ""
    say(f"{words}, {one.rows_used:,} rows used, {one.rows_left_out:,} left out{unlabelled}")
    rows = one.rows(metrics) if not every_metric else one.rows([entry.metric for entry in one.entries])
    headers = ("features", "probe", "metric", "mean", "sd", "seeds", "note")
    table(headers, [[row[name] for name in headers] for row in rows])
    for sentence in one.verdicts():
        say(sentence)
    if features is not None and features.failed:
        reasons = sorted(set(features.failed.values()))
        more = " ..." if len(reasons) > 3 else ""
        say(f"{len(features.failed)} rows have no embedding: {'; '.join(reasons[:3])}{more}")
