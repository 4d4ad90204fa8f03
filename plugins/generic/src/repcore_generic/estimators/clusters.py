"""Estimator ``generic/clusters``: spherical k-means of feature vectors; its centres are what MLCD learns to tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from repcore.errors import DataError
from repcore.estimation.rows import check_width, gathered
from repcore.interfaces import FeatureBatch
from repcore.specs import TargetSpec
from repcore_generic.configs.estimators import ClustersConfig
from repcore_generic.objectives.clusters import nearest, spherical_kmeans

ITEMS_A_CLUSTER = 20
FEWEST_CLUSTERS = 8


class Clusters:
    """Fitted on pooled vectors.

    Args:
        config: settings.
    """

    def __init__(self, config: ClustersConfig) -> None:
        self.config = config
        self.centres = np.zeros((0, 0))
        self.inertia = float("nan")

    def fit(self, features: Iterable[FeatureBatch], target: TargetSpec | None = None) -> Clusters:
        """All vectors are kept while clusters move.

        Raises:
            DataError: no item, or more clusters than a quarter of the items.
        """
        del target
        rows = gathered(features).values
        rows = rows[np.linalg.norm(rows, axis=1) > 0]
        count = self.config.clusters or max(FEWEST_CLUSTERS, len(rows) // ITEMS_A_CLUSTER)
        if count > len(rows) // 4:
            raise DataError(f"{count} clusters of {len(rows)} items", hint=f"clusters={max(2, len(rows) // 4)}")
        first = np.random.default_rng(self.config.seed).choice(len(rows), count, replace=False)
        found = spherical_kmeans(torch.from_numpy(rows), torch.from_numpy(first), self.config.iterations)
        self.centres, self.inertia = found.centres.numpy(), float(found.inertia[-1])
        return self

    def apply(self, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        """Columns ``cluster`` (number) and ``cosine`` with its centre."""
        check_width(features, self.centres.shape[1])
        known = np.isfinite(features.values).all(1) & (np.linalg.norm(features.values, axis=1) > 0)
        columns = {name: np.full(len(features.ids), np.nan) for name in ("cluster", "cosine")}
        rows = F.normalize(torch.from_numpy(features.values[known]).double(), dim=1)
        number, cosine = nearest(rows, torch.from_numpy(self.centres))
        columns["cluster"][known], columns["cosine"][known] = number.numpy(), cosine.numpy()
        return columns

    def state(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        """Arrays and facts."""
        return {"centres": self.centres}, {"clusters": len(self.centres), "inertia": self.inertia}

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """What :meth:`state` gave."""
        self.centres, self.inertia = arrays["centres"], float(facts["inertia"])
