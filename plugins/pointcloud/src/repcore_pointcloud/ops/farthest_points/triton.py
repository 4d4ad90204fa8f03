"""GPU twin of ``pointcloud/farthest-points``: one program a cloud, all points and running distances on chip.

One launch for all G choices (and so for every level of a hierarchy) instead of about 8 G small kernels.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from repcore_pointcloud.ops.farthest_points.torch import check_arguments

WARPS_FROM_POINTS = ((8192, 16), (2048, 8), (0, 4))  # least points, warps


@triton.jit
def _kernel(points, chosen, excluded, N, G: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """All choices of one cloud."""
    cloud = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BLOCK)
    inside = n < N
    base = points + cloud * N * 3
    x = tl.load(base + n * 3, mask=inside, other=0.0)
    y = tl.load(base + n * 3 + 1, mask=inside, other=0.0)
    z = tl.load(base + n * 3 + 2, mask=inside, other=0.0)
    skipped = (x * x + y * y + z * z) <= excluded
    nearest = tl.where(skipped, -1.0, float("inf"))
    nearest = tl.where(inside, nearest, -2.0)  # below every real point
    last = tl.full((), 0, tl.int32)
    tl.store(chosen + cloud * G, last.to(tl.int64))
    for place in range(1, G):
        dx = x - tl.load(base + last * 3)
        dy = y - tl.load(base + last * 3 + 1)
        dz = z - tl.load(base + last * 3 + 2)
        nearest = tl.minimum(nearest, dx * dx + dy * dy + dz * dz)
        best = tl.max(nearest, axis=0)
        last = tl.min(tl.where(nearest == best, n, BLOCK), axis=0)  # the first of equal ones
        tl.store(chosen + cloud * G + place, last.to(tl.int64))


def farthest_points(points: Tensor, count: int, *, excluded: float = -1.0) -> Tensor:
    """Same indices as the plain definition, up to rounding of distances by fused multiply-add."""
    check_arguments(points, count)
    planes = points.detach().float().contiguous()
    clouds, number, _ = planes.shape
    chosen = torch.empty(clouds, count, dtype=torch.long, device=points.device)
    warps = next(warps for least, warps in WARPS_FROM_POINTS if number >= least)
    if clouds:
        block = triton.next_power_of_2(number)
        _kernel[(clouds,)](planes, chosen, float(excluded), number, count, BLOCK=block, num_warps=warps)
    return chosen
