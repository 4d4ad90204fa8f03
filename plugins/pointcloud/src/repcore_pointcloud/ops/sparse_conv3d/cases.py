"""Inputs on which all implementations of ``pointcloud/sparse-conv3d`` must agree, in values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites

Case = tuple[str, tuple[Tensor | None, ...], dict[str, Any]]
ONES = (1, 1, 1)

# name: voxels, side of the grid, kernel, stride, dilation, input and output channels, bias
SHAPES: dict[str, tuple[int, int, tuple[int, int, int], int, int, int, int, bool]] = {
    "submanifold": (150, 7, (3, 3, 3), 1, 1, 7, 5, True),
    "wide": (400, 9, (3, 3, 3), 1, 1, 32, 48, False),
    "five": (120, 8, (5, 5, 5), 1, 1, 4, 8, False),
    "flat-kernel": (100, 6, (3, 1, 3), 1, 1, 3, 4, True),
    "dilated": (150, 9, (3, 3, 3), 1, 2, 5, 6, False),
    "halved": (150, 7, (2, 2, 2), 2, 1, 6, 9, True),
    "halved-overlapping": (150, 7, (3, 3, 3), 2, 1, 6, 4, False),
    "one-by-one": (60, 5, ONES, 1, 1, 6, 3, True),
    "one-voxel": (1, 1, (3, 3, 3), 1, 1, 3, 2, True),
    "no-voxel": (0, 4, (3, 3, 3), 1, 1, 3, 2, True),
    "scattered": (60, 40, (3, 3, 3), 1, 1, 4, 4, False),
}


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments for every implementation; strided kinds are followed by their inverse."""
    kind = getattr(torch, dtype)
    for number, (name, (voxels, side, kernel, stride, dilation, width_in, width_out, bias)) in enumerate(
        SHAPES.items()
    ):
        generator = torch.Generator().manual_seed(number)
        sites = Sites(random_coordinates(voxels, side, generator).to(device))
        if stride == 1:
            book = sites.submanifold(kernel, (dilation,) * 3)
        else:
            book, _ = sites.strided(kernel, (stride,) * 3)
        books = {name: book} if stride == 1 else {name: book, f"{name}-inverse": book.reversed}
        for title, rulebook in books.items():
            yield (
                title,
                _arguments(
                    rulebook, kernel, (width_in, width_out), bias=bias, generator=generator, device=device, kind=kind
                ),
                {"rulebook": rulebook},
            )


def random_coordinates(voxels: int, side: int, generator: torch.Generator) -> Tensor:
    """Up to ``voxels`` distinct rows in random order: batch numbers 0 and 3, coordinates from -2."""
    drawn = torch.randint(0, side, (voxels, 4), generator=generator) - 2
    drawn[:, 0] = 3 * (drawn[:, 0] % 2)
    distinct = torch.unique(drawn, dim=0)
    return distinct[torch.randperm(len(distinct), generator=generator)]


def _arguments(
    rulebook: Rulebook,
    kernel: tuple[int, int, int],
    widths: tuple[int, int],
    *,
    bias: bool,
    generator: torch.Generator,
    device: str,
    kind: torch.dtype,
) -> tuple[Tensor | None, ...]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, kind).requires_grad_()

    width_in, width_out = widths
    features = normal(rulebook.num_inputs, width_in)
    return features, normal(width_out, *kernel, width_in), normal(width_out) if bias else None
