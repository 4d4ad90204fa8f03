"""Values that change over a run, as the published code computes them."""

from __future__ import annotations

import numpy as np


def cosine_schedule(
    start: float, end: float, epochs: int, steps_per_epoch: int, *, warmup_epochs: int = 0, warmup_start: float = 0.0
) -> np.ndarray:
    """One value a step: a line from ``warmup_start`` to ``start``, then half a cosine from ``start`` to ``end``.

    Returns:
        float64 (epochs * steps_per_epoch,). The last value is one step short of ``end``.
    """
    warm = warmup_epochs * steps_per_epoch
    left = np.arange(epochs * steps_per_epoch - warm)
    curve = end + 0.5 * (start - end) * (1 + np.cos(np.pi * left / max(1, len(left))))
    return np.concatenate([np.linspace(warmup_start, start, warm), curve])


def linear_then_constant(start: float, end: float, epochs: int, epoch: int) -> float:
    """Value at an epoch of a line whose ``epochs`` values run from ``start`` to ``end``, and ``end`` after it."""
    if epoch >= epochs:
        return end
    return start + (end - start) * epoch / max(1, epochs - 1)
