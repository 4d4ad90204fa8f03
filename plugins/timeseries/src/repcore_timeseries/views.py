"""Two views of a row for objectives that compare them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from repcore.interfaces import DatasetReader, Item, Progress

from repcore_timeseries.configs import ChangedPairConfig
from repcore_timeseries.preprocessors import Scaling


class ChangedPair:
    """Noise on every column, and some columns at their mean (0 after scaling)."""

    def __init__(self, config: ChangedPairConfig, preprocessor: Scaling) -> None:
        self.config, self.preprocessor = config, preprocessor

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        """Views ``a`` and ``b``; all randomness comes from the generator."""
        (item,) = self.preprocessor.prepare(reader[index])
        views = {}
        for name in ("a", "b"):
            noisy = item.values + self.config.noise * generator.normal(size=item.values.shape)
            kept = generator.random(item.values.shape) >= self.config.dropped
            views[name] = dataclasses.replace(item, values=np.where(kept, noisy, 0.0).astype(np.float32))
        return views
