"""Losses between series and their views, and between stretches of one series.

Source: Zheng et al. 2024 (arXiv 2402.10434), `AslanDing/AutoTCL`.

Symbols: B series, T steps, D features, K stretches, S steps of a stretch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.nn.losses import info_nce


def mmd(one: Tensor, two: Tensor, kernels: int = 5, factor: float = 2.0) -> Tensor:
    """Maximum mean discrepancy of two sets of rows (B, D) under a sum of Gaussian kernels.

    The narrowest bandwidth is the mean squared distance of different rows over factor^(kernels // 2), without gradient.
    """
    rows = torch.cat([one, two])
    squared = (rows[:, None] - rows[None]).square().sum(-1)
    count = len(rows)
    narrowest = squared.detach().sum() / (count * count - count) / factor ** (kernels // 2)
    narrowest = narrowest.clamp(min=torch.finfo(rows.dtype).tiny)
    kernel = sum((torch.exp(-squared / (narrowest * factor**q)) for q in range(kernels)), torch.zeros_like(squared))
    half = len(one)
    return (kernel[:half, :half] + kernel[half:, half:] - kernel[:half, half:] - kernel[half:, :half]).mean()


def contrast(series: Tensor, views: Tensor, temperature: float, *, both_ways: bool) -> Tensor:
    """InfoNCE by cosine between pooled series and views (B, D); each series finds its view, and the other way round."""
    one, two = F.normalize(series, dim=-1), F.normalize(views, dim=-1)
    there = info_nce(one, two, temperature=temperature)
    return (there + info_nce(two, one, temperature=temperature)) / 2 if both_ways else there


def valid_counts(valid: Tensor, stretches: int) -> Tensor:
    """Which series have a step with a value for every stretch, bool (B,)."""
    return valid.sum(1) >= stretches


def local_contrast(steps: Tensor, valid: Tensor, offset: Tensor, stretches: int) -> Tensor:
    """Every stretch finds each of its neighbours among all stretches further away, in every series with enough steps.

    Args:
        steps: (B, T, D).
        valid: bool (B, T); stretches are cut from the valid steps of a series, in order.
        offset: (B,) in [0, 1), where the first stretch begins, as a share of what the stretches leave over.

    Returns:
        Mean over series and pairs; 0 (with gradient 0) without a series that is long enough.
    """
    unit = F.normalize(steps, dim=-1)
    found = []
    for row in torch.nonzero(valid_counts(valid, stretches))[:, 0]:
        own = unit[row][valid[row]]
        size = len(own) // stretches
        start = int(offset[row] * (len(own) - size * stretches + 1))
        pooled = own[start : start + size * stretches].unflatten(0, (stretches, size)).amax(1)
        found.append(_neighbours(F.normalize(pooled, dim=-1)))
    return torch.stack(found).mean() if found else 0.0 * steps.sum()


def _neighbours(pooled: Tensor) -> Tensor:
    """Cross-entropy of each pair (stretch, neighbour) against the stretches more than one away, mean over pairs."""
    count = len(pooled)
    logits = pooled @ pooled.T
    place = torch.arange(count, device=pooled.device)
    far = (place[:, None] - place[None]).abs() > 1
    against = logits.masked_fill(~far, -torch.inf).logsumexp(1)
    losses = [
        (torch.logaddexp(logits[rows, rows + step], against[rows]) - logits[rows, rows + step])
        for step, rows in ((1, place[:-1]), (-1, place[1:]))
    ]
    return torch.cat(losses).mean()


def published_local_contrast(steps: Tensor, start: int, stretches: int) -> Tensor:
    """Published: the first series of the batch only, from step ``start`` on; the next stretch is the positive, the one
    before for the last. 0 for series with fewer steps than stretches."""
    size = steps.shape[1] // stretches
    if size == 0:
        return 0.0 * steps.sum()
    own = F.normalize(steps[0], dim=-1)[start : start + size * stretches]
    pooled = own.unflatten(0, (stretches, size)).amax(1)
    last = stretches - 1
    losses = []
    for place in range(stretches):
        positive = place + 1 if place < last else place - 1
        left_out = {place - 1, place, place + 1, {0: 2, last: last - 2}.get(place, place)}
        negatives = [other for other in range(stretches) if other not in left_out]
        logits = pooled[[positive, *negatives]] @ pooled[place]
        losses.append(torch.logsumexp(logits, 0) - logits[0])
    return torch.stack(losses).mean()
