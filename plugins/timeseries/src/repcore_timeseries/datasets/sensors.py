"""Generated sensors of six classes: the default data set, for a first look only.

The class is shape (sine, saw, pulses) times lag: whether the second channel follows the first or the first the second.
Level, period, phase, amplitude, drift and noise are drawn alike for all classes, so that statistics of the values say
little of either. Values are missing in stretches. A series is a pure function of (settings, number).

Symbols: T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from repcore.data.generated import Generated
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_timeseries.configs.series import SensorsConfig
from repcore_timeseries.formats.series import Series

SHAPES = ("sine", "saw", "pulses")
LAGS = ("leads", "follows")
CLASSES = tuple(f"{shape}-{lag}" for shape in SHAPES for lag in LAGS)
GAP = 6  # steps of a missing stretch on average
STEP_NS = 60 * 10**9
ORIGIN_NS = 1_577_836_800 * 10**9  # 2020-01-01
TEST_EVERY = 5


class Sensors(Generated):
    """Series of two or more channels, a minute a step."""

    noun = "series"
    targets = (TargetSpec("kind", "class", names=CLASSES),)

    def __init__(self, config: SensorsConfig) -> None:
        super().__init__(config, config.items)
        self.config = config

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Every fifth series is a test series."""
        rows = range(len(self))
        test = [row for row in rows if row % TEST_EVERY == TEST_EVERY - 1]
        return {"train": [row for row in rows if row % TEST_EVERY != TEST_EVERY - 1], "test": test} if test else {}

    @property
    def costs(self) -> np.ndarray:
        """Steps of every series."""
        return np.asarray([self._length(row) for row in range(len(self))])

    def _drawn(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, index])

    def _length(self, index: int) -> int:
        return int(self._drawn(index).integers(self.config.shortest, self.config.longest + 1))

    def make(self, index: int) -> Sample:
        """The series with this number."""
        drawn = self._drawn(index)
        length = int(drawn.integers(self.config.shortest, self.config.longest + 1))
        kind = int(drawn.integers(len(CLASSES)))
        shape, lag = divmod(kind, len(LAGS))
        period, phase = drawn.uniform(12, 24), drawn.uniform(0, 1)
        delay = drawn.uniform(0.15, 0.3) * (1 if LAGS[lag] == "leads" else -1)
        steps = np.arange(length) / period + phase + drawn.normal(0, 0.01, length).cumsum()
        channels = [_wave(SHAPES[shape], steps - number * delay) for number in range(self.config.channels)]
        values = np.stack(channels, 1) * drawn.uniform(0.5, 2.0, self.config.channels)
        values += drawn.normal(0, 2, self.config.channels) + drawn.normal(0, 0.05, values.shape).cumsum(0)
        values += drawn.normal(0, drawn.uniform(0.2, 0.8), values.shape)
        values[self._missing(drawn, values.shape)] = np.nan
        times = ORIGIN_NS + STEP_NS * (index * self.config.longest + np.arange(length, dtype=np.int64))
        series = Series.of(values, tuple(f"sensor{number}" for number in range(self.config.channels)), times)
        return Sample(self.id_of(index), series, {"kind": kind}, meta={"steps": length})

    def _missing(self, drawn: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Stretches of a channel each; something is always left."""
        gone = np.zeros(shape, bool)
        for channel in range(shape[1]):
            for start in np.flatnonzero(drawn.random(shape[0]) < self.config.missing_share / GAP):
                gone[start : start + int(drawn.integers(1, 2 * GAP)), channel] = True
        gone[: shape[0] // 4] = False
        return gone


def _wave(shape: str, turns: np.ndarray) -> np.ndarray:
    """One of the shapes with mean 0 and standard deviation 1, of period 1."""
    part = turns % 1.0
    if shape == "sine":
        return np.sqrt(2) * np.sin(2 * np.pi * part)
    if shape == "saw":
        return np.sqrt(12) * (part - 0.5)
    return np.where(part < 0.5, 1.0, -1.0)
