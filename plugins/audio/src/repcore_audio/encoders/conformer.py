"""A Conformer layer with relative keys and a causal convolution; parameters carry the published names.

Source: Gulati et al. 2020 (Conformer, arXiv 2005.08100), section 2; Shaw et al. 2018 (arXiv 1803.02155), section 3.2,
for positions that touch the keys only; sizes and names of the released encoder `facebook/w2v-bert-2.0`.

Symbols: B clips, T frames, D width, H heads, d = D / H, R relative positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore_audio.configs.w2v_bert import W2vBertConfig


class FeedForward(nn.Module):
    """D -> F -> SiLU -> D."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(width, hidden)
        self.output_dense = nn.Linear(hidden, width)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.output_dense(F.silu(self.intermediate_dense(hidden)))
        return out


class RelativeAttention(nn.Module):
    """score_ij = q_i . (k_j + e_clip(j - i)) / sqrt(d), with one table of e for all heads.

    Args:
        width: D.
        heads: H.
        left / right: farthest distances that have vectors of their own.

    Raises:
        ConfigError: ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, heads: int, left: int, right: int) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"{heads} attention heads do not divide a width of {width}", field="encoder.heads")
        self.heads, self.left, self.right = heads, left, right
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.distance_embedding = nn.Embedding(left + 1 + right, width // heads)

    def forward(self, hidden: Tensor, visible: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D); ``visible`` bool (B, 1, 1, T) says which frames are attended to."""
        query, key, value = (
            part(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, d)
            for part in (self.linear_q, self.linear_k, self.linear_v)
        )
        bias = self._distances(query)
        if visible is not None:
            bias = bias.masked_fill(~visible, -torch.inf)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        out: Tensor = self.linear_out(mixed.transpose(1, 2).flatten(2))
        return out

    def _distances(self, query: Tensor) -> Tensor:
        """q_i . e_clip(j - i) / sqrt(d), (B, H, T, T): R products a frame, then one place for each pair."""
        place = torch.arange(query.shape[2], device=query.device)
        index = (place - place[:, None]).clamp(-self.left, self.right) + self.left  # (T, T)
        scores = F.linear(query, self.distance_embedding.weight) * query.shape[-1] ** -0.5  # (B, H, T, R)
        return scores.gather(-1, index.expand(*query.shape[:2], -1, -1))


class CausalConvolution(nn.Module):
    """LN, 1x1 to 2D, GLU, depthwise over this and earlier frames, LN, SiLU, 1x1; no bias."""

    def __init__(self, width: int, kernel: int, norm_epsilon: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, groups=width, bias=False)
        self.depthwise_layer_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=False)
        self.padding = kernel - 1

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        gated = F.glu(F.linear(self.layer_norm(hidden), self.pointwise_conv1.weight[..., 0]))
        mixed = self.depthwise_conv(F.pad(gated.transpose(1, 2), (self.padding, 0))).transpose(1, 2)
        return F.linear(F.silu(self.depthwise_layer_norm(mixed)), self.pointwise_conv2.weight[..., 0])


class ConformerLayer(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, each on a normalised input and added; LN.

    Call:
        hidden: (B, T, D).
        visible: bool (B, 1, 1, T), frames that are attended to; None = all.
    """

    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        width, epsilon = config.width, config.norm_epsilon
        self.ffn1_layer_norm = nn.LayerNorm(width, eps=epsilon)
        self.ffn1 = FeedForward(width, config.feed_forward_width)
        self.self_attn_layer_norm = nn.LayerNorm(width, eps=epsilon)
        self.self_attn = RelativeAttention(width, config.heads, config.left_positions, config.right_positions)
        self.conv_module = CausalConvolution(width, config.kernel, epsilon)
        self.ffn2_layer_norm = nn.LayerNorm(width, eps=epsilon)
        self.ffn2 = FeedForward(width, config.feed_forward_width)
        self.final_layer_norm = nn.LayerNorm(width, eps=epsilon)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, visible: Tensor | None = None) -> Tensor:
        hidden = hidden + 0.5 * self.dropout(self.ffn1(self.ffn1_layer_norm(hidden)))
        hidden = hidden + self.dropout(self.self_attn(self.self_attn_layer_norm(hidden), visible))
        hidden = hidden + self.dropout(self.conv_module(hidden))
        hidden = hidden + 0.5 * self.dropout(self.ffn2(self.ffn2_layer_norm(hidden)))
        out: Tensor = self.final_layer_norm(hidden)
        return out
