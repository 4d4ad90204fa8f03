"""Sums of rows along a graph, without a row for every arc: torch's ``embedding_bag`` gathers, weights and adds at once.

Only for float32 and float64 on a CPU, outside of compiled graphs and mixed precision (:func:`are_bags_usable`);
elsewhere the callers gather and scatter. Sums are taken in the order of the arcs, whatever the number of threads.

Symbols: N rows of the result, M rows of the values, A arcs, D features.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore_graphs.ops.ordering import stable_order


@dataclass(frozen=True, slots=True)
class Runs:
    """Entries grouped by the place that they belong to.

    Args:
        order: int64 (A,), entries of place 0, of place 1, ..., each in ascending order.
        starts: int64 (N,), where each place begins in ``order``.
    """

    order: Tensor
    starts: Tensor


def runs_of(place: Tensor, count: int) -> Runs:
    """Group entries by their place, int64 (A,) in 0 .. count - 1. Cost: one stable sort."""
    order = stable_order(place, count)
    sizes = torch.bincount(place, minlength=count)
    return Runs(order, torch.cumsum(sizes, 0) - sizes)


def are_bags_usable(values: Tensor) -> bool:
    """Whether sums of these rows may be taken here."""
    known = values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)
    is_plain = not (torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu"))
    return known and is_plain


def sums(values: Tensor, rows: Tensor, starts: Tensor, weights: Tensor | None = None) -> Tensor:
    """(N, D): the sum of ``weights[i] * values[rows[i]]`` over the entries i of each place; 0 where there are none.

    Args:
        values: (M, D).
        rows: int64 (A,).
        starts: int64 (N,), first entry of each place.
        weights: (A,), of the type of the values. No gradient is kept: for use inside an autograd function.
    """
    if not rows.numel():
        return values.new_zeros(starts.shape[0], values.shape[1])
    values = values.detach()  # else torch notes down what a gradient of its own would need
    return F.embedding_bag(rows, values, starts, mode="sum", per_sample_weights=weights)


class _WeightedSums(torch.autograd.Function):
    """out_v = sum over arcs (u, v) of w x_u."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, arcs: Tensor, into: Runs, out_of: Runs) -> Tensor:
        ctx.runs = into, out_of
        ctx.save_for_backward(values, weight, arcs)
        return sums(values.contiguous(), arcs[0][into.order], into.starts, weight[into.order])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, arcs = ctx.saved_tensors
        into, out_of = ctx.runs
        for_values = for_weight = None
        if ctx.needs_input_grad[0]:
            for_values = weighted_sums(grad, weight, arcs.flip(0), out_of, into)
        if ctx.needs_input_grad[1]:
            for_weight = _Products.apply(grad, values, arcs, into, out_of)
        return for_values, for_weight, None, None, None


class _Products(torch.autograd.Function):
    """(A,): x_v . y_u for the arcs (u, v)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, arcs: Tensor, into: Runs, out_of: Runs) -> Tensor:
        ctx.runs = into, out_of
        ctx.save_for_backward(x, y, arcs)
        _warned_once()
        products = x.new_empty(arcs.shape[1])
        products[into.order] = _at_entries(x, y, arcs[0][into.order], into.starts)
        return products

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, arcs = ctx.saved_tensors
        into, out_of = ctx.runs
        for_x = weighted_sums(y, grad, arcs, into, out_of) if ctx.needs_input_grad[0] else None
        for_y = weighted_sums(x, grad, arcs.flip(0), out_of, into) if ctx.needs_input_grad[1] else None
        return for_x, for_y, None, None, None


def _at_entries(x: Tensor, y: Tensor, columns: Tensor, starts: Tensor) -> Tensor:
    """(A,): x_v . y_u for the entries (v, u), grouped by v."""
    ends = torch.cat([starts, starts.new_tensor([columns.numel()])])
    zeros, shape = x.new_zeros(columns.numel()), (x.shape[0], y.shape[0])
    pattern = torch.sparse_csr_tensor(ends, columns, zeros, shape, check_invariants=False)
    found: Tensor = torch.sparse.sampled_addmm(pattern, x, y.t(), beta=0.0).values()
    return found


@functools.cache
def _warned_once() -> None:
    """torch says once a process that sparse tensors are in beta and unchecked, which nobody can do anything about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _at_entries(
            torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
        )


def weighted_sums(values: Tensor, weight: Tensor, arcs: Tensor, into: Runs, out_of: Runs) -> Tensor:
    """(N, D): at each node the sum of ``weight * values[source]`` over the arcs that end there.

    Args:
        values: (N, D); weight: (A,); arcs: int64 (2, A).
        into / out_of: :func:`runs_of` the targets and the sources.
    """
    out: Tensor = _WeightedSums.apply(values, weight, arcs, into, out_of)
    return out
