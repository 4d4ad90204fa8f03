"""CASA, conditional anatomical semantic alignment: two sets of tokens read out with the same queries.

Source: `alibaba-damo-academy/alice`, cross-attention files; arXiv 2302.05615 (figures).
Differs: four linear layers that the published module builds and never calls are left out; one fused attention call;
optionally unit-length outputs. There is no instance normalisation in it, whatever the name suggests.

Symbols: B crops, Q query tokens, T key tokens, K width, h heads, d key width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CrossAlignment(nn.Module):
    """One cross-attention layer and an MLP, both with residual and norm behind.

    Args:
        width: K.
        heads: h.
        key_width: d of keys and values of a head.
        hidden_width: of the MLP.
        dropout: on attention and on both branches, in training only.
        is_unit: outputs of length 1 instead of unit standard deviation.
        has_residual: queries are added to what they read out.

    Call:
        queries: (B, Q, K), the visible content of the student.
        tokens: (B, T, K), what is read out.
    Returns:
        (B, Q, K).
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        key_width: int,
        hidden_width: int,
        dropout: float,
        is_unit: bool,
        has_residual: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.is_unit, self.has_residual = heads, dropout, is_unit, has_residual
        inner = heads * key_width
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, hidden_width)
        self.contract = nn.Linear(hidden_width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        for layer in (self.query, self.key, self.value, self.out, self.expand, self.contract):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        attended = self.attend(queries, tokens)
        inner = self.contract(F.relu(self.expand(attended)))
        aligned = self.mlp_norm(attended + F.dropout(inner, self.dropout, self.training))
        return F.normalize(aligned, dim=-1) if self.is_unit else aligned

    def attend(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Attention, output map, the queries as residual (or not) and norm, (B, Q, K)."""
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(queries)), self._split(self.key(tokens)), self._split(self.value(tokens)),
            dropout_p=rate,
        )  # fmt: skip
        out = self.out(mixed.transpose(1, 2).flatten(2))
        out = F.dropout(out, self.dropout, self.training)
        normed: Tensor = self.attention_norm(queries + out if self.has_residual else out)
        return normed

    def attention(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Attention map (B, h, Q, T): which tokens each query reads."""
        query, key = self._split(self.query(queries)), self._split(self.key(tokens))
        return torch.softmax(query @ key.transpose(2, 3) * query.shape[-1] ** -0.5, dim=-1)

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, T, h * d) -> (B, h, T, d)."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
