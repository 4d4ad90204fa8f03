"""Plain definition of ``pointcloud/interpolate-points``: nearest known points weighted by inverse squared distance.

Source: Qi et al. 2017 (PointNet++, arXiv 1706.02413), equation 2 with p = 2 and k = 3. Differs: squared distances by
direct differences; the expanded form of the reference can come out negative and turn a weight infinite.

Symbols: B clouds, Q points asked for, S known points, K neighbours, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from repcore.shapes import check_shape
from repcore_pointcloud.ops.group_points.torch import group_points
from repcore_pointcloud.ops.nearest_points.torch import nearest_points

OWNER = "pointcloud/interpolate-points"
EPSILON = 1e-8  # added to squared distances


def check_arguments(values: Tensor, known: Tensor, asked: Tensor) -> None:
    """Shapes of every implementation.

    Raises:
        ShapeError: they do not fit together.
    """
    sizes = check_shape(values, "B S C", name="values", owner=OWNER)
    check_shape(known, "B S 3", name="known", owner=OWNER, bound=sizes)
    check_shape(asked, "B Q 3", name="asked", owner=OWNER, bound=sizes)


def inverse_distance_weights(asked: Tensor, known: Tensor, index: Tensor) -> Tensor:
    """Weights that add up to 1, (B, Q, K); positions get no gradient."""
    to_known = group_points(known.detach(), index, asked.detach())  # (B, Q, K, 3)
    closeness = 1.0 / (to_known.square().sum(-1) + EPSILON)
    return closeness / closeness.sum(-1, keepdim=True)


def interpolate_points(values: Tensor, known: Tensor, asked: Tensor, neighbours: int = 3) -> Tensor:
    """Values at other positions.

    Args:
        values: (B, S, C) at the known positions; gets gradients.
        known: (B, S, 3). asked: (B, Q, 3). Neither gets gradients.
        neighbours: K; all known points where there are fewer.

    Returns:
        (B, Q, C).

    Raises:
        ShapeError: see :func:`check_arguments`.
    """
    return weighted_neighbours(values, known, asked, neighbours, nearest=nearest_points, group=group_points)


def weighted_neighbours(
    values: Tensor,
    known: Tensor,
    asked: Tensor,
    neighbours: int,
    *,
    nearest: Callable[[Tensor, Tensor, int], Tensor],
    group: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The definition over any implementation of search and grouping."""
    check_arguments(values, known, asked)
    index = nearest(asked, known, min(neighbours, known.shape[1]))
    weights = inverse_distance_weights(asked, known, index).to(values.dtype)
    return (group(values, index) * weights[..., None]).sum(2)
