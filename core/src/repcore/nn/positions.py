"""Position encodings: fixed sines of coordinates in any number of dimensions, and re-gridding of learned tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import ConfigError, ShapeError

_MODES = {1: "linear", 2: "bicubic", 3: "trilinear"}


def grid_coordinates(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Index coordinates of a grid in row-major order, float (product of shape, P)."""
    axes = [torch.arange(size, dtype=torch.float32, device=device) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def sinusoidal_positions(coordinates: Tensor, width: int, temperature: float = 10_000.0) -> Tensor:
    """Fixed encoding: for each axis, sines then cosines of x / temperature^(i/n), i = 0 .. n-1, n = width / (2 P).

    Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.5, with sines and cosines in blocks instead of in turn.

    Args:
        coordinates: float (..., P), in any unit; P axes.
        width: D, a multiple of 2 P.
        temperature: ratio of the longest to the shortest wavelength.

    Returns:
        float (..., D).

    Raises:
        ConfigError: ``width`` is not a multiple of 2 P.
    """
    axes = coordinates.shape[-1]
    if axes < 1 or width % (2 * axes):
        raise ConfigError(
            f"width={width} cannot be shared by {axes} axes", expected=f"a multiple of {2 * max(axes, 1)}"
        )
    number = width // (2 * axes)
    steps = torch.arange(number, dtype=torch.float64, device=coordinates.device) / number
    frequency = (temperature**-steps).to(coordinates.dtype)
    angle = coordinates[..., None] * frequency  # (..., P, n)
    return torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(-2)


def interpolate_positions(table: Tensor, old_grid: Sequence[int], new_grid: Sequence[int]) -> Tensor:
    """Re-grid a learned table: linear in one dimension, bicubic in two, trilinear in three.

    Args:
        table: float (N, D) with N = product of ``old_grid``, row-major; tokens without a place (class token) left out.
        old_grid: grid that the table was learned on.
        new_grid: grid that is needed.

    Returns:
        float (product of ``new_grid``, D); ``table`` itself when the grids are equal.

    Raises:
        ShapeError: the table does not have as many rows as the old grid, or the grids differ in dimensions.
    """
    rows = torch.Size(old_grid).numel()
    if table.shape[0] != rows or len(old_grid) != len(new_grid) or len(old_grid) not in _MODES:
        raise ShapeError(
            f"a position table of {table.shape[0]} rows does not fit a grid of {tuple(old_grid)}",
            needed=f"{rows} rows, then a new grid of as many dimensions (1 to 3), got {tuple(new_grid)}",
        )
    if tuple(old_grid) == tuple(new_grid):
        return table
    image = table.T.unflatten(1, tuple(old_grid))[None].float()  # (1, D, *old_grid)
    resized = F.interpolate(image, size=tuple(new_grid), mode=_MODES[len(old_grid)], align_corners=False)
    return resized[0].flatten(1).T.to(table.dtype)
