"""Transformer layers: pre- or post-norm, one packed QKV projection, scaled-dot-product attention, padding left out.

Symbols: B items, T token slots, S real tokens of a batch, D width, H heads, F feed-forward width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.nn.drop_path import DropPath
from repcore.nn.feed_forward import gelu_between
from repcore.nn.packing import Packing
from repcore.nn.products import linear


class SelfAttention(nn.Module):
    """Multi-head self-attention with one packed input projection.

    ``qkv.weight`` is (3D, D): D rows of query, then of key, then of value, each ordered head by head. Separate
    published matrices fit after ``torch.cat([query, key, value])``.

    Args:
        width: D.
        heads: H; divides D.
        dropout: on the attention probabilities.
        qkv_bias: whether the input projection has a bias.

    Call:
        hidden: (B, T, D); or (S, D) with ``packing``.
        valid: bool (B, T), True = may be attended to; None = all. Rows without any real token give finite leftovers.
    Returns:
        the shape of ``hidden``. Slots that are not valid hold values without meaning.

    Raises:
        ConfigError: ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0, qkv_bias: bool = True) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ConfigError(
                f"{heads} attention heads do not divide a width of {width}",
                hint=f"heads: {next(n for n in range(min(max(heads, 1), width), 0, -1) if width % n == 0)}",
            )
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.output = nn.Linear(width, width)

    def forward(self, hidden: Tensor, valid: Tensor | None = None, packing: Packing | None = None) -> Tensor:
        qkv = linear(hidden, self.qkv)
        if packing is None:
            mask = None if valid is None else (valid | ~valid.any(1, keepdim=True))[:, None, None, :]
            return linear(self._attend(qkv, mask), self.output)
        # split and cat (not slices): their backward passes touch each value once
        parts = zip(qkv.split(packing.sizes), packing.runs, strict=True)
        mixed = [self._attend(part.unflatten(0, run), None).flatten(0, 1) for part, run in parts]
        return linear(torch.cat(mixed) if mixed else qkv[:, : hidden.shape[-1]], self.output)

    def _attend(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, 3D) to (B, T, D)."""
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, H, T, D/H)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """D -> F -> GELU (erf) -> D.

    Args:
        width: D.
        hidden_width: F.
        dropout: on the F values, after the activation.
    """

    def __init__(self, width: int, hidden_width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden_width)
        self.contract = nn.Linear(hidden_width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.training and self.dropout.p:
            return self.contract(self.dropout(F.gelu(self.expand(hidden))))
        return gelu_between(hidden, self.expand, self.contract)


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each with dropout and a residual.

    ``post``: norm(x + f(x)), as in BERT and RoBERTa. ``pre``: x + f(norm(x)), as in vision transformers; whoever
    stacks pre-norm layers applies a last norm.

    Args:
        width: D.
        heads: H.
        feed_forward_width: F.
        norm: where the layer norms sit.
        norm_epsilon: of both layer norms.
        hidden_dropout: on the result of each branch.
        attention_dropout: on attention probabilities.
        feed_forward_dropout: on the F values.
        drop_path: rate at which an item skips a branch.
        qkv_bias: whether the QKV projection has a bias.

    Call: as :class:`SelfAttention`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feed_forward_width: int,
        *,
        norm: Literal["pre", "post"] = "pre",
        norm_epsilon: float = 1e-5,
        hidden_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        feed_forward_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        if norm not in ("pre", "post"):
            raise ConfigError(f"norm={norm!r} is not a place for layer norms", expected="pre, post")
        self.is_post_norm = norm == "post"
        self.attention = SelfAttention(width, heads, dropout=attention_dropout, qkv_bias=qkv_bias)
        self.attention_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.feed_forward = FeedForward(width, feed_forward_width, dropout=feed_forward_dropout)
        self.feed_forward_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.dropout = nn.Dropout(hidden_dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, hidden: Tensor, valid: Tensor | None = None, packing: Packing | None = None) -> Tensor:
        if self.is_post_norm:
            mixed = self._branch(self.attention(hidden, valid, packing), packing)
            hidden = self.attention_norm(hidden + mixed)
            return self.feed_forward_norm(hidden + self._branch(self.feed_forward(hidden), packing))
        hidden = hidden + self._branch(self.attention(self.attention_norm(hidden), valid, packing), packing)
        return hidden + self._branch(self.feed_forward(self.feed_forward_norm(hidden)), packing)

    def _branch(self, value: Tensor, packing: Packing | None) -> Tensor:
        value = self.dropout(value)
        return self.drop_path(value) if packing is None else self.drop_path(value, packing.owner, packing.shape[0])
