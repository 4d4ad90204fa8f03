"""``dense-mlp@1``: small networks on the class-balanced draw of elements, for many features that count together.

Two networks with one hidden layer each, whose probabilities are averaged; logarithms are then corrected from how often
each class was drawn to how often it occurs, as those of ``dense-frequency@1`` are.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from repcore.evaluation.probes.dense import ElementProbe, shares

NETWORKS = 2
LEAST_PROBABILITY = 1e-9


@dataclass(frozen=True, kw_only=True)
class DenseMlpConfig:
    """Constants of ``dense-mlp@1``."""

    per_class: int = field(
        default=600, metadata={"help": "training elements of each class", "unit": "elements", "min": 1}
    )
    width: int = field(default=64, metadata={"help": "of the hidden layer", "unit": "", "min": 1})
    penalty: float = field(default=0.01, metadata={"help": "of the squared weights", "unit": "", "min": 0})
    epochs: int = field(default=40, metadata={"help": "passes over the drawn elements", "unit": "", "min": 1})


class DenseMlpProbe(ElementProbe):
    """``dense-mlp@1``. Networks begin alike for every seed."""

    def __init__(self, config: DenseMlpConfig) -> None:
        super().__init__(config)
        self._networks: list[MLPClassifier] = []
        self._classes, self._shift = np.zeros(0, np.int64), np.zeros(1)

    def _learn(self, values: np.ndarray, classes: np.ndarray, frequency: Mapping[int, int]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is part of the protocol
            self._networks = [
                MLPClassifier(
                    (self.config.width,), alpha=self.config.penalty, max_iter=self.config.epochs, random_state=number
                ).fit(values.astype(np.float32), classes)
                for number in range(NETWORKS)
            ]
        drawn, occurs = shares(classes, frequency)
        self._classes, self._shift = np.unique(classes), np.log(occurs) - np.log(drawn)

    def _answer(self, values: np.ndarray) -> np.ndarray:
        found = np.mean([one.predict_proba(values.astype(np.float32)) for one in self._networks], axis=0)
        answered: np.ndarray = self._classes[(np.log(found + LEAST_PROBABILITY) + self._shift).argmax(1)]
        return answered

    def constants(self) -> Mapping[str, Any]:
        """What fixes the protocol."""
        return {
            "protocol": "dense-mlp@1",
            "classifier": f"{NETWORKS} networks of one hidden layer, probabilities averaged and corrected to class "
            "frequencies, standardised features",
            "elements_per_class": self.config.per_class,
            "width": self.config.width,
            "penalty": self.config.penalty,
            "epochs": self.config.epochs,
        }
