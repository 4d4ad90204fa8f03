"""Matches between two clouds, as a data set gives them.

Symbols: N matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class MatchSet:
    """Pairs of points that some features hold to be the same place.

    Args:
        source / target: float (N, 3), both ends in one unit.
        motion: float (4, 4), source to target, where it is known.
    """

    source: np.ndarray
    target: np.ndarray
    motion: np.ndarray | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Both ends side by side (N, 6): what tells two pairs apart."""
        return np.concatenate([self.source, self.target], axis=1).astype(dtype or np.float64)

    def distances(self) -> np.ndarray:
        """How far every match is from right under the known motion (N,); NaN where there is none."""
        if self.motion is None:
            return np.full(len(self.source), np.nan)
        found: np.ndarray = np.linalg.norm(
            self.source @ self.motion[:3, :3].T + self.motion[:3, 3] - self.target, axis=1
        )
        return found
