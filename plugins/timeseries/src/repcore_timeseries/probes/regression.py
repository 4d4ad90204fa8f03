"""Ridge regression with its strength chosen on other rows, and the errors of forecasts.

Symbols: N moments, D features, H steps ahead, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ridge:
    """Features (N, D) to outputs (N, K): ``(features - centre) @ weights + level``."""

    centre: np.ndarray
    weights: np.ndarray
    level: np.ndarray
    strength: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N, K)."""
        found: np.ndarray = (features - self.centre) @ self.weights + self.level
        return found


def fit_ridge(
    train: tuple[np.ndarray, np.ndarray], chosen_on: tuple[np.ndarray, np.ndarray], strengths: Sequence[float]
) -> Ridge:
    """The strength with the smallest root mean squared plus mean absolute error on other rows.

    Source: `zhihanyue/ts2vec`, ``tasks/_eval_protocols.py`` (fit_ridge).

    Args:
        train / chosen_on: features (N, D) and outputs (N, K), without missing values.
    """
    features, outputs = (one.astype(np.float64) for one in train)
    centre, level = features.mean(0), outputs.mean(0)
    features, outputs = features - centre, outputs - level
    values, vectors = np.linalg.eigh(features.T @ features)
    turned = vectors.T @ (features.T @ outputs)
    best: tuple[float, Ridge] | None = None
    for strength in strengths:
        weights = vectors @ (turned / (np.maximum(values, 0.0) + strength)[:, None])
        one = Ridge(centre, weights, level, float(strength))
        error = one.predict(chosen_on[0]) - chosen_on[1]
        score = float(np.sqrt(np.mean(error**2)) + np.mean(np.abs(error)))
        if best is None or score < best[0]:
            best = (score, one)
    assert best is not None
    return best[1]


def errors(guess: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """``mse`` and ``mae`` over the known values of (N, H, C), and the same in the units of the data.

    Args:
        scale: (C,), the size of a standard deviation in these units.
    """
    apart = guess - truth
    known = np.isfinite(apart)
    if not known.any():
        return dict.fromkeys(("mse", "mae", "mse-units", "mae-units"), float("nan"))
    own, wide = apart[known], (apart * scale)[known]
    return {
        "mse": float(np.mean(own**2)), "mae": float(np.mean(np.abs(own))),
        "mse-units": float(np.mean(wide**2)), "mae-units": float(np.mean(np.abs(wide))),
    }  # fmt: skip
