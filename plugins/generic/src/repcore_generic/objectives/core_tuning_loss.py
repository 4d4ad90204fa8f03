"""Mixed rows, mined partners, equal mixed labels and the focal contrast of Core-tuning.

Symbols: B items, D width, C classes, R = 3B rows (originals, hard negatives, hard positives), P projected width.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore_generic.objectives.labelled import nothing, unit

TOLERANCE = 1e-6
Mining = Literal["masked", "reference"]
Norm = Literal["positives", "columns"]


class Rows(NamedTuple):
    """Rows with mixed labels.

    Args:
        features: (R, D).
        first / second: classes (R,).
        share: of the first class (R,).
    """

    features: Tensor
    first: Tensor
    second: Tensor
    share: Tensor

    def soft(self, classes: int) -> Tensor:
        """Mixed labels (R, C)."""
        one, two = (F.one_hot(labels, classes).to(self.share.dtype) for labels in (self.first, self.second))
        return self.share[:, None] * one + (1.0 - self.share[:, None]) * two


@torch.no_grad()
def mined_partners(features: Tensor, labels: Tensor, mining: Mining = "masked") -> tuple[Tensor, Tensor]:
    """Of each item the least similar one of its class (itself if alone) and the most similar one of another class (the
    former if there is none): int64 (B,) twice.

    ``reference`` multiplies cosines by the mask, so that zeros of items that do not belong may win, and takes index 0
    for "none".
    """
    vectors = unit(features)
    cosine = vectors @ vectors.T
    own = torch.arange(len(labels), device=labels.device)
    same = labels[:, None] == labels[None]
    alike = same & (own[:, None] != own[None])
    if mining == "reference":
        positive = (cosine * alike).argmin(1)
        return torch.where(positive == 0, own, positive), (cosine * ~same).argmax(1)
    positive = cosine.masked_fill(~alike, float("inf")).argmin(1)
    positive = torch.where(alike.any(1), positive, own)
    negative = cosine.masked_fill(same, -float("inf")).argmax(1)
    return positive, torch.where((~same).any(1), negative, positive)


def mixed_rows(
    features: Tensor,
    labels: Tensor,
    permutation: Tensor,
    shares: tuple[Tensor, Tensor],
    partners: tuple[Tensor, Tensor],
    *,
    floor: float,
    detach_originals: bool = False,
) -> Rows:
    """Originals, hard negatives (item with its partner in the permutation) and hard positives (the mined two).

    Args:
        shares: as drawn for negatives (raised to ``floor`` here) and positives, (B,) each.
        partners: of :func:`mined_partners`.
    """
    negative, positive = shares[0].clamp(min=floor), shares[1]
    near, far = partners
    hard_negative = (1.0 - negative[:, None]) * features + negative[:, None] * features[permutation]
    hard_positive = positive[:, None] * features[near] + (1.0 - positive[:, None]) * features[far]
    originals = features.detach() if detach_originals else features
    return Rows(
        torch.cat([originals, hard_negative, hard_positive]),
        torch.cat([labels, labels, labels[near]]),
        torch.cat([labels, labels[permutation], labels[far]]),
        torch.cat([torch.ones_like(negative), 1.0 - negative, positive]),
    )


def equal_labels(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Whether two rows have the same mixed label, bool (R, R), False on the diagonal.

    The key of a row is the lower class, the higher class and the weight of the lower; a row of one class is that class.
    """
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    weight = torch.where(first <= second, share, 1.0 - share)
    weight = torch.where(low == high, torch.ones_like(weight), weight)
    only_low, only_high = weight >= 1.0 - TOLERANCE, weight <= TOLERANCE
    low, high = torch.where(only_high, high, low), torch.where(only_low, low, high)
    weight = torch.where(only_low | only_high, torch.ones_like(weight), weight)
    same = (low[:, None] == low[None]) & (high[:, None] == high[None])
    same &= (weight[:, None] - weight[None]).abs() <= TOLERANCE
    return same.fill_diagonal_(False)


def equal_soft_labels(soft: Tensor) -> Tensor:
    """The same for soft labels (R, C) of one or two classes each."""
    share, classes = soft.topk(2, dim=1)
    return equal_labels(classes[:, 0], classes[:, 1], share[:, 0])


def equal_hashes(soft: Tensor) -> Tensor:
    """The published label identity: equal decimal numbers in float32, with powers of ten that overflow int64."""
    powers = torch.pow(torch.tensor(10, dtype=torch.int64), torch.arange(soft.shape[1]))
    numbers = (powers.to(soft.device) * soft).sum(1)
    return (numbers[:, None] == numbers[None]).fill_diagonal_(False)


def log_probabilities(projected: Tensor, temperature: float) -> Tensor:
    """log p_jk of unit rows (R, P): each row against all others, (R, R); the diagonal means nothing."""
    similarity = projected @ projected.T / temperature
    own = torch.eye(len(projected), dtype=torch.bool, device=projected.device)
    return similarity - similarity.masked_fill(own, -float("inf")).logsumexp(1, keepdim=True)


class Contrast(NamedTuple):
    """The term, the rows with a positive, and the mean focal weight of positive pairs (no gradient)."""

    loss: Tensor
    anchors: Tensor
    weight: Tensor


def focal_contrast(projected: Tensor, positives: Tensor, temperature: float, norm: Norm = "positives") -> Contrast:
    """Mean over rows with a positive of the focal contrast, -(1 - p) log p; 0 with a graph where no row has one.

    Args:
        projected: unit rows (R, P).
        positives: bool (R, R).
        norm: divide a row's sum by its positives, or by all rows as published.
    """
    has = positives.any(1)
    anchors = has.sum()
    if len(projected) < 2:
        return Contrast(nothing(projected), anchors, projected.new_zeros(()))
    log_p = log_probabilities(projected, temperature).masked_fill(~positives, 0.0)
    weight = (1.0 - log_p.exp()) * positives
    rows = -(weight * log_p).sum(1)
    number = positives.sum(1)
    divisor = number.clamp(min=1) if norm == "positives" else torch.full_like(number, len(projected))
    loss = (rows / divisor).sum() / anchors.clamp(min=1)
    return Contrast(loss, anchors, (weight.detach().sum() / number.sum().clamp(min=1)))
