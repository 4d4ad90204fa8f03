"""Each channel of a series by its own mean and deviation, which go along: what an encoder of any channels reads.

Symbols: B items, T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from repcore.interfaces import Item
from repcore_timeseries.formats.series import Series

CONSTANT = 1e-9  # deviation relative to the size of the values below which a channel is constant


def by_itself(series: Series) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Standardised values float32 (T, C); ``unit`` float32 (C, 2), mean and deviation, 0 and 1 of a channel without
    values, and deviations as ``scale`` float64 (C,)."""
    known = np.isfinite(series.values)
    count = np.maximum(known.sum(0), 1)
    exact = np.where(known, series.values.astype(np.float64), 0.0)
    mean = exact.sum(0) / count
    apart = np.where(known, exact - mean, 0.0)
    deviation = np.sqrt(np.square(apart).sum(0) / count)
    deviation = np.where(deviation > CONSTANT * (np.abs(mean) + CONSTANT), deviation, 1.0)
    values = np.where(known, apart / deviation, np.nan).astype(np.float32)
    return values, {"unit": np.stack([mean, deviation], 1).astype(np.float32), "scale": deviation}


def units_of(items: Sequence[Item], channels: int) -> torch.Tensor:
    """``unit`` float32 (B, C, 2) of a batch; 0 and 1 where a series has fewer channels."""
    found = torch.tensor([0.0, 1.0]).repeat(len(items), channels, 1)
    for row, item in enumerate(items):
        own = torch.from_numpy(np.asarray(item.meta["unit"], np.float32))
        found[row, : len(own)] = own
    return found
