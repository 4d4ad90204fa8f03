"""Plain definition of ``pointcloud/farthest-points``, which is also its CPU form: three planes, updated in place.

Source: Qi et al. 2017 (PointNet++, arXiv 1706.02413), section 3.2; the exclusion follows the CUDA kernel of
`erikwijmans/Pointnet2_PyTorch`, which never chooses points with |p|^2 <= 1e-3.

Differs: exact ties go to the lowest index (the kernel prefers the lower thread slot). With this rule levels nest: the
choice of a smaller number from the chosen points is their beginning, so one run serves every level of a hierarchy.

Symbols: B clouds, N points, G chosen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.errors import ShapeError
from repcore.shapes import check_shape

OWNER = "pointcloud/farthest-points"


def check_arguments(points: Tensor, count: int) -> None:
    """Shapes and count of every implementation.

    Raises:
        ShapeError: ``points`` is not (B, N, 3), there is none, or ``count`` is not positive.
    """
    sizes = check_shape(points, "B N 3", name="points", owner=OWNER)
    if sizes["N"] < 1 or count < 1:
        raise ShapeError(f"{count} of {sizes['N']} points cannot be chosen", expected="at least one of each")


def farthest_points(points: Tensor, count: int, *, excluded: float = -1.0) -> Tensor:
    """Indices of ``count`` points: first index 0, then always the point farthest from all chosen ones.

    Args:
        points: float (B, N, 3). No gradient flows.
        count: G; beyond the number of distinct points, chosen ones repeat.
        excluded: points with a squared norm up to this are never chosen (index 0 excepted); negative = none.

    Returns:
        int64 (B, G).

    Raises:
        ShapeError: see :func:`check_arguments`.

    Cost: G passes over (B, N), no (B, G, N) tensor.
    """
    check_arguments(points, count)
    x, y, z = points.detach().unbind(-1)
    x, y, z = x.contiguous(), y.contiguous(), z.contiguous()
    nearest = torch.full_like(x, torch.inf)  # squared distance to the closest chosen point
    if excluded >= 0.0:
        nearest.masked_fill_((x * x + y * y + z * z) <= excluded, -1.0)
    chosen = torch.zeros(len(points), count, dtype=torch.long, device=points.device)
    distance, step = torch.empty_like(x), torch.empty_like(x)
    last = chosen[:, :1]
    for place in range(1, count):
        torch.sub(x, x.gather(1, last), out=distance).square_()
        distance += torch.sub(y, y.gather(1, last), out=step).square_()
        distance += torch.sub(z, z.gather(1, last), out=step).square_()
        torch.minimum(nearest, distance, out=nearest)
        last = nearest.argmax(dim=1, keepdim=True)  # the first of equal ones
        chosen[:, place : place + 1] = last
    return chosen
