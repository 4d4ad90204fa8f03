"""Inputs on which all implementations of ``pointcloud/depth-views`` must agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Tensor, int, int], dict[str, Any]]


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments."""
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(0)
    cloud = torch.randn(2, 60, 3, generator=generator)
    shapes = {
        "usual": (cloud, 64, 5),
        "published-size": (cloud[:1], 224, 5),
        "one-pixel-splats": (cloud, 32, 1),
        "one-point": (cloud[:, :1], 32, 5),
        "all-equal": (cloud[:, :1].repeat(1, 20, 1), 32, 5),
        "line-of-sight": (cloud[:, :, :1] * torch.tensor([0.0, 0.0, 1.0]), 32, 5),
        "flat": (cloud * torch.tensor([1.0, 1.0, 0.0]), 32, 3),
    }
    for name, (points, size, splat) in shapes.items():
        yield name, (points.to(device, kind), size, splat), {}
