"""An operation twice: the plain definition, and a faster twin that must agree with it.

A module makes it once (``from repcore import ops``), as
``ops.Op("timeseries/timeseries-distances")``,
and calls what it made like the plain definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Any, ...], dict[str, Any]]


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Squared distances (N, M) between rows (N, C) and (M, C): the definition."""
    return (first[:, None] - second[None]).square().sum(-1)


def distances_by_products(first: Tensor, second: Tensor) -> Tensor:
    """The same by one matrix product; needs N x M instead of N x M x C numbers."""
    squares = first.square().sum(1)[:, None] + second.square().sum(1)[None]
    return squares - 2.0 * first @ second.T


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Ordinary, equal, single and empty inputs, on which both must agree (in gradients, too, where one is required)."""
    for name, rows, columns in (("ordinary", 7, 5), ("single", 1, 1), ("empty", 0, 3)):
        generator = torch.Generator().manual_seed(rows)
        first = torch.randn(rows, columns, generator=generator).to(device, getattr(torch, dtype))
        second = torch.randn(rows + 2, columns, generator=generator).to(first)
        yield name, (first.requires_grad_(), second.requires_grad_()), {}
    same = torch.ones(3, 4, device=device, dtype=getattr(torch, dtype)).requires_grad_()
    yield "equal rows", (same, same.detach().clone().requires_grad_()), {}


def priority(device: str, dtype: str, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Half precision loses too many digits in the difference of large products."""
    return ("products",) if dtype in ("float32", "float64") else ()
