"""Composability and decomposability: a whole from its parts, and the parts from the whole.

Source: Adam-v2 (arXiv 2404.15672) as its public code has it. With ``mean`` over the width and parts made unit vectors
together (both published), the terms are O(1/D) and decomposability cannot go below (sqrt(N) - 1)^2 / (N D);
``sum`` and ``per_part`` are 2 - 2 cos and can reach 0.

Symbols: B images, N parts, V student views, A teacher views, D embedding width, K prototypes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Reduction = Literal["mean", "sum"]
PartNorm = Literal["joint", "per_part"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What both networks make of a set of views.

    Args:
        student_logits: (V, B, K), student views in order.
        teacher_logits: (A, B, K).
        student_whole / student_parts: (B, D) and (B, N, D); None in the localizability stage.
        teacher_whole / teacher_parts: the same of the teacher; the first global view in the localizability stage.
    """

    student_logits: Tensor
    teacher_logits: Tensor
    student_whole: Tensor | None
    student_parts: Tensor | None
    teacher_whole: Tensor
    teacher_parts: Tensor | None


def compose_head(width: int, parts: int) -> nn.Sequential:
    """N concatenated part vectors to one whole vector."""
    return nn.Sequential(nn.Linear(parts * width, width), nn.ReLU(), nn.Linear(width, width))


def decompose_head(width: int, parts: int) -> nn.Sequential:
    """One whole vector to N concatenated part vectors."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, parts * width))


def normalised_parts(predicted: Tensor, parts: int, norm: PartNorm) -> Tensor:
    """Predicted parts (B, N * D) as (B, N, D): unit vectors one by one, or one unit vector together."""
    if norm == "joint":
        return F.normalize(predicted, dim=-1).unflatten(-1, (parts, -1))
    return F.normalize(predicted.unflatten(-1, (parts, -1)), dim=-1)


def squared_distance(predicted: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
    """(predicted - target)^2, mean or sum over the width, mean over everything else."""
    squared = (predicted - target).square()
    return squared.mean() if reduction == "mean" else squared.sum(-1).mean()


def composability_loss(composed: Tensor, whole: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Distance of the unit vectors of what was composed and of the teacher's whole, both (B, D)."""
    return squared_distance(F.normalize(composed, dim=-1), F.normalize(whole.detach(), dim=-1), reduction)


def decomposability_loss(
    predicted: Tensor, parts: Tensor, reduction: Reduction = "mean", norm: PartNorm = "joint"
) -> Tensor:
    """Distance of predicted parts (B, N * D) and the teacher's parts (B, N, D)."""
    own = normalised_parts(predicted, parts.shape[1], norm)
    return squared_distance(own, F.normalize(parts.detach(), dim=-1), reduction)
