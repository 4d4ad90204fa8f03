"""Time-chunked twin of ``selective-scan`` for CPUs: in place, with a backward that recomputes the states.

Why it is fast: the state tile of a chunk (steps x scans x items x channels x states) stays in the cache, the recurrence
runs in place over views made once, and both contractions over states are batched matrix products. Only the states
at chunk borders are kept for the backward pass, L / chunk of them; no tensor of size (B, L, D, N) ever exists.
Log-depth parallel scans do the same work twice and lose on a CPU; the trick with ratios of cumulative products
overflows for stiff decays, so it is not used.

Symbols: S scans, B items, L tokens, D channels, N states, K steps of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.nn.selective_scan.arguments import check_arguments, state_dtype

STEPS = 32  # steps of a chunk: long enough to spread Python's overhead, short enough for the cache
SHORTEST_CHUNK = 8
TILE = 1 << 20  # numbers in the state tile of a chunk: 4 MiB in float32, measured best between 2 and 8 MiB
ROW = 1 << 15  # numbers in one step of a tile: larger batches are split, so that a chunk keeps enough steps


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
    steps: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Same values and gradients as the plain definition; see there for the arguments.

    Args:
        steps: steps of a chunk; by default from the sizes. It changes speed and memory, results only by rounding.
    """
    check_arguments(u, delta, A, B, C, D, delta_bias=delta_bias, reverse=reverse, initial_state=initial_state)
    y, last = _ChunkedScan.apply(u, delta, A, B, C, D, delta_bias, initial_state, tuple(reverse), steps)
    return (y, last) if return_last_state else y


class _Operands(NamedTuple):
    """Inputs of some items, ready to be cut into chunks."""

    u: Tensor
    delta: Tensor
    A: Tensor  # (S, 1, D, N)
    B: Tensor
    C: Tensor
    bias: Tensor  # (S, 1, D)
    reverse: tuple[bool, ...]
    dtype: torch.dtype


