"""``repcore predict``: what a fine-tuned model says about every row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import stopping
from repcore.cli.console import ConsoleReporter, complain, say, show_json
from repcore.cli.engines import engine_options, is_parts_folder, refuse_engine, run_engine
from repcore.cli.options import (
    WINDOW_GRACE,
    ending_options,
    inference_options,
    output_option,
    reader_options,
    reading_of,
    reading_options,
    work_options,
)
from repcore.cli.profile import Profile
from repcore.data.spent import WRITING, spent_on
from repcore.devices import torch_device
from repcore.errors import ConfigError, DataError
from repcore.outputs import local_output, sole_writer

if TYPE_CHECKING:
    from repcore.embedding.inference import InferenceOptions
    from repcore.embedding.model import Model
    from repcore.embedding.prediction import Predictor
    from repcore.embedding.prediction_files import TableWriter
    from repcore.evaluation.metrics import Scores
    from repcore.interfaces import DatasetReader
    from repcore.specs import TargetSpec


@click.command("predict")
@output_option("FILE.csv, .tsv, .parquet or .npz; of elements also a FOLDER with one file a sample.")
@click.option("--format", help="Format of the files in a FOLDER, by name or suffix.")
@click.option("--metric", "element_metrics", multiple=True, metavar="NAME[:VALUE]",
              help="Metric of elements that the domain gives (repeatable); all of them by default.")  # fmt: skip
@click.option("--coverage", type=float, help="Also intervals or sets that hold the truth in this share of cases.")
@reading_options
@work_options
@engine_options
@ending_options("has no prediction")
@click.pass_context
def predict_command(ctx: click.Context, /, **given: Any) -> None:
    """Predictions of a fine-tuned MODEL (a model or run folder) for every row of DATA, with status and reason.

    Class names with probabilities, yes/no answers with probabilities, or values in the units of the labels. Labels
    that DATA has are written and scored beside. An interrupted command goes on where it stopped when it is given
    again.

    \b
    Example:
      repcore predict runs/latest new.csv -o predictions.csv --coverage 0.9
    """
    output: Path = local_output(given["output"], folder_too=True)
    from repcore.data.accounting import report_account
    from repcore.embedding.conformal import check_coverage
    from repcore.embedding.model import load

    model = load(given["model"], device=torch_device(given["device"]))
    if model.target is not None and model.target.level != "item":
        refuse_engine(given)
        _elements(ctx, model, given)
        return
    if is_parts_folder(given):
        reading = reader_options(given)
        run_engine(ctx, "predict", given, reading, inference_options(given, given["device"]))
        return
    if output.exists() and not given["overwrite"]:
        raise DataError(f"{str(output)!r} exists", hint="--overwrite, or another file name")
    if given["format"] is not None:
        raise ConfigError(f"--format {given['format']} is for answers about elements; the suffix of -o says the format")
    predictor = model.predictor()
    if given["element_metrics"]:
        raise ConfigError(f"--metric {given['element_metrics'][0]} is for tasks about elements", level="item")
    reporter = ConsoleReporter()
    if given["coverage"] is not None:
        few = check_coverage(predictor.facts.get("conformal", ()), given["coverage"])
        if few:
            reporter.warn(few)
    reader, why = open_with_label(model, given)
    ctx.with_resource(sole_writer(output, reporter.info))
    writer = _writer(model, predictor, reader, given)
    report_account(reader, reporter)
    for words in predictor.doubts(reader):
        reporter.warn(words)
    profile, before = Profile(), writer.rows_done
    _run(predictor, reader, inference_options(given, model.device), writer, reporter, given["coverage"])
    reporter.close()
    _summary(predictor, reader, writer, given, why, profile, writer.rows_done - before)
    if given["strict"] and writer.failed:
        ctx.exit(1)


def _elements(ctx: click.Context, model: Model, given: dict[str, Any]) -> None:
    """A task about points, voxels, frames, nodes or edges."""
    from repcore.cli.dense import predict_elements

    if given["coverage"] is not None:
        raise ConfigError("--coverage is for tasks about items", level=model.target.level if model.target else "")
    reader, why = open_with_label(model, given)
    failed = predict_elements(model, reader, given, inference_options(given, model.device), why)
    if given["strict"] and failed:
        ctx.exit(1)


def open_with_label(model: Model, given: dict[str, Any]) -> tuple[DatasetReader, str]:
    """The data with the predicted label if it has one, else as it is and why it has none."""
    from repcore.embedding.labelled import labelled_reader

    return labelled_reader(model, given["data"], given["reader"], reader_options(given))


def _writer(model: Model, predictor: Predictor, reader: DatasetReader, given: dict[str, Any]) -> TableWriter:
    from repcore.embedding.answers import answer_column, text_columns
    from repcore.embedding.prediction_files import TableWriter

    target = predictor.target
    header = {
        "model": model.identity(),
        "data": reader.fingerprint,
        "rows": len(reader),
        "target": target.name,
        "kind": target.kind,
        "unit": target.unit,
        "coverage": given["coverage"],
        "reading": reading_of(given),
    }
    answer = answer_column(target, predictor.width)
    if given["overwrite"]:
        TableWriter.clear_others(given["output"], header)
    return TableWriter(given["output"], header, answer, text_columns(target, predictor.width))


def _run(
    predictor: Predictor,
    reader: DatasetReader,
    options: InferenceOptions,
    writer: TableWriter,
    reporter: ConsoleReporter,
    coverage: float | None,
) -> None:
    import numpy as np

    from repcore.embedding.answers import answer_columns, label_columns

    total, done, target = len(reader), writer.rows_done, predictor.target
    if done:
        reporter.info(f"going on after {done:,} rows that an earlier command has written")
    data = next((one for one in reader.targets if one.name == target.name and one.kind == target.kind), None)
    with stopping.noted(reporter.info, grace=WINDOW_GRACE) as stop:
        for rows in predictor.windows(reader, options, np.arange(done, total)):
            columns = answer_columns(target, predictor.facts, rows, coverage)
            if data is not None:
                columns.update(label_columns(target, data, rows.labels, rows.outputs.shape[1]))
            with spent_on(WRITING):
                writer.write(rows.ids, rows.status, rows.reason, columns)
            reporter.progress("predicting", writer.rows_done, total)
            if writer.rows_done < total:
                stop.obey(f"{writer.rows_done:,} of {total:,} rows are kept")


def _summary(
    predictor: Predictor,
    reader: DatasetReader,
    writer: TableWriter,
    given: dict[str, Any],
    why: str,
    profile: Profile,
    made: int,
) -> None:
    scores, unscored = _scores(predictor, writer, given["coverage"])
    why = unscored or why
    notes = [*(filter(None, [why]) if scores is None else scores.notes), *unknown_labels(predictor.target, reader)]
    doubled = writer.doubled_ids()
    with spent_on(WRITING):
        path = writer.finish()
    target = predictor.target
    counts = dict(sorted(writer.status.items(), key=lambda one: -one[1]))
    if given["as_json"]:
        record = {"output": str(path), "rows_in": len(reader), "rows_out": writer.rows_done, "status": counts}
        found = None if scores is None or scores.rows is None else {**scores, "rows": len(scores.rows)}
        show_json({**record, "without_prediction": writer.failed, "target": target.name, "kind": target.kind,
                   "unit": target.unit, "doubled_ids": doubled, "members": len(predictor.tasks), "scores": found,
                   "notes": notes, **profile.record()})  # fmt: skip
        return
    words = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    say(f"{len(reader):,} rows in, {writer.rows_done:,} rows out: {words}")
    say(f"{target.name} ({target.kind}{', ' + target.unit if target.unit else ''}) in {path}")
    if made:
        say(profile.line(made))
    if doubled:
        complain(f"warning: {doubled}")
    if scores is None:
        say(f"no labels in the data to score against{f': {why}' if why else ''}")
        for note in unknown_labels(predictor.target, reader):
            say(f"note: {note}")
        return
    from repcore.reporting import figures_in_words

    rows = 0 if scores.rows is None else len(scores.rows)
    say(f"against {rows:,} labels in the data: {figures_in_words(scores)}")
    for note in notes:
        say(f"note: {note}")


def unknown_labels(target: TargetSpec, reader: DatasetReader) -> list[str]:
    """Answers of a multilabel target in the data that the model cannot give; those of classes the scores name."""
    own = set(target.names)
    names = [name for one in reader.targets if one.name == target.name and one.kind == target.kind == "multilabel"
             for name in one.names if name not in own]  # fmt: skip
    shown = ", ".join(names[:5])
    said = f"labels that the model does not know are left out, and with them rows that have no other: {shown}"
    return [said] if own and names else []


def _scores(predictor: Predictor, writer: TableWriter, coverage: float | None) -> tuple[Scores | None, str]:
    """From the parts, so that rows of an interrupted command count; or why the labels score nothing."""
    import pyarrow as pa

    from repcore.evaluation.predictions import score_table, why_unscored

    tables = list(writer.tables())
    if not tables:
        return None, ""
    whole = pa.concat_tables(tables)
    columns = {name: whole.column(name).to_pylist() for name in whole.column_names if name not in ("reason", "status")}
    found = score_table(predictor.target, columns, predictor.width, coverage)
    return found, why_unscored(predictor.target, columns, predictor.width) if found is None else ""
