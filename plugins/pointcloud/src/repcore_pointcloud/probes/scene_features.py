"""Features of voxels for dense probes: of the last stage, or of several stages side by side.

Features of coarse stages are carried to every voxel that lies in theirs. Joining stages is what Wu et al. 2025 (Sonata,
arXiv 2503.16429) probe instead of the last stage alone, where contrastive U-Nets keep little of what they know.

Symbols: V voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Tokens
from repcore_pointcloud.layers.sparse_convolution import SparseBatchNorm
from repcore_pointcloud.ops.sparse_conv3d.sites import unique_coordinates

Stages = Literal["last", "decoder", "all"]
STAGES: tuple[Stages, ...] = ("last", "decoder", "all")


@torch.no_grad()
def voxel_features(encoder: nn.Module, batch: Batch, stages: Stages = "last") -> np.ndarray:
    """Features of the voxels of a batch, float32 (V, C).

    Args:
        encoder: a sparse U-Net in eval mode.
        batch: voxels.
        stages: the ``last`` one, every one of the ``decoder``, or ``all``: stem, deepest and decoder.

    Raises:
        ConfigError: several stages of an encoder that is no U-Net.
    """
    numbers = _layer_steps(encoder, stages)
    found = encoder(batch, layers=tuple(numbers)) if numbers else encoder(batch)
    parts = [carried_up(found.layers[number], found.tokens["voxel"], step) for number, step in numbers.items()]
    values = torch.cat(parts, dim=1) if parts else found.tokens["voxel"].values
    result: np.ndarray = values.float().cpu().numpy()
    return result


def _layer_steps(encoder: nn.Module, stages: Stages) -> Mapping[int, int]:
    """Number of every wanted layer -> side of its voxels in finest voxels; empty = the last stage."""
    if stages == "last":
        return {}
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


@torch.no_grad()
def calibrate(encoder: nn.Module, batches: Sequence[Batch]) -> nn.Module:
    """Give an untrained encoder BatchNorm statistics of the data, so that it is a fair random baseline."""
    norms = [one for one in encoder.modules() if isinstance(one, SparseBatchNorm)]
    momenta = [one.momentum for one in norms]
    for one in norms:
        one.reset_running_stats()
        one.momentum = None  # cumulative mean
    encoder.train()
    for batch in batches:
        encoder(batch)
    for one, momentum in zip(norms, momenta, strict=True):
        one.momentum = momentum
    return encoder.eval()
