"""Fine-tuning on labels of elements: what differs from labels of items.

Classes are the values that the training labels show; which tokens of the encoder answer is found by trying one row.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from repcore.config.resolve import ResolvedPart
from repcore.embedding.dense import find_place
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.prediction_files import TableWriter
from repcore.embedding.windows import prepared_windows
from repcore.errors import DataError
from repcore.evaluation.dense_answers import DensePredictor, class_values, dense_temperature, named_classes
from repcore.evaluation.element_metrics import element_metrics
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probing import LabelledRows
from repcore.specs import TargetSpec
from repcore.training.finetune import FinetuneSettings, OneTarget, TrainedTask

TRIED_ROWS = 64


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
        tried = next(prepared_windows(rows.reader, model.preprocessor, order, most_rows=TRIED_ROWS), [])
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
    predictor: DensePredictor, rows: LabelledRows, test: np.ndarray, folder: Path, options: InferenceOptions
) -> Scores:
    """Scores of the test rows, and one line a row in ``predictions/test.parquet``."""
    target, values = predictor.target, predictor.values
    reader = OneTarget(rows.reader, target)
    path = folder / "predictions" / "test.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = TableWriter(path, {"target": target.name, "level": target.level}, "miou" if values else "rmse")
    writer.restart()
    for row, figures in predictor.scored(predictor.rows(reader, options, test), reader, test.tolist()):
        writer.write([row.id], [row.status], [row.reason], {name: [value] for name, value in figures.items()})
    writer.finish()
    scores = predictor.scores()
    if scores is None:
        raise DataError("no test row has a labelled element with a prediction", rows=len(test))
    return scores
