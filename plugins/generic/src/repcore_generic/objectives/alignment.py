"""Token alignment: a student's tokens at one layer towards a frozen teacher's tokens of the same places.

Yu et al. 2025, Representation Alignment for Generation (REPA), arXiv 2410.06940; public code: sihyun-yu/REPA.
Symbols: B items, T tokens, H student width, E teachers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_FLOOR = 1e-12


def build_projector(width: int, hidden: int, output: int) -> nn.Sequential:
    """Linear, SiLU, linear, SiLU, linear: student width to a teacher's."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, output)
    )


def token_cosines(projected: Tensor, teacher: Tensor) -> Tensor:
    """Cosine of each projected student token with the teacher's token of its place, (...)."""
    one = projected / projected.norm(dim=-1, keepdim=True).clamp(min=NORM_FLOOR)
    two = teacher / teacher.norm(dim=-1, keepdim=True).clamp(min=NORM_FLOOR)
    return (one * two).sum(-1)


def alignment_loss(cosines: Sequence[Tensor], valid: Tensor | None) -> Tensor:
    """Minus the mean cosine: over valid tokens of the batch, then teachers; ``valid`` None = every token counts.

    With every token valid this is the published order too (tokens, items, teachers).
    """
    means = []
    for one in cosines:
        weight = torch.ones_like(one) if valid is None else valid.to(one.dtype)
        means.append((one * weight).sum() / weight.sum().clamp(min=1.0))
    return -torch.stack(means).mean()


def item_alignment_loss(cosines: Sequence[Tensor], valid: Tensor) -> Tensor:
    """As published: minus the mean over the tokens of an item, then over items that have any, then teachers."""
    means = []
    for one in cosines:
        weight = valid.to(one.dtype)
        each = (one * weight).sum(1) / weight.sum(1).clamp(min=1.0)
        has = valid.any(1).to(one.dtype)
        means.append((each * has).sum() / has.sum().clamp(min=1.0))
    return -torch.stack(means).mean()


def denoising_parts(images: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's step around the alignment: input on the straight path, and the velocity that is to be predicted."""
    return (1.0 - time) * images + time * noise, noise - images


def denoising_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean square error of each item, (B,)."""
    return F.mse_loss(predicted, target, reduction="none").flatten(1).mean(1)