class _ChunkedScan(torch.autograd.Function):
    """Forward keeps the border states, backward recomputes the rest chunk by chunk from right to left."""

    @staticmethod
    def forward(
        ctx: Any,  # autograd's context object
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor,
        initial: Tensor | None, reverse: tuple[bool, ...], steps: int | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        dtype = state_dtype(u)
        S, batch, L, channels = u.shape
        states = A.shape[2]
        rows, steps = _split(S, batch, channels * states, steps)
        keep = any(ctx.needs_input_grad)
        y = torch.empty_like(u)
        last = u.new_zeros((S, batch, channels, states), dtype=dtype)
        if initial is not None:
            last.copy_(initial)
        borders = u.new_empty((-(-L // steps) if keep else 0, S, batch, channels, states), dtype=dtype)
        for items in _item_groups(batch, rows):
            operands = _operands(u, delta, A, B, C, bias, reverse=reverse, items=items, dtype=dtype)
            _forward_items(operands, y[:, items], last[:, items], borders[:, :, items], steps)
        y += u * D.to(u.dtype)[:, None, None, :]
        ctx.save_for_backward(u, delta, A, B, C, D, bias, borders)
        ctx.layout = (reverse, rows, steps)
        ctx.mark_non_differentiable(last)
        return y, last

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        u, delta, A, B, C, D, bias, borders = ctx.saved_tensors
        reverse, rows, steps = ctx.layout
        dtype = state_dtype(u)
        grads = _Gradients._make(torch.zeros_like(one, dtype=dtype) for one in (u, delta, B, C, A))
        for items in _item_groups(u.shape[1], rows):
            operands = _operands(u, delta, A, B, C, bias, reverse=reverse, items=items, dtype=dtype)
            part = _Gradients._make([*(one[:, items] for one in grads[:4]), grads.A])
            _backward_items(operands, grad[:, items], borders[:, :, items], part, steps)
        wide = grad.to(dtype)
        grads.u.addcmul_(wide, D.to(dtype)[:, None, None, :])
        grad_skip = (wide * u.to(dtype)).sum((1, 2))
        grad_bias = grads.delta.sum((1, 2))
        found = (grads.u, grads.delta, grads.A, grads.B, grads.C, grad_skip, grad_bias)
        like = (u, delta, A, B, C, D, bias)
        return (*(one.to(source.dtype) for one, source in zip(found, like, strict=True)), None, None, None)


class _Gradients(NamedTuple):
    """Gradients in natural order, filled in place."""

    u: Tensor
    delta: Tensor
    B: Tensor
    C: Tensor
    A: Tensor


def _split(scans: int, batch: int, width: int, steps: int | None) -> tuple[int, int]:
    """Items handled together and steps of a chunk, so that a tile stays in the cache."""
    rows = max(1, min(batch, ROW // max(1, scans * width)))
    if steps is None:
        steps = min(STEPS, max(SHORTEST_CHUNK, TILE // max(1, scans * rows * width)))
    return rows, steps


def _item_groups(batch: int, rows: int) -> Iterator[slice]:
    for first in range(0, batch, rows):
        yield slice(first, min(batch, first + rows))


def _operands(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, bias: Tensor,
    *, reverse: tuple[bool, ...], items: slice, dtype: torch.dtype,
) -> _Operands:  # fmt: skip
    return _Operands(
        u=u[:, items], delta=delta[:, items], A=A.to(dtype)[:, None], B=B[:, items], C=C[:, items],
        bias=bias.to(dtype)[:, None], reverse=reverse, dtype=dtype,
    )  # fmt: skip


def _take(tensor: Tensor, reverse: tuple[bool, ...], first: int, stop: int) -> Tensor:
    """Scan steps ``first..stop`` of (S, B, L, F) in scan order and time-major: (K, S, B, F)."""
    scans, batch, length, width = tensor.shape
    out = tensor.new_empty((stop - first, scans, batch, width))
    for scan, back in enumerate(reverse):
        if back:
            out[:, scan] = tensor[scan, :, length - stop : length - first].transpose(0, 1).flip(0)
        else:
            out[:, scan] = tensor[scan, :, first:stop].transpose(0, 1)
    return out


def _put(target: Tensor, values: Tensor, reverse: tuple[bool, ...], first: int, stop: int) -> None:
    """Inverse of :func:`_take`: write (K, S, B, F) into natural order."""
    length = target.shape[2]
    for scan, back in enumerate(reverse):
        if back:
            target[scan, :, length - stop : length - first] = values[:, scan].flip(0).transpose(0, 1)
        else:
            target[scan, :, first:stop] = values[:, scan].transpose(0, 1)


class _Chunk(NamedTuple):
    """One chunk in scan order; ``gain`` and ``states`` are views of buffers that the next chunk reuses."""

    u: Tensor  # (K, S, B, D)
    raw: Tensor  # step before softplus
    step: Tensor
    drive: Tensor  # step * u
    B: Tensor  # (K, S, B, N)
    gain: Tensor  # (K, S, B, D, N)
    states: Tensor  # (K, S, B, D, N)


def _buffers(operands: _Operands, steps: int, count: int) -> list[Tensor]:
    scans, batch, _, channels = operands.u.shape
    shape = (steps, scans, batch, channels, operands.A.shape[3])
    return [torch.empty(shape, dtype=operands.dtype, device=operands.u.device) for _ in range(count)]


def _run_chunk(operands: _Operands, start: Tensor, first: int, stop: int, *, gain: Tensor, states: Tensor) -> _Chunk:
    """States of one chunk from the state before it, computed in place."""
    u = _take(operands.u, operands.reverse, first, stop).to(operands.dtype)
    raw = _take(operands.delta, operands.reverse, first, stop).to(operands.dtype).add_(operands.bias)
    B = _take(operands.B, operands.reverse, first, stop).to(operands.dtype)
    step = F.softplus(raw)
    drive = step * u
    gain, states = gain[: stop - first], states[: stop - first]
    torch.mul(step[..., None], operands.A, out=gain).exp_()
    torch.mul(drive[..., None], B[..., None, :], out=states)
    gains, rows = gain.unbind(0), states.unbind(0)
    before = start
    for gain_t, row in zip(gains, rows, strict=True):
        row.addcmul_(gain_t, before)
        before = row
    return _Chunk(u=u, raw=raw, step=step, drive=drive, B=B, gain=gain, states=states)


def _forward_items(operands: _Operands, y: Tensor, last: Tensor, borders: Tensor, steps: int) -> None:
    length = operands.u.shape[2]
    gain, states = _buffers(operands, min(steps, max(1, length)), 2)
    for number, first in enumerate(range(0, length, steps)):
        stop = min(length, first + steps)
        if len(borders):
            borders[number] = last
        chunk = _run_chunk(operands, last, first, stop, gain=gain, states=states)
        C = _take(operands.C, operands.reverse, first, stop).to(operands.dtype)
        out = torch.matmul(chunk.states, C[..., None])[..., 0]  # (K, S, B, D)
        _put(y, out.to(y.dtype), operands.reverse, first, stop)
        last.copy_(chunk.states[-1])  # the buffer is written again by the next chunk


def _backward_items(operands: _Operands, grad: Tensor, borders: Tensor, grads: _Gradients, steps: int) -> None:
    """Sweep the chunks from right to left with the carry dL/ds of the state to the left of the last chunk done."""
    length = operands.u.shape[2]
    gain, states, gamma = _buffers(operands, min(steps, max(1, length)), 3)
    carry = torch.zeros_like(states[0])
    for number in reversed(range(len(borders))):
        first = number * steps
        stop = min(length, first + steps)
        chunk = _run_chunk(operands, borders[number], first, stop, gain=gain, states=states)
        gy = _take(grad, operands.reverse, first, stop).to(operands.dtype)
        C = _take(operands.C, operands.reverse, first, stop).to(operands.dtype)
        grad_C = torch.matmul(gy[..., None, :], chunk.states)[..., 0, :]  # (K, S, B, N)
        _put(grads.C, grad_C, operands.reverse, first, stop)
        local = _state_gradients(chunk.gain, gy, C, carry, gamma[: stop - first])
        torch.mul(chunk.gain[0], local[0], out=carry)
        _chunk_gradients(operands, chunk, local, borders[number], grads, first=first, stop=stop)


def _state_gradients(gain: Tensor, gy: Tensor, C: Tensor, carry: Tensor, gamma: Tensor) -> Tensor:
    """dL/ds of every step of a chunk: ``g_t = gy_t C_t + a_(t+1) g_(t+1)``, with the carry from the right."""
    torch.mul(gy[..., None], C[..., None, :], out=gamma)
    gains, rows = gain.unbind(0), gamma.unbind(0)
    rows[-1].add_(carry)
    for index in range(len(rows) - 2, -1, -1):
        rows[index].addcmul_(gains[index + 1], rows[index + 1])
    return gamma


def _chunk_gradients(
    operands: _Operands, chunk: _Chunk, gamma: Tensor, border: Tensor, grads: _Gradients, *, first: int, stop: int
) -> None:
    """Gradients of the chunk's inputs; ``gamma``, ``gain`` and ``states`` are used up."""
    grad_B = torch.matmul(chunk.drive[..., None, :], gamma)[..., 0, :]  # (K, S, B, N)
    inner = torch.matmul(gamma, chunk.B[..., None])[..., 0]  # (K, S, B, D): dL/d(step u)
    gamma.mul_(chunk.gain)  # towards dL/d(step A) = gamma_t a_t s_(t-1)
    gamma[1:].mul_(chunk.states[:-1])
    gamma[0].mul_(border)
    grad_step = torch.mul(gamma, operands.A, out=chunk.states).sum(-1).addcmul_(inner, chunk.u)
    grads.A.add_(gamma.mul_(chunk.step[..., None]).sum((0, 2)))
    grad_raw = grad_step.mul_(torch.where(chunk.raw > 20.0, 1.0, torch.sigmoid(chunk.raw)))
    for target, values in ((grads.B, grad_B), (grads.u, inner * chunk.step), (grads.delta, grad_raw)):
        _put(target, values, operands.reverse, first, stop)
