"""Localizability: student views predict the teacher's distribution over prototypes (self-distillation).

Source: Caron et al. 2021 (arXiv 2104.14294), eq. 1; its use in Adam-v2 (arXiv 2404.15672). Differs: log-probabilities
are never stored; since teacher probabilities add up to 1, -sum p log q = logsumexp(s / t) - p . s / t.

Symbols: A teacher views, V student views, B images, K prototypes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _PrototypeCrossEntropy(torch.autograd.Function):
    """Cross-entropy of every student view with one teacher, view by view, in float32 at least."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:  # ctx: torch's own
        total = logits.new_empty(logits.shape[:2], dtype=torch.promote_types(logits.dtype, torch.float32))
        logsums = torch.empty_like(total)
        for view, row in enumerate(logits):  # one (B, K) temporary at a time
            scaled = row.to(total.dtype) / temperature
            logsums[view] = torch.logsumexp(scaled, dim=-1)
            total[view] = logsums[view] - torch.einsum("bk,bk->b", teacher.to(total.dtype), scaled)
        ctx.save_for_backward(logits, teacher, logsums)
        ctx.temperature = temperature
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        logits, teacher, logsums = ctx.saved_tensors
        (grad,) = grads
        result = torch.empty_like(logits)
        for view, row in enumerate(logits):
            share = row.to(logsums.dtype).div(ctx.temperature).sub_(logsums[view, :, None]).exp_()
            share.sub_(teacher).mul_((grad[view] / ctx.temperature)[:, None])
            result[view] = share.to(result.dtype)
        return result, None, None


def prototype_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """-sum_k teacher_k log softmax(logits / temperature)_k for every view and image.

    Args:
        logits: float (V, B, K).
        teacher: probabilities (B, K) that add up to 1, without gradient.
        temperature: of the student.

    Returns:
        float32 (or float64) (V, B).

    Cost: one (B, K) temporary; the plain form stores log-probabilities and products, (V, B, K) each.
    """
    result: Tensor = _PrototypeCrossEntropy.apply(logits, teacher, temperature)
    return result


def localizability_loss(student: Tensor, teacher: Tensor, temperature: float, *, shared_views: int = 0) -> Tensor:
    """Mean over pairs of a teacher view and a student view, and over images.

    Args:
        student: logits (V, B, K).
        teacher: probabilities (A, B, K).
        temperature: of the student.
        shared_views: how many leading student views are the teacher's own; a view is not compared with itself.
    """
    losses = []
    for number, target in enumerate(teacher):
        is_own = number < shared_views
        others = torch.cat([student[:number], student[number + 1 :]]) if is_own else student
        losses.append(prototype_cross_entropy(others, target, temperature))
    return torch.cat(losses).mean()


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy of the rows as a share of the largest possible one: 1 = uniform, 0 = one prototype each."""
    rows = torch.special.entr(probabilities).sum(-1)
    return rows.mean() / torch.log(torch.tensor(float(probabilities.shape[-1]), device=rows.device))
