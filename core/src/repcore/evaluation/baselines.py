"""The predictor that ignores its input: the floor below every probe number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from repcore.evaluation.metrics import Scores, score_predictions
from repcore.evaluation.probes.preparation import prepare, with_rows
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

CONSTANT = "constant"
"""Protocol name of the predictor, shown in the place of a probe."""


def predictor_title(target: TargetSpec) -> str:
    """What the constant is: the majority class, the share of ones, or the mean label of the train part."""
    return {"class": "train-majority", "multilabel": "train-share"}.get(target.kind, "train-mean")


def constant_predictor(labels: np.ndarray, target: TargetSpec, split: ProbeSplit) -> Scores:
    """Scores of predicting the same for every test row, from labelled training rows.

    Class targets get the class shares (so the majority class is chosen), multilabel targets the share of ones,
    continuous targets the mean. AUROC is 0.5 by construction.

    Args:
        labels: (N,) or (N, K), NaN = missing.
        target: kind and names of the label.
        split: rows.
    """
    nothing = np.zeros((len(np.asarray(labels)), 1))
    data = prepare(nothing, labels, target, split)
    if target.kind == "class":
        numbers = data.train_labels[:, 0].astype(np.int64)
        constant = np.bincount(numbers, minlength=data.classes.size) / numbers.size
    else:
        known = ~np.isnan(data.train_labels)
        total = np.where(known, data.train_labels, 0.0).sum(axis=0)
        constant = np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0))
    predictions = np.tile(constant, (data.test_rows.size, 1))
    return with_rows(score_predictions(target, data.test_labels, predictions), data)


def constants() -> Mapping[str, Any]:
    """What fixes the baseline."""
    return {"protocol": CONSTANT, "rule": "class shares, share of ones, or mean of labelled training rows"}
