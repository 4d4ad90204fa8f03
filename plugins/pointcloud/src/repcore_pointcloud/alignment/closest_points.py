"""The last refinement: points to the nearest points, no longer to their matches; and how far two clouds overlap.

Source: Besl and McKay 1992, Chen and Medioni 1991 (iterative closest points, to points and to planes). Pairs farther
than a limit that shrinks have no say, so that parts without counterpart do not pull.

Symbols: n points.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from repcore_pointcloud.regions.normals import local_shape

ROUNDS = 40
STILL = 1e-6  # change of the motion, in radians and in limits, below which rounds end
NORMAL_NEIGHBOURS = 16


class Overlap(NamedTuple):
    """Share of the first cloud's points with a neighbour within the limit, and the root mean square of their
    distances; NaN without any."""

    share: float
    rmse: float


def closest_points(motion: np.ndarray, source: np.ndarray, target: np.ndarray, limit: float) -> np.ndarray:
    """A motion (4, 4) refined by distances of points to the planes of their nearest points.

    Args:
        motion: to begin with, source to target.
        source / target: float64 (n, 3), thinned.
        limit: largest distance of a pair; halved after each third of the rounds.

    Returns:
        the refined motion; the given one where too few points are near.
    """
    tree, normals = cKDTree(target), local_shape(target, NORMAL_NEIGHBOURS).normals
    current, limits = motion.copy(), (limit, limit / 2, limit / 4)
    for reach in limits:
        for _ in range(ROUNDS // len(limits)):
            step = _step(current, source, tree, target, normals, reach)
            if step is None:
                break
            current = step @ current
            if np.abs(step - np.eye(4)).max() < STILL * max(1.0, reach):
                break
    return current


def _step(
    motion: np.ndarray, source: np.ndarray, tree: cKDTree, target: np.ndarray, normals: np.ndarray, reach: float
) -> np.ndarray | None:
    """The small motion that lessens distances to planes; None where it is not determined."""
    moved = source @ motion[:3, :3].T + motion[:3, 3]
    distance, row = tree.query(moved, distance_upper_bound=reach)
    near = np.isfinite(distance)
    if near.sum() < 6:
        return None
    points, normal = moved[near], normals[row[near]]
    middle = points.mean(0)
    gap = ((target[row[near]] - points) * normal).sum(1)
    weight = 1.0 / (1.0 + (distance[near] / reach) ** 2)
    columns = np.concatenate([np.cross(points - middle, normal), normal], axis=1) * np.sqrt(weight)[:, None]
    solution, _, rank, _ = np.linalg.lstsq(columns, gap * np.sqrt(weight), rcond=1e-6)
    if rank < 6 and not np.isfinite(solution).all():
        return None
    step = np.eye(4)
    step[:3, :3] = Rotation.from_rotvec(solution[:3]).as_matrix()
    step[:3, 3] = solution[3:] + middle - step[:3, :3] @ middle
    return step


def overlap(motion: np.ndarray, source: np.ndarray, target: np.ndarray, limit: float) -> Overlap:
    """How much of the first cloud lies on the second under a motion."""
    moved = source @ motion[:3, :3].T + motion[:3, 3]
    distance = cKDTree(target).query(moved, distance_upper_bound=limit)[0]
    near = np.isfinite(distance)
    rmse = float(np.sqrt(np.mean(distance[near] ** 2))) if near.any() else float("nan")
    return Overlap(float(near.mean()), rmse)
