"""Views ``timeseries/series-pair`` and ``timeseries/series-weak-strong``: jitter, scaling, crops, hidden steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from repcore.data.views import changed_views
from repcore.interfaces import DatasetReader, Item, Progress
from repcore_timeseries.configs.views import SeriesChange, SeriesPairConfig, SeriesWeakStrongConfig
from repcore_timeseries.preprocessors.series import SeriesPreprocessor


class SeriesPair:
    """Views ``a`` and ``b``, changed alike.

    Args:
        config: see :class:`SeriesPairConfig`.
        preprocessor: makes items of series.
    """

    def __init__(self, config: SeriesPairConfig, preprocessor: SeriesPreprocessor) -> None:
        self.config, self.preprocessor = config, preprocessor

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        """Two items of one series, of their own length each."""
        del progress
        change = partial(changed_series, change=self.config.change)
        return changed_views(index, reader, self.preprocessor, generator, {"a": change, "b": change})


class SeriesWeakStrong:
    """Views ``weak`` and ``strong``.

    Args:
        config: see :class:`SeriesWeakStrongConfig`.
        preprocessor: makes items of series.
    """

    def __init__(self, config: SeriesWeakStrongConfig, preprocessor: SeriesPreprocessor) -> None:
        self.config, self.preprocessor = config, preprocessor

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        """Two items of one series, of their own length each."""
        del progress
        changes = {
            name: partial(changed_series, change=change)
            for name, change in (("weak", self.config.weak), ("strong", self.config.strong))
        }
        return changed_views(index, reader, self.preprocessor, generator, changes)


def changed_series(item: Item, generator: np.random.Generator, *, change: SeriesChange) -> Item:
    """A stretch of the series with noise, another scale a channel, and hidden steps, of which one always stays."""
    values: np.ndarray = item.values
    length, channels = values.shape
    kept = max(1, round(length * generator.uniform(*change.kept_share)))
    first = int(generator.integers(length - kept + 1))
    part = values[first : first + kept]
    factor = np.exp(change.scale * generator.standard_normal(channels))
    part = (part * factor + change.noise * generator.standard_normal(part.shape)).astype(np.float32)
    hidden = generator.random(kept) < change.hidden_share
    if not np.isfinite(part[~hidden]).any():  # the only values would be hidden
        hidden[:] = False
    part[hidden] = np.nan
    if not np.isfinite(part).any():  # the stretch lies in a gap
        part = values
    return replace(item, values=part, meta={**item.meta, "steps": len(part)})
