"""GPU twin of ``selective-scan``: Triton kernels, all scans of a call in one launch, backward by recompute.

Saved for the backward pass: the inputs, the state before every chunk (S, B, L / STEPS, D, N) and the sum of steps of
every chunk. Inputs may be float16 or bfloat16; state, decay and parameter gradients are float32 and summed in a fixed
order, so results repeat bit by bit. With ``TRITON_INTERPRET=1`` (set before the first import of triton) the kernels run
on a CPU, slowly, for tests.

Symbols: S scans, B items, L tokens, D channels, N states a channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from repcore.nn.selective_scan.arguments import check_arguments
from repcore.nn.selective_scan.kernels import adjoint_kernel, carry_kernel, chunk_kernel, gradient_kernel

STEPS = 32  # of a chunk
SWEEP_CHANNELS = 32  # channels of a program that walks through time
GRADIENT_CHANNELS = 8  # of the program that holds (STEPS, channels, states) tiles in registers
GRADIENT_BLOCKS = 8  # blocks of channels one after the other: fewer partial sums for B and C
CARRY_WIDTH = 256


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    *,
    delta_bias: Tensor,
    reverse: Sequence[bool] = (False,),
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
    steps: int = STEPS,
) -> Tensor | tuple[Tensor, Tensor]:
    """Same values and gradients as the plain definition; see there for the arguments.

    Args:
        steps: of a chunk, a power of two.
    """
    check_arguments(u, delta, A, B, C, D, delta_bias=delta_bias, reverse=reverse, initial_state=initial_state)
    y, last = _TritonScan.apply(u, delta, A, B, C, D, delta_bias, initial_state, tuple(reverse), steps)
    return (y, last) if return_last_state else y


class _Sizes(NamedTuple):
    pairs: int
    batch: int
    L: int
    D: int
    N: int
    chunks: int
    block_n: int


def _sizes(u: Tensor, A: Tensor, steps: int) -> _Sizes:
    S, batch, L, D = u.shape
    N = A.shape[2]
    return _Sizes(S * batch, batch, L, D, N, triton.cdiv(L, steps), triton.next_power_of_2(N))


class _TritonScan(torch.autograd.Function):
    """Three launches forward, three backward; see :mod:`repcore.nn.selective_scan.kernels`."""

    @staticmethod
    def forward(
        ctx: Any,  # autograd's context object
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor,
        initial: Tensor | None, reverse: tuple[bool, ...], steps: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        u, delta, B, C = (one.contiguous() for one in (u, delta, B, C))
        rate, skip, shift = (one.float().contiguous() for one in (A, D, bias))
        size = _sizes(u, A, steps)
        back = torch.tensor(reverse, dtype=torch.int32, device=u.device)
        borders = u.new_empty((size.pairs, size.chunks, size.D, size.N), dtype=torch.float32)
        totals = u.new_empty((size.pairs, size.chunks, size.D), dtype=torch.float32)
        last = u.new_zeros((len(reverse), size.batch, size.D, size.N), dtype=torch.float32)
        if initial is not None:
            last.copy_(initial)
        y = torch.empty_like(u)
        if u.numel():
            shared = (u, delta, rate, B, C, skip, shift, back, borders, totals, y, *size[1:6])
            block_d = min(SWEEP_CHANNELS, triton.next_power_of_2(size.D))
            grid = (triton.cdiv(size.D, block_d), size.chunks, size.pairs)
            tile = {"STEPS": steps, "BLOCK_D": block_d, "BLOCK_N": size.block_n}
            chunk_kernel[grid](*shared, **tile, FINAL=False)
            _carry(rate, totals, borders, last, size, backward=False)
            chunk_kernel[grid](*shared, **tile, FINAL=True)
        ctx.save_for_backward(u, delta, rate, B, C, skip, shift, back, borders, totals)
        ctx.layout = (size, steps, (A.dtype, D.dtype, bias.dtype))
        ctx.mark_non_differentiable(last)
        return y, last

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        u, delta, rate, B, C, skip, shift, back, borders, totals = ctx.saved_tensors
        size, steps, (dtype_A, dtype_D, dtype_bias) = ctx.layout
        grad = grad.contiguous()
        scans = rate.shape[0]
        carries = torch.zeros_like(borders)
        block_d = min(GRADIENT_CHANNELS, triton.next_power_of_2(size.D))
        blocks = min(GRADIENT_BLOCKS, triton.cdiv(size.D, block_d))
        groups = triton.cdiv(size.D, block_d * blocks)
        grad_u = torch.empty_like(u)
        grad_delta = torch.zeros_like(delta, dtype=torch.float32)
        partial = [u.new_zeros((groups, *B.shape), dtype=torch.float32) for _ in range(2)]
        if u.numel():
            sweep = min(SWEEP_CHANNELS, triton.next_power_of_2(size.D))
            adjoint_kernel[(triton.cdiv(size.D, sweep), size.chunks, size.pairs)](
                delta, rate, C, shift, back, grad, carries, *size[1:6],
                STEPS=steps, BLOCK_D=sweep, BLOCK_N=size.block_n,
            )  # fmt: skip
            _carry(rate, totals, carries, torch.zeros_like(carries[:, 0]), size, backward=True)
            gradient_kernel[(groups, size.chunks, size.pairs)](
                u, delta, rate, B, C, skip, shift, back, grad, borders, carries,
                grad_u, grad_delta, *partial, *size[1:6], size.pairs,
                STEPS=steps, BLOCK_D=block_d, BLOCK_N=size.block_n, BLOCKS=blocks,
            )  # fmt: skip
        grad_A = carries.unflatten(0, (scans, size.batch)).sum((1, 2)).to(dtype_A)
        grad_skip = (grad.float() * u.float()).sum((1, 2)).to(dtype_D)
        grad_bias = grad_delta.sum((1, 2)).to(dtype_bias)
        grad_B, grad_C = (one.sum(0) for one in partial)
        wide = (grad_u, grad_delta.to(delta.dtype), grad_A, grad_B.to(B.dtype), grad_C.to(C.dtype))
        return (*wide, grad_skip, grad_bias, None, None, None)


def _carry(rate: Tensor, totals: Tensor, borders: Tensor, state: Tensor, size: _Sizes, *, backward: bool) -> None:
    """``state`` is what enters the first chunk, and afterwards what leaves the last one."""
    width = min(CARRY_WIDTH, triton.next_power_of_2(size.D * size.N))
    grid = (triton.cdiv(size.D * size.N, width), size.pairs)
    carry_kernel[grid](
        rate, totals, borders, state, size.batch, size.D, size.N, size.chunks, BLOCK=width, BACKWARD=backward
    )
