"""GPU twin of ``pointcloud/chamfer``: one program a pair of sets, all distances in registers; sets up to 64 points.

The backward pass follows the nearest pairs that the forward pass found, as a sum over the pairs' incidence, so that it
needs no atomic additions and repeats bit by bit.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from repcore_pointcloud.ops.chamfer import torch as plain

LARGEST = 64  # points of a set: a (64, 64) tile of distances is the most that fits in registers


@triton.jit
def _tile(points, set_number, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Coordinates of a set, and which rows are real."""
    n = tl.arange(0, BLOCK)
    inside = n < count
    base = points + (set_number * count + n) * 3
    x = tl.load(base, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(base + 1, mask=inside, other=0.0).to(tl.float32)
    z = tl.load(base + 2, mask=inside, other=0.0).to(tl.float32)
    return x, y, z, inside


@triton.jit
def _forward(first, second, value, forth, back, P, Q, BLOCK_P: tl.constexpr, BLOCK_Q: tl.constexpr):  # type: ignore[no-untyped-def]
    """Value and nearest pairs of one pair of sets."""
    m = tl.program_id(0).to(tl.int64)
    ax, ay, az, a_ok = _tile(first, m, P, BLOCK_P)
    bx, by, bz, b_ok = _tile(second, m, Q, BLOCK_Q)
    dx, dy, dz = ax[:, None] - bx[None, :], ay[:, None] - by[None, :], az[:, None] - bz[None, :]
    distance = dx * dx + dy * dy + dz * dz
    distance = tl.where(a_ok[:, None] & b_ok[None, :], distance, float("inf"))
    p, q = tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_Q)
    to_second, to_first = tl.min(distance, axis=1), tl.min(distance, axis=0)
    nearest_q = tl.min(tl.where(distance == to_second[:, None], q[None, :], BLOCK_Q), axis=1)
    nearest_p = tl.min(tl.where(distance == to_first[None, :], p[:, None], BLOCK_P), axis=0)
    tl.store(forth + m * P + p, nearest_q, mask=a_ok)
    tl.store(back + m * Q + q, nearest_p, mask=b_ok)
    one = tl.sum(tl.where(a_ok, to_second, 0.0), axis=0) / P
    tl.store(value + m, one + tl.sum(tl.where(b_ok, to_first, 0.0), axis=0) / Q)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    first, second, forth, back, grad, first_grad, second_grad, P, Q, BLOCK_P: tl.constexpr, BLOCK_Q: tl.constexpr
):
    """Gradients of both sets of one pair."""
    m = tl.program_id(0).to(tl.int64)
    ax, ay, az, a_ok = _tile(first, m, P, BLOCK_P)
    bx, by, bz, b_ok = _tile(second, m, Q, BLOCK_Q)
    p, q = tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_Q)
    nearest_q = tl.load(forth + m * P + p, mask=a_ok, other=-1)
    nearest_p = tl.load(back + m * Q + q, mask=b_ok, other=-1)
    weight = tl.where((nearest_q[:, None] == q[None, :]) & a_ok[:, None], 2.0 / P, 0.0)
    weight += tl.where((nearest_p[None, :] == p[:, None]) & b_ok[None, :], 2.0 / Q, 0.0)
    weight = weight * tl.load(grad + m).to(tl.float32)
    to_a, to_b = first_grad + (m * P + p) * 3, second_grad + (m * Q + q) * 3
    change = weight * (ax[:, None] - bx[None, :])
    tl.store(to_a, tl.sum(change, axis=1), mask=a_ok)
    tl.store(to_b, -tl.sum(change, axis=0), mask=b_ok)
    change = weight * (ay[:, None] - by[None, :])
    tl.store(to_a + 1, tl.sum(change, axis=1), mask=a_ok)
    tl.store(to_b + 1, -tl.sum(change, axis=0), mask=b_ok)
    change = weight * (az[:, None] - bz[None, :])
    tl.store(to_a + 2, tl.sum(change, axis=1), mask=a_ok)
    tl.store(to_b + 2, -tl.sum(change, axis=0), mask=b_ok)


class _Chamfer(torch.autograd.Function):
    """Values with gradients for both sets."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:  # autograd's context
        first, second = first.contiguous(), second.contiguous()
        pairs, P, _ = first.shape
        Q = second.shape[1]
        value = first.new_empty(pairs, dtype=torch.float32)
        forth, back = (torch.empty(pairs, n, dtype=torch.int32, device=first.device) for n in (P, Q))
        if pairs:
            _forward[(pairs,)](first, second, value, forth, back, P, Q, **_blocks(P, Q))
        ctx.save_for_backward(first, second, forth, back)
        return value.to(first.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        first, second, forth, back = ctx.saved_tensors
        P, Q = first.shape[1], second.shape[1]
        grads = tuple(torch.empty_like(one, dtype=torch.float32) for one in (first, second))
        if len(first):
            _backward[(len(first),)](first, second, forth, back, grad.contiguous(), *grads, P, Q, **_blocks(P, Q))
        return grads[0].to(first.dtype), grads[1].to(second.dtype)


def _blocks(P: int, Q: int) -> dict[str, int]:
    return {"BLOCK_P": triton.next_power_of_2(P), "BLOCK_Q": triton.next_power_of_2(Q)}


def chamfer(first: Tensor, second: Tensor) -> Tensor:
    """Same values and gradients as the plain definition, which larger sets are handed to."""
    plain.check_arguments(first, second)
    if max(first.shape[1], second.shape[1]) > LARGEST:
        return plain.chamfer(first, second)
    out: Tensor = _Chamfer.apply(first, second)
    return out
