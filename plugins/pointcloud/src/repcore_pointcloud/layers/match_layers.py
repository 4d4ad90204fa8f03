"""Layers of VBReg over matches: agreement of lengths, latent branches, and attention weighed by agreement.

Source: Jiang et al. 2023 (VBReg, arXiv 2304.01514); public repository `Jiang-HB/VBReg`.

Symbols: B pairs, N matches, D features, H belief, S latent, L layers.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST_DEVIATION = 0.1
PRECISE = "donot_use_mm_for_euclid_dist"  # differences, not products: small distances keep their digits


class Moments(NamedTuple):
    """Mean and standard deviation of a diagonal normal distribution, (B, N, S) each."""

    mean: Tensor
    deviation: Tensor


def distances(points: Tensor) -> Tensor:
    """Euclidean distances of all pairs, float32 (..., N, N) of (..., N, 3)."""
    return torch.cdist(points.float(), points.float(), compute_mode=PRECISE)


def length_agreement(source: Tensor, target: Tensor, tolerance: float, rows: Tensor | None = None) -> Tensor:
    """How well two matches keep their distance: max(0, 1 - (d_source - d_target)^2 / tolerance^2).

    Args:
        source / target: float (..., N, 3), ends of the matches.
        tolerance: same unit.
        rows: int64 (K,) of some matches, for unbatched ends.

    Returns:
        float32 (..., N, N), or (K, N); 1 on the diagonal.
    """
    if rows is None:
        change = distances(source) - distances(target)
    else:
        from_rows, to_rows = source[rows].float(), target[rows].float()
        change = torch.cdist(from_rows, source.float(), compute_mode=PRECISE)
        change = change - torch.cdist(to_rows, target.float(), compute_mode=PRECISE)
    return (1.0 - change.square() / tolerance**2).clamp(min=0.0)


def feature_agreement(features: Tensor, temperature: Tensor | float) -> Tensor:
    """clamp(1 - (1 - cosine) / temperature^2, 0, 1) of all pairs, diagonal 0: (B, N, D) to (B, N, N)."""
    unit = F.normalize(features, dim=-1)
    cosine = unit @ unit.transpose(-1, -2)
    found = (1.0 - (1.0 - cosine) / temperature**2).clamp(0.0, 1.0)
    return found * (1.0 - torch.eye(found.shape[-1], dtype=found.dtype, device=found.device))


class ValidBatchNorm(nn.BatchNorm1d):
    """Batch norm over (B, N, C) whose statistics are of valid matches alone."""

    def forward(self, values: Tensor, valid: Tensor | None = None) -> Tensor:
        rows = values.flatten(0, 1)
        if valid is None or not self.training:
            return super().forward(rows).view_as(values)
        kept = valid.flatten()
        found = super().forward(rows[kept])
        return found.new_zeros(rows.shape).masked_scatter(kept[:, None], found).view_as(values)


class MatchPerceptron(nn.Module):
    """Linear layers with batch norm and ReLU between them, over (B, N, C).

    Args:
        widths: input, hidden ones, output.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.linear = nn.ModuleList(nn.Linear(one, two) for one, two in pairs)
        self.norms = nn.ModuleList(ValidBatchNorm(two) for _, two in pairs[:-1])

    def forward(self, values: Tensor, valid: Tensor | None = None) -> Tensor:
        for linear, norm in zip(self.linear, self.norms, strict=False):
            values = F.relu(norm(linear(values), valid))
        last: Tensor = self.linear[-1](values)
        return last


class MomentNetwork(nn.Module):
    """Mean and standard deviation of a latent variable, softplus + 0.1."""

    def __init__(self, inputs: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.hidden, self.moments = nn.Linear(inputs, hidden), nn.Linear(hidden, 2 * latent)

    def forward(self, values: Tensor) -> Moments:
        mean, raw = self.moments(F.relu(self.hidden(values))).chunk(2, dim=-1)
        return Moments(mean, F.softplus(raw) + SMALLEST_DEVIATION)


class LatentBranch(nn.Module):
    """One of query, key and value: a recurrent belief, its prior, and what a latent draw adds to the features.

    All layers share it.
    """

    def __init__(self, width: int, belief: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.action = nn.Linear(latent + width, belief)
        self.memory = nn.GRUCell(belief, belief)
        self.prior = MomentNetwork(belief, hidden, latent)
        self.emission = nn.Linear(belief + latent, width)

    def remember(self, latent: Tensor, features: Tensor, belief: Tensor) -> Tensor:
        """The next belief (B, N, H)."""
        action = F.relu(self.action(torch.cat([latent, features], dim=-1)))
        return self.memory(action.flatten(0, 1), belief.flatten(0, 1).to(action.dtype)).view_as(belief)

    def emit(self, belief: Tensor, latent: Tensor) -> Tensor:
        """What the layer's query, key or value is made of, (B, N, D)."""
        return F.relu(self.emission(torch.cat([belief, latent], dim=-1)))


class AgreeingAttention(nn.Module):
    """One layer of attention whose logits are multiplied by agreement of lengths.

    A pair without agreement gets logit 0 and is not left out, as published.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.message = MatchPerceptron(width, width // 2, width // 2, width)

    def forward(
        self, emitted: tuple[Tensor, Tensor, Tensor], agreement: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is added to the features (B, N, D), queries and keys."""
        query, key, value = (
            linear(one) for linear, one in zip((self.query, self.key, self.value), emitted, strict=True)
        )
        weight = attention(query, key, agreement, valid)
        return self.message(weight.to(value.dtype) @ value, valid), query, key


def attention(query: Tensor, key: Tensor, agreement: Tensor, valid: Tensor | None = None) -> Tensor:
    """softmax over j of agreement_ij * q_i . k_j / sqrt(D), float32 (..., K, N).

    Args:
        query: (..., K, D). key: (..., N, D). agreement: (..., K, N).
        valid: bool (..., N); others get nothing.
    """
    logits = agreement * (query.float() @ key.float().transpose(-1, -2)) / math.sqrt(query.shape[-1])
    if valid is not None:
        logits = logits.masked_fill(~valid[..., None, :], -torch.inf)
    return logits.softmax(dim=-1)
