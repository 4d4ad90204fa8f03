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

from repcore.nn.products import bare_product, is_plain, product

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
    is_left = torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    if hidden.device.type != "cpu" or is_left or type(expand) is not nn.Linear or type(contract) is not nn.Linear:
        return contract(F.gelu(expand(hidden)))
    flat = hidden.reshape(-1, hidden.shape[-1])
    given = (flat, expand.weight, expand.bias, contract.weight, contract.bias)
    if torch.is_grad_enabled() and any(one.requires_grad for one in given):
        found: Tensor = _GeluBetween.apply(*given)
    else:
        parts = flat.split(CPU_FEED_FORWARD_TOKENS)
        found = torch.cat([product(_activated(part, *given[1:3]), *given[3:]) for part in parts])
    return found.view(*hidden.shape[:-1], contract.out_features)


def _activated(tokens: Tensor, expand: Tensor, shift: Tensor) -> Tensor:
    if is_plain(tokens, expand, shift):
        return bare_product(tokens, expand, shift, after="gelu")
    return F.gelu(F.linear(tokens, expand, shift))


class _GeluBetween(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, expand: Tensor, shift: Tensor, contract: Tensor, last: Tensor) -> Tensor:
        before, found = [], []
        for tokens in hidden.split(CPU_FEED_FORWARD_TOKENS):
            before.append(product(tokens, expand, shift))
            found.append(product(F.gelu(before[-1]), contract, last))
        ctx.save_for_backward(hidden, expand, contract, *before)
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, expand, contract, *before = ctx.saved_tensors
        grad = grad.contiguous()
        to_hidden = []
        to_expand, to_contract = torch.zeros_like(expand), torch.zeros_like(contract)
        to_shift = expand.new_zeros(len(expand))
        parts = (one.split(CPU_FEED_FORWARD_TOKENS) for one in (hidden, grad))
        for tokens, given, wide in zip(*parts, before, strict=True):
            to_contract.addmm_(given.t(), F.gelu(wide))
            inner = product(given, contract.t())
            torch.ops.aten.gelu_backward.grad_input(inner, wide, grad_input=inner)
            to_expand.addmm_(inner.t(), tokens)
            to_shift += inner.sum(0)
            if ctx.needs_input_grad[0]:
                to_hidden.append(product(inner, expand.t()))
        return torch.cat(to_hidden) if to_hidden else None, to_expand, to_shift, to_contract, grad.sum(0)
