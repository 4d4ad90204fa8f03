"""Plain definition of ``pointcloud/depth-views``: every point splatted into three images along the axes.

Source: I2P-MAE (`ZrrSkywalker/I2P-MAE`, its projection for CLIP), after PointCLIP V2; method card, section 3.1.
Differs: one channel (the three of the reference are equal), all views in one call, and a cloud without extent in a
view (one point, or a line along the depth axis) falls on one pixel instead of dividing by zero.

Symbols: B clouds, N points, V = 3 views, S pixels a side, W splat width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from repcore.errors import ShapeError
from repcore.shapes import check_shape

OWNER = "pointcloud/depth-views"
VIEW_AXES = ((0, 1, 2), (2, 0, 1), (1, 2, 0))  # row, column and depth axis of each view
MARGIN = 3  # pixels that the object leaves free


@dataclass(frozen=True, slots=True)
class ViewFrames:
    """How clouds lie in their images.

    Args:
        minimum: (B, V, 2), smallest plane coordinates.
        cell: (B, V), width of a pixel in the units of the cloud.
        offset: int64 (B, V, 2), centring shift of rows and columns.
        place: int64 (B, V, N, 2), row and column of each point before shift and splat.
        depth: (B, V, N), coordinate along the line of sight.
    """

    minimum: Tensor
    cell: Tensor
    offset: Tensor
    place: Tensor
    depth: Tensor


def check_arguments(points: Tensor, size: int, splat: int) -> None:
    """Shapes and sizes of every implementation.

    Raises:
        ShapeError: ``points`` is not (B, N, 3), there is none, or the image is too small for the splat.
    """
    sizes = check_shape(points, "B N 3", name="points", owner=OWNER)
    if sizes["N"] < 1 or splat < 1 or splat % 2 == 0 or size <= MARGIN + splat // 2:
        raise ShapeError(
            f"{sizes['N']} points cannot be drawn on {size} x {size} pixels with splats of {splat}",
            expected=f"a point or more, an odd splat, and more than {MARGIN} pixels beside it",
        )


def view_frames(points: Tensor, size: int) -> ViewFrames:
    """Scale and centring of each view; float32 in the order of the reference, since points lie on cell borders."""
    axes = torch.tensor(VIEW_AXES, device=points.device)
    turned = points.detach()[..., axes].permute(0, 2, 1, 3)  # (B, V, N, 3)
    plane, depth = turned[..., :2], turned[..., 2]
    minimum = plane.amin(2)  # (B, V, 2)
    extent = (plane.amax(2) - minimum).amax(-1)
    cell = extent / (size - MARGIN)
    divisor = torch.where(cell > 0, cell, torch.ones_like(cell))
    place = ((plane - minimum[:, :, None]) / divisor[..., None, None]).floor().long()
    middle = (place.amax(2) + place.amin(2) + 2).div(2, rounding_mode="floor")
    return ViewFrames(minimum, cell, size // 2 - middle - 1, place, depth)


def splat_places(frames: ViewFrames, size: int, splat: int) -> Tensor:
    """Rows and columns that each point is drawn on, int64 (B, V, N, 2, W); the border keeps what falls beyond it."""
    window = torch.arange(splat, device=frames.place.device) - splat // 2
    centre = frames.place + 1 + frames.offset[:, :, None]
    return (centre[..., None] + window).clamp_(0, size - 1)


def point_pixels(frames: ViewFrames, size: int) -> Tensor:
    """Pixel of each point, row * S + column: int64 (B, V, N)."""
    centre = (frames.place + 1 + frames.offset[:, :, None]).clamp_(0, size - 1)
    return centre[..., 0] * size + centre[..., 1]


def depth_views(points: Tensor, size: int = 224, splat: int = 5) -> tuple[Tensor, Tensor]:
    """Sum of the depths of all splats on each pixel, and where each point lies.

    Args:
        points: float (B, N, 3). No gradient flows.
        size: S, pixels a side.
        splat: W, side of the square that a point covers, odd.

    Returns:
        images (B, 3, S, S), 0 where nothing is drawn; pixels int64 (B, 3, N), row * S + column.

    Raises:
        ShapeError: see :func:`check_arguments`.
    """
    check_arguments(points, size, splat)
    frames = view_frames(points, size)
    places = splat_places(frames, size, splat)
    flat = places[..., 0, :, None] * size + places[..., 1, None, :]  # (B, V, N, W, W)
    depth = frames.depth[..., None, None].expand_as(flat)
    image = points.new_zeros(*flat.shape[:2], size * size)
    image.scatter_add_(2, flat.flatten(2), depth.flatten(2))
    return image.unflatten(2, (size, size)), point_pixels(frames, size)
