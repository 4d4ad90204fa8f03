"""Inputs on which all implementations of ``pointcloud/nearest-points`` must agree exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Tensor, Tensor, int], dict[str, Any]]


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments. Coordinates are multiples of 1/64, so that no distance is rounded, fused or not."""
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(1)

    def grid(*shape: int, steps: int = 64) -> Tensor:
        return (torch.randint(-steps, steps + 1, shape, generator=generator) / 64.0).to(device, kind)

    cloud = grid(2, 400, 3)
    yield "usual", (cloud[:, :30], cloud, 8), {}
    yield "small-set", (grid(2, 7, 3), grid(2, 40, 3), 5), {}
    yield "all-of-them", (grid(1, 4, 3), grid(1, 6, 3), 6), {}
    yield "one-neighbour", (grid(1, 10, 3), grid(1, 300, 3), 1), {}
    yield "ties", (grid(2, 20, 3, steps=2), grid(2, 300, 3, steps=2), 9), {}
    yield "all-equal", (grid(1, 3, 3), grid(1, 1, 3).repeat(1, 280, 1), 12), {}
    yield "no-query", (grid(1, 0, 3), grid(1, 9, 3), 2), {}
    yield "uneven-blocks", (grid(1, 9, 3), grid(1, 517, 3), 16), {}
