"""Distances, triples and the mixed contrastive loss of Metrix.

Symbols: B items, E embedding width, T triples (anchor a, positive p, negative n).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from repcore_generic.objectives.labelled import unit

POSITIVE_NEGATIVE, ANCHOR_NEGATIVE = 0, 1
ROOM = 1e-12
Positives = Literal["all", "first-repeated"]
HardNegatives = Literal["hardest", "reference-index"]


class Triples(NamedTuple):
    """Item numbers int64 (T,); without a positive the anchor stands for it."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


def distances(one: Tensor, other: Tensor) -> Tensor:
    """Euclidean distance of normalised rows, over the last dimension; the gradient at 0 is 0."""
    squares = (unit(one) - unit(other)).square().sum(-1)
    return torch.where(squares > ROOM, squares.clamp(min=ROOM).sqrt(), squares * 0.0)


def mean_of_positive(values: Tensor) -> Tensor:
    """Sum of the values above 0 over their number; 0 with a graph if there are none."""
    return values.clamp(min=0).sum() / (values > 0).sum().clamp(min=1)


def class_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positives (same class, not itself) and negatives of each item, bool (B, B)."""
    same = labels[:, None] == labels[None]
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~own, ~same


def pair_loss(embedded: Tensor, labels: Tensor, margin: float) -> Tensor:
    """The loss of unmixed embeddings (B, E): near positives, negatives beyond the margin."""
    positive, negative = class_masks(labels)
    anchors, others = torch.nonzero(positive, as_tuple=True)
    near = mean_of_positive(distances(embedded[anchors], embedded[others]))
    anchors, others = torch.nonzero(negative, as_tuple=True)
    return near + mean_of_positive(margin - distances(embedded[anchors], embedded[others]))


def triple_counts(labels: Tensor, branch: int) -> Tensor:
    """Triples of each anchor, int64 (B,): positives x negatives, or negatives of those without a positive."""
    positive, negative = class_masks(labels)
    near, far = positive.sum(1), negative.sum(1)
    return near * far if branch == POSITIVE_NEGATIVE else torch.where(near == 0, far, 0)


def usable_branch(labels: Tensor, branch: int) -> int | None:
    """The drawn branch, the other one if that has no triple, None if neither has."""
    return next((one for one in (branch, 1 - branch) if int(triple_counts(labels, one).sum()) > 0), None)


def triples_at(labels: Tensor, branch: int, places: Tensor | None = None) -> Triples:
    """Triples in the order of a, then p, then n, all or those at the given places; none is stored that is not asked
    for."""
    counts = triple_counts(labels, branch)
    ends = counts.cumsum(0)
    if places is None:
        places = torch.arange(int(ends[-1]) if len(ends) else 0, device=labels.device)
    anchor = torch.searchsorted(ends, places, right=True)
    within = places - (ends - counts)[anchor]
    positive, negative = class_masks(labels)
    far = negative.sum(1)[anchor].clamp(min=1)
    found = _member(negative, anchor, within % far)
    mate = anchor if branch == ANCHOR_NEGATIVE else _member(positive, anchor, within // far)
    return Triples(anchor, mate, found)


def _member(mask: Tensor, rows: Tensor, places: Tensor) -> Tensor:
    """Column of the member of a row that stands at a place among its members."""
    order = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    return order[rows, places]


def first_positives(labels: Tensor, triples: Triples) -> Triples:
    """As published: the first positive of an anchor in place of each."""
    first = class_masks(labels)[0].to(torch.int8).argmax(1)
    return Triples(triples.anchor, first[triples.anchor], triples.negative)


@torch.no_grad()
def hard_triples(embedded: Tensor, labels: Tensor, branch: int, rule: HardNegatives = "hardest") -> Triples:
    """Each (anchor, positive) with one hard negative; in the other branch each anchor without a positive.

    ``reference-index`` sorts an anchor's negatives and looks the places up in the list of all (anchor, negative) pairs.
    """
    positive, negative = class_masks(labels)
    alone = ~positive.any(1)
    apart = distances(embedded[:, None], embedded[None]).masked_fill(~negative, float("inf"))
    hardest = apart.argmin(1)
    if rule == "reference-index":
        listed = torch.nonzero(negative & alone[:, None] if branch == ANCHOR_NEGATIVE else negative)[:, 1]
        hardest = hardest.clone()
        for item in range(len(labels)):
            members = torch.nonzero(negative[item])[:, 0]
            if len(members) and len(listed):
                hardest[item] = listed[apart[item, members].argmin()]
    has = negative.any(1)
    if branch == ANCHOR_NEGATIVE:
        anchor = torch.nonzero(alone & has)[:, 0]
        return Triples(anchor, anchor, hardest[anchor])
    anchor, mate = torch.nonzero(positive & has[:, None], as_tuple=True)
    return Triples(anchor, mate, hardest[anchor])


def mixed(values: Tensor, triples: Triples, share: Tensor) -> Tensor:
    """share x positive + (1 - share) x negative, (T, ...)."""
    return share * values[triples.positive] + (1.0 - share) * values[triples.negative]


def mixed_loss(distance: Tensor, share: Tensor, margin: float) -> Tensor:
    """The loss of anchors against mixtures at these distances (T,)."""
    return mean_of_positive(share * distance) + mean_of_positive((1.0 - share) * (margin - distance))
