"""Parts of stationary representations: a fixed classifier, and the loss against an earlier model.

Symbols: K slots, B items, E = K - 1 width of the vectors.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from repcore_generic.objectives.labelled import unit

SameClass = Literal["removed", "zero"]


def simplex(slots: int) -> Tensor:
    """Corners of a regular simplex, unit rows float64 (K, K - 1), any two with product -1 / (K - 1)."""
    width = slots - 1
    last = torch.full((1, width), (1.0 - math.sqrt(1.0 + width)) / width, dtype=torch.float64)
    corners = torch.cat([torch.eye(width, dtype=torch.float64), last])
    corners = corners - corners.mean(0)
    return corners / corners.norm(dim=1, keepdim=True)


def slots_of(classes: Tensor, slots: int) -> Tensor:
    """Row of the simplex of each class: the first class has the last, so later classes move none."""
    return slots - 1 - classes


def hoc_rows(old: Tensor, new: Tensor, labels: Tensor, scale: float, same_class: SameClass = "removed") -> Tensor:
    """Each old vector against the new vectors of other classes, (B,).

    Args:
        old: vectors (B, E) of the earlier model, a constant.
        new: vectors (B, E) of the same items.
        labels: (B,); -1 = a class of its own.
        scale: of the cosines.
        same_class: entries of the own class are left out, or are zeros in the sum, as published.
    """
    similarity = scale * unit(old.detach()) @ unit(new).T
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = (labels[:, None] == labels) & (labels >= 0)[:, None] | own
    aligned = -similarity.diagonal()
    if same_class == "zero":
        return aligned + similarity.masked_fill(same, 0.0).logsumexp(1)
    alone = same.all(1, keepdim=True)
    others = similarity.masked_fill(same & ~alone, -math.inf).logsumexp(1)
    return torch.where(alone[:, 0], aligned, aligned + others)
