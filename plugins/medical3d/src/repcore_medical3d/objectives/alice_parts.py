"""Parts of Alice's objective: the token head, masks, and the distillation losses.

Source: `alibaba-damo-academy/alice`, head, loader (masks) and loss files.
Differs: pooled vectors, encoder tokens and decoder tokens of a network go through the shared trunk in one pass; every
sample has its own mask.

Symbols: B crops, T tokens, K output width, C token width, g cells along an axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.nn.dino_head import DinoHead, WeightNormLinear
from repcore.nn.masking import exact_count_mask

LEAST_VARIANCE = 1e-5  # added to the variance of standardised features


@dataclass(slots=True)
class HeadOutputs:
    """``pooled`` (B, K); ``encoder`` (B, T, K); ``decoder`` (B, T', K), None where it was not asked for."""

    pooled: Tensor
    encoder: Tensor
    decoder: Tensor | None


class AliceHead(nn.Module):
    """One trunk for pooled vectors, encoder tokens and decoder tokens; a last layer each for pooled and tokens.

    Args:
        width: of pooled vectors and encoder tokens.
        decoder_width: of decoder tokens.
        hidden_width / bottleneck_width / output_width: of the trunk and last layers.
        is_standardised: what comes in gets mean 0 and standard deviation 1 over crops and tokens first (see
            :func:`standardised_features`).

    Call:
        pooled: (B, C); encoder: (B, T, C); decoder: (B, T', C') or None.
    """

    def __init__(
        self,
        width: int,
        decoder_width: int,
        *,
        hidden_width: int,
        bottleneck_width: int,
        output_width: int,
        is_standardised: bool = False,
    ) -> None:
        super().__init__()
        self.is_standardised = is_standardised
        self.encoder_projection = nn.Linear(width, width)
        self.decoder_projection = nn.Linear(decoder_width, width)
        self.trunk = DinoHead(
            width, hidden_width=hidden_width, bottleneck_width=bottleneck_width, prototypes=output_width
        )
        self.token_layer = WeightNormLinear(bottleneck_width, output_width, is_scale_frozen=True)
        bound = bottleneck_width**-0.5
        nn.init.uniform_(self.token_layer.weight_v, -bound, bound)

    def forward(self, pooled: Tensor, encoder: Tensor, decoder: Tensor | None) -> HeadOutputs:
        if self.is_standardised:
            pooled, encoder = standardised_features(pooled), standardised_features(encoder)
            decoder = None if decoder is None else standardised_features(decoder)
        parts = [pooled[:, None], self.encoder_projection(encoder)]
        if decoder is not None:
            parts.append(self.decoder_projection(decoder))
        unit = F.normalize(self.trunk.mlp(torch.cat(parts, dim=1)), dim=-1)
        tokens = self.token_layer(unit[:, 1:])
        count = encoder.shape[1]
        return HeadOutputs(
            self.trunk.last_layer(unit[:, 0]),
            tokens[:, :count],
            None if decoder is None else tokens[:, count:],
        )


def standardised_features(features: Tensor) -> Tensor:
    """Every channel of (B, ..., C) with mean 0 and standard deviation 1 over the batch, by the batch's own statistics.

    Features of a fresh network have nearly one direction for all crops; what tells them apart is a hundredth of them,
    and the head's outputs, which are cosines, lose it. Student and teacher each take their own mean away, because one
    sees masked crops and the other whole ones.
    """
    axes = tuple(range(features.ndim - 1))
    mean = features.mean(dim=axes, keepdim=True)
    variance = (features - mean).square().mean(dim=axes, keepdim=True)
    return (features - mean) * torch.rsqrt(variance + LEAST_VARIANCE)


def hidden_tokens(
    count: int, edge: int, *, patch: int, ratio: float, stride: int, shape: str, generator: torch.Generator
) -> Tensor:
    """Which tokens of the stem are hidden, bool (count, edge/stride, edge/stride, edge/stride).

    Args:
        count: crops, each with its own mask.
        edge: of the crops, in voxels.
        patch: edge of a cell, in voxels.
        ratio: share of hidden cells, rounded up.
        stride: voxels of a token.
        shape: cells, or columns along the last axis.
        generator: on the device where the mask is wanted.

    Raises:
        ConfigError: cells that do not divide the crop, or tokens that do not divide a cell.
    """
    check_mask(edge, patch=patch, ratio=ratio, stride=stride)
    cells = edge // patch
    sides = (cells, cells) if shape == "columns" else (cells, cells, cells)
    number = math.prod(sides)
    draws = torch.rand(count, number, generator=generator, device=generator.device)
    chosen = exact_count_mask(draws, math.ceil(ratio * number)).view(count, *sides)
    if shape == "columns":
        chosen = chosen[..., None].expand(-1, -1, -1, cells)
    for axis in (1, 2, 3):
        chosen = chosen.repeat_interleave(patch // stride, dim=axis)
    return chosen


def check_mask(edge: int, *, patch: int, ratio: float, stride: int) -> None:
    """Whether cells fit.

    Raises:
        ConfigError: they do not.
    """
    if patch < 1 or edge % patch:
        raise ConfigError(f"mask_patch={patch} does not divide the crop of {edge} voxels", field="objective.mask_patch")
    if patch % stride:
        raise ConfigError(
            f"mask_patch={patch} is no multiple of the {stride} voxels of a token", field="objective.mask_patch"
        )
    if not 0 < ratio < 1:
        raise ConfigError(f"mask_ratio={ratio} is outside 0 < mask_ratio < 1", field="objective.mask_ratio")


def voxel_mask(hidden: Tensor, stride: int) -> Tensor:
    """Hidden tokens as hidden voxels: bool (B, d, h, w) -> (B, 1, D, H, W)."""
    for axis in (1, 2, 3):
        hidden = hidden.repeat_interleave(stride, dim=axis)
    return hidden[:, None]


def targets(outputs: Tensor, center: Tensor, temperature: Tensor | float) -> Tensor:
    """Teacher distribution softmax((z - c) / tau), without gradient."""
    return torch.softmax((outputs.detach() - center) / temperature, dim=-1)


def cross_entropy(target: Tensor, outputs: Tensor, temperature: float) -> Tensor:
    """-sum p log softmax(s / tau), mean over all rows."""
    return -(target * torch.log_softmax(outputs / temperature, dim=-1)).sum(dim=-1).mean()


@torch.no_grad()
def information(target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean entropy of rows, and how much more entropy their mean has (0 = all rows say the same), in nats."""
    rows = target.flatten(0, -2)
    each = torch.special.entr(rows).sum(dim=-1).mean()
    mean = torch.special.entr(rows.mean(dim=0)).sum()
    return each, mean - each
