"""Losses of FAC: regional contrast, the Siamese correspondence network, and contrast of matched features.

Source: Liu et al. 2023 (arXiv 2303.06388), as far as its figure and abstract tell, since the authors'
repository holds none of this. Ours: hidden width of the projector, hard top-k in place of a
differentiable relaxation, and which points are drawn.

Symbols: N_a, N_b points (or voxels) of both views, C channels, R regions, P positives and Q negatives of a region.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.nn.losses import masked_mean

NONE = -1  # index of a place that is not filled


class CorrespondenceNetwork(nn.Module):
    """Siamese correspondence network: features weighted by a projection of themselves, F = D * h(D).

    Args:
        width: C, also of the hidden layer (ours; the paper does not say).

    Call:
        float (N, C) -> (N, C). Used in pre-training only.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, features: Tensor) -> Tensor:
        weighted: Tensor = features * self.projector(features)
        return weighted


def region_anchors(features: Tensor, region: Tensor, count: int) -> Tensor:
    """Unit-length mean of the unit-length features of every region, (R, C); zeros for an empty region.

    Args:
        features: (N, C).
        region: int64 (N,); negative = in no region.
        count: R.
    """
    inside = region >= 0
    unit = F.normalize(features[inside], dim=1)
    sums = unit.new_zeros(count, features.shape[1]).index_add(0, region[inside], unit)
    return F.normalize(sums, dim=1)


@dataclass(frozen=True, slots=True)
class RegionalTerms:
    """Terms of the regional loss and which of them count, flat, region by region."""

    terms: Tensor
    counted: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean of what counts; 0 with a graph where nothing does."""
        return masked_mean(self.terms, self.counted)


def regional_contrast(
    features: Tensor, anchors: Tensor, positive_index: Tensor, negative_index: Tensor, temperature: float
) -> RegionalTerms:
    """L_Geo: every drawn point of a region is nearer to the region's mean in the other view than points elsewhere.

    Args:
        features: view a, (N_a, C).
        anchors: region means of view b, (R, C), unit length, without gradient.
        positive_index: int64 (R, P), rows of view a in the region; -1 = none.
        negative_index: int64 (R, P, Q), rows of view a in other regions; -1 = none.
        temperature: divides similarities.

    Returns:
        terms (R P,).
    """
    unit = F.normalize(features, dim=1)
    # similarity of any point with any anchor, then look-ups: regions are few
    similarity = anchors @ unit.T / temperature  # (R, N_a)
    positive = similarity.gather(1, positive_index.clamp(min=0))  # (R, P)
    flat = negative_index.flatten(1)
    negative = similarity.gather(1, flat.clamp(min=0)).masked_fill(flat < 0, -torch.inf)
    together = torch.cat([positive[..., None], negative.view(negative_index.shape)], dim=2)
    terms = torch.logsumexp(together, dim=2) - positive
    return RegionalTerms(terms.flatten(), (positive_index >= 0).flatten())


def region_classification(
    features: Tensor, anchors: Tensor, positive_index: Tensor, anchor_owner: Tensor, temperature: float
) -> RegionalTerms:
    """L_Geo with the means of all other regions of the same scene as negatives.

    Args:
        features / anchors / positive_index / temperature: as in :func:`regional_contrast`.
        anchor_owner: int64 (R,), scene of every region that is seen in both views, -1 for the others.
    """
    chosen = F.normalize(features, dim=1)[positive_index.clamp(min=0)]  # (R, P, C)
    logits = chosen @ anchors.T / temperature  # (R, P, R)
    comparable = (anchor_owner[:, None] == anchor_owner[None, :]) & (anchor_owner >= 0)[None, :]
    comparable = comparable | torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    logits = logits.masked_fill(~comparable[:, None, :], -torch.inf)
    own = logits.diagonal(dim1=0, dim2=2).T  # (R, P)
    terms = torch.logsumexp(logits, dim=2) - own
    return RegionalTerms(terms.flatten(), (positive_index >= 0).flatten())


@dataclass(frozen=True, slots=True)
class Matches:
    """Contrast of matched features.

    Args:
        similarity: (R, N_b), of every anchor with every point of view b.
        top_index: int64 (R, k), chosen points in falling similarity, -1 where a region does not query.
        terms: (R,), and ``counted``, bool (R,): regions that query and have a point of each flag.
    """

    similarity: Tensor
    top_index: Tensor
    terms: Tensor
    counted: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean of what counts; 0 with a graph where nothing does."""
        return masked_mean(self.terms, self.counted)


def matched_contrast(
    anchors: Tensor,
    features: Tensor,
    *,
    queries: Tensor,
    same_flag: Tensor,
    other_flag: Tensor,
    top_k: int,
    temperature: float,
) -> Matches:
    """L_Fea: the best matches of a region among points of its own flag outweigh points of the other flag.

    Args:
        anchors: (R, C), unit length, with gradient.
        features: view b, (N_b, C), without gradient.
        queries: bool (R,), regions that query (foreground ones).
        same_flag / other_flag: bool (R, N_b), points that may match, and negatives.
        top_k: matches of a region.
        temperature: divides similarities.
    """
    similarity = anchors @ F.normalize(features, dim=1).T  # (R, N_b)
    count = min(top_k, features.shape[0])
    best, index = similarity.masked_fill(~same_flag, -torch.inf).topk(count, dim=1)
    counted = queries & same_flag.any(1) & other_flag.any(1)
    positives = torch.logsumexp(_safe(best / temperature, counted), dim=1)
    others = (similarity / temperature).masked_fill(~other_flag, -torch.inf)
    negatives = torch.logsumexp(_safe(others, counted), dim=1)
    terms = torch.logaddexp(positives, negatives) - positives
    found = queries[:, None] & best.isfinite()
    return Matches(similarity, index.masked_fill(~found, NONE), terms, counted)


def _safe(logits: Tensor, counted: Tensor) -> Tensor:
    """Rows that do not count become zeros: a row of -inf only would give NaN gradients."""
    return torch.where(counted[:, None], logits, torch.zeros_like(logits))
