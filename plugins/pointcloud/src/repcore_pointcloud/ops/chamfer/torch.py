"""Plain definition of ``pointcloud/chamfer``: all pairs, minimum both ways.

Source: Fan et al. 2017 (arXiv 1612.00603), with squared distances as in Point-MAE. Ties go to the lowest index, in
values and in gradients.

Symbols: M pairs of sets, P points of the first set, Q of the second.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.errors import ShapeError
from repcore.shapes import check_shape

OWNER = "pointcloud/chamfer"


def check_arguments(first: Tensor, second: Tensor) -> None:
    """Shapes of every implementation.

    Raises:
        ShapeError: they do not fit together, or a set has no point.
    """
    sizes = check_shape(first, "M P 3", name="first", owner=OWNER)
    check_shape(second, "M Q 3", name="second", owner=OWNER, bound=sizes)
    if min(sizes["P"], sizes["Q"]) < 1:
        raise ShapeError(f"sets of {sizes['P']} and {sizes['Q']} points have no distance", expected="one point or more")


def matches(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest point of the second set for each of the first (M, P), and the other way round (M, Q)."""
    with torch.no_grad():
        distances = (first[:, :, None, :] - second[:, None, :, :]).square().sum(-1)  # (M, P, Q)
        return distances.argmin(2), distances.argmin(1)


def chamfer(first: Tensor, second: Tensor) -> Tensor:
    """Mean over the first set of the squared distance to the second, plus the same the other way round.

    Args:
        first: (M, P, 3). second: (M, Q, 3). Both may get gradients, along the nearest pairs.

    Returns:
        (M,).

    Raises:
        ShapeError: see :func:`check_arguments`.
    """
    check_arguments(first, second)
    forth, back = matches(first, second)
    to_second = first - second.gather(1, forth[..., None].expand(-1, -1, 3))
    to_first = second - first.gather(1, back[..., None].expand(-1, -1, 3))
    return to_second.square().sum(-1).mean(1) + to_first.square().sum(-1).mean(1)
