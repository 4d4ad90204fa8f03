"""Features of local geometry that turns do not change: fast point feature histograms.

Source: Rusu et al. 2009 (FPFH, ICRA). Neighbourhoods are the nearest points within a radius, at most a set number; the
sum over neighbours is weighted by inverse distance and each of the three histograms adds up to 1.

Symbols: n points, k neighbours, b bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from repcore_pointcloud.configs.vbreg import GeometryConfig

BLOCK = 4096  # points whose pairs are in memory at once
MIRROR = np.array([-1.0, 1.0, 1.0])


class PointFeatures(NamedTuple):
    """Places float64 (n, 3) in the file's unit, and features float32 (n, D) of each."""

    places: np.ndarray
    values: np.ndarray


class Neighbours(NamedTuple):
    """Rows (n, k) of the nearest other points, and their distances; inf where there are fewer within the radius."""

    rows: np.ndarray
    distances: np.ndarray


def near_points(points: np.ndarray, radius: float, most: int) -> Neighbours:
    """The nearest other points within a radius."""
    count = min(most + 1, len(points))
    distances, rows = cKDTree(points).query(points, k=count, distance_upper_bound=radius)
    if count == 1:
        return Neighbours(np.zeros((len(points), 0), np.int64), np.zeros((len(points), 0)))
    distances = np.where(rows == np.arange(len(points))[:, None], np.inf, distances)
    rows = np.where(np.isfinite(distances), rows, 0)
    return Neighbours(rows, distances)


def oriented_normals(points: np.ndarray, near: Neighbours, viewpoint: np.ndarray) -> np.ndarray:
    """Unit normals (n, 3), turned towards the viewpoint, or outwards from the middle where that lies inside."""
    within = np.isfinite(near.distances)
    weight = np.concatenate([np.ones((len(points), 1), bool), within], axis=1)
    normals = np.empty_like(points)
    for first in range(0, len(points), BLOCK):
        part = slice(first, first + BLOCK)
        around = np.concatenate([points[part, None], points[near.rows[part]]], axis=1)
        share = weight[part, :, None] / weight[part].sum(1)[:, None, None]
        around = around - (around * share).sum(1, keepdims=True)
        covariance = np.einsum("nki,nkj->nij", around * share, around)
        normals[part] = np.linalg.eigh(covariance)[1][:, :, 0]
    away = ((viewpoint - points) * normals).sum(1) < 0
    normals[away] *= -1
    return normals


def geometric_features(
    points: np.ndarray, voxel: float, config: GeometryConfig, viewpoint: np.ndarray | None = None
) -> PointFeatures:
    """Fast point feature histograms of thinned points.

    Args:
        points: float64 (n, 3), finite, about one a voxel.
        voxel: side of a voxel.
        viewpoint: where the sensor stood; None = the points' mean, which both clouds of a pair then share in kind only.

    Returns:
        features (n, 3 b); zeros for points without neighbours.
    """
    near = near_points(points, config.normal_radius * voxel, config.normal_neighbours)
    seen_from = points.mean(0) if viewpoint is None else viewpoint
    normals = oriented_normals(points, near, seen_from)
    near = near_points(points, config.feature_radius * voxel, config.feature_neighbours)
    simple = np.zeros((len(points), 3 * config.bins))
    for first in range(0, len(points), BLOCK):
        part = slice(first, first + BLOCK)
        simple[part] = _histograms(points, normals, near, np.arange(len(points))[part], config.bins)
    weight = np.where(np.isfinite(near.distances), 1.0 / np.maximum(near.distances, 0.1 * voxel), 0.0)
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-12)
    found = np.empty_like(simple)
    for first in range(0, len(points), BLOCK):
        part = slice(first, first + BLOCK)
        found[part] = simple[part] + np.einsum("nk,nkb->nb", weight[part], simple[near.rows[part]])
    parts = found.reshape(len(points), 3, config.bins)
    parts = parts / np.maximum(parts.sum(2, keepdims=True), 1e-12)
    return PointFeatures(points, parts.reshape(len(points), -1).astype(np.float32))


def mirrored_features(features: PointFeatures) -> PointFeatures:
    """Of the same points with their first coordinate negated: the first angle changes its sign."""
    parts = features.values.reshape(len(features.values), 3, -1).copy()
    parts[:, 0] = parts[:, 0, ::-1]
    return PointFeatures(features.places * MIRROR, parts.reshape(len(parts), -1))


def _histograms(points: np.ndarray, normals: np.ndarray, near: Neighbours, rows: np.ndarray, bins: int) -> np.ndarray:
    """Shares of the three angles of the Darboux frame over a point's neighbours, (n, 3 b)."""
    around, within = near.rows[rows], np.isfinite(near.distances[rows])
    u, other = normals[rows][:, None], normals[around]
    line = points[around] - points[rows][:, None]
    line = line / np.maximum(np.linalg.norm(line, axis=2, keepdims=True), 1e-12)
    v = np.cross(line, np.broadcast_to(u, line.shape))
    v = v / np.maximum(np.linalg.norm(v, axis=2, keepdims=True), 1e-12)
    w = np.cross(np.broadcast_to(u, v.shape), v)
    turn = np.arctan2((w * other).sum(2), (u * other).sum(2)) / np.pi
    numbers = np.stack([(v * other).sum(2), (u * line).sum(2), turn])
    place = np.clip(((numbers + 1) / 2 * bins).astype(np.int64), 0, bins - 1)
    place += bins * np.arange(3)[:, None, None] + 3 * bins * np.arange(len(rows))[None, :, None]
    counts = np.bincount(place[:, within].ravel(), minlength=3 * bins * len(rows)).reshape(len(rows), 3 * bins)
    return counts / np.maximum(within.sum(1, keepdims=True), 1)
