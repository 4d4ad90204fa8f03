"""CPU twin of ``pointcloud/map-lookup``: a weighted sum of sixteen rows of the map for every pixel, in one call."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore_pointcloud.ops.map_lookup.torch import TAPS, check_arguments, cubic_taps


def map_lookup(maps: Tensor, pixels: Tensor, size: int) -> Tensor:
    """Same values and gradients as the plain definition; see there."""
    check_arguments(maps, pixels, size)
    number, channels, height, width = maps.shape
    cells = maps.permute(0, 2, 3, 1).reshape(-1, channels)  # (M h w, C)
    (row_index, row_weight), (column_index, column_weight) = (
        cubic_taps(size, cells_a_side, maps.device) for cells_a_side in (height, width)
    )
    row, column = pixels // size, pixels % size
    index = row_index[row][..., :, None] * width + column_index[column][..., None, :]  # (M, P, 4, 4)
    index = index + torch.arange(number, device=maps.device)[:, None, None, None] * (height * width)
    weights = row_weight[row][..., :, None] * column_weight[column][..., None, :]
    found = F.embedding_bag(
        index.reshape(-1, TAPS * TAPS),
        cells,
        mode="sum",
        per_sample_weights=weights.reshape(-1, TAPS**2).to(maps.dtype),
    )
    return found.view(*pixels.shape, channels)
