"""Inputs on which all implementations of ``pointcloud/chamfer`` must agree, in values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Tensor, Tensor], dict[str, Any]]

SHAPES = {
    "usual": (5, 8, 8), "uneven": (3, 9, 7), "one-point": (2, 1, 5), "one-each": (2, 1, 1), "no-set": (0, 8, 8),
    "large": (1, 70, 66),
}  # fmt: skip


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments."""
    kind = getattr(torch, dtype)
    for number, (name, (pairs, first, second)) in enumerate(SHAPES.items()):
        generator = torch.Generator().manual_seed(number)
        sets = [torch.randn(pairs, n, 3, generator=generator) for n in (first, second)]
        yield name, tuple(one.to(device, kind).requires_grad_() for one in sets), {}  # type: ignore[misc]  # two sets
    same = torch.ones(2, 4, 3)
    yield "all-equal", tuple(same.clone().to(device, kind).requires_grad_() for _ in range(2)), {}  # type: ignore[misc]
