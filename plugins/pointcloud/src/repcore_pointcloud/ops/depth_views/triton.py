"""GPU twin of ``pointcloud/depth-views``: an image is a product of two incidence matrices.

A splat is a rectangle of rows times columns, so image = R^T diag(depth) C with R and C the (points, pixels) counts of
how often a point's splat touches a row or column. As a matrix product it needs no atomic additions and repeats bit by
bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from repcore_pointcloud.ops.depth_views.torch import check_arguments, point_pixels, splat_places, view_frames

TILE = 32  # rows and columns of an image that a program makes
POINTS = 32  # points taken at a time


@triton.jit
def _kernel(places, depth, image, N: tl.constexpr, S, SPLAT: tl.constexpr, TILE: tl.constexpr, POINTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """One tile of one image."""
    view = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * TILE + tl.arange(0, TILE)
    column = tl.program_id(1) * TILE + tl.arange(0, TILE)
    acc = tl.zeros((TILE, TILE), dtype=tl.float32)
    for first in range(0, N, POINTS):
        n = first + tl.arange(0, POINTS)
        inside = n < N
        base = places + (view * N + n) * 2 * SPLAT
        rows = tl.zeros((TILE, POINTS), dtype=tl.float32)
        columns = tl.zeros((POINTS, TILE), dtype=tl.float32)
        for step in range(SPLAT):
            rows += (tl.load(base + step, mask=inside, other=-1)[None, :] == row[:, None]).to(tl.float32)
            columns += (tl.load(base + SPLAT + step, mask=inside, other=-1)[:, None] == column[None, :]).to(tl.float32)
        weighted = rows * tl.load(depth + view * N + n, mask=inside, other=0.0)[None, :]
        acc += tl.dot(weighted, columns, input_precision="ieee")
    both = (row[:, None] < S) & (column[None, :] < S)
    tl.store(image + (view * S + row[:, None]) * S + column[None, :], acc, mask=both)


def depth_views(points: Tensor, size: int = 224, splat: int = 5) -> tuple[Tensor, Tensor]:
    """Same images (in another order of summation) and the same pixels as the plain definition."""
    check_arguments(points, size, splat)
    frames = view_frames(points.float(), size)
    places = splat_places(frames, size, splat).int().contiguous()
    depth = frames.depth.contiguous()
    clouds, views, number = depth.shape
    image = torch.empty(clouds, views, size, size, device=points.device)
    if image.numel():
        tiles = triton.cdiv(size, TILE)
        _kernel[(tiles, tiles, clouds * views)](
            places, depth, image, number, size, SPLAT=splat, TILE=TILE, POINTS=POINTS
        )
    return image.to(points.dtype), point_pixels(frames, size)
