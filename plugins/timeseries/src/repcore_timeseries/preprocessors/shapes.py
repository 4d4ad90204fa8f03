"""Statistics of a series' shape, in the manner of catch22 and tsfresh: what recipe ``any-series`` learns.

Source of the kinds of statistics: Lubba et al. 2019 (catch22, arXiv 1901.10200), Christ et al. 2018 (tsfresh). Written
from their descriptions; none of their code is used.

Everything is computed of the standardised series, gaps filled along a straight line, and so knows neither level nor
scale.

Symbols: N series, T steps, C channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from repcore.interfaces import Sample
from repcore_timeseries.preprocessors.baselines import side_by_side
from repcore_timeseries.preprocessors.series import SeriesPreprocessor

FLOOR = 1e-3  # added before a logarithm, of a series with deviation 1
LEAST = 4  # steps that a statistic needs
SEGMENTS, ROUGH_SEGMENTS = 16, 8
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
PARTS_OF_LENGTH = (16, 8, 6, 4, 3, 2)  # lags that grow with the series
BLOCKS = (2, 4, 8, 16, 32)  # steps whose means are compared
BANDS = (0.0, 1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 0.36, 0.51)  # cycles a step
TURNS = (0.5, 1.5, 2.5, 3.5, 5.5, 9.5, 17.0, 33.0)  # cycles a series
PLACES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)
ORDERS = (0, 1, 2, 5, 6, 7)  # of three steps, as bits a < b, b < c, a < c; the others cannot be


def series_shapes(preprocessor: SeriesPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Statistics of every channel, (N, 130 C); 0 for a channel with fewer than four values, and where series have fewer
    channels than others."""
    return side_by_side([np.concatenate([shape_of(one) for one in preprocessor.plain(sample).T]) for sample in samples])


def shape_of(values: np.ndarray) -> np.ndarray:
    """Statistics of one channel (T,), NaN = missing."""
    known = np.isfinite(values)
    if known.sum() < LEAST:
        return np.zeros(SIZE)
    steps = np.arange(len(values))
    filled = np.interp(steps, steps[known], values[known].astype(np.float64))
    spread = filled.std()
    even = (filled - filled.mean()) / (spread if spread > 1e-9 * (1 + np.abs(filled).max()) else 1.0)
    groups = (_places, _correlations, _spectrum, _changes, _runs, _drifts, _words)
    return np.nan_to_num(np.concatenate([group(even) for group in groups]))


def _segments(values: np.ndarray, count: int) -> np.ndarray:
    """Means of as many equal stretches, whose borders may lie between steps."""
    borders = np.linspace(0, len(values), count + 1)
    summed = np.interp(borders, np.arange(len(values) + 1), np.concatenate([[0.0], np.cumsum(values)]))
    means: np.ndarray = np.diff(summed) / np.diff(borders)
    return means


def _log(values: np.ndarray | float) -> np.ndarray:
    return np.atleast_1d(np.log(np.maximum(values, 0.0) + FLOOR))


def _places(even: np.ndarray) -> np.ndarray:
    """Means and deviations of stretches, quantiles, skewness, kurtosis, histogram, both ends."""
    rough = _segments(even**2, ROUGH_SEGMENTS) - _segments(even, ROUGH_SEGMENTS) ** 2
    end = max(2, len(even) // 8)
    counts = np.histogram(even, np.linspace(-2, 2, 9))[0] / len(even)
    ends = [even[0], even[-1], even[:end].std(), even[-end:].std()]
    moments = [np.mean(even**3), float(_log(np.mean(even**4))[0]), np.mean(even > 1), np.mean(even < -1)]
    return np.concatenate([_segments(even, SEGMENTS), _log(rough), np.quantile(even, PLACES), moments, counts, ends])


def _correlations(even: np.ndarray) -> np.ndarray:
    """Autocorrelation at lags in steps and in parts of the length; 0 beyond the end."""
    length = len(even)
    power = np.abs(np.fft.rfft(even, 2 * length)) ** 2
    found = np.fft.irfft(power)[:length] / length
    lags = (*LAGS, *(max(1, length // part) for part in PARTS_OF_LENGTH))
    return np.asarray([found[lag] if lag < length else 0.0 for lag in lags])


def _spectrum(even: np.ndarray) -> np.ndarray:
    """Amplitude in bands of cycles a step and of cycles a series, middle, entropy, and the strongest frequency."""
    power = np.abs(np.fft.rfft(even)) ** 2
    power[0] = 0.0
    power = power / (power.sum() + 1e-9)
    cycles = np.arange(len(power)) / len(even)
    found = []
    for borders in (np.asarray(BANDS), np.asarray(TURNS) / len(even)):
        pairs = itertools.pairwise(borders)
        found += [power[(cycles > low) & (cycles <= high)].sum() for low, high in pairs]
    entropy = -(power * np.log(power + 1e-9)).sum() / np.log(len(power) + 1)
    of_peak = [(cycles * power).sum(), entropy, cycles[power.argmax()], np.sqrt(power.max())]
    return np.concatenate([np.sqrt(found), of_peak])


def _changes(even: np.ndarray) -> np.ndarray:
    """Of differences between neighbours: size, quantiles, skewness, roughness; turning points; where extremes lie."""
    change = np.diff(even)
    twice = np.diff(change)
    sizes = [_log(one) for one in (change.std(), np.abs(change).mean(), twice.std(), np.abs(change).max())]
    peaks = np.sum((change[:-1] > 0) & (change[1:] <= 0) & (even[1:-1] > 0.5))
    others = [np.mean(change**3), np.mean(change[1:] * change[:-1] < 0), np.log1p(peaks)]
    places = [one / len(even) for one in (even.argmax(), even.argmin(), np.abs(change).argmax())]
    return np.concatenate([*sizes, np.quantile(change, (0, 0.1, 0.5, 0.9, 1)), others, places])


def _runs(even: np.ndarray) -> np.ndarray:
    """Crossings of the mean, and the longest stretches above it, below it, and rising, as shares of the length."""
    above = even > 0
    stretches = [_longest(one) / len(even) for one in (above, ~above, np.diff(even) > 0)]
    return np.asarray([np.mean(above[1:] != above[:-1]), *stretches])


def _longest(flags: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _drifts(even: np.ndarray) -> np.ndarray:
    """Trend of first to third order, how far the running sum goes, and how means over blocks of steps still differ."""
    at = np.linspace(-1, 1, len(even))
    trends = [np.mean(even * one) for one in (at, 3 * at**2 - 1, 5 * at**3 - 3 * at)]
    summed = np.cumsum(even) / len(even)
    counts = [len(even) // block for block in BLOCKS]
    blocks = [float(_log(_segments(even, count).std())[0]) if count > 1 else 0.0 for count in counts]
    return np.asarray([*trends, summed.max(), summed.min(), np.sqrt(np.mean(summed**2)), *blocks])


def _words(even: np.ndarray) -> np.ndarray:
    """Shares of the orders of three neighbours, and of each third of the values after each."""
    first, second, third = even[:-2], even[1:-1], even[2:]
    order = (first < second) * 4 + (second < third) * 2 + (first < third) * 1
    orders = np.bincount(order, minlength=8)[list(ORDERS)] / len(order)
    level = np.digitize(even, np.quantile(even, (1 / 3, 2 / 3)))
    follow = np.bincount(level[:-1] * 3 + level[1:], minlength=9) / len(level[1:])
    return np.concatenate([orders, follow])


SIZE = 130
