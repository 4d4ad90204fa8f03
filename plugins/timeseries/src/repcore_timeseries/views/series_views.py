"""Views ``timeseries/series-pair`` and ``timeseries/series-weak-strong``: jitter, scaling, crops, hidden steps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from repcore.data.views import Change, ChangedPair, ChangedViews, ChangedWeakStrong
from repcore.interfaces import Item
from repcore_timeseries.configs.views import SeriesChange


class SeriesViews(ChangedViews):
    """Views of one series, of their own length each."""

    def change(self, settings: SeriesChange) -> Change:
        return partial(changed_series, change=settings)


class SeriesPair(SeriesViews, ChangedPair):
    """Settings: :class:`SeriesPairConfig`."""


class SeriesWeakStrong(SeriesViews, ChangedWeakStrong):
    """Settings: :class:`SeriesWeakStrongConfig`."""


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
