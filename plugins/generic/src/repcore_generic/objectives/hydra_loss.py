"""Gates, gated similarities and the contrast of arbitrary class pairs (Hydra, SimLAP).

Symbols: B items, C classes, P width of projections and gates.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from repcore_generic.objectives.labelled import unit
from repcore_generic.objectives.pairs import RowNorm

Pairs = Literal["arbitrary", "distinct", "identical"]
Order = Literal["after-gate", "before-gate"]
ROOM = 1e-12


class Gate(nn.Module):
    """Which of P features two classes share, each in (0, 1).

    Args:
        classes: C.
        embedding: width of class embeddings.
        hidden: hidden width.
        output: P.
        product: multiply the gates of the two classes instead of gating the mean of their embeddings.
    """

    def __init__(self, classes: int, embedding: int, hidden: int, output: int, *, product: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding)
        self.layers = nn.Sequential(
            nn.ReLU(), RowNorm(embedding), nn.Linear(embedding, hidden),
            nn.ReLU(), RowNorm(hidden), nn.Linear(hidden, output),
        )  # fmt: skip
        self.product = product

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Classes (B,) and (B,) -> (B, P); the same either way round."""
        if self.product:
            return self._open(self.embedding(one)) * self._open(self.embedding(other))
        return self._open((self.embedding(one) + self.embedding(other)) / 2)

    def _open(self, embedded: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(embedded))


def gate_statistics(gates: Tensor) -> tuple[Tensor, Tensor]:
    """Of gates (C, P): mean number of active features, and mean entropy of a feature in nats."""
    entropy = -(torch.xlogy(gates, gates) + torch.xlogy(1 - gates, 1 - gates))
    return gates.sum(1).mean(), entropy.mean()


def projector(width: int, hidden: int, output: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, linear without bias, layer norm."""
    return nn.Sequential(
        nn.Linear(width, hidden), RowNorm(hidden), nn.ReLU(), nn.Linear(hidden, output, bias=False),
        nn.LayerNorm(output),
    )  # fmt: skip


def partner_classes(labels: Tensor, rule: Pairs, permutation: Tensor, shift: Tensor, classes: int) -> Tensor:
    """The class that each item is paired with, int64 (B,)."""
    if rule == "arbitrary":
        return labels[permutation]
    return (labels + shift) % classes if rule == "distinct" else labels


def gated_similarity(projected: Tensor, gates: Tensor, order: Order) -> Tensor:
    """Similarity of each item to all (B, B); row i is gated by ``gates[i]`` on both sides.

    ``after-gate`` is the cosine of gated vectors; ``before-gate`` gates unit vectors, so small gates shrink it.
    """
    squared = gates.square()
    if order == "before-gate":
        vectors = unit(projected)
        return (vectors * squared) @ vectors.T
    own = (projected * gates).norm(dim=1, keepdim=True)
    theirs = (squared @ projected.square().T).clamp(min=ROOM**2).sqrt()
    return (projected * squared) @ projected.T / (own.clamp(min=ROOM) * theirs)


class PairMasks(NamedTuple):
    """Positives and negatives of each item, bool (B, B), and which pairs count."""

    positive: Tensor
    negative: Tensor


def pair_masks(labels: Tensor, partners: Tensor, *, self_pairs: bool = False) -> PairMasks:
    """Positives are of the partner class, negatives of neither class.

    Args:
        self_pairs: as published: an item is its own positive where the two classes are one, and rows without a
            negative count.
    """
    positive = labels[None] == partners[:, None]
    negative = (labels[None] != labels[:, None]) & ~positive
    if not self_pairs:
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = positive & ~own & negative.any(1, keepdim=True)
    return PairMasks(positive, negative)


def pair_contrast(similarity: Tensor, masks: PairMasks, temperature: float, *, by_anchor: bool = False) -> Tensor:
    """Mean over pairs (or over items) of log(exp s + sum over negatives of exp s) - s; 0 with a graph without pairs."""
    scaled = similarity / temperature
    against = scaled.masked_fill(~masks.negative, -float("inf"))
    has = masks.negative.any(1, keepdim=True)
    others = torch.where(has, against, 0.0).logsumexp(1, keepdim=True).masked_fill(~has, -float("inf"))
    each = (torch.logaddexp(scaled, others) - scaled).masked_fill(~masks.positive, 0.0)
    number = masks.positive.sum(1)
    if by_anchor:
        return (each.sum(1) / number.clamp(min=1)).sum() / (number > 0).sum().clamp(min=1)
    return each.sum() / number.sum().clamp(min=1)
