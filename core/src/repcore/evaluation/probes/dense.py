"""``dense-linear@1``: how far frozen features of elements tell classes apart.

A class-balanced draw of labelled elements of the training rows (600 a class, or a share of each class), standardised
features, multinomial logistic regression with balanced classes; tested on every labelled element of the test rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from repcore.errors import DataError
from repcore.evaluation.dense_metrics import confusion, dense_scores
from repcore.evaluation.metrics import Scores
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec


@dataclass(frozen=True, kw_only=True)
class DenseLinearConfig:
    """Constants of the protocol."""

    per_class: int = field(default=600, metadata={"help": "training elements of each class", "unit": "elements"})
    penalty: float = field(default=1.0, metadata={"help": "inverse strength C of the L2 penalty", "unit": ""})
    iterations: int = field(default=400, metadata={"help": "most iterations of the solver", "unit": ""})


class DenseLinearProbe:
    """A linear classifier of elements.

    Args:
        config: constants.
    """

    uses_seed = True

    def __init__(self, config: DenseLinearConfig) -> None:
        self.config = config
        self._mean, self._scale = np.zeros(1), np.ones(1)
        self._model = LogisticRegression(C=config.penalty, max_iter=config.iterations, class_weight="balanced")

    def fit(self, features: np.ndarray, classes: np.ndarray) -> DenseLinearProbe:
        """Learn from elements (n, D) with class numbers (n,).

        Raises:
            DataError: fewer than two classes.
        """
        if np.unique(classes).size < 2:
            raise DataError(f"{len(classes)} training elements show fewer than two classes")
        values = features.astype(np.float64)
        self._mean, deviation = values.mean(0), values.std(0)
        self._scale = np.where(deviation > 1e-9, deviation, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is part of the protocol
            self._model.fit((values - self._mean) / self._scale, classes)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class numbers (n,) of elements (n, D)."""
        found: np.ndarray = self._model.predict((features.astype(np.float64) - self._mean) / self._scale)
        return found

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Mapping[str, float]:
        """Elements as rows: mean IoU and the like on the test rows.

        Args:
            features: (N, D). labels: class numbers (N,), NaN = missing.
        """
        train = split.train[~np.isnan(labels[split.train])]
        chosen = balanced_draw(labels[train].astype(np.int64), self.config.per_class, np.random.default_rng(seed))
        self.fit(features[train][chosen], labels[train][chosen].astype(np.int64))
        test = split.test[~np.isnan(labels[split.test])]
        count = max(len(target.names), int(np.nanmax(labels)) + 1)
        counts = confusion(labels[test].astype(np.int64), self.predict(features[test]), count)
        found: Scores = dense_scores(counts[None], [str(k) for k in range(count)], np.zeros(1, np.int64))
        return found

    def constants(self) -> Mapping[str, Any]:
        """What fixes the protocol."""
        config = self.config
        return {
            "protocol": "dense-linear@1",
            "classifier": "multinomial logistic regression, balanced classes, standardised features",
            "elements_per_class": config.per_class,
            "C": config.penalty,
            "iterations": config.iterations,
        }


def balanced_draw(classes: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of up to so many elements of each class, ascending."""
    rows = [rng.permutation(np.flatnonzero(classes == one))[:per_class] for one in np.unique(classes)]
    return np.sort(np.concatenate(rows)) if rows else np.zeros(0, np.int64)
