"""The forecast probe: no moment sees what it forecasts, naive forecasts are what they say, errors are in both units."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as TheirRidge

from repcore.errors import DataError
from repcore.interfaces import Batch, Features, Item, Sample, Tokens
from repcore_timeseries.configs.probes import ForecastConfig
from repcore_timeseries.configs.series import SeriesPreprocessorConfig
from repcore_timeseries.formats.parts import borders
from repcore_timeseries.formats.series import Series
from repcore_timeseries.preprocessors.series import SeriesPreprocessor
from repcore_timeseries.probes.forecast import ForecastProbe, last_day, last_value
from repcore_timeseries.probes.regression import fit_ridge

SMALL = ForecastConfig(horizons=(3, 400), context=20, raw_steps=12, day=12, most_moments=10_000)
HOUR = 3600 * 10**9


class LastStep(torch.nn.Module):
    """An encoder whose features of a step are its own values; keeps the windows that it sees."""

    dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))
        self.seen: list[torch.Tensor] = []

    def forward(self, batch: Batch, layers: Any = ()) -> Features:
        values = batch.inputs["values"] * self.factor
        self.seen.append(batch.inputs["values"])
        return Features(values.amax(1), {"step": Tokens(values)})


def items_of(values: np.ndarray) -> list[Item]:
    """As the fitted preprocessor makes them."""
    series = Series.of(values, None, HOUR * np.arange(len(values)))
    reader: Any = [Sample("a", series)]
    preprocessor = SeriesPreprocessor(SeriesPreprocessorConfig(longest=100))
    preprocessor.fit(reader, [0])
    return preprocessor.prepare(reader[0])


def waves(length: int = 300) -> np.ndarray:
    drawn = np.random.default_rng(0)
    turns = np.arange(length)[:, None] / 12 + np.array([0.0, 0.25])
    return 5 + 3 * np.sin(2 * np.pi * turns) + 0.2 * drawn.normal(size=(length, 2))


def test_parts_of_time() -> None:
    assert borders(10, (0.6, 0.2, 0.2)) == [(0, 6), (6, 8), (8, 10)]
    assert borders(100, (50, 20, 20), gap=3) == [(0, 50), (53, 70), (73, 90)]
    with pytest.raises(DataError, match=r"are 110 steps; the series has 100"):
        borders(100, (50, 40, 20))


def test_naive_forecasts() -> None:
    values = np.arange(20.0)[:, None]
    values[10] = np.nan
    known: Any = SimpleNamespace(values=values, day=4)
    assert last_value(known, np.array([9, 10]), 3)[..., 0].tolist() == [[9, 9, 9], [9, 9, 9]]
    assert last_day(known, np.array([8]), 6)[0, :, 0].tolist() == [5, 6, 7, 8, 5, 6]
    assert last_day(known, np.array([12]), 2)[0, :, 0].tolist() == [9, 12], "the last value where a step is missing"


def test_ridge_is_that_of_scikit_learn_with_the_strength_that_fits_other_rows_best() -> None:
    drawn = np.random.default_rng(1)
    features, other = drawn.normal(size=(30, 6)), drawn.normal(size=(25, 6))
    weights = drawn.normal(size=(6, 3))
    pairs = [(one, one @ weights + 2 + drawn.normal(size=(len(one), 3))) for one in (features, other)]
    strengths = (0.01, 1.0, 10.0, 1000.0)
    found = fit_ridge(pairs[0], pairs[1], strengths)
    scores = {}
    for strength in strengths:
        guess = TheirRidge(alpha=strength).fit(*pairs[0]).predict(other)
        apart = guess - pairs[1][1]
        scores[strength] = np.sqrt(np.mean(apart**2)) + np.abs(apart).mean()
        if strength == found.strength:
            np.testing.assert_allclose(found.predict(other), guess, atol=1e-8)
    assert found.strength == min(scores, key=lambda one: scores[one])


def test_no_moment_sees_its_future_and_horizons_that_do_not_fit_are_left_out() -> None:
    values = waves()
    probe, encoder = ForecastProbe(SMALL), LastStep()
    material = probe.material([items_of(values)])
    assert list(material.horizons) == [3]
    assert list(probe.shown) == ["skill-3"]
    figures = probe.score(encoder, material, 0)
    assert {one.shape[1] for one in encoder.seen} == {21}
    stored = np.concatenate([np.asarray(one.values) for one in items_of(values)])
    first = encoder.seen[0][0].numpy()
    np.testing.assert_allclose(first, stored[0:21], atol=1e-6)
    naive = min(figures["last-mse-3"], figures["day-mse-3"])
    assert figures["skill-3"] == pytest.approx(1 - figures["mse-3"] / naive)
    assert figures["day-mse-3"] < figures["last-mse-3"], "the day is twelve steps long here"
    assert figures["raw-mse-3"] < figures["last-mse-3"]
    tests = values[240:]
    spread = values[:180].std(0)
    hand = [((tests[t + 1 : t + 4] - tests[t]) ** 2).mean(0) for t in range(len(tests) - 3)]
    assert figures["last-mse-units-3"] == pytest.approx(np.mean(hand), rel=1e-4)
    assert figures["last-mse-3"] == pytest.approx(np.mean(hand / spread**2), rel=1e-4)


def test_what_lies_in_the_test_part_changes_no_forecast() -> None:
    """Neither standardisation nor strengths nor weights may know it."""
    one, other = waves(), waves()
    other[260:] += 100.0
    found = []
    for values in (one, other):
        probe = ForecastProbe(SMALL)
        stored = items_of(one)
        scale, mean = np.asarray(stored[0].meta["scale"]), one.mean(0)
        for item in stored:
            first = int(item.meta["first"])
            item.values = ((values[first : first + len(item.values)] - mean) / scale).astype(np.float32)
        material = probe.material([stored])
        features = [probe._encoded(LastStep(), each, np.arange(20, 300)) for each in material.series]
        ridge, _ = probe._fitted(material.series, features, 3)
        found.append((material.series[0].values[:240], ridge.weights, ridge.level))
    for left, right in zip(*found, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-9)


def test_a_picture_and_a_refusal_in_words() -> None:
    probe = ForecastProbe(SMALL)
    drawn = probe.pictures(LastStep(), probe.material([items_of(waves())]))
    assert list(drawn) == ["forecast-3.svg"]
    assert drawn["forecast-3.svg"].startswith(b"<svg")
    with pytest.raises(DataError, match="no series has 3 steps to forecast behind 20 known"):
        ForecastProbe(SMALL).material([items_of(waves(30))])
