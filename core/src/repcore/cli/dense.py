"""The part of ``embed`` and ``predict`` that answers about elements: points, voxels, frames, nodes, edges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from repcore import stopping
from repcore.cli.console import ConsoleReporter, complain, say, show_json
from repcore.cli.options import reading_of

if TYPE_CHECKING:
    from repcore.embedding.dense import DenseRow
    from repcore.embedding.dense_files import ElementTable, FolderWriter
    from repcore.embedding.inference import InferenceOptions
    from repcore.embedding.model import Model
    from repcore.interfaces import DatasetReader


def open_writer(
    model: Model, reader: DatasetReader, given: dict[str, Any], header: dict[str, Any], level: str, predictor: Any
) -> FolderWriter | ElementTable:
    """A folder with one file a sample, or one long table, by the name of the output."""
    from repcore.embedding.dense_files import (
        INDEX,
        ElementTable,
        FolderWriter,
        check_output,
        dense_writer,
        dense_writers,
        is_table,
        refuse_file_name,
    )
    from repcore.embedding.prediction_files import TableWriter

    output: Path = given["output"]
    refuse_file_name(model.registry, model.domain, level, output)
    check_output(output, given["overwrite"])
    facts = {"model": model.identity(), "data": reader.fingerprint, "rows": len(reader), "level": level, **header}
    facts["reading"] = reading_of(given)
    entry = (
        None
        if is_table(output)
        else dense_writer(
            model.registry,
            model.domain,
            level,
            given.get("format"),
            model.folder.preprocessor_name,
            beside=Path(given["data"]),
        )
    )
    facts = facts if entry is None else {**facts, "format": entry.full_name}
    if given["overwrite"]:
        TableWriter.clear_others(output if entry is None else output / INDEX, facts)
    if entry is not None:
        in_file = (lambda row: {}) if predictor is None else (lambda row: predictor.labels_in_file(row, reader))
        formats = dense_writers(model.registry, model.domain, level, model.folder.preprocessor_name)
        return FolderWriter(output, facts, entry, in_file, () if given.get("format") else formats)
    labels = (lambda row: {}) if predictor is None else (lambda row: predictor.labels(row, reader))
    return ElementTable(output, facts, None if predictor is None else predictor.target, labels)


def embed_elements(
    model: Model, reader: DatasetReader, given: dict[str, Any], options: InferenceOptions, level: str
) -> int:
    """Features of every element; returns the number of rows without any."""
    import numpy as np

    from repcore.embedding.dense import dense_windows, element_features, find_place
    from repcore.embedding.windows import prepared_windows

    first = next(prepared_windows(reader, model.preprocessor, np.arange(min(64, len(reader))), most_rows=64), [])
    place = find_place(model.encoder, model.preprocessor, first, level, model.device, given.get("tokens"))
    writer = open_writer(
        model, reader, {**given, "format": given["format"] or "npz"}, {"tokens": place.tokens}, level, None
    )
    rows = dense_windows(
        element_features(model.encoder.eval(), place),
        model.preprocessor,
        reader,
        options,
        level=level,
        domain=model.domain,
        rows=np.arange(writer.rows_done, len(reader)),
    )
    return _write(rows, writer, reader, level, given["as_json"], {"dim": place.width, "tokens": place.tokens})


def predict_elements(
    model: Model, reader: DatasetReader, given: dict[str, Any], options: InferenceOptions, why: str = ""
) -> int:
    """Answers of a task about elements; returns the number of rows without any.

    Args:
        why: why the data has no label to score against, for the summary.
    """
    import numpy as np

    from repcore.evaluation.dense_answers import DensePredictor

    predictor = DensePredictor.of(model, given["element_metrics"])
    target = predictor.target
    writer = open_writer(model, reader, given, {"target": target.name}, target.level, predictor)
    left = np.arange(writer.rows_done, len(reader))
    predictor.remember(writer.parts.records(), writer.rows_done)
    scored = predictor.scored(predictor.rows(reader, options, left), reader, left.tolist())
    return _write(scored, writer, reader, target.level, given["as_json"], {"target": target.name}, predictor, why)


def _write(
    rows: Any, writer: Any, reader: DatasetReader, level: str, as_json: bool, facts: dict[str, Any],
    predictor: Any = None, why: str = "",
) -> int:  # fmt: skip
    from repcore.data.accounting import report_account

    reporter = ConsoleReporter()
    report_account(reader, reporter)
    done, total = writer.rows_done, len(reader)
    if done:
        reporter.info(f"going on after {done:,} rows that an earlier command has written")
    with stopping.noted(reporter.info) as stop:
        for row in rows:
            one: DenseRow = row[0] if isinstance(row, tuple) else row
            if predictor is not None and predictor.last_record:
                writer.parts.keep_record(writer.rows_done, predictor.last_record)
            writer.write(one, row[1] if isinstance(row, tuple) else {})
            reporter.progress("elements", writer.rows_done, total)
            if writer.rows_done < total:
                if stop.asked:
                    writer.keep()
                stop.obey(f"{writer.rows_done:,} of {total:,} rows are kept")
    reporter.close()
    doubled = writer.parts.doubled_ids()
    path = writer.finish()
    scores = None if predictor is None else predictor.scores()
    if as_json:
        found = None if scores is None else {**scores, "classes": scores.tasks}
        show_json({"output": str(path), "rows_in": total, "rows_out": writer.rows_done, "level": level,
                   "status": dict(writer.status), "failed": writer.failed, "unanswered": writer.unanswered,
                   "doubled_ids": doubled, "scores": found, **facts})  # fmt: skip
        return int(writer.failed)
    words = ", ".join(f"{number:,} {name}" for name, number in writer.status.most_common())
    say(f"{total:,} rows in, {writer.rows_done:,} rows out: {words}")
    say(f"{level} level in {path}")
    if doubled:
        complain(f"warning: {doubled}")
    if writer.unanswered:
        say(f"{writer.unanswered:,} elements of these rows have no answer (column unanswered, or empty cells)")
    if scores is not None:
        from repcore.reporting import figures_in_words

        say(f"against the labels in the data: {figures_in_words(scores)}")
        for name, values in scores.tasks.items():
            say(f"  {name}: " + figures_in_words(values))
        for note in scores.notes:
            say(f"note: {note}")
    elif predictor is not None:
        say(f"no labels in the data to score against{f': {why}' if why else ''}")
    return int(writer.failed)
