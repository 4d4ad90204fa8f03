"""Plain definition of ``pointcloud/nearest-points``: every squared distance by direct differences, one stable sort.

Source: brute-force search as in `unlimblue/KNN_CUDA`. Differs: batched, and exact ties go to the lowest index.
The expanded form |a|^2 + |b|^2 - 2ab is never used: it loses "every point is nearest to itself".

Symbols: B clouds, Q queries, N points, K neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.errors import ShapeError
from repcore.shapes import check_shape

OWNER = "pointcloud/nearest-points"


def check_arguments(queries: Tensor, points: Tensor, count: int) -> None:
    """Shapes and count of every implementation.

    Raises:
        ShapeError: shapes do not fit, or there are fewer points than neighbours asked for.
    """
    sizes = check_shape(queries, "B Q 3", name="queries", owner=OWNER)
    check_shape(points, "B N 3", name="points", owner=OWNER, bound=sizes)
    if not 1 <= count <= sizes["N"]:
        raise ShapeError(
            f"{count} neighbours of {sizes['N']} points cannot be found", expected="from 1 to the number of points"
        )


def squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """dx^2 + dy^2 + dz^2 in this order, (..., Q, N) from (..., Q, 3) and (..., N, 3)."""
    x, y, z = ((queries[..., :, None, axis] - points[..., None, :, axis]).square() for axis in range(3))
    return x + y + z


def nearest_points(queries: Tensor, points: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` nearest points of each query, nearest first; equal distances by ascending index.

    Args:
        queries: float (B, Q, 3). points: float (B, N, 3). No gradient flows.
        count: K, at most N.

    Returns:
        int64 (B, Q, K).

    Raises:
        ShapeError: see :func:`check_arguments`.

    Cost: a sort of (B, Q, N); the twins avoid it.
    """
    check_arguments(queries, points, count)
    distances = squared_distances(queries.detach(), points.detach())
    return torch.sort(distances, dim=-1, stable=True).indices[..., :count].contiguous()
