"""Generated series of many kinds, of one channel: what an encoder for series of any origin learns from.

Seasons, autoregressions, walks, chirps, events, regimes, trends, curves, waves and steps, up to three of them in a
series, with noise of several colours and gaps (:mod:`repcore_timeseries.datasets.processes`). Lengths are even in their
logarithm; level and scale, which encoders of such series take off, are about 0 and 1. A series is a pure function of
(settings, number).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from repcore.data.generated import Generated, every_fifth
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_timeseries.configs.series import KindsConfig
from repcore_timeseries.datasets.processes import KINDS, process
from repcore_timeseries.formats.series import Series

GAP = 0.1  # of the length of a series: its longest gap


class Kinds(Generated):
    """Dataset ``timeseries/kinds``; the label is the kind of the heaviest part."""

    noun = "kind"
    targets = (TargetSpec("kind", "class", names=tuple(KINDS)),)

    def __init__(self, config: KindsConfig) -> None:
        super().__init__(config, config.items)
        self.config = config

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Every fifth series is a test series."""
        return every_fifth(len(self))

    @property
    def costs(self) -> np.ndarray:
        """Steps of every series."""
        return np.asarray([self._length(self._drawn(row)) for row in range(len(self))])

    def _drawn(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, index])

    def _length(self, drawn: np.random.Generator) -> int:
        low, high = np.log(self.config.shortest), np.log(self.config.longest + 1)
        return min(self.config.longest, int(np.exp(drawn.uniform(low, high))))

    def make(self, index: int) -> Sample:
        """The series with this number."""
        drawn = self._drawn(index)
        length = self._length(drawn)
        made, kind = process(length, self.config.warp, drawn)
        values = made.series(length, drawn)
        if drawn.random() < self.config.missing_share:
            gap = int(drawn.integers(1, max(2, round(GAP * length)) + 1))
            first = int(drawn.integers(length - gap + 1))
            values[first : first + gap] = np.nan
        return Sample(self.id_of(index), Series.of(values), {"kind": kind}, meta={"steps": length})
