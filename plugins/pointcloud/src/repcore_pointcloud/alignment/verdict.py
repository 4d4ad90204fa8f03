"""Is a motion to be believed: what the surfaces say after refinement, and whether a mirrored copy fits as well.

Most wrong pairs have matches that agree far beyond shuffled ones, since surfaces repeat: floors slide on floors, balls
roll on balls. A mirrored source is of the same surfaces and has no right motion, so that the matches that agree with it
measure this repetition. Symmetric shapes fit it rightly, which is why this alone is a doubt.
The limits were measured on generated and real pairs (docs/pointcloud.md).

Symbols: n points, N matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from repcore_pointcloud.alignment.closest_points import NORMAL_NEIGHBOURS
from repcore_pointcloud.regions.normals import local_shape

Verdict = Literal["sound", "doubtful", "refused"]
FARTHEST_GAP = 0.3  # voxels from a point to the surface it lies on, by median: right pairs have 0.14 or less
LEAST_PARALLEL = 0.9  # |cosine| of normals, by median: right pairs have 0.95 or more
LEAST_KEPT = 0.8  # of the agreeing matches that still agree after refinement
ABOVE_MIRRORED = 1.5  # times as many agree as with the mirrored source
FAR_BELOW_MIRRORED = 1 / 3  # times: the mirrored source, not the source, is what fits


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a motion beside the number of matches.

    Args:
        inliers: matches that agree before refinement.
        kept: of these, those that agree after it.
        mirrored: matches that the same search brings together when the source is mirrored.
        gap: median distance in voxels of points to the planes of their nearest points; inf without any near.
        parallel: median |cosine| between the normals of both; 0 without any near.
    """

    inliers: int
    kept: int
    mirrored: int
    gap: float
    parallel: float

    @property
    def doubts(self) -> list[str]:
        """Why not to believe the motion, in words."""
        found = []
        if self.gap > FARTHEST_GAP:
            found.append(f"surfaces lie {self.gap:.2g} voxels apart, {FARTHEST_GAP:g} or less where a motion is right")
        if self.parallel < LEAST_PARALLEL:
            found.append(
                f"surfaces stand at angles (median cosine {self.parallel:.2f}, right: {LEAST_PARALLEL:g} or more)"
            )
        if self.kept < LEAST_KEPT * self.inliers:
            found.append(f"{self.kept} of the {self.inliers} agreeing matches agree after refinement")
        if self.inliers < ABOVE_MIRRORED * self.mirrored:
            found.append(
                f"{self.inliers} matches agree, {self.mirrored} with the source mirrored: "
                + ("the clouds may be mirror images" if self._is_mirror else "symmetric, or surfaces that repeat")
            )
        return found

    @property
    def _is_mirror(self) -> bool:
        return self.inliers < FAR_BELOW_MIRRORED * self.mirrored

    @property
    def verdict(self) -> Verdict:
        """One doubt is doubtful; two, or a mirror image, refuse."""
        number = len(self.doubts)
        if number > 1 or self._is_mirror:
            return "refused"
        return "doubtful" if number else "sound"


def surface_fit(
    motion: np.ndarray, source: np.ndarray, target: np.ndarray, voxel: float, reach: float
) -> dict[str, float]:
    """``gap`` and ``parallel`` of :class:`Evidence`.

    Args:
        motion: (4, 4), source to target, refined.
        source / target: float64 (n, 3), thinned.
        reach: largest distance of a pair.
    """
    moved = source @ motion[:3, :3].T + motion[:3, 3]
    distance, row = cKDTree(target).query(moved, distance_upper_bound=reach)
    near = np.isfinite(distance)
    if not near.any():
        return {"gap": float("inf"), "parallel": 0.0}
    normals = local_shape(target, NORMAL_NEIGHBOURS).normals[row[near]]
    gap = np.abs(((target[row[near]] - moved[near]) * normals).sum(1))
    own = local_shape(moved, NORMAL_NEIGHBOURS).normals[near]
    parallel = np.abs((own * normals).sum(1))
    return {"gap": float(np.median(gap)) / voxel, "parallel": float(np.median(parallel))}
