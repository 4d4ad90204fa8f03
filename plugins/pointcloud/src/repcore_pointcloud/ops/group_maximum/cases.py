"""Inputs on which all implementations of ``pointcloud/group-maximum`` must agree, in values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Tensor | None, ...], dict[str, Any]]

# name: groups, members, channels, outputs, inner channels (0 = none)
SHAPES = {
    "last-layer": (9, 5, 6, 7, 0),
    "with-inner": (9, 5, 6, 7, 11),
    "tiles": (700, 16, 8, 12, 64),  # more than one tile, the last one smaller
    "one-member": (4, 1, 3, 5, 6),
    "many-members": (2, 300, 3, 5, 6),  # places need more than a byte
    "no-group": (0, 4, 3, 5, 6),
}


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments. No two members tie, of which any could get the gradient."""
    kind = getattr(torch, dtype)
    for number, (name, (groups, members, channels, outputs, inner)) in enumerate(SHAPES.items()):
        generator = torch.Generator().manual_seed(number)

        def of(*shape: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(*shape, generator=generator).to(device, kind).requires_grad_()

        last = (of(groups, members, channels), of(outputs, inner or channels), of(outputs))
        yield name, (*last, of(inner, channels), of(groups, inner)) if inner else last, {}
