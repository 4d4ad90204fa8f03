"""GPU twin of ``pointcloud/interpolate-points``: search, weights and weighted sum through the Triton twins."""

from __future__ import annotations

from torch import Tensor

from repcore_pointcloud.ops.group_points.triton import group_points
from repcore_pointcloud.ops.interpolate_points.torch import weighted_neighbours
from repcore_pointcloud.ops.nearest_points.triton import nearest_points


def interpolate_points(values: Tensor, known: Tensor, asked: Tensor, neighbours: int = 3) -> Tensor:
    """Same values and gradients as the plain definition; see there."""
    return weighted_neighbours(values, known, asked, neighbours, nearest=nearest_points, group=group_points)
