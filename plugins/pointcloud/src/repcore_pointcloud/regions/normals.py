"""Normals and shape numbers of every point from the principal axes of its neighbourhood.

Symbols: N points, k neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

CHUNK = 1 << 16  # points whose neighbourhoods are in memory at once


@dataclass(frozen=True, slots=True)
class LocalShape:
    """Per point: neighbours int32 (N, k) without the point itself, normals (N, 3) of unit length, and eigenvalues
    (N, 3) of the neighbourhood's covariance in rising order."""

    neighbours: np.ndarray
    normals: np.ndarray
    eigenvalues: np.ndarray

    @property
    def curvature(self) -> np.ndarray:
        """Smallest eigenvalue over their sum, (N,), in [0, 1/3]."""
        total = self.eigenvalues.sum(1)
        return np.divide(self.eigenvalues[:, 0], total, out=np.zeros_like(total), where=total > 0)


def local_shape(points: np.ndarray, neighbours: int, viewpoint: np.ndarray | None = None) -> LocalShape:
    """Principal axes of every point with its nearest neighbours.

    Args:
        points: float (N, 3), finite, metres.
        neighbours: k; a scene with fewer points uses what there is.
        viewpoint: (3,) where the sensor stood; normals are turned towards it. None leaves their sign open.
    """
    points = np.asarray(points, np.float64)
    near = nearest_neighbours(points, neighbours)
    normals = np.zeros_like(points)
    eigenvalues = np.zeros_like(points)
    for first in range(0, len(points), CHUNK):
        part = slice(first, first + CHUNK)
        own = np.arange(len(points))[part, None]
        around = points[np.concatenate([own, near[part].astype(np.int64)], axis=1)]  # (n, k + 1, 3)
        around -= around.mean(1, keepdims=True)
        covariance = np.einsum("nki,nkj->nij", around, around) / around.shape[1]
        eigenvalues[part], axes = np.linalg.eigh(covariance)
        normals[part] = axes[:, :, 0]
    if viewpoint is not None:
        away = ((viewpoint - points) * normals).sum(1) < 0
        normals[away] *= -1
    return LocalShape(near, normals, np.maximum(eigenvalues, 0.0))


def nearest_neighbours(points: np.ndarray, count: int) -> np.ndarray:
    """Row numbers int32 (N, k) of the nearest other points, nearest first; k is at most N - 1.

    Asked in blocks: distances and candidates of a whole tile would need several times its own memory.
    """
    count = min(count, len(points) - 1)
    near = np.empty((len(points), max(count, 0)), np.int32)
    if count < 1:
        return near
    tree = cKDTree(points)
    for first in range(0, len(points), CHUNK):
        part = slice(first, first + CHUNK)
        found = tree.query(points[part], k=count + 1)[1]
        own = found == np.arange(len(points))[part, None]
        own[~own.any(1), -1] = True  # points at one place: the point itself may not be among its nearest
        own &= np.cumsum(own, axis=1) == 1
        near[part] = found[~own].reshape(-1, count)
    return near
