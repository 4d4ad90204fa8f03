"""Estimator ``generic/clusters``: spherical k-means of feature vectors; its centres are what MLCD learns to tell."""

from __future__ import annotations

import warnings
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
SAME = 1e-5  # distance of unit vectors below which they are copies that differ by rounding


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
            DataError: no item, more clusters than a quarter of the items, or than items that differ.
        """
        del target
        rows = gathered(features).values
        rows = rows[np.linalg.norm(rows, axis=1) > 0]
        count = self.config.clusters or max(FEWEST_CLUSTERS, len(rows) // ITEMS_A_CLUSTER)
        if count > len(rows) // 4:
            raise DataError(f"{count} clusters of {len(rows)} items", hint=f"clusters={max(2, len(rows) // 4)}")
        apart = rows_apart(rows, count + 1)
        if len(apart) == 1:
            raise DataError("all feature vectors are equal, or have one direction: there is nothing to cluster")
        if len(apart) < count and self.config.clusters is not None:
            raise DataError(
                f"{count} clusters of vectors with {len(apart)} different directions", hint=f"clusters={len(apart)}"
            )
        if len(apart) <= count:
            if len(apart) < count:
                warnings.warn(
                    f"{len(rows)} items have {len(apart)} different directions: {len(apart)} clusters, not {count}",
                    stacklevel=2,
                )
            first = apart
        else:
            first = np.random.default_rng(self.config.seed).choice(len(rows), count, replace=False)
        found = spherical_kmeans(torch.from_numpy(rows), torch.from_numpy(first), self.config.iterations)
        self.centres, self.inertia = found.centres.numpy(), max(0.0, float(found.inertia[-1]))
        return self

    def apply(self, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        """Columns ``cluster`` (number) and ``cosine`` with its centre."""
        check_width(features, self.centres.shape[1])
        known = np.isfinite(features.values).all(1) & (np.linalg.norm(features.values, axis=1) > 0)
        columns = {name: np.full(len(features.ids), np.nan) for name in ("cluster", "cosine")}
        rows = F.normalize(torch.from_numpy(features.values[known]).double(), dim=1)
        number, cosine = nearest(rows, torch.from_numpy(self.centres))
        columns["cluster"][known], columns["cosine"][known] = number.numpy(), cosine.numpy().clip(-1.0, 1.0)
        return columns

    def state(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        """Arrays and facts."""
        return {"centres": self.centres}, {"clusters": len(self.centres), "inertia": self.inertia}

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """What :meth:`state` gave."""
        self.centres, self.inertia = arrays["centres"], float(facts["inertia"])


def rows_apart(rows: np.ndarray, most: int) -> np.ndarray:
    """Numbers of at most ``most`` rows (n, D) of different directions, each the farthest from those before."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    chosen = [0]
    distance = np.linalg.norm(unit - unit[0], axis=1)
    while len(chosen) < most and distance.max() > SAME:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(unit - unit[chosen[-1]], axis=1))
    return np.asarray(chosen)
