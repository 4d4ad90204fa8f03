"""Multi-label cluster discrimination: each item has several nearest centres as labels, all others are negatives.

An et al. 2024, arXiv 2407.17331, equations of section 3; margins and sampling after the sibling UNICOM
(deepglint/unicom). Symbols: B items, K centres, l labels an item.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

MarginKind = Literal["none", "cosine", "angle"]
Gradient = Literal["exact", "straight-through"]


@dataclass(frozen=True, slots=True)
class Margin:
    """What is asked of positives beyond being near.

    Args:
        kind: subtract from the cosine, add to the angle, or nothing.
        size: of the margin.
        gradient: exact, or as if the margin were a constant (UNICOM).
        easy: where the angle passes pi, go on linearly instead of turning back.
    """

    kind: MarginKind = "none"
    size: float = 0.0
    gradient: Gradient = "exact"
    easy: bool = True


@dataclass(frozen=True, slots=True)
class Parts:
    """Per item (B,): pull of the positives, push of the negatives, before any mean."""

    positive: Tensor
    negative: Tensor


def cosines(features: Tensor, centres: Tensor) -> Tensor:
    """Cosines (B, K) of features (B, D) and un-normalised centres (K, D)."""
    return F.normalize(features, dim=-1) @ F.normalize(centres, dim=-1).T


def with_margin(cosine: Tensor, margin: Margin) -> Tensor:
    """Cosines of positives after the margin."""
    if margin.kind == "none":
        return cosine
    if margin.kind == "cosine":
        return cosine - margin.size
    edge = 1e-12 if cosine.dtype == torch.float64 else 1e-6
    inside = cosine.clamp(-1.0 + edge, 1.0 - edge)
    angle = inside.arccos()
    moved = (angle + margin.size).cos()
    if margin.easy:
        moved = torch.where(angle > math.pi - margin.size, inside - margin.size * math.sin(margin.size), moved)
    return moved if margin.gradient == "exact" else cosine + (moved - cosine).detach()


def log_sums(
    cosine: Tensor, labels: Tensor, kept: Tensor, scale: float, margin: Margin, offset: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp (B,) over each item's positives, negated and scaled, and over its negatives.

    Args:
        cosine: (B, K).
        labels: int64 (B, l).
        kept: bool (K,) centres that take part as negatives.
        scale / margin: of the loss.
        offset: cosine at which the decision boundary lies.
    """
    positives = with_margin(cosine.gather(1, labels), margin)
    pull = (-scale * (positives - offset)).logsumexp(1)
    is_negative = kept[None, :].expand(cosine.shape).scatter(1, labels, False)
    push = (scale * (cosine - offset)).masked_fill(~is_negative, float("-inf")).logsumexp(1)
    return pull, push


def separate_loss(pull: Tensor, push: Tensor) -> Parts:
    """log(1 + sum exp) of both sides."""
    return Parts(F.softplus(pull), F.softplus(push))


def coupled_loss(pull: Tensor, push: Tensor) -> Tensor:
    """log(1 + sum over pairs of exp(negative - positive)): a common shift of all cosines stays free."""
    return F.softplus(pull + push)


def sampled_centres(labels: Tensor, draws: Tensor, rate: float, *, published: bool = False) -> Tensor:
    """Numbers of the centres that take part in a step, ascending: all positives of the batch, and random others.

    Args:
        labels: int64, positives of the whole (gathered) batch, any shape.
        draws: uniform (K,); the largest are taken.
        rate: share of the centres that are nobody's positive; with ``published`` of all centres, positives included.
    """
    count = len(draws)
    positive = torch.zeros(count, dtype=torch.bool, device=draws.device)
    positive[labels.reshape(-1)] = True
    if published:
        wanted = max(int(rate * count), int(positive.sum()))
    else:
        wanted = int(positive.sum()) + int(rate * (count - int(positive.sum())))
    score = torch.where(positive, 2.0, draws)
    return score.topk(wanted).indices.sort().values


def margin_softmax(
    features: Tensor, centres: Tensor, labels: Tensor, kept: Tensor, scale: float, margin: Margin
) -> Tensor:
    """UNICOM's single-label loss over kept centres, scalar: cross-entropy with a margin on the positive.

    Args:
        labels: int64 (B,).
        kept: ascending numbers of centres that take part, all positives among them.
    """
    cosine = cosines(features, centres[kept])
    place = torch.searchsorted(kept, labels)
    one_hot = F.one_hot(place, len(kept)).bool()
    logits = torch.where(one_hot, with_margin(cosine, margin), cosine)
    return F.cross_entropy(scale * logits, place)
