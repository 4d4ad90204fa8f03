"""``dense-forest@1``: a random forest on the class-balanced draw of elements, for features that lines do not divide.

Trees are grown on the balanced draw. A forest is less sure than it is right, so that multiplying its shares with class
frequencies answers rare classes hardly anywhere; instead one number a class is added to the logarithm of its share of
votes, such that the answers of the trees that have not seen an element, each element counted as often as its class
occurs beyond the draw, have the classes as often as the labels have them.

Symbols: n drawn elements, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from repcore.evaluation.probes.dense import ElementProbe, shares

ROUNDS = 300  # of the search for shares
FIRST_STEP, DECAY = 0.1, 0.99  # of its steps
LEAST_SHARE = 1e-4


@dataclass(frozen=True, kw_only=True)
class DenseForestConfig:
    """Constants of ``dense-forest@1``."""

    per_class: int = field(
        default=600, metadata={"help": "training elements of each class", "unit": "elements", "min": 1}
    )
    trees: int = field(default=100, metadata={"help": "trees of the forest", "unit": "trees", "min": 1})


class DenseForestProbe(ElementProbe):
    """``dense-forest@1``. Trees are drawn alike for every seed."""

    def __init__(self, config: DenseForestConfig) -> None:
        super().__init__(config)
        self._model = RandomForestClassifier(config.trees, oob_score=True, random_state=0)
        self._shift = np.zeros(1)

    def _learn(self, values: np.ndarray, classes: np.ndarray, frequency: Mapping[int, int]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # elements that all trees have seen are left out below
            self._model.fit(values.astype(np.float32), classes)
        drawn, occurs = shares(classes, frequency)
        votes = np.asarray(self._model.oob_decision_function_)
        unseen = np.isfinite(votes).all(1) & (votes.sum(1) > 0)
        self._shift = np.log(occurs) - np.log(drawn)
        if unseen.any():
            weights = (occurs / drawn)[np.unique(classes, return_inverse=True)[1]][unseen]
            self._shift = shifts_for_shares(self._logarithms(votes[unseen]), weights, occurs)

    def _logarithms(self, votes: np.ndarray) -> np.ndarray:
        """Half a vote stands for none."""
        return np.asarray(np.log(votes + 0.5 / self.config.trees))

    def _answer(self, values: np.ndarray) -> np.ndarray:
        scores = self._logarithms(self._model.predict_proba(values.astype(np.float32)))
        found: np.ndarray = self._model.classes_[(scores + self._shift).argmax(1)]
        return found

    def constants(self) -> Mapping[str, Any]:
        """What fixes the protocol."""
        return {
            "protocol": "dense-forest@1",
            "classifier": "random forest, sqrt(D) features a node; answers out of the bag occur as often as classes",
            "elements_per_class": self.config.per_class,
            "trees": self.config.trees,
        }


def shifts_for_shares(scores: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What to add to each class's scores so that the largest is each class's as often as wanted.

    Args:
        scores: (n, K). weights: (n,), how often each row counts. wanted: (K,) shares above 0.

    Returns:
        (K,): the best found in a bounded number of steps; rows are few, so that shares come in jumps.
    """
    shift, best, least = np.zeros(len(wanted)), np.zeros(len(wanted)), np.inf
    step = FIRST_STEP
    for _ in range(ROUNDS):
        answered = (scores + shift).argmax(1)
        share = np.bincount(answered, weights, len(wanted)) / weights.sum()
        off = np.log((wanted + LEAST_SHARE) / (share + LEAST_SHARE))
        if np.abs(off).max() < least:
            least, best = np.abs(off).max(), shift.copy()
        shift = shift + step * off
        step *= DECAY
    return best
