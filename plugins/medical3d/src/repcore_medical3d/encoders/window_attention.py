"""Window attention of a map on a CPU, a few windows at a time, so that what they need stays in cache.

Tokens are read from the map and written back by number, so that neither shift nor windows cost a copy. Projections
give channels first, with which products over few channels are quickest. Logits are not kept: the backward pass makes
them again, which costs less than fetching them from memory. The mathematics is that of the attention step by step.

Symbols: B cubes, T tokens of a map, C channels, n windows of a map, N tokens of a window, h heads, d = C / h; k windows
and g heads at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CACHED_LOGITS = 2**19  # numbers handled at once, 2 MiB
CHUNK_TOKENS = 8192  # tokens projected at once


def attended_windows(
    tokens: Tensor, context: Tensor | None, projection: tuple[Tensor, Tensor | None], out: tuple[Tensor, Tensor],
    bias: Tensor, mask: Tensor | None, order: Tensor,
) -> Tensor:  # fmt: skip
    """What every token reads out of its window, (B, T, C), with gradients to tokens, context, weights and bias.

    Args:
        tokens: (B, T, C).
        context: what keys and values are made of, (B, T, C), while ``tokens`` are the queries themselves; None:
            queries, keys and values are all made of ``tokens``.
        projection: weight and bias of queries, keys and values, (3C, C) and (3C,) or None; of keys and values alone
            with ``context``, (2C, C) and (2C,).
        out: weight and bias of the output map, (C, C) and (C,).
        bias: added to logits, (h, N, N).
        mask: added to logits, (n, N, N), or None; without gradient.
        order: int64 (n, N): which tokens of the map are in which window.
    """
    found: Tensor = _Windows.apply(tokens, context, *projection, *out, bias, mask, order)
    return found


class _Windows(torch.autograd.Function):
    """Inputs as :func:`attended_windows` has them."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        tokens, _, _, _, out_weight, out_bias, _, _, order = given
        found = torch.empty_like(tokens)
        mixed = tokens.new_empty(len(tokens) * len(order), tokens.shape[2], order.shape[1])
        for chunk in _chunks(given):
            outputs = mixed[chunk.windows]
            for part in chunk.parts():
                shares, values = chunk.shares(part), part.of(chunk.values)
                torch.bmm(values, shares.transpose(1, 2), out=part.of(outputs))
            read = torch.bmm(outputs.transpose(1, 2), out_weight.t().expand(len(outputs), -1, -1)).add_(out_bias)
            found.view(-1, tokens.shape[2]).index_copy_(0, chunk.rows, read.flatten(0, 1))
        ctx.structure = given[7:]  # made once a shape, perhaps in inference mode, whose tensors torch refuses to save
        ctx.save_for_backward(*given[:7], mixed)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *given, mixed = ctx.saved_tensors
        grads = [None if one is None else torch.zeros_like(one) for one in given]
        given.extend(ctx.structure)
        grad = grad.reshape(-1, grad.shape[2])
        for chunk in _chunks(given):
            chunk.add_gradients(grads, grad.index_select(0, chunk.rows), mixed[chunk.windows])
        return (*grads, None, None)


@dataclass(frozen=True, slots=True)
class _Part:
    """Windows of a chunk, or of one window some heads, whose logits are handled at once."""

    windows: slice
    heads: slice
    count: int  # all heads

    def of(self, channels: Tensor) -> Tensor:
        """The same memory of (k, C, N) as (k * g, d, N)."""
        return channels[self.windows].unflatten(1, (self.count, -1))[:, self.heads].flatten(0, 1)

    def each(self, logits: Tensor) -> Tensor:
        """The same memory of (k * g, N, N) as (k, g, N, N)."""
        return logits.unflatten(0, (-1, self.heads.stop - self.heads.start))


