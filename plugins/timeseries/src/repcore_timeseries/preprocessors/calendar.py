"""Channels that say where in the day, the week and the year a step lies."""

from __future__ import annotations

import numpy as np

from repcore.errors import ItemError
from repcore_timeseries.formats.series import Series

CALENDAR = ("hour sine", "hour cosine", "weekday sine", "weekday cosine", "year sine", "year cosine")
DAY, WEEK, YEAR = 86_400e9, 7 * 86_400e9, 365.2425 * 86_400e9
MONDAY = 4 * DAY  # 1970-01-05, the first Monday after the origin of times


def calendar_of(series: Series, name: str) -> np.ndarray:
    """float32 (T, 6) in [-1, 1], in UTC.

    Raises:
        ItemError: ``no_times``.
    """
    if series.times is None:
        raise ItemError("no_times", f"{name} has no time stamps, and the model reads the calendar")
    times = series.times.astype(np.float64)
    turns = [(times % DAY) / DAY, ((times - MONDAY) % WEEK) / WEEK, (times % YEAR) / YEAR]
    angles = 2 * np.pi * np.stack(turns, 1)
    return np.stack([np.sin(angles), np.cos(angles)], 2).reshape(len(times), -1).astype(np.float32)
