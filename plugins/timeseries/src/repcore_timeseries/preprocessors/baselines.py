"""What a series says without a network: the baselines that trained vectors have to beat.

Symbols: N series, T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from repcore.interfaces import Sample
from repcore_timeseries.preprocessors.series import SeriesPreprocessor

MOST_RAW = 4096  # numbers of a raw row; longer series are averaged over neighbouring steps


def series_statistics(preprocessor: SeriesPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Mean, standard deviation, extremes and quartiles of each channel, and standard deviation and mean size of its
    steps' differences, (N, 9 C); 0 for a channel without values."""
    rows = []
    for sample in samples:
        values = _standardised(preprocessor, sample)
        features = []
        for channel in values.T:
            known = channel[np.isfinite(channel)]
            known = known if len(known) else np.zeros(1)
            change = np.diff(known) if len(known) > 1 else np.zeros(1)
            quartiles = np.quantile(known, (0.25, 0.5, 0.75))
            features += [known.mean(), known.std(), known.min(), known.max(), *quartiles]
            features += [change.std(), np.abs(change).mean()]
        rows.append(features)
    return np.asarray(rows, np.float32)


def raw_values(preprocessor: SeriesPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """The standardised values themselves, (N, T' C), missing ones and the ends of short series 0."""
    channels = max(1, len(preprocessor.names))
    longest = max(1, preprocessor.longest)
    apart = max(1, -(-longest * channels // MOST_RAW))  # steps that become one number
    columns = -(-longest // apart)
    rows = []
    for sample in samples:
        values = np.nan_to_num(_standardised(preprocessor, sample))[: columns * apart]
        full = np.zeros((columns * apart, channels))
        full[: len(values)] = values
        rows.append(full.reshape(columns, apart, channels).mean(1).reshape(-1))
    return np.asarray(rows, np.float32)


def _standardised(preprocessor: SeriesPreprocessor, sample: Sample) -> np.ndarray:
    items = preprocessor.prepare(sample)
    values: np.ndarray = np.concatenate([item.values for item in items])[:, : max(1, len(preprocessor.names))]
    return values
