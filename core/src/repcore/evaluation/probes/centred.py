"""``centred@1``: a linear probe that leaves features their own scale, for counts, bits and intensities.

Standardising makes a bit that one row in a thousand has as loud as one that half of them have; a baseline of counts
then looks worse than it is. Here features are centred and divided by one common number (the root of their mean
variance), so that only the penalty's unit is fixed. Numbers: ridge, penalty by exact leave-one-out. Classes: logistic
regression, penalty by stratified cross-validation with log loss. Training rows only.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.model_selection import StratifiedKFold

from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.classification import score_classifier
from repcore.evaluation.probes.configs import CentredProbeConfig
from repcore.evaluation.probes.preparation import constants_of, prepare
from repcore.evaluation.probes.regression import score_regressor
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

RIDGE_PENALTIES = np.logspace(-3, 5, 17)
INVERSE_PENALTIES = np.logspace(-3, 1, 5)


class CentredProbe:
    """See the module; an implementation of :class:`repcore.interfaces.Probe`. Folds are the same for every seed."""

    uses_seed = False

    def __init__(self, config: CentredProbeConfig) -> None:
        self.config = config

    def constants(self) -> Mapping[str, Any]:
        return constants_of(
            "centred@1",
            self.config,
            features="centred by training rows and divided by the root of their mean variance",
            regression=f"ridge, penalty of 10^-3 to 10^5 ({len(RIDGE_PENALTIES)}) by leave-one-out",
            classes=f"logistic regression, C of 10^-3 to 10 ({len(INVERSE_PENALTIES)}), stratified folds, log loss",
            rows="train part only; the validation part is not used",
        )

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Scores:
        """Metrics on the test part. See :meth:`repcore.interfaces.Probe.score`."""
        data = prepare(features, labels, target, split)
        if target.kind in ("class", "multilabel"):
            return score_classifier(data, target, self._classify, threshold=0.5)
        return score_regressor(data, target, _ridge)

    def _classify(
        self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, class_count: int
    ) -> tuple[np.ndarray, list[str]]:
        """Class probabilities (n, C); a class without training rows gets 0."""
        numbers = labels.astype(np.int64)
        counts = np.bincount(numbers)
        folds = min(self.config.folds, int(counts[counts > 0].min()))
        notes = [] if folds >= 2 else ["a class has one training row: middle of the C grid taken"]
        model = LogisticRegressionCV(
            Cs=INVERSE_PENALTIES if folds >= 2 else INVERSE_PENALTIES[2:3],
            cv=StratifiedKFold(folds, shuffle=True, random_state=0) if folds >= 2 else [_all_of(numbers)],
            scoring="neg_log_loss",
            max_iter=self.config.max_iterations,
        )
        train, test = _centred(train, test)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(train, numbers)
        if any(issubclass(one.category, ConvergenceWarning) for one in caught):
            notes.append(f"not converged after {self.config.max_iterations} iterations in some fits")
        probabilities = np.zeros((len(test), class_count))
        probabilities[:, model.classes_] = model.predict_proba(test)
        return probabilities, notes


def _all_of(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One fold that is everything: nothing is chosen by it."""
    every = np.arange(len(numbers))
    return every, every


def _centred(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = train.mean(0)
    scale = float(np.sqrt(train.var(0).mean())) or 1.0
    return (train - mean) / scale, (test - mean) / scale


def _ridge(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Predictions (m, K) of labels (n, K), each with its own penalty."""
    train, test = _centred(train, test)
    mean, deviation = labels.mean(0), labels.std(0)
    scale = np.where(deviation > 0, deviation, 1.0)
    model = RidgeCV(alphas=RIDGE_PENALTIES, alpha_per_target=True).fit(train, (labels - mean) / scale)
    predictions: np.ndarray = model.predict(test).reshape(len(test), -1) * deviation + mean
    return predictions, []
