"""Views ``pointcloud/cloud-pair`` and ``pointcloud/cloud-weak-strong``: parts of a cloud, turned, scaled, roughened.

The number of points stays what the preprocessor was told: a part repeats some of its points, as a small cloud does.
Where the preprocessor centres and scales clouds, a part is centred and scaled again before the random factor.

Symbols: P points of an item.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from repcore.data.views import Change, ChangedPair, ChangedViews, ChangedWeakStrong
from repcore.interfaces import Item
from repcore_pointcloud.configs.cloud_views import CloudChange
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor

UPRIGHT = {"x": 0, "y": 1, "z": 2}


class CloudViews(ChangedViews):
    """Views of one cloud: points float32 (P, 3)."""

    preprocessor: PointSetPreprocessor

    def change(self, settings: CloudChange) -> Change:
        return partial(changed_cloud, change=settings, normalise=self.preprocessor.config.normalise)


class CloudPair(CloudViews, ChangedPair):
    """Settings: :class:`CloudPairConfig`."""


class CloudWeakStrong(CloudViews, ChangedWeakStrong):
    """Settings: :class:`CloudWeakStrongConfig`."""


def changed_cloud(item: Item, generator: np.random.Generator, *, change: CloudChange, normalise: bool) -> Item:
    """A part of the cloud, filled up to P points, turned about the upright axis, scaled and shaken."""
    points = item.values["points"].astype(np.float64)
    rows = _side(points, generator.uniform(*change.kept_share), generator)
    points = points[rows]
    centre = points.mean(axis=0)
    radius = float(np.linalg.norm(points - centre, axis=1).max()) or 1.0
    points = points - centre
    if normalise:
        points, radius = points / radius, 1.0
    angle = np.deg2rad(generator.uniform(-change.rotation_deg, change.rotation_deg))
    points = points @ _turn(angle, UPRIGHT[change.up]).T * generator.uniform(*change.scale)
    shake = change.jitter * np.clip(generator.standard_normal(points.shape), -3.0, 3.0)
    points = points + radius * shake + (0.0 if normalise else centre)
    values = {**item.values, "points": points.astype(np.float32)}
    return replace(item, values=values, targets={name: labels[rows] for name, labels in item.targets.items()})


def _side(points: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Rows of the points on one side of a random plane, some of them repeated, P of them; all in order at share 1."""
    count = len(points)
    kept = max(1, round(count * share))
    direction = generator.standard_normal(3)
    if kept == count:
        return np.arange(count)
    rows = np.sort(np.argsort(points @ direction, kind="stable")[:kept])
    return np.concatenate([rows, generator.choice(rows, count - kept)])


def _turn(angle: float, upright: int) -> np.ndarray:
    """Rotation by ``angle`` radians about a coordinate axis, (3, 3)."""
    first, second = (upright + 1) % 3, (upright + 2) % 3
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return turn