class _Chunk:
    """Some windows: their tokens (k, N, C), and queries (scaled), keys and values as (k, C, N).

    Args:
        windows: counted over all cubes.
        rows: tokens of these windows, counted over all cubes, (k * N,).
        mask: (k, N, N) or None.
    """

    def __init__(self, given: Any, windows: slice, rows: Tensor, mask: Tensor | None, work: Tensor) -> None:
        tokens, context, self.weight, shift, self.out_weight, _, self.bias, _, _ = given
        self.windows, self.rows, self.work = windows, rows, work
        self.mask = None if mask is None else mask[:, None]
        self.tokens = self._taken(tokens)
        self.context = None if context is None else self._taken(context)
        source = self.tokens if self.context is None else self.context
        made = [_each(one, source.transpose(1, 2)) for one in self.weight.split(source.shape[2])]
        if shift is not None:
            for one, added in zip(made, shift.split(source.shape[2]), strict=True):
                one.add_(added[:, None])
        queries = made[0] if self.context is None else self.tokens.transpose(1, 2).contiguous()
        self.scale = (source.shape[2] // len(self.bias)) ** -0.5
        self.queries, self.keys, self.values = queries.mul_(self.scale), made[-2], made[-1]

    def _taken(self, tokens: Tensor) -> Tensor:
        """(B, T, C) to (k, N, C)."""
        return tokens.flatten(0, 1).index_select(0, self.rows).view(-1, self.bias.shape[1], tokens.shape[2])

    def parts(self) -> Iterator[_Part]:
        """Together all windows and heads."""
        heads, numbers = len(self.bias), self.bias.numel()
        windows, some = max(1, CACHED_LOGITS // numbers), max(1, min(heads, CACHED_LOGITS * heads // numbers))
        for first in range(0, len(self.tokens), windows):
            for head in range(0, heads, some):
                yield _Part(slice(first, first + windows), slice(head, min(head + some, heads)), heads)

    def shares(self, part: _Part) -> Tensor:
        """Softmax of logits, (k * g, N, N)."""
        logits = self._product(0, part.of(self.queries), part.of(self.keys))
        each = part.each(logits).add_(self.bias[part.heads])
        if self.mask is not None:
            each.add_(self.mask[part.windows])
        return torch.softmax(logits, dim=-1, out=logits)

    def _product(self, place: int, left: Tensor, right: Tensor) -> Tensor:
        """(k * g, d, N) each to (k * g, N, N), in memory that every part uses: new memory would cost more."""
        count, edge = len(left), left.shape[2]
        out = self.work[place, : count * edge * edge].view(count, edge, edge)
        return torch.bmm(left.transpose(1, 2), right, out=out)

    def add_gradients(self, grads: list[Tensor | None], grad: Tensor, mixed: Tensor) -> None:
        """From the gradient of what was read out, (k * N, C), to those of all inputs, which are added to."""
        to_tokens, to_context, to_weight, to_shift, to_out_weight, to_out_bias, to_bias = grads
        assert to_tokens is not None
        assert to_weight is not None
        assert to_out_weight is not None
        assert to_out_bias is not None
        assert to_bias is not None
        to_out_bias += grad.sum(0)
        turned = grad.view_as(self.tokens).transpose(1, 2)
        to_out_weight += torch.bmm(turned, mixed.transpose(1, 2)).sum(0)
        to_queries, to_keys, to_values = self._through(_each(self.out_weight.t(), turned), mixed, to_bias)
        source, found, made = self.tokens, to_tokens, [to_queries, to_keys, to_values]
        if self.context is not None:
            assert to_context is not None
            source, found, made = self.context, to_context, made[1:]
            to_tokens.view(-1, source.shape[2]).index_copy_(0, self.rows, to_queries.transpose(1, 2).flatten(0, 1))
        width, back = source.shape[2], torch.zeros_like(source)
        for number, (one, weight) in enumerate(zip(made, self.weight.split(width), strict=True)):
            place = slice(number * width, (number + 1) * width)
            to_weight[place] += torch.bmm(one, source).sum(0)
            if to_shift is not None:
                to_shift[place] += one.sum((0, 2))
            back.baddbmm_(one.transpose(1, 2), weight.expand(len(one), -1, -1))
        found.view(-1, width).index_copy_(0, self.rows, back.flatten(0, 1))

    def _through(self, grad: Tensor, mixed: Tensor, to_bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of queries (before they were scaled), keys and values, (k, C, N) each."""
        to_queries, to_keys, to_values = (torch.empty_like(grad) for _ in range(3))
        along = (grad * mixed).unflatten(1, (len(self.bias), -1)).sum(2)[..., None]  # (k, h, N, 1)
        for part in self.parts():
            shares, to_read = self.shares(part), part.of(grad)
            torch.bmm(to_read, shares, out=part.of(to_values))
            to_logits = self._product(1, to_read, part.of(self.values))
            each = part.each(to_logits).sub_(along[part.windows, part.heads])
            to_logits.mul_(shares)
            to_bias[part.heads] += each.sum(0)
            torch.bmm(part.of(self.keys), to_logits.transpose(1, 2), out=part.of(to_queries))
            torch.bmm(part.of(self.queries), to_logits, out=part.of(to_keys))
        return to_queries.mul_(self.scale), to_keys, to_values


def _chunks(given: Any) -> Iterator[_Chunk]:
    """Cubes one by one, each with some of its windows at a time; small cubes some at a time."""
    tokens, bias, mask, order = given[0], given[6], given[7], given[8]
    work, count = tokens.new_empty(2, max(CACHED_LOGITS, bias[0].numel())), len(order)
    step, cubes = max(1, CHUNK_TOKENS // order.shape[1]), max(1, CHUNK_TOKENS // order.numel())
    for cube in range(0, len(tokens), cubes):
        here = torch.arange(cube, min(cube + cubes, len(tokens)), device=order.device)
        rows = (order + (here * order.numel())[:, None, None]).flatten(0, 1)
        masks = None if mask is None else mask.repeat(len(here), 1, 1) if len(here) > 1 else mask
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            windows = slice(cube * count + first, cube * count + min(first + step, len(rows)))
            yield _Chunk(given, windows, rows[part].flatten(), None if masks is None else masks[part], work)


def _each(weight: Tensor, channels: Tensor) -> Tensor:
    """``weight`` times each of k matrices. Not ``torch.matmul``, which would turn all of them around twice."""
    return torch.bmm(weight.expand(len(channels), -1, -1), channels)
