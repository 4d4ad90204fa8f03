"""CPU twin of ``pointcloud/nearest-points``: distances in pieces that stay in cache, and a search in two steps.

The points of a row are dealt out to blocks. The K + 1 smallest distances of a row lie in the K + 1 blocks with the
smallest minima, so only those blocks are searched. If the distances that decide about the answer are all different, the
answer is unique; rows with a tie are sorted as the plain definition says.

Symbols: B clouds, Q queries, N points, K neighbours, W points of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore_pointcloud.ops.nearest_points.torch import check_arguments

PIECE = 1 << 18  # distances handled at once: 1 MiB, measured best from 2^15 on
WIDTH = 8  # points of a block
FEWEST_POINTS = 256  # smaller sets are searched in one step


def nearest_points(queries: Tensor, points: Tensor, count: int) -> Tensor:
    """Same indices as the plain definition; see there."""
    check_arguments(queries, points, count)
    queries, points = queries.detach(), points.detach()
    clouds, number, total = len(points), queries.shape[1], points.shape[1]
    found = torch.empty(clouds, number, count, dtype=torch.long, device=points.device)
    blocks = -(-total // WIDTH)
    in_blocks = total >= FEWEST_POINTS and blocks > 2 * (count + 1)
    width = blocks * WIDTH if in_blocks else total
    rows = max(1, min(number, PIECE // width))
    distances, step = (points.new_full((rows, width), torch.inf) for _ in range(2))
    planes = points.transpose(1, 2).contiguous()  # (B, 3, N)
    for cloud in range(clouds):
        for first in range(0, number, rows):
            part = queries[cloud, first : first + rows]
            row = distances[: len(part)]
            _fill(row[:, :total], step[: len(part), :total], part, planes[cloud])
            found[cloud, first : first + rows] = _smallest(row, count, blocks if in_blocks else 0)
    return found


def _fill(distances: Tensor, step: Tensor, queries: Tensor, planes: Tensor) -> None:
    """Squared distances (R, N) in place, summed in the order of the definition."""
    torch.sub(queries[:, :1], planes[:1], out=distances).square_()
    for axis in (1, 2):
        distances += torch.sub(queries[:, axis : axis + 1], planes[axis : axis + 1], out=step).square_()


def _smallest(distances: Tensor, count: int, blocks: int) -> Tensor:
    """Indices of the smallest distances of each row, ties by index: (R, K)."""
    if count == distances.shape[1]:
        return distances.sort(dim=1, stable=True).indices
    if blocks:
        dealt = distances.view(len(distances), WIDTH, blocks)  # point j lies in block j % blocks
        best = dealt.amin(1).topk(count + 1, dim=1, largest=False, sorted=False).indices  # (R, K + 1)
        members = best[:, None, :] + torch.arange(WIDTH)[:, None] * blocks
        members = members.flatten(1)  # (R, W (K + 1))
        values, place = distances.gather(1, members).topk(count + 1, dim=1, largest=False)
        index = members.gather(1, place)
    else:
        values, index = distances.topk(count + 1, dim=1, largest=False)
    tied = (values[:, 1:] == values[:, :-1]).any(1)
    if tied.any():
        index[tied, :count] = distances[tied].sort(dim=1, stable=True).indices[:, :count]
    return index[:, :count]
