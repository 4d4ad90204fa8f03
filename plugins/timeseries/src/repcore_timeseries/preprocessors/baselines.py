"""What a series says without a network: the baselines that trained vectors have to beat.

Symbols: N series, T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from repcore.interfaces import Sample
from repcore_timeseries.preprocessors.series import SeriesPreprocessor

MOST_RAW = 4096  # numbers of a raw row; longer series are averaged over neighbouring steps


def series_statistics(preprocessor: SeriesPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Mean, standard deviation, extremes and quartiles of each channel, and standard deviation and mean size of its
    steps' differences, (N, 9 C); 0 for a channel without values, and where series have fewer channels than others."""
    rows = []
    for sample in samples:
        values = preprocessor.plain(sample)
        features = []
        for channel in values.T:
            known = channel[np.isfinite(channel)]
            known = known if len(known) else np.zeros(1)
            change = np.diff(known) if len(known) > 1 else np.zeros(1)
            quartiles = np.quantile(known, (0.25, 0.5, 0.75))
            features += [known.mean(), known.std(), known.min(), known.max(), *quartiles]
            features += [change.std(), np.abs(change).mean()]
        rows.append(features)
    return side_by_side(rows)


def raw_values(preprocessor: SeriesPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """The values themselves, (N, T' C), missing ones and the ends of short series 0; as many steps and channels as the
    longest and widest of them where the preprocessor knows neither."""
    read = [np.nan_to_num(preprocessor.plain(sample)) for sample in samples]
    channels = len(preprocessor.names) or max((one.shape[1] for one in read), default=1)
    longest = max(1, preprocessor.longest if preprocessor.names else max(map(len, read), default=1))
    apart = max(1, -(-longest * channels // MOST_RAW))  # steps that become one number
    columns = -(-longest // apart)
    rows = []
    for values in read:
        full = np.zeros((columns * apart, channels))
        full[: len(values), : values.shape[1]] = values[: columns * apart]
        rows.append(full.reshape(columns, apart, channels).mean(1).reshape(-1))
    return np.asarray(rows, np.float32)


def side_by_side(rows: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """Rows of unequal lengths, those of series with fewer channels filled with 0, float32 (N, D)."""
    full = np.zeros((len(rows), max(map(len, rows), default=0)), np.float32)
    for number, row in enumerate(rows):
        full[number, : len(row)] = row
    return full
