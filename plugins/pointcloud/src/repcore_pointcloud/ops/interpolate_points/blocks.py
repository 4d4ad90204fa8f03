"""CPU twin of ``pointcloud/interpolate-points``: block search, and a weighted sum of rows in one call."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from repcore_pointcloud.ops.group_points.torch import flat_rows
from repcore_pointcloud.ops.interpolate_points import torch as plain
from repcore_pointcloud.ops.interpolate_points.torch import check_arguments, inverse_distance_weights
from repcore_pointcloud.ops.nearest_points.blocks import nearest_points


def interpolate_points(values: Tensor, known: Tensor, asked: Tensor, neighbours: int = 3) -> Tensor:
    """Same values and gradients as the plain definition; see there."""
    check_arguments(values, known, asked)
    clouds, sources, channels = values.shape
    index = nearest_points(asked, known, min(neighbours, sources))
    weights = inverse_distance_weights(asked, known, index).to(values.dtype)
    rows = flat_rows(index, sources).view(-1, index.shape[2])
    if not rows.numel():
        return plain.interpolate_points(values, known, asked, neighbours)
    table = values.reshape(-1, channels)
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights.flatten(0, 1)).view(clouds, -1, channels)
