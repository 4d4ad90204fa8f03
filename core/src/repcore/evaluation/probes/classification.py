"""The path that all classifier probes share: one fit for a class target, one a task for a multilabel target."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from repcore.evaluation.metrics import Scores, score_predictions
from repcore.evaluation.probes.preparation import Prepared, metric_names, with_rows
from repcore.specs import TargetSpec


class FitAndScore(Protocol):
    """Fit on (n, D) with class numbers (n,) of at least two classes, and score (m, D).

    Returns class scores (m, C) and remarks.
    """

    def __call__(
        self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, class_count: int
    ) -> tuple[np.ndarray, list[str]]: ...


def score_classifier(data: Prepared, target: TargetSpec, fit: FitAndScore, *, threshold: float) -> Scores:
    """Metrics of a classifier on a class or multilabel target.

    What cannot be fitted (one class among the labelled training rows) is NaN with the reason.

    Args:
        fit: the classifier.
        threshold: score above which a multilabel task is predicted 1: 0.5 for probabilities, 0 for margins.
    """
    notes: list[str] = []
    if target.kind == "class":
        known = np.unique(data.train_labels[:, 0])
        if known.size < 2:
            reason = f"only class {data.classes[int(known[0])]:g} among {len(data.train)} labelled training rows"
            return Scores.undefined(metric_names(target), reason)
        predictions, notes = fit(data.train, data.train_labels[:, 0], data.test, data.classes.size)
    else:
        predictions = np.full(data.test_labels.shape, np.nan)
        for k in range(data.test_labels.shape[1]):
            title = target.names[k] if k < len(target.names) else f"task {k}"
            rows = ~np.isnan(data.train_labels[:, k])
            if np.unique(data.train_labels[rows, k]).size < 2:
                notes.append(f"{title}: fewer than two classes among {int(rows.sum())} labelled training rows")
                continue
            both, remarks = fit(data.train[rows], data.train_labels[rows, k], data.test, 2)
            predictions[:, k] = both[:, 1]
            notes += [f"{title}: {remark}" for remark in remarks]
    scores = with_rows(score_predictions(target, data.test_labels, predictions, threshold=threshold), data)
    scores.notes = (*notes, *scores.notes)
    return scores
