"""Contrasts of pairs beside experts.

Symbols: B items, T tokens, D width, N experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore_generic.objectives.labelled import unit

SCALE_AT_START, LARGEST_SCALE = math.log(10.0), math.log(100.0)


class Pooler(nn.Module):
    """Masked mean over tokens, layer norm, linear, tanh, linear.

    Args:
        width: D, of everything.
    """

    def __init__(self, width: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, T, D) with valid (B, T), or already pooled (B, D), to (B, D)."""
        if tokens.ndim == 3:
            kept = torch.ones(tokens.shape[:2], device=tokens.device) if valid is None else valid.to(tokens.dtype)
            tokens = (tokens * kept[..., None]).sum(1) / kept.sum(1, keepdim=True).clamp(min=1.0)
        pooled: Tensor = self.second(torch.tanh(self.first(self.norm(tokens))))
        return pooled


class PairLoss(NamedTuple):
    """Mean over rows, similarities (B, B), target row of each row and of each column."""

    loss: Tensor
    logits: Tensor
    row_targets: Tensor
    column_targets: Tensor


Loss = Literal["contrast", "mnr", "mnr_plus"]


def pair_loss(one: Tensor, two: Tensor, kind: Loss, log_scale: Tensor | None = None) -> PairLoss:
    """In-batch contrast of pairs: row i of one belongs to row i of the other.

    Args:
        kind: ``contrast``, unit vectors with a learned scale; ``mnr``, raw products, rows only; ``mnr_plus``, raw
            products, both ways, targets by the largest mean of the two self-similarities.
        log_scale: of ``contrast``.
    """
    own = torch.arange(len(one), device=one.device)
    if kind == "contrast":
        assert log_scale is not None
        logits = log_scale.clamp(max=LARGEST_SCALE).exp() * unit(one) @ unit(two).T
        return PairLoss((F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2, logits, own, own)
    logits = one @ two.T
    if kind == "mnr":
        return PairLoss(F.cross_entropy(logits, own), logits, own, own)
    likeness = (one @ one.T + two @ two.T).detach() / 2
    rows, columns = likeness.softmax(1).argmax(1), likeness.softmax(1).T.argmax(1)
    loss = (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, columns)) / 2
    return PairLoss(loss, logits, rows, columns)


def weight_distance(experts: Sequence[nn.Module]) -> Tensor:
    """Mean of 1 - cosine between the weights of any two experts: 0 while they are copies."""
    flat = torch.stack([torch.cat([one.detach().reshape(-1) for one in own.parameters()]) for own in experts])
    cosines = unit(flat) @ unit(flat).T
    count = len(experts)
    return (count * count - cosines.sum()) / max(1, count * (count - 1))
