"""Views of images and volumes: crop, turn and resize as one interpolation of a whole batch, on any device.

Large reductions read from a pyramid of halved images, so that nothing is skipped over; within a level the view is
interpolated linearly. Differs from the published pipeline, which crops, resizes (bicubic) and turns one view after the
other on the CPU: here a view is interpolated once.

Symbols: B images, V views an image, C channels, s axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore_medical3d.layers.boxes import Boxes

Fill = Literal["image", "zero"]
EDGE = 1e-3  # of a voxel: rounding of coordinates at the border of an image


def sample_views(
    images: Tensor, boxes: Boxes, size: Sequence[int], rotation: Tensor | None = None, *, fill: Fill = "image"
) -> Tensor:
    """Content of each box at a new size.

    Args:
        images: float (B, C, *E).
        boxes: (B, V, s), voxels.
        size: of a view along each axis.
        rotation: (B, V, s, s), turns offsets from the box's centre, in voxels; None = upright.
        fill: what a turned view shows outside its box: the image around it, or 0. Outside the image it is 0.

    Returns:
        float (B, V, C, *size).
    """
    order, groups = _levels(boxes, size)
    levels = [images]
    for _ in range(max(groups)):
        levels.append(_halved(levels[-1]))
    done = []
    for level, views in groups.items():
        chosen = Boxes(boxes.origin[:, views], boxes.extent[:, views])
        turned = None if rotation is None else rotation[:, views]
        done.append(_sampled(levels[level], images.shape[2:], chosen, size, turned, level=level, fill=fill))
    return torch.cat(done, dim=1)[:, order] if len(done) > 1 else done[0]


def resized(images: Tensor, size: int) -> Tensor:
    """Whole images (B, C, *E) at ``size`` voxels along each axis."""
    edges = images.shape[2:]
    if all(edge == size for edge in edges):
        return images
    extent = torch.tensor([float(edge) for edge in edges], device=images.device).expand(images.shape[0], 1, -1)
    level = _level(min(edges) / size)  # known from shapes alone, so that an exported program can hold it
    for _ in range(level):
        images = _halved(images)
    boxes = Boxes(torch.zeros_like(extent), extent)
    return _sampled(images, edges, boxes, [size] * len(edges), None, level=level, fill="image")[:, 0]


def _levels(boxes: Boxes, size: Sequence[int]) -> tuple[list[int], dict[int, list[int]]]:
    """Views by pyramid level, and the order that undoes the grouping."""
    scale = boxes.extent / boxes.extent.new_tensor([float(one) for one in size])
    least = scale.amin(dim=(0, 2)).tolist()  # per view: no item of the batch may be blurred by its neighbours
    groups: dict[int, list[int]] = {}
    for view, one in enumerate(least):
        groups.setdefault(_level(one), []).append(view)
    grouped = [view for views in groups.values() for view in views]
    return sorted(range(len(grouped)), key=grouped.__getitem__), groups


def _level(scale: float) -> int:
    """How often an image is halved before voxels ``scale`` times as large are read from it."""
    return max(0, math.floor(math.log2(max(scale, 1e-6)) + 1e-6))


def _halved(images: Tensor) -> Tensor:
    """Means of neighbouring voxels; axes of one voxel stay."""
    window = [2 if edge > 1 else 1 for edge in images.shape[2:]]
    pool = F.avg_pool2d if images.ndim == 4 else F.avg_pool3d
    return pool(images, window)


def _sampled(
    images: Tensor,
    edges: Sequence[int],
    boxes: Boxes,
    size: Sequence[int],
    rotation: Tensor | None,
    *,
    level: int,
    fill: Fill,
) -> Tensor:
    """Views from one level of the pyramid; ``edges`` are those of the level 0 that boxes refer to."""
    covered = boxes.extent.new_tensor([float(edge * 2**level) for edge in images.shape[2:]])
    centre = boxes.origin + boxes.extent / 2
    pull = torch.diag_embed(boxes.extent)  # (B, V, s, s): from places in a view, -1/2 to 1/2, to voxels
    if rotation is not None:
        pull = rotation.to(pull) @ pull
    grid = _affine_grid(2 * centre / covered - 1, 2 * pull / covered[:, None], size)
    merged = grid.flatten(1, 2).to(images.dtype)  # (B, V * size_0, ..., s): all views of an image in one call
    found = F.grid_sample(images, merged, mode="bilinear", padding_mode="border", align_corners=False)
    views = found.unflatten(2, (boxes.origin.shape[1], size[0])).transpose(1, 2)  # (B, V, C, *size)
    if rotation is None:
        return views
    low, high = torch.zeros_like(centre), centre.new_tensor([float(edge) for edge in edges]).expand_as(centre)
    if fill == "zero":
        low, high = low.maximum(boxes.origin), high.minimum(boxes.origin + boxes.extent)
    low, high, reach = low - EDGE, high + EDGE, pull.abs().sum(-1) / 2
    is_cut = ((centre - reach < low) | (centre + reach > high)).any(-1)  # (B, V); most views need no mask
    if is_cut.any():
        inside = _between(grid[is_cut], (2 * low / covered - 1)[is_cut], (2 * high / covered - 1)[is_cut])
        views[is_cut] = views[is_cut] * inside[:, None]
    return views


def _affine_grid(centre: Tensor, pull: Tensor, size: Sequence[int]) -> Tensor:
    """centre + pull @ (places of a view's voxels, -1/2 to 1/2), as :func:`torch.nn.functional.grid_sample` wants it.

    Each coordinate is a sum of one vector an axis, written where it belongs: many times faster than a product with
    every voxel's place, which :func:`torch.nn.functional.affine_grid` is, and for any number of axes.

    Args:
        centre: (B, V, s).
        pull: (B, V, s, s).

    Returns:
        (B, V, *size, s), last axis first.
    """
    axes = len(size)
    grid = centre.new_empty((*centre.shape[:2], *size, axes))
    for axis in range(axes):
        terms = []
        for other, count in enumerate(size):
            steps = (torch.arange(count, device=centre.device, dtype=centre.dtype) + 0.5) / count - 0.5
            shape = [count if one == other else 1 for one in range(axes)]
            terms.append((pull[..., axis, other, None] * steps).unflatten(-1, shape))  # (B, V, 1.., count, 1..)
        start = centre[(..., axis, *[None] * axes)] + sum(terms[:-1])
        torch.add(start, terms[-1], out=grid[..., axes - 1 - axis])
    return grid


def _between(grid: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Which places (M, *S, s), last axis first, lie in boxes (M, s): bool (M, *S)."""
    axes = low.shape[1]
    inside = torch.ones(grid.shape[:-1], dtype=torch.bool, device=grid.device)
    for axis in range(axes):
        place, bound = grid[..., axes - 1 - axis], (slice(None), axis, *[None] * axes)
        inside &= (place >= low[bound]) & (place <= high[bound])
    return inside


def rotations(shape: Sequence[int], largest_degrees: float, axes: int, generator: torch.Generator) -> Tensor:
    """Random turns (*shape, s, s): in the plane in 2-D, about random axes in 3-D.

    Args:
        largest_degrees: angles are uniform between minus and plus this.
    """
    device = generator.device
    angle = (2 * torch.rand(*shape, generator=generator, device=device) - 1) * math.radians(largest_degrees)
    sine, cosine = angle.sin(), angle.cos()
    if axes == 2:
        return torch.stack([torch.stack([cosine, sine], -1), torch.stack([-sine, cosine], -1)], -2)
    axis = F.normalize(torch.randn(*shape, 3, generator=generator, device=device), dim=-1)
    zero = torch.zeros_like(angle)
    x, y, z = axis.unbind(-1)
    cross = torch.stack(
        [torch.stack([zero, -z, y], -1), torch.stack([z, zero, -x], -1), torch.stack([-y, x, zero], -1)], -2
    )
    identity = torch.eye(3, device=device)
    return identity + sine[..., None, None] * cross + (1 - cosine)[..., None, None] * (cross @ cross)  # Rodrigues
