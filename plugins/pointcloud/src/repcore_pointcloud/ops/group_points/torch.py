"""Plain definition of ``pointcloud/group-points``: a gather over rows.

Symbols: B clouds, N points, G groups, K members, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.shapes import check_shape

OWNER = "pointcloud/group-points"


def check_arguments(values: Tensor, index: Tensor, centres: Tensor | None) -> None:
    """Shapes of every implementation.

    Raises:
        ShapeError: they do not fit together.
    """
    sizes = check_shape(values, "B N C", name="values", owner=OWNER)
    check_shape(index, "B G K", name="index", owner=OWNER, bound=sizes)
    if centres is not None:
        check_shape(centres, "B G C", name="centres", owner=OWNER, bound=sizes)


def flat_rows(index: Tensor, points: int) -> Tensor:
    """Row of each member in the batch laid out flat, (B G K,)."""
    first = torch.arange(len(index), device=index.device)[:, None, None] * points
    return (index + first).flatten()


def group_points(values: Tensor, index: Tensor, centres: Tensor | None = None) -> Tensor:
    """Values of the members of every group, minus the group's centre if one is given.

    Args:
        values: (B, N, C); gradients add up over all groups that a point is in.
        index: int64 (B, G, K), rows of ``values``.
        centres: (B, G, C).

    Returns:
        (B, G, K, C).

    Raises:
        ShapeError: see :func:`check_arguments`.
    """
    check_arguments(values, index, centres)
    members = values.flatten(0, 1).index_select(0, flat_rows(index, values.shape[1])).unflatten(0, index.shape)
    return members if centres is None else members - centres[:, :, None, :]
