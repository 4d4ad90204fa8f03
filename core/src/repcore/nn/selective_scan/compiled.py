"""Compiled CPU twin of ``selective-scan``: one pass over the tokens a block of channels, everything else in the cache.

Needs numba (``pip install repcore[fast]``); ``chunked`` stands in where it is missing, for float64, on other devices
and in captured programs. Kept for the backward pass: the inputs and the state before every chunk. What threads share
out are blocks of channels (forward) and groups of them with sums of their own (backward), as the sizes alone have it,
so that results repeat bit by bit with any number of threads.

Symbols: S scans, B items, P = S x B pairs, L tokens, D channels, N states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from repcore.nn.compiled_loops import in_threads
from repcore.nn.selective_scan.arguments import OWNER, check_arguments, state_dtype
from repcore.nn.selective_scan.chunked import selective_scan as chunked_scan

if TYPE_CHECKING:
    from repcore.nn.selective_scan.loops import Given, Sizes

UNITS = 8  # of work in the backward pass, where there are fewer pairs: each has its own sums for B and C
WORTH_A_THREAD = 1 << 20  # steps of a single state; below it a thread costs more than it brings


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
) -> Tensor | tuple[Tensor, Tensor]:
    """Same values and gradients as the plain definition; see there for the arguments."""
    if u.device.type != "cpu" or state_dtype(u) != torch.float32 or torch.compiler.is_compiling():
        return chunked_scan(
            u, delta, A, B, C, D, delta_bias=delta_bias, reverse=reverse, initial_state=initial_state,
            return_last_state=return_last_state,
        )  # fmt: skip
    check_arguments(u, delta, A, B, C, D, delta_bias=delta_bias, reverse=reverse, initial_state=initial_state)
    y, last = _CompiledScan.apply(u, delta, A, B, C, D, delta_bias, initial_state, tuple(reverse))
    return (y, last) if return_last_state else y


class _CompiledScan(torch.autograd.Function):
    """Forward keeps the border states, backward recomputes the rest chunk by chunk from right to left."""

    @staticmethod
    def forward(
        ctx: Any,  # autograd's context object
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor,
        initial: Tensor | None, reverse: tuple[bool, ...],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        from repcore.nn.selective_scan import loops

        given, sizes = _ready(u, delta, A, B, C, D, bias, reverse)
        pairs = u.shape[0] * u.shape[1]
        chunks = -(-sizes.L // loops.STEPS) if any(ctx.needs_input_grad) else 0
        state = torch.zeros(pairs, sizes.N, sizes.D)
        if initial is not None:
            state[..., : u.shape[3]] = initial.flatten(0, 1).transpose(1, 2)
        borders, y = torch.empty(chunks, *state.shape), torch.empty(*u.shape[:3], sizes.D)
        arrays = (_flat(state), _flat(borders), _flat(y))
        _shared_out(
            lambda first, last: loops.forward(given, sizes, *arrays, first, last),
            units=pairs * sizes.D // loops.LANES,
            work=y.numel() * sizes.N,
        )
        ctx.save_for_backward(u, delta, A, B, C, D, bias, borders)
        ctx.reverse = reverse
        last = state[..., : u.shape[3]].transpose(1, 2).unflatten(0, u.shape[:2]).contiguous()
        ctx.mark_non_differentiable(last)
        return y[..., : u.shape[3]].to(u.dtype), last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        from repcore.nn.selective_scan import loops

        u, delta, A, B, C, D, bias, borders = ctx.saved_tensors
        given, sizes = _ready(u, delta, A, B, C, D, bias, ctx.reverse)
        pairs = u.shape[0] * u.shape[1]
        wide, narrow = (*u.shape[:3], sizes.D), (sizes.groups, *B.shape)
        found = [
            torch.empty(wide), torch.empty(wide), torch.zeros(*u.shape[:2], sizes.N, sizes.D),
            torch.empty(narrow), torch.empty(narrow), torch.zeros(*u.shape[:2], sizes.D),
            torch.zeros(*u.shape[:2], sizes.D),
        ]  # fmt: skip
        arrays = (_flat(borders), _flat(_wide(grad)), loops.Gradients(*(_flat(one) for one in found)))
        _shared_out(
            lambda first, last: loops.backward(given, sizes, *arrays, first, last),
            units=pairs * sizes.groups,
            work=u.numel() * sizes.N,
        )
        found[2:] = found[2].sum(1).transpose(1, 2), found[3].sum(0), found[4].sum(0), found[5].sum(1), found[6].sum(1)
        like = (u, delta, A, B, C, D, bias)
        cut = (one[tuple(map(slice, source.shape))] for one, source in zip(found, like, strict=True))
        return (*(one.to(source.dtype) for one, source in zip(cut, like, strict=True)), None, None)


def _ready(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, reverse: tuple[bool, ...]
) -> tuple[Given, Sizes]:
    """Inputs as the loops read them. A channel that fills up a vector has a rate, input and weight of zero."""
    from repcore.nn.selective_scan import loops

    scans, batch, L, _ = u.shape
    # copies, also where they are float32: a storage that numpy has seen cannot be given back, as shared parameters are
    rates, skip, shift = (_wide(one.detach()).clone() for one in (A.transpose(1, 2), D, bias))
    flags = torch.tensor(reverse, dtype=torch.bool).numpy()
    arrays = [_flat(one) for one in (_wide(u), _wide(delta), rates, B.float(), C.float(), skip, shift)]
    channels = rates.shape[2]
    groups = max(1, min(channels // loops.LANES, UNITS // max(1, scans * batch)))
    return loops.Given._make([*arrays, flags]), loops.Sizes(batch, L, channels, A.shape[2], groups)


def _wide(tensor: Tensor) -> Tensor:
    """As float32, channels (the last dimension) filled up with zeros to whole vectors."""
    from repcore.nn.selective_scan import loops

    missing = -tensor.shape[-1] % loops.LANES
    return pad(tensor.float(), (0, missing)) if missing else tensor.float()


def _flat(tensor: Tensor) -> Any:
    """The numbers of a tensor as an array of one dimension; no copy where they lie in order."""
    return tensor.detach().contiguous().view(-1).numpy()


def _shared_out(run: Callable[[int, int], None], *, units: int, work: int) -> None:
    """Run all units, in as many threads as torch has where that is worth it."""
    threads = max(1, min(torch.get_num_threads(), work // WORTH_A_THREAD, units))
    edges = [units * number // threads for number in range(threads + 1)]
    in_threads(run, list(pairwise(edges)), OWNER)
