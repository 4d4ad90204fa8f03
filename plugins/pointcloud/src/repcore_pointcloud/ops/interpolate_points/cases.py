"""Inputs on which all implementations of ``pointcloud/interpolate-points`` must agree, in values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Tensor, Tensor, Tensor], dict[str, Any]]

# name: clouds, known, asked, channels
SHAPES = {
    "usual": (2, 16, 30, 7), "few-known": (2, 2, 5, 4), "one-known": (1, 1, 3, 2), "none-asked": (1, 5, 0, 3),
    "many-known": (1, 300, 9, 5),
}  # fmt: skip


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments; some asked positions are known ones."""
    kind = getattr(torch, dtype)
    for seed, (name, (clouds, sources, targets, channels)) in enumerate(SHAPES.items()):
        generator = torch.Generator().manual_seed(seed)
        known = torch.randn(clouds, sources, 3, generator=generator)
        asked = torch.randn(clouds, targets, 3, generator=generator)
        same = min(sources, targets) // 2
        asked[:, :same] = known[:, :same]
        values = torch.randn(clouds, sources, channels, generator=generator).to(device, kind).requires_grad_()
        yield name, (values, known.to(device, kind), asked.to(device, kind)), {}
