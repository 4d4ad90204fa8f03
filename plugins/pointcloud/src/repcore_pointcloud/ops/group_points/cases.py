"""Inputs on which all implementations of ``pointcloud/group-points`` must agree, in values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Tensor | None, ...], dict[str, Any]]

# name: clouds, points, groups, members, channels, centres given
SHAPES = {
    "coordinates": (2, 30, 7, 5, 3, True),
    "tokens": (2, 12, 6, 4, 33, False),
    "wide": (1, 5, 3, 2, 200, False),
    "one-point": (1, 1, 4, 3, 3, True),
    "no-group": (2, 5, 0, 3, 3, False),
}


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments."""
    kind = getattr(torch, dtype)
    for number, (name, (clouds, points, groups, members, channels, centred)) in enumerate(SHAPES.items()):
        generator = torch.Generator().manual_seed(number)
        values = torch.randn(clouds, points, channels, generator=generator).to(device, kind).requires_grad_()
        index = torch.randint(points, (clouds, groups, members), generator=generator).to(device)
        centres = torch.randn(clouds, groups, channels, generator=generator).to(device, kind).requires_grad_()
        yield name, (values, index, centres if centred else None), {}
