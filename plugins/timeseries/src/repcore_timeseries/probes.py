"""A versioned protocol on frozen features.

``repcore probe MODEL --data DATA`` with
``--protocol timeseries/timeseries-centroid@1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from repcore.errors import DataError
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

from repcore_timeseries.configs import CentroidProbeConfig


class CentroidProbe:
    """Nearest class mean; means and scales come from the training rows only."""

    def __init__(self, config: CentroidProbeConfig) -> None:
        self.config = config

    def constants(self) -> Mapping[str, Any]:
        """Written beside each result."""
        return {"protocol": "timeseries-centroid@1", "shrink": self.config.shrink}

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Mapping[str, float]:
        """Accuracy on the labelled test rows.

        Raises:
            DataError: a part of the split has no label.
        """
        train, test = (rows[~np.isnan(labels[rows])] for rows in (split.train, split.test))
        if not train.size or not test.size:
            raise DataError(f"no labelled row of {target.name!r} in a part of the split")
        scale = features[train].std(0) + 1e-9
        values = (features - features[train].mean(0)) / scale
        classes = np.unique(labels[train])
        means = np.stack([values[train][labels[train] == one].mean(0) for one in classes])
        distances = ((values[test][:, None] - (1.0 - self.config.shrink) * means) ** 2).sum(-1)
        return {"accuracy": float((classes[distances.argmin(1)] == labels[test]).mean())}
