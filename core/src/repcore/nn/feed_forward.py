"""Two linear layers with GELU between them, some tokens at a time on a CPU.

The wide values between the layers are several times the tokens; a few at a time stay in cache, and only what comes
before the GELU is kept for the backward pass, which makes the GELU again.

Symbols: S tokens, D width, F hidden width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from repcore.nn.products import linear

CPU_FEED_FORWARD_TOKENS = 1024  # tokens at a time


def gelu_between(hidden: Tensor, expand: nn.Linear, contract: nn.Linear) -> Tensor:
    """``contract(gelu(expand(hidden)))``, with the error function, to the same rounding wherever it runs.

    Args:
        hidden: (..., D).
        expand: D to F, with a bias.
        contract: F to any width, with a bias.
    Returns:
        (..., width of ``contract``). On a CPU it has one gradient, no gradient of that.
    """
    is_plain = torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    if hidden.device.type != "cpu" or is_plain or type(expand) is not nn.Linear or type(contract) is not nn.Linear:
        return contract(F.gelu(expand(hidden)))
    flat = hidden.reshape(-1, hidden.shape[-1])
    given = (flat, expand.weight, expand.bias, contract.weight, contract.bias)
    if torch.is_grad_enabled() and any(one.requires_grad for one in given):
        found: Tensor = _GeluBetween.apply(*given)
    else:
        found = torch.cat(
            [linear(linear(part, expand, after="gelu"), contract) for part in flat.split(CPU_FEED_FORWARD_TOKENS)]
        )
    return found.view(*hidden.shape[:-1], contract.out_features)


class _GeluBetween(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, expand: Tensor, shift: Tensor, contract: Tensor, last: Tensor) -> Tensor:
        before = hidden.new_empty(len(hidden), len(expand))
        work = hidden.new_empty(min(CPU_FEED_FORWARD_TOKENS, len(hidden)), len(expand))
        found = hidden.new_empty(len(hidden), len(contract))
        for first in range(0, len(hidden), CPU_FEED_FORWARD_TOKENS):
            part = slice(first, first + CPU_FEED_FORWARD_TOKENS)
            tokens, wide = hidden[part], before[part]
            torch.addmm(shift, tokens, expand.t(), out=wide)
            torch.ops.aten.gelu.out(wide, out=work[: len(tokens)])
            torch.addmm(last, work[: len(tokens)], contract.t(), out=found[part])
        ctx.save_for_backward(hidden, expand, contract, before)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, expand, contract, before = ctx.saved_tensors
        size, grad = min(CPU_FEED_FORWARD_TOKENS, len(hidden)), grad.contiguous()
        to_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        to_expand, to_contract = torch.zeros_like(expand), torch.zeros_like(contract)
        to_shift = expand.new_zeros(len(expand))
        activated, to_wide = hidden.new_empty(2, size, len(expand))
        for first in range(0, len(hidden), CPU_FEED_FORWARD_TOKENS):
            part = slice(first, first + CPU_FEED_FORWARD_TOKENS)
            tokens, wide, given = hidden[part], before[part], grad[part]
            count = len(tokens)
            torch.ops.aten.gelu.out(wide, out=activated[:count])
            to_contract.addmm_(given.t(), activated[:count])
            torch.mm(given, contract, out=to_wide[:count])
            inner = torch.ops.aten.gelu_backward.grad_input(to_wide[:count], wide, grad_input=activated[:count])
            to_expand.addmm_(inner.t(), tokens)
            to_shift += inner.sum(0)
            if to_hidden is not None:
                torch.mm(inner, expand, out=to_hidden[part])
        return to_hidden, to_expand, to_shift, to_contract, grad.sum(0)
