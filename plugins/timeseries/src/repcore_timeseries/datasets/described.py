"""Facts about a series for reports and ``inspect``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.times import step_words


def described(series: Series) -> Mapping[str, Any]:
    """Steps, channels, missing share, and the step of time where there are times."""
    facts: dict[str, Any] = {"steps": len(series), "channels": len(series.names)}
    gone = float(np.isnan(series.values).mean()) if series.values.size else 0.0
    if gone:
        facts["missing share"] = round(gone, 4)
    if series.times is not None and len(series) > 1:
        facts["time step"] = step_words(float(np.median(np.diff(series.times))))
    return facts
