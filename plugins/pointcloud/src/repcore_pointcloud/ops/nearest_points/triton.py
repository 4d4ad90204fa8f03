"""GPU twin of ``pointcloud/nearest-points``: one program a query, the whole row of distances in registers.

The smallest distance is taken out K times, the lowest index first where several are equal, as in the definition.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from repcore_pointcloud.ops.nearest_points.torch import check_arguments


@triton.jit
def _kernel(queries, points, found, Q, N, K: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """All neighbours of one query."""
    query, cloud = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    n = tl.arange(0, BLOCK)
    inside = n < N
    base = points + cloud * N * 3
    place = (cloud * Q + query) * 3
    dx = tl.load(queries + place) - tl.load(base + n * 3, mask=inside, other=0.0)
    dy = tl.load(queries + place + 1) - tl.load(base + n * 3 + 1, mask=inside, other=0.0)
    dz = tl.load(queries + place + 2) - tl.load(base + n * 3 + 2, mask=inside, other=0.0)
    distance = tl.where(inside, dx * dx + dy * dy + dz * dz, float("inf"))
    waiting = inside
    for rank in range(K):
        best = tl.min(tl.where(waiting, distance, float("inf")), axis=0)
        index = tl.min(tl.where(waiting & (distance <= best), n, BLOCK), axis=0)
        tl.store(found + (cloud * Q + query) * K + rank, index.to(tl.int64))
        waiting = waiting & (n != index)


def nearest_points(queries: Tensor, points: Tensor, count: int) -> Tensor:
    """Same indices as the plain definition, up to rounding of distances by fused multiply-add."""
    check_arguments(queries, points, count)
    queries, points = queries.detach().float().contiguous(), points.detach().float().contiguous()
    clouds, number, total = len(points), queries.shape[1], points.shape[1]
    found = torch.empty(clouds, number, count, dtype=torch.long, device=points.device)
    if found.numel():
        block = triton.next_power_of_2(total)
        warps = 1 if block <= 256 else 2 if block <= 1024 else 4
        _kernel[(number, clouds)](queries, points, found, number, total, count, BLOCK=block, num_warps=warps)
    return found
