"""Plain definition of ``pointcloud/group-maximum``.

Symbols: R groups, K members, C channels, J inner channels, O outputs.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from repcore.errors import ShapeError
from repcore.shapes import check_shape

OWNER = "pointcloud/group-maximum"


def check_arguments(members: Tensor, weight: Tensor, bias: Tensor, inner: Tensor | None, rows: Tensor | None) -> None:
    """Shapes of every implementation.

    Raises:
        ShapeError: they do not fit together, or groups have no member.
    """
    sizes = check_shape(members, "R K C", name="members", owner=OWNER)
    if not sizes["K"]:
        raise ShapeError(f"{OWNER}: groups without members have no maximum", got=tuple(members.shape))
    if (inner is None) != (rows is None):
        raise ShapeError(f"{OWNER}: inner and rows belong together", got="one of them")
    if inner is not None and rows is not None:
        sizes = check_shape(inner, "J C", name="inner", owner=OWNER, bound=sizes)
        sizes = check_shape(rows, "R J", name="rows", owner=OWNER, bound=sizes)
    sizes = check_shape(weight, "O C" if inner is None else "O J", name="weight", owner=OWNER, bound=sizes)
    check_shape(bias, "O", name="bias", owner=OWNER, bound=sizes)


def group_maximum(
    members: Tensor, weight: Tensor, bias: Tensor, inner: Tensor | None = None, rows: Tensor | None = None
) -> Tensor:
    """Maximum over members of ``weight v + bias``, where v is the member, or ``relu(inner member + rows)``.

    Args:
        members: (R, K, C).
        weight: (O, C), or (O, J) with ``inner``.
        bias: (O,).
        inner: (J, C), a layer before the last one.
        rows: (R, J), added to the inner layer of all members of a group.

    Returns:
        (R, O). Of members that tie, one gets the gradient.

    Raises:
        ShapeError: see :func:`check_arguments`.
    """
    check_arguments(members, weight, bias, inner, rows)
    values = members
    if inner is not None and rows is not None:
        values = (F.linear(members, inner) + rows[:, None]).relu()
    return F.linear(values, weight, bias).max(dim=1).values
