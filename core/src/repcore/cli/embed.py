"""``repcore embed``: one output row for every input row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry, stopping
from repcore.cli.console import ConsoleReporter, say, show_json
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
from repcore.errors import ConfigError, DataError, closest
from repcore.outputs import local_output, sole_writer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repcore.embedding.inference import InferenceOptions
    from repcore.embedding.model import Model
    from repcore.interfaces import DatasetReader, EmbeddingWriter

ELEMENTS = ("point", "voxel", "token", "frame", "node", "edge")
OF_ROWS = ("layer", "dim", "normalise", "windows")
"""Options that say what the vector of a row is."""


@click.command("embed")
@output_option("FILE.parquet or FILE.npz; with --level of elements a FOLDER.")
@reading_options
@click.option("--pseudonymise", metavar="KEYFILE", help="Pseudonyms for ids; KEYFILE says whose they are.")
@click.option("--pool", help="Pooling by name; the encoder's own by default.")
@click.option(
    "--level",
    help="point, voxel, frame, node or edge: an embedding for each of them, into a FOLDER or a table; another name, or "
    "with --pool: the token level to pool.",
)
@click.option(
    "--tokens", metavar="NAME", help="With --level of elements: tokens or readout of the encoder, such as all."
)
@click.option("--format", help="Format of the files in a FOLDER, by name or suffix; npz by default.")
@click.option(
    "--layer", type=click.IntRange(min=0), help="Pool the tokens of this layer (0 = embedding output) and stop there."
)
@click.option("--dim", type=click.IntRange(min=1), help="Keep the first DIM numbers of each embedding.")
@work_options
@click.option("--normalise", is_flag=True, help="Scale every embedding to unit length.")
@click.option("--windows", is_flag=True, help="A row for every window of a long sample, with start and end.")
@engine_options
@ending_options("could not be embedded")
@click.pass_context
def embed_command(ctx: click.Context, /, **given: Any) -> None:
    """Embeddings of every row of DATA by MODEL, row by row, with status and reason.

    MODEL is a model folder, a run, or the name of an installed model (`repcore list models`).

    An interrupted command goes on where it stopped when it is given again.

    \b
    Example:
      repcore embed runs/latest/model molecules.csv -o embeddings.parquet
    """
    of_elements = given["level"] in ELEMENTS and given["pool"] is None
    output: Path = local_output(given["output"], folder_too=of_elements or is_parts_folder(given))
    if of_elements:
        refuse_engine(given)
        _elements(ctx, given)
        return
    if given["format"] is not None:
        raise ConfigError(f"--format {given['format']} is for features of elements; the suffix of -o says the format")
    if given["tokens"] is not None:
        raise ConfigError(
            f"--tokens {given['tokens']} is for features of elements",
            hint=f"--level token --tokens {given['tokens']}; --level {given['tokens']} pools them to a vector a row",
        )
    if is_parts_folder(given):
        if given["windows"]:
            raise ConfigError("--windows writes one file, not parts", hint="leave it out, or --engine local -o FILE")
        run_engine(ctx, "embed", given, _reader_options(given), _inference(given, given["device"]))
        return
    if output.exists() and not given["overwrite"]:
        raise DataError(f"{str(output)!r} exists", hint="--overwrite, or another file name")
    writer_class = _writer(output)
    from repcore.data.accounting import report_account
    from repcore.data.guard import named_guard
    from repcore.embedding.columns import column_doubts
    from repcore.embedding.model import load

    model = load(given["model"], device=torch_device(given["device"]))
    reader = model.reader(given["data"], reader=given["reader"], options=_reader_options(given))
    inference = _inference(given, model.device)
    header = {**_header(model, reader, inference), "reading": reading_of(given)}
    reporter = ConsoleReporter()
    ctx.with_resource(sole_writer(output, reporter.info))
    if given["overwrite"] and hasattr(writer_class, "clear_others"):
        writer_class.clear_others(output, header)
    with named_guard(writer_class, "opening the output", passing=(OSError,)):
        writer = writer_class(output, header)
    report_account(reader, reporter)
    for words in column_doubts([model.encoder], reader):
        reporter.warn(words)
    profile, before = Profile(), writer.inputs_done
    reasons, width = _run(model, reader, inference, writer, reporter)
    reporter.close()
    doubled = writer.doubled_ids() if hasattr(writer, "doubled_ids") and not given["windows"] else ""
    with named_guard(writer_class, "finishing the output", passing=(OSError,)), spent_on(WRITING):
        path = writer.finish()
    _summary(width, reader, writer, path, given, profile, writer.inputs_done - before)
    if doubled:
        reporter.warn(doubled)
    if writer.rows_done and writer.failed == writer.rows_done:
        for status, reason in reasons.items():
            reporter.warn(f"no row has a vector: {status}: {reason}")
        ctx.exit(1)
    if given["strict"] and writer.failed:
        ctx.exit(1)


def _reader_options(given: dict[str, Any]) -> dict[str, Any]:
    options = reader_options(given)
    return {**options, "pseudonymise": given["pseudonymise"]} if given["pseudonymise"] else options


def _elements(ctx: click.Context, given: dict[str, Any]) -> None:
    """Features of every point, voxel, frame, node or edge."""
    from repcore.cli.dense import embed_elements
    from repcore.embedding.dense import level_of
    from repcore.embedding.model import load

    for name in OF_ROWS:
        if given[name]:
            raise ConfigError(f"--{name} is for vectors of rows, not for features of each {given['level']}")
    model = load(given["model"], device=torch_device(given["device"]))
    reader = model.reader(given["data"], reader=given["reader"], options=_reader_options(given))
    failed = embed_elements(model, reader, given, _inference(given, model.device), level_of(given["level"]))
    if given["strict"] and failed:
        ctx.exit(1)


def _writer(output: Path) -> Any:  # the class of a registered writer
    entries = registry.default().entries("writer")
    for entry in entries:
        if output.suffix.lower() in entry.spec.suffixes:
            return entry.load()
    suffixes = [suffix for entry in entries for suffix in entry.spec.suffixes]
    raise ConfigError(
        f"no writer for {output.suffix or 'a file without suffix'!r}",
        did_you_mean=closest(output.suffix, suffixes),
        expected=", ".join(suffixes),
        hint=f"-o {output.stem or 'embeddings'}{suffixes[0]}"
        + ("" if output.suffix else f"; for a folder of parts: mkdir {output}, then the same command")
        if suffixes
        else None,
    )


def _inference(given: dict[str, Any], device: str) -> InferenceOptions:
    return inference_options(
        given,
        device,
        pooling=given["pool"],
        level=given["level"],
        layer=given["layer"],
        normalise=given["normalise"],
        apart=given["windows"],
        dim=given["dim"],
    )


def _header(model: Model, reader: DatasetReader, options: InferenceOptions) -> dict[str, Any]:
    from repcore.embedding.pooling import default_pooling

    return {
        "encoder": model.folder.encoder_name,
        "model": model.identity(),
        "data": reader.fingerprint,
        "rows": len(reader),
        "pooling": options.pooling or default_pooling(model.encoder, model.poolings),
        "level": options.level,
        "layer": options.layer,
        **({} if options.dim is None else {"dim": options.dim}),
        "normalise": options.normalise,
        **({"windows": True} if options.apart else {}),
    }


def _run(
    model: Model, reader: DatasetReader, options: InferenceOptions, writer: EmbeddingWriter, reporter: ConsoleReporter
) -> tuple[dict[str, str], int]:
    """Embed and write; returns the first reason of every status but ``ok``, and the width of what was written."""
    import numpy as np

    from repcore.data.guard import named_guard
    from repcore.embedding.inference import run_windows
    from repcore.embedding.width import vector_width

    reasons: dict[str, str] = {}
    width: int | None = None
    total, done = len(reader), writer.inputs_done
    if done:
        reporter.info(f"going on after {done:,} rows that an earlier command has written")
    windows = run_windows(
        model.encoder,
        model.preprocessor,
        reader,
        options,
        rows=np.arange(done, total),
        poolings=model.poolings,
        domain=model.domain,
        width=lambda: vector_width(model, options),
    )
    with stopping.noted(reporter.info, grace=WINDOW_GRACE) as stop:
        for rows in windows:
            width = int(rows.vectors.shape[1])
            with named_guard(writer, "writing embeddings", passing=(OSError,)), spent_on(WRITING):
                writer.write(rows)
            for row, status, reason in zip(rows.ids, rows.status, rows.reason, strict=True):
                if status != "ok":
                    reasons.setdefault(status, f"{reason} (first: {row})")
            reporter.progress("embedding", writer.inputs_done, total)
            if writer.inputs_done < total:
                stop.obey(f"{writer.inputs_done:,} of {total:,} rows are kept")
    return reasons, vector_width(model, options) if width is None else width


def _summary(
    width: int,
    reader: DatasetReader,
    writer: EmbeddingWriter,
    path: Path,
    given: Mapping[str, Any],
    profile: Profile,
    made: int,
) -> None:
    counts = dict(sorted(writer.status.items(), key=lambda one: -one[1]))
    labels = [spec.name for spec in reader.targets]
    if given["as_json"]:
        record = {"output": str(path), "rows_in": len(reader), "rows_out": writer.rows_done, "dim": width}
        show_json({**record, "status": counts, "without_vector": writer.failed, "labels": labels, **profile.record()})
        return
    words = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    say(f"{len(reader):,} rows in, {writer.rows_done:,} rows out: {words}")
    say(f"embeddings of width {width} in {path}; labels found in the data: {', '.join(labels) or 'none'}")
    if made:
        say(profile.line(made))
