"""Fitted on features: ``repcore fit timeseries-spread MODEL DATA -o FOLDER``, later ``apply``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from repcore.errors import DataError
from repcore.estimation.rows import check_width
from repcore.interfaces import FeatureBatch
from repcore.specs import TargetSpec

from repcore_timeseries.configs import SpreadConfig


class Spread:
    """Mean and standard deviation of every column of the features, in float64.

    Symbols: n items, D width.
    """

    def __init__(self, config: SpreadConfig) -> None:
        self.config = config
        self.count, self.mean, self.squares = 0, np.zeros(0), np.zeros(0)

    def fit(self, features: Iterable[FeatureBatch], target: TargetSpec | None = None) -> Spread:
        """One pass over windows of rows.

        Raises:
            DataError: there is no row.
        """
        for batch in features:
            if len(batch.values):
                self._add(batch.values.astype(np.float64))
        if not self.count:
            raise DataError("no row of the data has features to fit on")
        return self

    def _add(self, values: np.ndarray) -> None:
        """Means of two parts put together (Chan et al. 1983), so that large means cost no digits."""
        if not self.count:
            self.mean, self.squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
        count, mean = len(values), values.mean(0)
        gap, total = mean - self.mean, self.count + count
        self.squares += ((values - mean) ** 2).sum(0) + gap**2 * self.count * count / total
        self.mean += gap * count / total
        self.count = total

    def apply(self, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        """Column ``spread`` (n,); NaN for a row without features."""
        check_width(features, len(self.mean))
        scale = np.maximum(np.sqrt(self.squares / self.count), self.config.smallest)
        return {"spread": np.sqrt((((features.values - self.mean) / scale) ** 2).mean(1))}

    def state(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        """Arrays and facts; core saves them bound to the model."""
        return {"mean": self.mean, "squares": self.squares}, {"count": self.count}

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """What ``state`` gave."""
        self.mean, self.squares, self.count = arrays["mean"], arrays["squares"], int(facts["count"])
