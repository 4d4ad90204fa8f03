"""Heads of item-level tasks: from an encoder's features to K outputs.

Parameter names follow published fine-tuned checkpoints of the RoBERTa family: ``classifier.dense``,
``classifier.out_proj``.

Symbols: B items, T tokens, D feature width, K outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, RunError
from repcore.evaluation.tasks.configs import HeadName
from repcore.interfaces import Features


def first_tokens(features: Features) -> Tensor:
    """The first token of every item (B, D), from the encoder's default token level.

    Raises:
        RunError: the encoder returns no tokens, or an item has none.
    """
    if not features.tokens:
        raise RunError("head 'first-token' needs tokens, but the encoder returns none", hint="head=pooled-linear")
    tokens = next(iter(features.tokens.values()))
    if tokens.owner is None:
        return tokens.values[:, 0]  # (B, T, D) -> (B, D)
    counts = torch.bincount(tokens.owner, minlength=len(features.pooled))
    if bool((counts == 0).any()):
        raise RunError("head 'first-token' met an item without tokens", item=int((counts == 0).nonzero()[0]))
    return tokens.values[counts.cumsum(0) - counts]  # owners ascend: (S, D) -> (B, D)


class FirstTokenHead(nn.Module):
    """Dropout, dense, tanh, dropout, linear on the vector of token 0.

    Source: the sequence-classification head of RoBERTa, as SELFormer fine-tunes it.

    Args:
        width: D.
        outputs: K.
        dropout: before each linear layer.
    """

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(width, outputs)

    def forward(self, features: Features) -> Tensor:
        """Outputs (B, K)."""
        hidden = torch.tanh(self.dense(self.dropout(first_tokens(features))))
        outputs: Tensor = self.out_proj(self.dropout(hidden))
        return outputs


class PooledLinearHead(nn.Module):
    """Dropout and one linear layer on the pooled vector.

    Args:
        width: D.
        outputs: K.
        dropout: before the linear layer.
    """

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(width, outputs)

    def forward(self, features: Features) -> Tensor:
        """Outputs (B, K)."""
        outputs: Tensor = self.out_proj(self.dropout(features.pooled))
        return outputs


HEADS: dict[str, type[FirstTokenHead] | type[PooledLinearHead]] = {
    "first-token": FirstTokenHead,
    "pooled-linear": PooledLinearHead,
}


def build_head(name: HeadName, width: int, outputs: int, dropout: float) -> FirstTokenHead | PooledLinearHead:
    """A head by name.

    Raises:
        ConfigError: unknown head, or dropout outside [0, 1).
    """
    if name not in HEADS:
        raise ConfigError(f"no head {name!r}", field="task.head", known=", ".join(HEADS))
    if not 0.0 <= dropout < 1.0:
        raise ConfigError(f"dropout={dropout} is outside 0 <= dropout < 1", field="task.dropout")
    return HEADS[name](width, outputs, dropout)
