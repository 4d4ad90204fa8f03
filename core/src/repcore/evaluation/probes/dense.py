"""How far frozen features of elements tell classes apart; tested on every labelled element of the test rows.

All learn from a class-balanced draw of labelled elements of the training rows (600 a class, or a share of each class),
standardised:

- ``dense-linear@1``: multinomial logistic regression with balanced classes.
- ``dense-frequency@1``: the same without class weights; intercepts are then corrected from how often each class was
  drawn to how often it occurs in the training rows, so that rare classes are not answered everywhere.
- ``dense-knn@1``: the class with most weight among the 20 nearest drawn elements by cosine, exp(cosine / 0.07).
- ``dense-prototype@1``: the class whose mean element is nearest by cosine (Snell et al. 2017, with one episode).

``dense-forest@1`` and ``dense-mlp@1`` are in modules of their own.
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

BLOCK_ELEMENTS = 4096  # of a test row that are compared at once


@dataclass(frozen=True, kw_only=True)
class DenseLinearConfig:
    """Constants of the protocol."""

    per_class: int = field(
        default=600, metadata={"help": "training elements of each class", "unit": "elements", "min": 1}
    )
    penalty: float = field(
        default=1.0, metadata={"help": "inverse strength C of the L2 penalty", "unit": "", "above": 0}
    )
    iterations: int = field(default=400, metadata={"help": "most iterations of the solver", "unit": "", "min": 1})


@dataclass(frozen=True, kw_only=True)
class DensePrototypeConfig:
    """Constants of ``dense-prototype@1``."""

    per_class: int = field(
        default=600, metadata={"help": "training elements of each class", "unit": "elements", "min": 1}
    )


class ElementProbe:
    """A classifier of elements on standardised features, without anything that is learned yet.

    Args:
        config: constants; ``per_class`` elements of each class are drawn.
    """

    uses_seed = True

    def __init__(self, config: Any) -> None:  # of the protocol
        self.config = config
        self._mean, self._scale = np.zeros(1), np.ones(1)

    def fit(
        self, features: np.ndarray, classes: np.ndarray, frequency: Mapping[int, int] | None = None
    ) -> ElementProbe:
        """Learn from elements (n, D) with class numbers (n,).

        Args:
            frequency: how many elements of the training rows have each class, drawn or not; those drawn when None.

        Raises:
            DataError: fewer than two classes.
        """
        if np.unique(classes).size < 2:
            raise DataError(f"{len(classes)} training elements show fewer than two classes")
        values = features.astype(np.float64)
        self._mean, deviation = values.mean(0), values.std(0)
        self._scale = np.where(deviation > 1e-9, deviation, 1.0)
        self._learn((values - self._mean) / self._scale, classes, frequency or {})
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class numbers (n,) of elements (n, D)."""
        return self._answer((features.astype(np.float64) - self._mean) / self._scale)

    def _learn(self, values: np.ndarray, classes: np.ndarray, frequency: Mapping[int, int]) -> None:
        raise NotImplementedError

    def _answer(self, values: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Mapping[str, float]:
        """Elements as rows: mean IoU and the like on the test rows.

        Args:
            features: (N, D). labels: class numbers (N,), NaN = missing.
        """
        train = split.train[~np.isnan(labels[split.train])]
        chosen = balanced_draw(labels[train].astype(np.int64), self.config.per_class, np.random.default_rng(seed))
        known, number = np.unique(labels[train].astype(np.int64), return_counts=True)
        frequency = dict(zip(known.tolist(), number.tolist(), strict=True))
        self.fit(features[train][chosen], labels[train][chosen].astype(np.int64), frequency)
        test = split.test[~np.isnan(labels[split.test])]
        count = max(len(target.names), int(np.nanmax(labels)) + 1)
        counts = confusion(labels[test].astype(np.int64), self.predict(features[test]), count)
        found: Scores = dense_scores(counts[None], [str(k) for k in range(count)], np.zeros(1, np.int64))
        return found

    def constants(self) -> Mapping[str, Any]:
        """What fixes the protocol."""
        raise NotImplementedError


class DenseLinearProbe(ElementProbe):
    """``dense-linear@1``."""

    protocol, class_weight = "dense-linear@1", "balanced"
    words = "multinomial logistic regression, balanced classes, standardised features"

    def __init__(self, config: DenseLinearConfig) -> None:
        super().__init__(config)
        self._model = LogisticRegression(
            C=config.penalty, max_iter=config.iterations, class_weight=self.class_weight or None
        )

    def _learn(self, values: np.ndarray, classes: np.ndarray, frequency: Mapping[int, int]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is part of the protocol
            self._model.fit(values, classes)

    def _answer(self, values: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._model.predict(values)
        return found

    def constants(self) -> Mapping[str, Any]:
        """What fixes the protocol."""
        config = self.config
        return {
            "protocol": self.protocol,
            "classifier": self.words,
            "elements_per_class": config.per_class,
            "C": config.penalty,
            "iterations": config.iterations,
        }


class DenseFrequencyProbe(DenseLinearProbe):
    """``dense-frequency@1``."""

    protocol, class_weight = "dense-frequency@1", ""
    words = "multinomial logistic regression, intercepts corrected to class frequencies, standardised features"

    def _learn(self, values: np.ndarray, classes: np.ndarray, frequency: Mapping[int, int]) -> None:
        super()._learn(values, classes, frequency)
        drawn, occurs = shares(classes, frequency)
        self._shift = np.log(occurs) - np.log(drawn)

    def _answer(self, values: np.ndarray) -> np.ndarray:
        scores = self._model.decision_function(values)
        if scores.ndim == 1:  # two classes have one score
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        found: np.ndarray = self._model.classes_[(scores + self._shift).argmax(1)]
        return found


class DensePrototypeProbe(ElementProbe):
    """``dense-prototype@1``."""

    def __init__(self, config: DensePrototypeConfig) -> None:
        super().__init__(config)
        self._classes, self._means = np.zeros(0, np.int64), np.zeros((0, 1))

    def _learn(self, values: np.ndarray, classes: np.ndarray, frequency: Mapping[int, int]) -> None:
        self._classes = np.unique(classes)
        means = np.stack([values[classes == one].mean(0) for one in self._classes])
        self._means = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)

    def _answer(self, values: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._classes[(values @ self._means.T).argmax(1)]  # the length of a row changes no order
        return found

    def constants(self) -> Mapping[str, Any]:
        """What fixes the protocol."""
        return {
            "protocol": "dense-prototype@1",
            "classifier": "nearest class mean by cosine, standardised features",
            "elements_per_class": self.config.per_class,
        }


@dataclass(frozen=True, kw_only=True)
class DenseNeighbourConfig:
    """Constants of ``dense-knn@1``: those of ``knn@1`` on a bounded draw of elements."""

    per_class: int = field(
        default=600, metadata={"help": "training elements of each class", "unit": "elements", "min": 1}
    )
    neighbours: int = field(default=20, metadata={"help": "drawn elements that vote", "unit": "", "min": 1})
    temperature: float = field(
        default=0.07, metadata={"help": "of the weights exp(cosine / temperature)", "unit": "", "above": 0}
    )


class DenseNeighbourProbe(ElementProbe):
    """``dense-knn@1``."""

    def __init__(self, config: DenseNeighbourConfig) -> None:
        super().__init__(config)
        self._values, self._classes = np.zeros((0, 1), np.float32), np.zeros(0, np.int64)

    def _learn(self, values: np.ndarray, classes: np.ndarray, frequency: Mapping[int, int]) -> None:
        self._values, self._classes = _unit_rows(values), classes

    def _answer(self, values: np.ndarray) -> np.ndarray:
        known, number = np.unique(self._classes, return_inverse=True)
        count = min(self.config.neighbours, len(self._classes))
        found = np.empty(len(values), np.int64)
        for first in range(0, len(values), BLOCK_ELEMENTS):
            similarity = _unit_rows(values[first : first + BLOCK_ELEMENTS]) @ self._values.T
            nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
            weights = np.exp((np.take_along_axis(similarity, nearest, 1) - 1.0) / self.config.temperature)
            votes = np.stack([(weights * (number[nearest] == one)).sum(1) for one in range(len(known))], 1)
            found[first : first + BLOCK_ELEMENTS] = known[votes.argmax(1)]
        return found

    def constants(self) -> Mapping[str, Any]:
        """What fixes the protocol."""
        return {
            "protocol": "dense-knn@1",
            "classifier": "neighbours by cosine, standardised features",
            "elements_per_class": self.config.per_class,
            "neighbours": self.config.neighbours,
            "temperature": self.config.temperature,
        }


def _unit_rows(values: np.ndarray) -> np.ndarray:
    unit: np.ndarray = (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return unit


def shares(classes: np.ndarray, frequency: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the classes (K,), ascending: among drawn elements (n,), and among all where each of them is counted,
    else the same."""
    known, number = np.unique(classes, return_counts=True)
    drawn = number / number.sum()
    occurs = np.asarray([frequency.get(int(one), 0) for one in known], np.float64)
    return drawn, occurs / occurs.sum() if (occurs > 0).all() else drawn


def balanced_draw(classes: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of up to so many elements of each class, ascending."""
    rows = [rng.permutation(np.flatnonzero(classes == one))[:per_class] for one in np.unique(classes)]
    return np.sort(np.concatenate(rows)) if rows else np.zeros(0, np.int64)
