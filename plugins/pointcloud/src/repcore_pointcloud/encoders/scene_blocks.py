"""A large scene through a sparse network block by block, so that memory follows the block and not the tile.

Every block is computed with a border as wide as the network looks, and only its own voxels are kept: they see all that
they would see in the whole scene, so that the values are the same up to the rounding of products. Blocks are cut at
multiples of the coarsest voxel, so that voxels of every stage belong to one block.

Symbols: V voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from repcore_pointcloud.ops.sparse_conv3d.sites import unique_coordinates

MOST_VOXELS = 1 << 17  # of a block, border aside; a narrow U-Net needs about 4 KB a voxel while it computes
Found = Mapping[str, tuple[Tensor, Tensor]]  # name of a stage -> coordinates (R, 4) and features (R, C)


def in_blocks(
    compute: Callable[[Tensor, Tensor], Found],
    coordinates: Tensor,
    features: Tensor,
    *,
    steps: Mapping[str, int],
    border: int,
    coarsest: int,
) -> dict[str, tuple[Tensor, Tensor]]:
    """What ``compute`` finds for the whole, put together from blocks.

    Args:
        compute: coordinates and features of some voxels to coordinates and features of each stage.
        coordinates / features: (V, 4) and (V, C) of all.
        steps: side of a stage's voxels in finest voxels, by the name of the stage.
        border: how far a voxel looks. coarsest: side of the coarsest voxel; both in finest voxels.

    Returns:
        As ``compute``: stages of the finest voxels in the order of ``coordinates``, others in ascending order.
    """
    coarse: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name, step in steps.items() if step > 1}
    fine: dict[str, Tensor] = {}
    for low, high in boxes(coordinates, coarsest, least=2 * border):
        rows = _inside(coordinates, low, high, border).nonzero()[:, 0]
        around = coordinates[rows]
        found = compute(around, features[rows])
        own = _inside(around, low, high, 0)
        for name, (places, values) in found.items():
            if name in coarse:
                here = _inside(places * torch.tensor([1, *[steps[name]] * 3], device=places.device), low, high, 0)
                coarse[name].append((places[here], values[here]))
                continue
            if name not in fine:
                fine[name] = values.new_empty(len(coordinates), values.shape[1])
            fine[name][rows[own]] = values[own]
    joined = {name: (coordinates, values) for name, values in fine.items()}
    for name, parts in coarse.items():
        places, values = (torch.cat(list(one)) for one in zip(*parts, strict=True))
        distinct, index = unique_coordinates(places)
        order = torch.empty_like(index)
        order[index] = torch.arange(len(index), device=index.device)
        joined[name] = (distinct, values[order])
    return joined


def boxes(coordinates: Tensor, coarsest: int, least: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Lowest and first higher (batch, x, y, z) of boxes that hold every voxel once.

    A box is halved along its longest side until it holds at most ``MOST_VOXELS``, or its halves would be narrower than
    ``least``: borders would then be larger than what they surround. Scenes of a batch are never in one box.
    """
    scenes = coordinates[:, 0].unique().tolist()
    waiting = [(scene, (coordinates[:, 0] == scene).nonzero()[:, 0]) for scene in reversed(scenes)]
    while waiting:
        scene, rows = waiting.pop()
        places = coordinates[rows, 1:]
        low = torch.div(places.amin(0), coarsest, rounding_mode="floor") * coarsest
        high = torch.div(places.amax(0), coarsest, rounding_mode="floor") * coarsest + coarsest
        axis = int((high - low).argmax())
        middle = _middle(places[:, axis], int(low[axis]), int(high[axis]), coarsest)
        narrower = min(middle - int(low[axis]), int(high[axis]) - middle)
        if len(rows) <= MOST_VOXELS or narrower < max(least, coarsest):
            yield low.new_tensor([scene, *low.tolist()]), low.new_tensor([scene + 1, *high.tolist()])
            continue
        is_low = places[:, axis] < middle
        waiting += [(scene, rows[~is_low]), (scene, rows[is_low])]


def _middle(places: Tensor, low: int, high: int, coarsest: int) -> int:
    """A multiple of ``coarsest`` near the median, in the middle half of the side: halves of like number and width."""
    median = int(places.median()) // coarsest * coarsest
    quarter = (high - low) // 4 // coarsest * coarsest
    return min(max(median, low + quarter), high - quarter)


def _inside(coordinates: Tensor, low: Tensor, high: Tensor, border: int) -> Tensor:
    """Which voxels of the box's scene lie in it or at most ``border`` around it, bool (V,)."""
    inside = coordinates[:, 0] == low[0]
    for axis in (1, 2, 3):
        inside &= (coordinates[:, axis] >= low[axis] - border) & (coordinates[:, axis] < high[axis] + border)
    return inside
