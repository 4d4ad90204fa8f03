"""Transformer blocks over tokens with positions in space: the position is added again before every block.

Source: Point-M2AE (`ZrrSkywalker/Point-M2AE`). Differs: padding and distance limits are one boolean mask for
scaled-dot-product attention instead of additive -1e5, which overflows in float16.

Symbols: B clouds, T tokens, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.nn.drop_path import DropPath
from repcore.nn.transformer import FeedForward


class PointBlock(nn.Module):
    """Pre-norm attention (no bias in the input projection) and feed-forward.

    Core's layer takes masks of keys only; local attention needs one of pairs.

    Args:
        width: D. heads: H. mlp_ratio: feed-forward width / D.
        drop_path: rate at which a cloud skips a branch.
        epsilon: of the layer norms.
        published_order: attention as separate products instead of one fused call; equal but for rounding.

    Call:
        hidden: (B, T, D).
        allowed: bool, broadcastable to (B, H, T, T): which pairs may attend; None = all.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        epsilon: float = 1e-5,
        published_order: bool = False,
    ) -> None:
        super().__init__()
        self.published_order = published_order
        if heads < 1 or width % heads:
            raise ConfigError(f"{heads} attention heads do not divide a width of {width}", field="encoder.heads")
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=epsilon)
        self.feed_forward = FeedForward(width, int(mlp_ratio * width))
        self.drop_path = DropPath(drop_path)

    def forward(self, hidden: Tensor, allowed: Tensor | None = None) -> Tensor:
        qkv = self.qkv(self.attention_norm(hidden)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
        if self.published_order:
            mixed = _separate_products(query, key, value, allowed)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        hidden = hidden + self.drop_path(self.attention_out(mixed.transpose(1, 2).flatten(2)))
        out: Tensor = hidden + self.drop_path(self.feed_forward(self.feed_forward_norm(hidden)))
        return out


def _separate_products(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    scores = (query @ key.transpose(-2, -1)) * query.shape[-1] ** -0.5
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return scores.softmax(dim=-1) @ value


class PositionEmbedding(nn.Sequential):
    """Coordinates (..., 3) to (..., D): linear, GELU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))


class BlockStack(nn.Module):
    """Blocks of one level.

    Args:
        width, heads, mlp_ratio, epsilon, published_order: see :class:`PointBlock`.
        rates: drop-path rate of each block; their number is the depth.

    Call:
        hidden: (B, T, D). position: (B, T, D), added before every block. allowed: see :class:`PointBlock`.
        kept: a list that the output of every block is appended to.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float,
        rates: Sequence[float],
        epsilon: float = 1e-5,
        published_order: bool = False,
    ) -> None:
        super().__init__()
        shared: dict[str, Any] = {"mlp_ratio": mlp_ratio, "epsilon": epsilon, "published_order": published_order}
        self.blocks = nn.ModuleList(PointBlock(width, heads, drop_path=rate, **shared) for rate in rates)

    def forward(
        self, hidden: Tensor, position: Tensor, allowed: Tensor | None = None, kept: list[Tensor] | None = None
    ) -> Tensor:
        for block in self.blocks:
            hidden = block(hidden + position, allowed)
            if kept is not None:
                kept.append(hidden)
        return hidden


def allowed_pairs(centres: Tensor, valid: Tensor | None, radius: float, *, legacy: bool = False) -> Tensor | None:
    """Which tokens may attend to which.

    Args:
        centres: (B, T, 3).
        valid: bool (B, T), False = padding; None = no padding.
        radius: largest distance of a pair; 0 = no limit.
        legacy: a pair is blocked only if it is too far apart *and* one end is padding, as in the published code.

    Returns:
        bool (B, 1, T or 1, T), None if nothing is blocked. Rows of padding may attend to everything, so that their
        leftovers stay finite.
    """
    near = None if radius <= 0 else torch.cdist(centres, centres) < radius  # (B, T, T)
    if valid is None:
        return None if near is None or legacy else near[:, None]
    if near is None:
        return valid[:, None, None, :]
    if legacy:
        return (near | (valid[:, None, :] & valid[:, :, None]))[:, None]
    return ((near & valid[:, None, :]) | ~valid[:, :, None])[:, None]


def drop_path_rates(highest: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates that rise linearly from 0 over all blocks, by level."""
    total = sum(depths)
    rates = [highest * number / max(1, total - 1) for number in range(total)]
    firsts = [sum(depths[:level]) for level in range(len(depths))]
    return [rates[first : first + depth] for first, depth in zip(firsts, depths, strict=True)]
