"""Plain definition of ``pointcloud/map-lookup``: bicubic weights of every pixel's row and column, two products.

Source: what upsampling with ``interpolate(mode="bicubic", align_corners=False)`` and reading single pixels gives, as in
I2P-MAE's back-projection (`ZrrSkywalker/I2P-MAE`). Differs: the image of S x S x C numbers a view is never made.

Symbols: M maps, C channels, h x w cells, S pixels a side, P pixels asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.errors import ShapeError
from repcore.shapes import check_shape

OWNER = "pointcloud/map-lookup"
SHARPNESS = -0.75  # of the cubic kernel, as torch and OpenCV have it
TAPS = 4


def check_arguments(maps: Tensor, pixels: Tensor, size: int) -> None:
    """Shapes of every implementation.

    Raises:
        ShapeError: they do not fit together, or there is no image.
    """
    sizes = check_shape(maps, "M C h w", name="maps", owner=OWNER)
    check_shape(pixels, "M P", name="pixels", owner=OWNER, bound=sizes)
    if size < 1 or sizes["h"] < 1 or sizes["w"] < 1:
        raise ShapeError(f"a map of {sizes['h']} x {sizes['w']} cells for an image of {size} pixels holds nothing")


def cubic_taps(pixels: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The four cells and weights that every pixel of an axis is made of: int64 and float32 (pixels, 4).

    Half-pixel centres; beyond the edge the outermost cell repeats.
    """
    place = (torch.arange(pixels, device=device, dtype=torch.float32) + 0.5) * (cells / pixels) - 0.5
    base = place.floor()
    offset = place - base
    a = SHARPNESS
    near = [offset, 1 - offset]
    far = [offset + 1, 2 - offset]
    inner = [((a + 2) * x - (a + 3)) * x * x + 1 for x in near]
    outer = [((a * x - 5 * a) * x + 8 * a) * x - 4 * a for x in far]
    weights = torch.stack([outer[0], inner[0], inner[1], outer[1]], dim=1)
    index = base.long()[:, None] + torch.arange(-1, TAPS - 1, device=device)
    return index.clamp_(0, cells - 1), weights


def map_lookup(maps: Tensor, pixels: Tensor, size: int) -> Tensor:
    """Values of the maps at pixels of the image that they cover.

    Args:
        maps: float (M, C, h, w), one grid an image.
        pixels: int64 (M, P), row * size + column of the full image.
        size: S, pixels a side of the full image.

    Returns:
        (M, P, C).

    Raises:
        ShapeError: see :func:`check_arguments`.
    """
    check_arguments(maps, pixels, size)
    rows, columns = (
        torch.zeros(size, cells, device=maps.device).scatter_add_(1, *cubic_taps(size, cells, maps.device))
        for cells in maps.shape[2:]
    )
    row = rows.to(maps.dtype)[pixels // size]  # (M, P, h)
    column = columns.to(maps.dtype)[pixels % size]  # (M, P, w)
    return torch.einsum("mph,mchw,mpw->mpc", row, maps, column)
