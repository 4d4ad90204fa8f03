"""Which regions are foreground: a geometric rule instead of the unpublished one.

The abstract of FAC contrasts objects with background; how a flag is obtained without labels is in no public code. Our
rule calls a region background if it is large in points, thin and wide (floor, wall, table, road) and everything else
foreground. FAC++ asks a vision-language model; ``ForegroundRule`` is the place where such a rule goes.

Symbols: N points, R regions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class RegionStatistics:
    """Per region, (R,) each: share of the scene's points, and the root of the smallest and of the largest eigenvalue
    of its covariance in metres."""

    share: np.ndarray
    thickness: np.ndarray
    extent: np.ndarray


ForegroundRule = Callable[[RegionStatistics], np.ndarray]
"""Statistics -> bool (R,)."""


@dataclass(frozen=True, slots=True)
class GeometricRule:
    """Background = share above, thickness below and extent above their limits.

    Args:
        share_above: of the points of a scene.
        thickness_below / extent_above: metres.
    """

    share_above: float
    thickness_below: float
    extent_above: float

    def __call__(self, statistics: RegionStatistics) -> np.ndarray:
        background = (
            (statistics.share > self.share_above)
            & (statistics.thickness < self.thickness_below)
            & (statistics.extent > self.extent_above)
        )
        return ~background


def region_statistics(
    points: np.ndarray, region: np.ndarray, count: int, *, scene_points: int | None = None
) -> RegionStatistics:
    """Share, thickness and extent of every region.

    Args:
        points: float (N, 3), metres.
        region: int (N,); negative = in no region.
        count: R.
        scene_points: what shares refer to; None = N. More than N where points of the scene were left out.
    """
    inside = region >= 0
    own, points = region[inside], np.asarray(points, np.float64)[inside]
    number = np.bincount(own, minlength=count)
    safe = np.maximum(number, 1)[:, None]
    centre = np.stack([np.bincount(own, points[:, axis], count) for axis in range(3)], axis=1) / safe
    offset = points - centre[own]
    products = np.einsum("ni,nj->nij", offset, offset).reshape(-1, 9)
    covariance = np.stack([np.bincount(own, products[:, cell], count) for cell in range(9)], axis=1) / safe
    eigenvalues = np.maximum(np.linalg.eigvalsh(covariance.reshape(-1, 3, 3)), 0.0)
    return RegionStatistics(
        share=number / max(1, scene_points or len(region)),
        thickness=np.sqrt(eigenvalues[:, 0]),
        extent=np.sqrt(eigenvalues[:, 2]),
    )
