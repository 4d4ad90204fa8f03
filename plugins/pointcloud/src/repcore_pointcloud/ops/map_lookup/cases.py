"""Inputs on which all implementations of ``pointcloud/map-lookup`` must agree, in values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Tensor, Tensor, int], dict[str, Any]]

# name: maps, channels, height, width, pixels a side, pixels asked for
SHAPES = {
    "usual": (2, 5, 14, 14, 224, 40),
    "not-square": (1, 3, 4, 7, 30, 25),
    "one-cell": (1, 2, 1, 1, 16, 9),
    "smaller-image": (1, 2, 8, 8, 5, 25),
    "no-pixel": (2, 3, 4, 4, 16, 0),
    "wide": (1, 300, 3, 3, 12, 6),
}


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments; corners are always among the pixels."""
    kind = getattr(torch, dtype)
    for seed, (name, (number, channels, height, width, size, asked)) in enumerate(SHAPES.items()):
        generator = torch.Generator().manual_seed(seed)
        maps = torch.randn(number, channels, height, width, generator=generator).to(device, kind).requires_grad_()
        pixels = torch.randint(size * size, (number, asked), generator=generator)
        if asked >= 4:
            pixels[:, :4] = torch.tensor([0, size - 1, size * (size - 1), size * size - 1])
        yield name, (maps, pixels.to(device), size), {}
