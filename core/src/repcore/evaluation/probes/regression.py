"""The path that regression probes share: targets with the same labelled training rows are fitted together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from repcore.evaluation.metrics import Scores, score_predictions
from repcore.evaluation.probes.preparation import Prepared, with_rows
from repcore.specs import TargetSpec

FEWEST_ROWS = 3  # leave-one-out of a line needs two rows besides the one left out
FitAndPredict = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, list[str]]]
"""(n, D) with labels (n, K) without gaps, and (m, D) to predict: predictions (m, K) and remarks."""


def score_regressor(data: Prepared, target: TargetSpec, fit: FitAndPredict) -> Scores:
    """Metrics of a regressor, in the units of the labels; targets with too few labelled rows are left out, and said."""
    predictions = np.full(data.test_labels.shape, np.nan)
    notes = []
    known = ~np.isnan(data.train_labels)
    patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
    for p in range(patterns.shape[1]):
        rows, columns = patterns[:, p], np.flatnonzero(pattern_of.ravel() == p)
        if rows.sum() < FEWEST_ROWS:
            notes.append(f"{columns.size} target(s) with {int(rows.sum())} labelled training rows are left out")
            continue
        fitted, remarks = fit(data.train[rows], data.train_labels[rows][:, columns], data.test)
        predictions[:, columns] = fitted
        notes += remarks
    scores = with_rows(score_predictions(target, data.test_labels, predictions), data)
    scores.notes = (*dict.fromkeys(notes), *scores.notes)
    return scores
