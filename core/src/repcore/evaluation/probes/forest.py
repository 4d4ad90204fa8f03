"""``forest@1``: a random forest, what a practitioner would try first on raw descriptors; blind to their scale.

Gini trees with sqrt(D) features a node for classes, squared-error trees with a third of the features for numbers
(Breiman 2001, section 11), at most 300 of them; everything else as scikit-learn has it. Above 2,000 rows half as many
trees: an error that hardly moves any more is not worth the minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.classification import score_classifier
from repcore.evaluation.probes.configs import ForestProbeConfig
from repcore.evaluation.probes.preparation import constants_of, prepare
from repcore.evaluation.probes.regression import score_regressor
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

MOST_FEATURES = 300
MANY_ROWS = 2_000


class ForestProbe:
    """See the module; an implementation of :class:`repcore.interfaces.Probe`. Trees are drawn alike for every seed."""

    uses_seed = False

    def __init__(self, config: ForestProbeConfig) -> None:
        self.config = config

    def constants(self) -> Mapping[str, Any]:
        return constants_of(
            "forest@1",
            self.config,
            model=f"random forest; sqrt(D) features a node for classes, min(D / 3, {MOST_FEATURES}) for numbers; "
            f"half the trees above {MANY_ROWS} rows",
            rows="train part only, a random part above most_rows; the validation part is not used",
        )

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Scores:
        """Metrics on the test part. See :meth:`repcore.interfaces.Probe.score`."""
        data = prepare(features, labels, target, split)
        if target.kind in ("class", "multilabel"):
            return score_classifier(data, target, self._classify, threshold=0.5)
        return score_regressor(data, target, self._predict)

    def _classify(
        self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, class_count: int
    ) -> tuple[np.ndarray, list[str]]:
        """Class probabilities (n, C); a class without training rows gets 0."""
        rows, notes = some_rows(len(train), self.config.most_rows)
        model = RandomForestClassifier(self._trees(rows), random_state=0).fit(train[rows], labels[rows].astype(int))
        probabilities = np.zeros((len(test), class_count))
        probabilities[:, model.classes_] = model.predict_proba(test)
        return probabilities, notes

    def _predict(self, train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, list[str]]:
        rows, notes = some_rows(len(train), self.config.most_rows)
        predictions = np.empty((len(test), labels.shape[1]))
        features = max(1, min(train.shape[1] // 3, MOST_FEATURES))
        for k in range(labels.shape[1]):
            model = RandomForestRegressor(self._trees(rows), max_features=features, random_state=0)
            predictions[:, k] = model.fit(train[rows], labels[rows, k]).predict(test)
        return predictions, notes

    def _trees(self, rows: np.ndarray) -> int:
        return self.config.trees if len(rows) <= MANY_ROWS else max(1, self.config.trees // 2)


def some_rows(count: int, most: int) -> tuple[np.ndarray, list[str]]:
    """All rows, or a random part of them in order, with a remark."""
    if count <= most:
        return np.arange(count), []
    rows = np.sort(np.random.default_rng(0).choice(count, most, replace=False))
    return rows, [f"fitted on {most:,} of {count:,} training rows"]
