"""Scores of a table of predictions against the labels that stand beside them in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from repcore.embedding.answers import column_of, output_names
from repcore.evaluation.metrics import Scores, score_predictions
from repcore.specs import TargetSpec


def score_table(target: TargetSpec, columns: Mapping[str, Sequence[Any]], count: int) -> Scores | None:
    """Metrics over the rows that have a prediction and a label; None where there is none.

    Args:
        target: of the model.
        columns: as :class:`repcore.embedding.prediction_files.TableWriter` wrote them.
        count: K outputs.
    """
    names = output_names(target, count)
    wanted = [f"p:{name}" if target.kind in ("class", "multilabel") else name for name in names]
    labels = [f"label:{column_of(target)}"] if target.kind == "class" else [f"label:{name}" for name in names]
    if any(name not in columns for name in (*wanted, *labels)):
        return None
    outputs = np.stack([_numbers(columns[name]) for name in wanted], axis=1)
    unknown: set[str] = set()
    if target.kind == "class":
        place = {name: float(k) for k, name in enumerate(names)}
        words = [None if one in (None, "") else str(one) for one in columns[labels[0]]]
        unknown = {one for one in words if one is not None and one not in place}
        truth = np.asarray([[np.nan if one is None else place.get(one, np.nan)] for one in words])
    else:
        truth = np.stack([_numbers(columns[name]) for name in labels], axis=1)
    usable = np.isfinite(outputs).all(1) & ~np.isnan(truth).all(1)
    if not usable.any():
        return None
    scores = score_predictions(target, truth[usable], outputs[usable])
    scores.rows = np.flatnonzero(usable)
    if unknown:
        shown = ", ".join(sorted(unknown)[:5])
        scores.notes = (*scores.notes, f"classes that the model does not know are left out: {shown}")
    return scores


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.asarray([np.nan if one in (None, "") else float(one) for one in values], np.float64)
