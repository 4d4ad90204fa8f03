"""Features of voxels for dense probes: of the last stage, or of several stages side by side.

Features of coarse stages are carried to every voxel that lies in theirs. Joining stages is what Wu et al. 2025 (Sonata,
arXiv 2503.16429) probe instead of the last stage alone, where contrastive U-Nets keep little of what they know.

Symbols: V voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from repcore.interfaces import Batch
from repcore_pointcloud.encoders.stage_readout import Stages, joined_stages
from repcore_pointcloud.layers.sparse_convolution import SparseBatchNorm

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
    values = encoder(batch).tokens["voxel"].values if stages == "last" else joined_stages(encoder, batch, stages).values
    result: np.ndarray = values.float().cpu().numpy()
    return result


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
