"""What a probe says about rows that it was not fitted on, row by row.

Symbols: S test rows of all folds, C classes, K values of a label.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from repcore.data.split_plans import SplitPlan
from repcore.interfaces import Probe, ProbeSplit
from repcore.specs import TargetSpec


class FoldAnswers:
    """Answers of a probe on each set of features about the test rows of the first seed's splits.

    Args:
        matrices: name -> features (N, D). labels: (N,) or (N, K), NaN = missing.
        good: rows with every feature, bool (N,).

    Attributes:
        rows: row numbers (S,). truth: labels (S, K); of classes, their place in ``classes``.
        predictions: name -> (S, C) probabilities of ``classes``, or (S, K) values.
    """

    def __init__(
        self, matrices: Mapping[str, np.ndarray], labels: np.ndarray, target: TargetSpec, plan: SplitPlan, probe: Probe,
        good: np.ndarray, seed: int,
    ) -> None:  # fmt: skip
        self.target, self.names = target, list(matrices)
        known = labels[~np.isnan(labels)] if target.ignore is None else labels[labels != target.ignore]
        self.classes = np.unique(known[~np.isnan(known)]) if target.kind == "class" else np.zeros(0)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in matrices}
        truth, rows = [], []
        for one in plan.folds[0]:
            fold = ProbeSplit(one.train[good[one.train]], one.test[good[one.test]], groups=one.groups)
            said = {name: probe.score(matrix, labels, target, fold, seed) for name, matrix in matrices.items()}
            tested = getattr(said[self.names[0]], "rows", None)
            answers = {name: self._answers(found, labels, fold) for name, found in said.items()}
            if tested is None or any(found is None for found in answers.values()):
                continue  # a probe of a plugin that tells its figures only
            rows.append(tested)
            truth.append(self._true(labels[tested]))
            for name, found in answers.items():
                parts[name].append(_there(found))
        self.rows = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        self.truth = np.concatenate(truth) if rows else np.zeros((0, 1))
        self.predictions = {name: np.concatenate(found) if rows else np.zeros((0, 1)) for name, found in parts.items()}

    def _true(self, labels: np.ndarray) -> np.ndarray:
        """Labels of test rows (n, K); of classes, their place among all."""
        if self.target.kind == "class":
            return np.searchsorted(self.classes, labels.reshape(-1)).astype(np.float64)[:, None]
        return labels.reshape(len(labels), -1)

    def _answers(self, scores: Mapping[str, float], labels: np.ndarray, fold: ProbeSplit) -> np.ndarray | None:
        """Predictions (n, C) with a column for each class of the data: a probe knows those of its fold only."""
        found: np.ndarray | None = getattr(scores, "predictions", None)
        if found is None or self.target.kind != "class":
            return found
        used = labels[np.concatenate([fold.train, fold.test])].reshape(-1)
        known = np.intersect1d(self.classes, used)
        if found.shape[1] != len(known):
            return None
        whole = np.zeros((len(found), len(self.classes)))
        whole[:, np.searchsorted(self.classes, known)] = found
        return whole


def _there(value: np.ndarray | None) -> np.ndarray:
    assert value is not None  # asked before
    return value
