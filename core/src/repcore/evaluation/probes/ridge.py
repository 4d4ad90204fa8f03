"""``ridge@1``: ridge regression on standardised frozen features, for regression and landmark targets.

Closed form: the penalty of each target is chosen from a fixed grid by the exact leave-one-out error on its labelled
training rows (no folds, no randomness). Targets are standardised by these rows and predictions turned back, so errors
are in the units of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV

from repcore.errors import ConfigError
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.configs import RidgeProbeConfig
from repcore.evaluation.probes.preparation import Standardiser, constants_of, prepare, require_kind
from repcore.evaluation.probes.regression import score_regressor
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec


class RidgeProbe:
    """See the module; an implementation of :class:`repcore.interfaces.Probe` that uses no randomness.

    Raises:
        ConfigError: the grid is empty or upside down.
    """

    uses_seed = False

    def __init__(self, config: RidgeProbeConfig) -> None:
        low, high = config.penalty_exponent_low, config.penalty_exponent_high
        if config.penalties < 1 or low > high:
            raise ConfigError(f"ridge@1 has no penalty between 10^{low:g} and 10^{high:g} in {config.penalties} points")
        self.config = config
        self.penalties = np.logspace(low, high, config.penalties)

    def constants(self) -> Mapping[str, Any]:
        return constants_of(
            "ridge@1",
            self.config,
            penalty="least mean squared leave-one-out error on train, each target on its own",
            features="standardised by labelled training rows, constant features become 0",
            target="standardised by labelled training rows, predictions turned back",
            rows="train part only; the validation part is not used",
        )

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Scores:
        """Metrics on the test part, in the units of the labels.

        Args:
            features: (N, D).
            labels: (N,) or (N, K); NaN = missing.
            seed: not used.

        Raises:
            ConfigError: the target is not continuous.
            DataError, ShapeError: as :func:`repcore.evaluation.probes.preparation.prepare`.
        """
        require_kind("ridge@1", target, ("regression", "landmark"), "linear@1")
        return score_regressor(prepare(features, labels, target, split), target, self._predict)

    def _predict(self, train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Predictions (n, K) in original units, and a remark when the grid was too narrow."""
        standardise, scale_labels = Standardiser.fit(train), Standardiser.of_labels(labels)
        model = RidgeCV(alphas=self.penalties, alpha_per_target=True)
        model.fit(standardise(train), scale_labels(labels))
        deviation = np.where(np.isinf(scale_labels.scale), 0.0, scale_labels.scale)
        fitted = model.predict(standardise(test)).reshape(len(test), -1) * deviation + scale_labels.mean
        chosen = np.atleast_1d(model.alpha_)[deviation > 0]
        at_low = self.penalties.size > 1 and bool((chosen == self.penalties[0]).any())
        return fitted, ["smallest penalty of the grid chosen"] if at_low else []
