"""GPU twin of ``pointcloud/map-lookup``: one program a pixel and block of channels, sixteen reads each."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from repcore_pointcloud.ops.map_lookup.taps import map_lookup as lookup_by_taps
from repcore_pointcloud.ops.map_lookup.torch import check_arguments, cubic_taps

CHANNELS = 256


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]
    cells, pixels, row_index, row_weight, column_index, column_weight, found, P, C, size, height, width,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One pixel."""
    place, number = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    inside = c < C
    pixel = tl.load(pixels + number * P + place)
    row, column = pixel // size, pixel % size
    acc = tl.zeros((BLOCK,), dtype=tl.float32)
    for i in range(4):
        y = tl.load(row_index + row * 4 + i)
        for j in range(4):
            x = tl.load(column_index + column * 4 + j)
            weight = tl.load(row_weight + row * 4 + i) * tl.load(column_weight + column * 4 + j)
            cell = (number * height + y) * width + x
            acc += weight * tl.load(cells + cell * C + c, mask=inside, other=0.0).to(tl.float32)
    tl.store(found + (number * P + place) * C + c, acc, mask=inside)


class _Lookup(torch.autograd.Function):
    """Values; the gradient of the maps is that of the weighted rows."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, pixels: Tensor, size: int) -> Tensor:  # autograd's context
        number, channels, height, width = maps.shape
        cells = maps.permute(0, 2, 3, 1).contiguous()
        rows, columns = cubic_taps(size, height, maps.device), cubic_taps(size, width, maps.device)
        found = maps.new_empty(*pixels.shape, channels)
        if found.numel():
            block = min(CHANNELS, triton.next_power_of_2(channels))
            grid = (pixels.shape[1], number, triton.cdiv(channels, block))
            _kernel[grid](
                cells, pixels.contiguous(), *rows, *columns, found, pixels.shape[1], channels, size, height, width,
                BLOCK=block,
            )  # fmt: skip
        ctx.save_for_backward(maps, pixels)
        ctx.size = size
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        maps, pixels = ctx.saved_tensors
        with torch.enable_grad():
            leaf = maps.detach().requires_grad_()
            found = lookup_by_taps(leaf, pixels, ctx.size)
        return torch.autograd.grad(found, leaf, grad)[0], None, None


def map_lookup(maps: Tensor, pixels: Tensor, size: int) -> Tensor:
    """Same values and gradients as the plain definition; see there."""
    check_arguments(maps, pixels, size)
    out: Tensor = _Lookup.apply(maps, pixels, size)
    return out
