"""Autocast to bfloat16 as a GPU runs it, at bearable speed on every processor.

A processor without instructions for bfloat16 multiplies such matrices a hundred times slower than float32 ones, and a
check would be stopped for its time. A GPU adds the products up in float32 and rounds each result once; float32
products of the same (rounded) numbers, rounded once, are the same but for the order of the sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_aten = torch.ops.aten
PRODUCTS = frozenset(
    {
        _aten.mm.default,
        _aten.addmm.default,
        _aten.bmm.default,
        _aten.baddbmm.default,
        _aten.convolution.default,
        _aten.convolution_backward.default,
    }
)


class _WideProducts(TorchDispatchMode):
    """Products of bfloat16 tensors computed in float32 and rounded once, forward and backward."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation."""
        if func not in PRODUCTS or not any(_is_half(one) for one in args):
            return func(*args, **(kwargs or {}))
        return tree_map(_rounded, func(*tree_map(_wide, args), **(kwargs or {})))


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16 and value.device.type == "cpu"


def _wide(value: Any) -> Any:
    return value.float() if _is_half(value) else value


def _rounded(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


@contextmanager
def bfloat16_products() -> Iterator[None]:
    """Around everything that a check computes in bfloat16, its backward pass included."""
    with _WideProducts():
        yield


@contextmanager
def bfloat16_autocast() -> Iterator[None]:
    """Autocast to bfloat16 on the CPU, for a forward pass and its loss."""
    with _WideProducts(), torch.autocast("cpu", torch.bfloat16):
        yield
