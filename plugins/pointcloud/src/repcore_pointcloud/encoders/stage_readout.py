"""Several stages of a sparse U-Net side by side, at its finest voxels.

Features of coarse stages are carried to every voxel that lies in theirs. Joining stages is what Wu et al. 2025 (Sonata,
arXiv 2503.16429) probe instead of the last stage alone, where contrastive U-Nets keep little of what they know.

Symbols: V voxels, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Tokens
from repcore_pointcloud.ops.sparse_conv3d.sites import unique_coordinates

Stages = Literal["last", "decoder", "all"]
READOUTS = ("decoder", "all")


def joined_stages(encoder: nn.Module, batch: Batch, stages: str) -> Tokens:
    """Features of the finest voxels (V, sum of widths) with the owner, position and source of these.

    Args:
        stages: every one of the ``decoder``, or ``all``: stem, deepest and decoder.

    Raises:
        ConfigError: an encoder that is no U-Net.
    """
    numbers = _layer_steps(encoder, stages)
    found = encoder(batch, layers=tuple(numbers))
    fine: Tokens = found.tokens["voxel"]
    values = torch.cat([carried_up(found.layers[number], fine, step) for number, step in numbers.items()], dim=1)
    return dataclasses.replace(fine, values=values)


def _layer_steps(encoder: nn.Module, stages: str) -> Mapping[int, int]:
    """Number of every wanted layer -> side of its voxels in finest voxels."""
    depth = getattr(encoder, "depth", None)
    if not isinstance(depth, int):
        raise ConfigError(f"{type(encoder).__name__} has no stages to join", hint="stages: last")
    decoder = {depth + 1 + number: 2 ** (depth - 1 - number) for number in range(depth)}
    return decoder if stages == "decoder" else {0: 1, depth: 2**depth, **decoder}


def carried_up(coarse: Tokens, fine: Tokens, step: int) -> Tensor:
    """Values of coarse voxels (R, C) at the fine voxels (V, C) inside them.

    Args:
        coarse / fine: tokens with owner and position.
        step: side of a coarse voxel in fine voxels.
    """
    if coarse.position is None or fine.position is None or coarse.owner is None or fine.owner is None:
        raise ConfigError("tokens without position cannot be joined")
    parents = torch.div(fine.position, step, rounding_mode="floor")
    places = [torch.cat([coarse.owner[:, None], coarse.position], 1), torch.cat([fine.owner[:, None], parents], 1)]
    distinct, index = unique_coordinates(torch.cat(places))
    row_of = index.new_zeros(len(distinct))
    row_of[index[: len(coarse.values)]] = torch.arange(len(coarse.values), device=index.device)
    return coarse.values[row_of[index[len(coarse.values) :]]]
