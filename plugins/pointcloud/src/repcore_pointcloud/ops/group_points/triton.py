"""GPU twin of ``pointcloud/group-points``: gather and subtraction in one pass.

The backward pass sorts members by point and adds them up in index order, so that gradients repeat bit by bit.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from repcore_pointcloud.ops.group_points.torch import check_arguments, flat_rows

CHANNELS = 128


@triton.jit
def _gather(values, rows, centres, members, K, C, HAS_CENTRE: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One member and block of channels."""
    member = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = c < C
    row = tl.load(rows + member)
    value = tl.load(values + row * C + c, mask=inside)
    if HAS_CENTRE:
        value = value - tl.load(centres + (member // K) * C + c, mask=inside)
    tl.store(members + member * C + c, value, mask=inside)


@triton.jit
def _add_up(grad, order, starts, total, C, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum over all members that are one point."""
    point = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = c < C
    acc = tl.zeros((BLOCK,), dtype=tl.float32)
    first, stop = tl.load(starts + point), tl.load(starts + point + 1)
    while first < stop:
        member = tl.load(order + first)
        acc += tl.load(grad + member * C + c, mask=inside, other=0.0).to(tl.float32)
        first += 1
    tl.store(total + point * C + c, acc, mask=inside)


class _Group(torch.autograd.Function):
    """Values with gradients for both tensor arguments."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, centres: Tensor | None) -> Tensor:  # autograd's context
        rows = flat_rows(index, values.shape[1])
        channels = values.shape[2]
        members = values.new_empty(*index.shape, channels)
        if members.numel():
            block = min(CHANNELS, triton.next_power_of_2(channels))
            grid = (len(rows), triton.cdiv(channels, block))
            flat = values.contiguous()
            centre = flat if centres is None else centres.contiguous()
            _gather[grid](
                flat, rows, centre, members, index.shape[2], channels, HAS_CENTRE=centres is not None, BLOCK=block
            )
        ctx.save_for_backward(rows)
        ctx.layout = (values.shape, centres is not None)
        return members

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        (rows,) = ctx.saved_tensors
        shape, has_centres = ctx.layout
        clouds, points, channels = shape
        grad = grad.contiguous()
        total = grad.new_zeros(clouds * points, channels, dtype=torch.float32)
        if grad.numel():
            order = torch.argsort(rows, stable=True)
            counts = torch.bincount(rows, minlength=clouds * points)
            starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
            block = min(CHANNELS, triton.next_power_of_2(channels))
            _add_up[(len(total), triton.cdiv(channels, block))](grad, order, starts, total, channels, BLOCK=block)
        centre_grad = -grad.sum(2) if has_centres else None
        return total.to(grad.dtype).view(shape), None, centre_grad


def group_points(values: Tensor, index: Tensor, centres: Tensor | None = None) -> Tensor:
    """Same values and gradients as the plain definition; see there."""
    check_arguments(values, index, centres)
    out: Tensor = _Group.apply(values, index, centres)
    return out
