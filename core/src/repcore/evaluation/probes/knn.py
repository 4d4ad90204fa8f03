"""``knn@1``: weighted k nearest neighbours by cosine, for every kind of item-level target.

Weights are exp(cosine / temperature), normalised over the k = 20 nearest *labelled* training rows; classes get votes,
continuous targets the weighted mean. Both constants are part of the version: toolkits that changed their temperature
silently made published numbers impossible to reproduce.

Source: Wu et al. 2018 (arXiv 1805.01978), section 3.4 (weighted kNN, temperature 0.07).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from repcore.errors import ConfigError
from repcore.evaluation.metrics import Scores, score_predictions
from repcore.evaluation.probes.configs import NeighbourProbeConfig
from repcore.evaluation.probes.preparation import constants_of, prepare, with_rows
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

BLOCK_ROWS = 512  # test rows at a time: the similarity block stays below 200 MB for 50,000 training rows


class NeighbourProbe:
    """See the module; an implementation of :class:`repcore.interfaces.Probe` that uses no randomness.

    Raises:
        ConfigError: fewer than one neighbour, or a temperature that is not positive.
    """

    uses_seed = False

    def __init__(self, config: NeighbourProbeConfig) -> None:
        if config.neighbours < 1:
            raise ConfigError(f"neighbours={config.neighbours} is less than 1", field="neighbours")
        if not config.temperature > 0:
            raise ConfigError(f"temperature={config.temperature} is not positive", field="temperature")
        self.config = config

    def constants(self) -> Mapping[str, Any]:
        return constants_of(
            "knn@1",
            self.config,
            similarity="cosine of raw features, no centring; zero vectors are similar to nothing",
            missing="neighbours are searched among rows with a known label, each target on its own",
        )

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Scores:
        """Metrics on the test part.

        Args:
            features: (N, D).
            labels: (N,) or (N, K); NaN = missing.
            seed: not used.

        Raises:
            DataError, ShapeError: as :func:`repcore.evaluation.probes.preparation.prepare`.
        """
        data = prepare(features, labels, target, split)
        train, test = normalize(data.train), normalize(data.test)
        if target.kind == "class":
            votes = np.eye(data.classes.size)[data.train_labels[:, 0].astype(np.int64)]  # (n, C) one-hot
        else:
            votes = data.train_labels
        predictions = np.empty((len(test), votes.shape[1]))
        patterns, pattern_of = np.unique(~np.isnan(votes), axis=1, return_inverse=True)
        for first in range(0, len(test), BLOCK_ROWS):
            similarity = test[first : first + BLOCK_ROWS] @ train.T  # (block, n)
            for p in range(patterns.shape[1]):
                known, columns = patterns[:, p], np.flatnonzero(pattern_of.ravel() == p)
                predictions[first : first + BLOCK_ROWS, columns] = self._average(
                    similarity[:, known], votes[known][:, columns]
                )
        if target.kind in ("class", "multilabel"):
            predictions = predictions.round(12)  # equal votes must be ties in AUROC, whatever order they were added in
        scores = with_rows(score_predictions(target, data.test_labels, predictions), data)
        unlabelled = int((~patterns.any(axis=0)).sum())
        if unlabelled:
            scores.notes = ("a target without any labelled training row is left out", *scores.notes)
        return scores

    def _average(self, similarity: np.ndarray, votes: np.ndarray) -> np.ndarray:
        """Weighted mean (m, K) of the labels (n, K) of the nearest rows; NaN when there are none."""
        count = min(self.config.neighbours, similarity.shape[1])
        if count == 0:
            return np.full((len(similarity), votes.shape[1]), np.nan)
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]  # (m, k)
        closeness = np.take_along_axis(similarity, nearest, axis=1)
        # the largest exponent is 0, so that small temperatures cannot overflow
        weights = np.exp((closeness - closeness.max(axis=1, keepdims=True)) / self.config.temperature)
        weights /= weights.sum(axis=1, keepdims=True)
        mean: np.ndarray = np.einsum("mk,mkc->mc", weights, votes[nearest])
        return mean
