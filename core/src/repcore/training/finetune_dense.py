"""Fine-tuning on labels of elements: what differs from labels of items.

Classes are the values that the training labels show; which tokens of the encoder answer is found by trying one row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from repcore.config.resolve import ResolvedPart
from repcore.data.divided import WholeSamples, whole_samples
from repcore.embedding.dense import DenseRow, find_place
from repcore.embedding.dense_files import KEPT_BYTES, AnswerFiles
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.prediction_files import TableWriter
from repcore.errors import DataError
from repcore.evaluation.dense_answers import DensePredictor, class_values, dense_temperature, named_classes
from repcore.evaluation.dense_probing import TRIED_ROWS, rows_one_by_one
from repcore.evaluation.element_metrics import element_metrics
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probing import LabelledRows
from repcore.specs import TargetSpec
from repcore.training.finetune import FinetuneSettings, TrainedTask
from repcore.training.finetune_labels import OneTarget


def completed(model: Model, settings: FinetuneSettings, rows: LabelledRows) -> FinetuneSettings:
    """Settings with what the data and the encoder say: class values and names, token level and its width.

    Raises:
        DataError: no labelled element, or too many values for classes. ConfigError: the encoder has no tokens.
    """
    target, config = settings.target, settings.task.config
    if target.level == "item":
        return settings
    known = {one.name for one in dataclasses.fields(config)}
    changes: dict[str, object] = {}
    if {"tokens", "width"} <= known and not (config.tokens and config.width):
        order = np.flatnonzero(rows.labelled(target))[:TRIED_ROWS]
        tried = rows_one_by_one(rows.reader, model.preprocessor, order)
        place = find_place(model.encoder, model.preprocessor, tried, target.level, model.device)
        changes |= {"tokens": config.tokens or place.tokens, "width": config.width or place.width}
    if target.kind == "class":
        values, target = named_classes(rows, target)
        if "values" in known and not config.values:
            changes["values"] = values
    part = ResolvedPart(settings.task.entry, dataclasses.replace(config, **changes))
    return dataclasses.replace(settings, task=part, target=target)


def calibrated_elements(
    trained: list[TrainedTask],
    model: Model,
    target: TargetSpec,
    rows: LabelledRows,
    validation: np.ndarray,
    options: InferenceOptions,
) -> DensePredictor:
    """The trained networks with the temperature of the validation rows; ``facts`` are those to store."""
    tasks = [one.task.to(options.device).eval() for one in trained]
    values = class_values(tasks[0], target)
    metrics = element_metrics(model.registry, model.folder.preprocessor_name)
    plain = DensePredictor(tasks, model.preprocessor, target, values, model.domain, metrics)
    if target.kind != "class":
        return plain
    temperature = dense_temperature(plain, OneTarget(rows.reader, target), options, validation)
    return dataclasses.replace(plain, facts={"temperature": temperature})


def test_elements(
    predictor: DensePredictor,
    rows: LabelledRows,
    test: np.ndarray,
    folder: Path,
    options: InferenceOptions,
    see: Callable[[DenseRow], None],
    *,
    keep: bool,
) -> Scores:
    """Scores of the test rows, and one line a row in ``predictions/test.parquet``.

    Args:
        keep: also the answers of the elements in ``predictions/test/``, as ``predict --format npz`` writes them.
        see: gets every row with its answer and labels.
    """
    target, values = predictor.target, predictor.values
    whole = whole_samples(OneTarget(rows.reader, target), test)
    reader = OneTarget(whole.reader, target)
    path = folder / "predictions" / "test.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = TableWriter(path, {"target": target.name, "level": target.level}, "miou" if values else "rmse", {"file"})
    writer.restart()
    labels = partial(predictor.labels_in_file, reader=reader)
    files = AnswerFiles(path.with_suffix(""), KEPT_BYTES if keep else 0, labels)
    answered = _by_row(predictor.rows(reader, options, list(whole.behind)), whole, target.name)
    numbers = [number for own in whole.behind.values() for number in own]
    for row, figures in predictor.scored(answered, reader, numbers):
        file = {"file": [files.write(row) if keep else None]}
        writer.write(
            [row.id], [row.status], [row.reason], {**file, **{name: [value] for name, value in figures.items()}}
        )
        see(row)
    writer.finish()
    scores = predictor.scores()
    if scores is None:
        raise DataError("no test row has a labelled element with a prediction", rows=len(test))
    scores.notes = (*scores.notes, *(files.note(len(test)) if keep else ()))
    return scores


def _by_row(rows: Iterator[DenseRow], whole: WholeSamples, target: str) -> Iterator[DenseRow]:
    """Answers about whole samples as one for each row that these stand behind, with its own labels and id."""
    for row, numbers in zip(rows, whole.behind.values(), strict=True):
        for number in numbers:
            labels = row.labels.get(target)
            own = {} if labels is None else {target: whole.labels(number, labels)}
            yield dataclasses.replace(row, id=whole.id_of(number, row.id), labels=own)
