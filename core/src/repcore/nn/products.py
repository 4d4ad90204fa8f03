"""Products with weights on a CPU by oneDNN, which is faster there than torch's own: with bias and GELU within where no
gradient is wanted, and for the gradient of the values.

torch reaches oneDNN for float32 by an operation of its own that compiled code uses; where a build of torch lacks it,
and for all else than float32 on a CPU, the ordinary product is used. Results are the same up to rounding.

Symbols: K inputs, N outputs.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ONEDNN_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
LEAST_WORK = 2**22  # multiplications from which a product gains more than a function of autograd costs


def product(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``values @ weight.t() + bias``, with gradients of any order.

    Args:
        values: (..., K).
        weight: (N, K), or the transpose of such.
        bias: (N,) or None.
    """
    given = (values, weight) if bias is None else (values, weight, bias)
    if not is_plain(values, weight, bias):
        return F.linear(values, weight, bias)
    if torch.is_grad_enabled() and any(one.requires_grad for one in given):
        if values.numel() * len(weight) < LEAST_WORK:
            return F.linear(values, weight, bias)
        learned: Tensor = _Product.apply(values, weight, bias)
        return learned
    return bare_product(values, weight, bias)


def linear(values: Tensor, layer: nn.Linear) -> Tensor:
    """``layer(values)`` by :func:`product`; a layer of another class is called as it is."""
    if type(layer) is not nn.Linear:
        found: Tensor = layer(values)
        return found
    return product(values, layer.weight, layer.bias)


def bare_product(
    values: Tensor, weight: Tensor, bias: Tensor | None = None, *, after: Literal["none", "gelu"] = "none"
) -> Tensor:
    """:func:`product` of what :func:`is_plain`, without a gradient; a GELU (of the error function) after it if told."""
    found: Tensor = ONEDNN_LINEAR(values, weight, bias, after, [], "none")  # type: ignore[misc]
    return found


def is_plain(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether oneDNN may multiply these: float32 on a CPU, outside of compiled graphs and mixed precision.

    A weight whose rows or columns are not side by side in memory (a part of a wider one) is left to torch: oneDNN has
    no fast form for it and takes a thousand times as long.
    """
    if ONEDNN_LINEAR is None or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    given = (values, weight) if bias is None else (values, weight, bias)
    if not all(one.device.type == "cpu" and one.dtype == torch.float32 for one in given):
        return False
    return weight.is_contiguous() or weight.t().is_contiguous()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(values, weight)
        return bare_product(values, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, weight = ctx.saved_tensors
        needs_values, needs_weight, needs_bias = ctx.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])
        return (
            product(grad, weight.t()) if needs_values else None,
            flat.t() @ values.reshape(-1, values.shape[-1]) if needs_weight else None,
            flat.sum(0) if needs_bias else None,
        )


def onednn_operations(values: Any, weight: Any, *_: Any, **__: Any) -> int:
    """Operations of ``ONEDNN_LINEAR`` from the shapes of its inputs, for torch's counter of them."""
    return 2 * math.prod(values) * int(weight[0])
