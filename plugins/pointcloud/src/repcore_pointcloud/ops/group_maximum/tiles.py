"""CPU twin of ``pointcloud/group-maximum``: groups in tiles that stay in the cache, and gradients of maxima only.

Why it is fast: a maximum hands its gradient to one member of K, so that all but one in K numbers of the gradient of
(R, K, O) are zeros. The products with it are sums over the numbers that are there (weighted sums of rows, as an
embedding bag makes them) instead of dense products. Values of the inner layer are added, cut and multiplied while a
tile of them is in the cache; the maximum is found by comparisons of whole tiles, and kept as one byte a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from repcore_pointcloud.ops.group_maximum import torch as plain

TILE = 1 << 19  # numbers of the widest layer in a tile: 2 MiB in float32


def group_maximum(
    members: Tensor, weight: Tensor, bias: Tensor, inner: Tensor | None = None, rows: Tensor | None = None
) -> Tensor:
    """Same values and gradients as the plain definition; see there."""
    if torch.is_autocast_enabled(members.device.type) or not len(members):
        return plain.group_maximum(members, weight, bias, inner, rows)  # which autocast knows
    plain.check_arguments(members, weight, bias, inner, rows)
    out: Tensor = _GroupMaximum.apply(members, weight, bias, inner, rows)
    return out


class _GroupMaximum(torch.autograd.Function):
    """Keeps the inner layer and where maxima are."""

    @staticmethod
    def forward(
        ctx: Any, members: Tensor, weight: Tensor, bias: Tensor, inner: Tensor | None, rows: Tensor | None
    ) -> Tensor:  # autograd's context
        groups, size, _ = members.shape
        out = members.new_empty(groups, len(weight))
        place = torch.empty(out.shape, dtype=_place_type(size), device=out.device)
        values = members
        if inner is not None and any(ctx.needs_input_grad):
            values = members.new_empty(groups, size, len(inner))
        for tile in _tiles(members, weight, inner):
            given = members[tile]
            if inner is not None and rows is not None:
                kept = values[tile] if values is not members else given.new_empty(*given.shape[:2], len(inner))
                torch.mm(given.flatten(0, 1), inner.t(), out=kept.flatten(0, 1))
                given = kept.add_(rows[tile, None]).relu_()
            last = F.linear(given.flatten(0, 1), weight, bias).unflatten(0, given.shape[:2])
            out[tile], place[tile] = maxima(last)
        ctx.save_for_backward(members, weight, inner, values, place)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        members, weight, inner, values, place = ctx.saved_tensors
        grad, size = grad.contiguous(), members.shape[1]
        of_members, of_weight = torch.empty_like(members), torch.zeros_like(weight)
        of_inner = None if inner is None else torch.zeros_like(inner)
        of_rows = None if inner is None else grad.new_empty(len(members), len(inner))
        for tile in _tiles(members, weight, inner):
            flat = values[tile].flatten(0, 1)
            of_weight += weighted_members(grad[tile], place[tile], flat, size)
            of_values = weighted_outputs(grad[tile], place[tile], weight, size)
            if inner is None:
                of_members[tile] = of_values.view_as(members[tile])
                continue
            of_values = torch.ops.aten.threshold_backward(of_values, flat, 0)
            torch.mm(of_values, inner, out=of_members[tile].flatten(0, 1))
            of_inner.addmm_(of_values.t(), members[tile].flatten(0, 1))  # type: ignore[union-attr]
            torch.sum(of_values.view(-1, size, len(inner)), 1, out=of_rows[tile])  # type: ignore[index]
        return of_members, of_weight, grad.sum(0), of_inner, of_rows


def _tiles(members: Tensor, weight: Tensor, inner: Tensor | None) -> Iterator[slice]:
    """Groups that are worked on together."""
    width = max(members.shape[2], len(weight), 0 if inner is None else len(inner))
    groups = max(1, TILE // (members.shape[1] * width))
    for first in range(0, len(members), groups):
        yield slice(first, min(first + groups, len(members)))


def _place_type(size: int) -> torch.dtype:
    return torch.uint8 if size <= 256 else torch.int32


def maxima(values: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over K and the first member that has it, (R, O) each.

    Comparisons of whole matrices are many times faster on a CPU than ``max`` with its index.

    Args:
        values: (R, K, O).
    """
    size = values.shape[1]
    highest = values.amax(1)
    from_the_end = torch.arange(size - 1, -1, -1, dtype=_place_type(size), device=values.device)[:, None]
    return highest, (size - 1) - ((values == highest[:, None]) * from_the_end).amax(1)


def weighted_outputs(grad: Tensor, place: Tensor, weight: Tensor, size: int) -> Tensor:
    """What members get: of each, the sum of those rows of ``weight`` whose maximum it is, times their gradients.

    Args:
        grad: (R, O). place: (R, O), members below ``size``. weight: (O, C).

    Returns:
        (R K, C), zeros for members that are no maximum.
    """
    wide = place.long()
    order = place.argsort(1)  # outputs of a group by the member that has their maximum
    counts = torch.zeros(len(wide), size, dtype=torch.long, device=wide.device)
    counts = counts.scatter_add_(1, wide, torch.ones_like(wide)).flatten()
    factors = grad.gather(1, order).flatten()
    return F.embedding_bag(order.flatten(), weight, counts.cumsum(0) - counts, mode="sum", per_sample_weights=factors)


def weighted_members(grad: Tensor, place: Tensor, values: Tensor, size: int) -> Tensor:
    """What the weight gets: of each output, the sum over groups of the member that is its maximum, times the gradient.

    Args:
        grad: (R, O). place: (R, O). values: (R K, C).

    Returns:
        (O, C).
    """
    first = torch.arange(len(place), device=place.device)[:, None] * size
    rows = (place + first).t().contiguous()
    return F.embedding_bag(rows, values, mode="sum", per_sample_weights=grad.t().contiguous())
