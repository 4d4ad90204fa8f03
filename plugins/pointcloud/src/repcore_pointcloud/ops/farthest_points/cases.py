"""Inputs on which all implementations of ``pointcloud/farthest-points`` must agree exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Tensor, int], dict[str, Any]]


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments. Coordinates are multiples of 1/64, so that no distance is rounded, fused or not."""
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(0)

    def grid(*shape: int, steps: int = 64) -> Tensor:
        return (torch.randint(-steps, steps + 1, shape, generator=generator) / 64.0).to(device, kind)

    yield "usual", (grid(2, 100, 3), 40), {}
    yield "one-point", (grid(2, 1, 3), 3), {}
    yield "one-chosen", (grid(1, 9, 3), 1), {}
    yield "ties", (grid(2, 70, 3, steps=2), 30), {}
    yield "more-than-distinct", (grid(1, 5, 3).repeat(1, 4, 1), 12), {}
    yield "excluded-origin", (grid(2, 80, 3, steps=8), 30), {"excluded": 0.01}
    yield "all-excluded", (grid(1, 20, 3, steps=1), 5), {"excluded": 10.0}
    yield "colinear", (grid(1, 50, 1).repeat(1, 1, 3), 20), {}
