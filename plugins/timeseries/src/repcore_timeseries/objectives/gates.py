"""Gates that are 0 or 1 and still have a gradient, and the terms that keep few of them open and rarely change them.

Source: Louizos et al. 2018 (arXiv 1712.01312), hard concrete distribution; Zheng et al. 2024 (arXiv 2402.10434),
`AslanDing/AutoTCL`.

Symbols: B series, T steps, C channels, J drawn pairs of steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.nn.losses import masked_mean

OPEN_FROM = 0.5


@dataclass(frozen=True, slots=True)
class Gate:
    """Gates (B, T, C): ``soft`` in [0, 1], ``hard`` 0 or 1 with the gradient of ``soft``."""

    soft: Tensor
    hard: Tensor


def hard_concrete(
    logit: Tensor, uniform: Tensor | None, *, bias: float, stretch: float, is_published: bool = False
) -> Gate:
    """Gates from their logits.

    Args:
        logit: (B, T, C).
        uniform: noise in [0, 1) of the same shape; None = evaluation, without noise.
        bias: noise is mapped to [bias, 1 - bias].
        stretch: gates reach from -stretch to 1 + stretch before they are cut; to 1 only in the published code.
        is_published: the published map of the noise falls where the corrected one rises.
    """
    top = 1.0 if is_published else 1.0 + stretch
    if uniform is not None:
        rising = uniform * (1 - 2 * bias) + bias
        noise = 1.0 - rising if is_published else rising
        logit = logit + torch.logit(noise)
    soft = (torch.sigmoid(logit) * (top + stretch) - stretch).clamp(0.0, 1.0)
    hard = (soft > OPEN_FROM).to(soft.dtype)
    return Gate(soft, hard - soft.detach() + soft)


def open_term(keep: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """How much more than ``threshold`` of the values is kept on average."""
    return F.relu(masked_mean(keep, valid[..., None]) - threshold)


def open_sum(keep: Tensor, threshold: float) -> Tensor:
    """Published: channels are summed, so that two channels are open too far at less than the threshold."""
    return F.relu(keep.sum(-1).mean() - threshold)


def total_variation(keep: Tensor, valid: Tensor) -> Tensor:
    """Mean change of the keep probability between neighbouring steps that both have a value."""
    both = (valid[:, 1:] & valid[:, :-1])[..., None]
    return masked_mean((keep[:, 1:] - keep[:, :-1]).abs(), both)


def drawn_smoothness(keep: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Published: drawn pairs of steps, int64 (J,) each in 1 ... T - 3, applied to every series of the batch; only pairs
    whose second step lies more than one behind the first are drawn together, all others are pushed apart."""
    one = keep[:, first]
    gap = (one - keep[:, second]).abs()
    is_near = ((second - first) > 1).to(keep.dtype)[None, :, None]
    pairs = is_near * gap + (1 - is_near) * (1 - gap)
    return (pairs + (one - keep[:, first - 1]).abs() + (one - keep[:, first + 1]).abs()).mean()
