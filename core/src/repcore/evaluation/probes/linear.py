"""``linear@1``: logistic regression on standardised frozen features, for class and multilabel targets.

The penalty is a constant of the protocol (C = 0.05 on standardised features), not tuned: a tuned one hides how far
features are linearly readable, and small scaffold or group splits make the tuning itself noisy. A multilabel target is
one independent classifier a task, each on the rows where its label is known.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.classification import score_classifier
from repcore.evaluation.probes.configs import LinearProbeConfig
from repcore.evaluation.probes.preparation import Standardiser, constants_of, prepare, require_kind
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec


class LinearProbe:
    """See the module; an implementation of :class:`repcore.interfaces.Probe` that uses no randomness."""

    uses_seed = False

    def __init__(self, config: LinearProbeConfig) -> None:
        self.config = config

    def constants(self) -> Mapping[str, Any]:
        return constants_of(
            "linear@1",
            self.config,
            classifier="multinomial logistic regression, L2, L-BFGS, unpenalised intercept",
            features="standardised by labelled training rows, constant features become 0",
            rows="train part only; the validation part is not used",
        )

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Scores:
        """Metrics on the test part. See :meth:`repcore.interfaces.Probe.score`."""
        require_kind("linear@1", target, ("class", "multilabel"), "ridge@1")
        data = prepare(features, labels, target, split)
        return score_classifier(data, target, self._classify, threshold=0.5)

    def _classify(
        self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, class_count: int
    ) -> tuple[np.ndarray, list[str]]:
        """Class probabilities (n, C); a class without training rows gets 0."""
        standardise = Standardiser.fit(train)
        model = LogisticRegression(
            C=self.config.inverse_penalty,
            max_iter=self.config.max_iterations,
            class_weight=None if self.config.class_weight == "none" else "balanced",
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(standardise(train), labels.astype(np.int64))
        probabilities = np.zeros((len(test), class_count))
        probabilities[:, model.classes_] = model.predict_proba(standardise(test))
        slow = any(issubclass(one.category, ConvergenceWarning) for one in caught)
        return probabilities, [f"not converged after {self.config.max_iterations} iterations"] if slow else []
