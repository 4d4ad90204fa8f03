"""Decoder of masked point modelling: coarse tokens with mask tokens in the gaps, carried to the middle level.

Source: Point-M2AE (arXiv 2205.14401), section 3.3, and `ZrrSkywalker/Point-M2AE`. Differs: tokens stay in their
natural order instead of visible ones first, which attention cannot tell; squared distances are direct differences.

Symbols: B clouds, G tokens of a level, C width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repcore.ops import Op
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig, PointEncoderConfig
from repcore_pointcloud.encoders.hierarchy import Hierarchy
from repcore_pointcloud.encoders.i2p_mae import VisibleTokens
from repcore_pointcloud.encoders.point_blocks import BlockStack, PositionEmbedding, drop_path_rates
from repcore_pointcloud.ops.interpolate_points.torch import OWNER as INTERPOLATE


class RowNorm(nn.BatchNorm1d):
    """Batch norm over all leading dimensions of (..., C)."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values.flatten(0, -2)).view_as(values)


class PropagationUnit(nn.Module):
    """GELU(x + BN(linear(GELU(BN(linear(x))))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Linear(width, width), RowNorm(width)
        self.second, self.second_norm = nn.Linear(width, width), RowNorm(width)

    def forward(self, values: Tensor) -> Tensor:
        inner = nn.functional.gelu(self.first_norm(self.first(values)))
        return nn.functional.gelu(values + self.second_norm(self.second(inner)))


class TokenPropagation(nn.Module):
    """Coarse tokens carried to finer centres and joined with what is known there.

    Args:
        coarse_width, width: C of the coarse and the finer level.
        units: residual units.
        neighbours: coarse tokens that each finer one is mixed from.

    Call:
        coarse (B, G, coarse_width) at coarse_centres (B, G, 3); known (B, F, width) at centres (B, F, 3).
    Returns:
        (B, F, width).
    """

    def __init__(self, coarse_width: int, width: int, *, units: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.join, self.join_norm = nn.Linear(coarse_width + width, width), RowNorm(width)
        self.units = nn.ModuleList(PropagationUnit(width) for _ in range(units))
        self._interpolate = Op(INTERPOLATE)

    def forward(self, coarse: Tensor, coarse_centres: Tensor, known: Tensor, centres: Tensor) -> Tensor:
        carried = self._interpolate(coarse, coarse_centres, centres, self.neighbours)  # (B, F, coarse_width)
        values = nn.functional.gelu(self.join_norm(self.join(torch.cat([known, carried.to(known.dtype)], dim=-1))))
        for unit in self.units:
            values = unit(values)
        return values


class PointDecoder(nn.Module):
    """Tokens of the middle level, redrawn from the visible ones.

    Args:
        encoder: sizes of the encoder.
        config: sizes of the decoder.

    Call:
        hierarchy: levels of the batch. found: visible tokens of each level, finest first.
    Returns:
        (B, G of the middle level, C), normalised; and the same right after the propagation.
    """

    def __init__(self, encoder: PointEncoderConfig, config: MaskedPointsConfig) -> None:
        super().__init__()
        coarse, middle = encoder.widths[2], encoder.widths[1]
        rates = drop_path_rates(config.decoder_drop_path, config.decoder_depths)
        self.mask_token = nn.Parameter(torch.zeros(1, coarse))
        self.positions = nn.ModuleList(PositionEmbedding(width) for width in (coarse, middle))
        self.stacks = nn.ModuleList(
            BlockStack(
                width,
                encoder.heads,
                mlp_ratio=encoder.mlp_ratio,
                rates=rate,
                epsilon=encoder.norm_epsilon,
                published_order=encoder.arithmetic == "published",
            )
            for width, rate in zip((coarse, middle), rates, strict=True)
        )
        self.propagation = TokenPropagation(
            coarse, middle, units=config.propagation_blocks, neighbours=config.propagation_neighbours
        )
        self.norm = nn.LayerNorm(middle, eps=encoder.norm_epsilon)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for stack in self.stacks:
            for module in stack.modules():
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    def forward(self, hierarchy: Hierarchy, found: tuple[VisibleTokens, ...]) -> tuple[Tensor, Tensor]:
        _, middle, coarse = found
        middle_centres, coarse_centres = hierarchy.levels[1].centres, hierarchy.levels[2].centres
        gaps = self.mask_token.to(coarse.values.dtype).expand(*coarse.slots.visible.shape, -1)
        tokens = coarse.slots.put(gaps, coarse.values)
        tokens = self.stacks[0](tokens, self.positions[0](coarse_centres))
        nothing = middle.values.new_zeros(*middle.slots.visible.shape, middle.values.shape[-1])
        known = middle.slots.put(nothing, middle.values)
        joined = self.propagation(tokens, coarse_centres, known, middle_centres)
        out: Tensor = self.norm(self.stacks[1](joined, self.positions[1](middle_centres)))
        return out, joined
