"""What people look for in a cloud before they train on it: extents and spacing, in the unit of the file.

Symbols: n points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from repcore_pointcloud.formats.table import usable

MEASURED = 50_000  # points among which distances are measured
ASKED = 1000  # points whose nearest neighbour is looked for


def describe_points(points: np.ndarray, left_out: np.ndarray | None = None) -> Mapping[str, Any]:
    """Facts of a cloud (n, 3): largest extent, extent along z, median distance to the nearest other point, odd points.

    Spacing is measured inside a window round one point, so that a large tile costs no more than a small one.
    """
    from scipy.spatial import cKDTree

    points = points if left_out is None else points[~left_out]
    kept = usable(points)
    facts: dict[str, Any] = {} if kept.all() else {"points without coordinates": int((~kept).sum())}
    finite = points[kept].astype(np.float64)
    if len(finite) < 2:
        return facts
    sides = np.ptp(finite, axis=0)
    facts |= {"extent": float(sides.max()), "extent z": float(sides[2])}
    if len(finite) > MEASURED:
        away = ((finite[:, :2] - finite[len(finite) // 2, :2]) ** 2).sum(axis=1)
        finite = finite[np.argpartition(away, MEASURED)[:MEASURED]]
    asked = finite[np.linspace(0, len(finite) - 1, min(ASKED, len(finite)), dtype=np.int64)]
    nearest = cKDTree(finite).query(asked, k=2)[0][:, 1]
    return {**facts, "spacing": float(np.median(nearest))}
