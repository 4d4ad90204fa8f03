"""Parts of ShrinkMatch: targets brought to even classes, and the loss of uncertain items among fewer classes.

Symbols: B items, C classes, L kept batch means.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore_generic.objectives.pairs import RowNorm


class Shrunk(NamedTuple):
    """Losses (B,) of items, without a graph for the targets, and what was decided about each.

    ``first_kept``: rank of the first class that stays beside the best one, int64 (B,); 0 where nothing is decided
    (certain items, or fewer than three classes), C - 1 where no rank reaches the bar.
    """

    items: Tensor
    first_kept: Tensor
    certain: Tensor
    reached: Tensor


def aligned(probabilities: Tensor, means: Tensor) -> Tensor:
    """Class probabilities (B, C) divided by the mean of kept batch means (L, C), rows of sum 1 again.

    Means that are all zero (not yet written) count for nothing: a common factor goes out with the sum.
    """
    divided = probabilities / means.mean(0).clamp(min=torch.finfo(means.dtype).tiny)
    return divided / divided.sum(1, keepdim=True)


def shrunk_items(target: Tensor, logits: Tensor, threshold: float) -> Shrunk:
    """Loss of each item among the best class and those that come far enough behind it; 0 for certain items.

    Args:
        target: class probabilities (B, C) of the weak view, a constant.
        logits: auxiliary outputs (B, C) of the strong view.
        threshold: bar of certainty.
    """
    target = target.detach().float()
    order = target.argsort(dim=1, descending=True, stable=True)  # of equal ones the lower class first
    ranked, scores = target.gather(1, order), logits.float().gather(1, order)
    best = ranked[:, 0]
    certain = best >= threshold
    if target.shape[1] < 3:
        nothing = torch.zeros_like(certain)
        return Shrunk(scores.sum(1) * 0.0, nothing.long(), certain, nothing)
    tails = ranked.flip(1).cumsum(1).flip(1)  # (B, C): sum of ranks c and later, from the small end
    sure = (best[:, None] / (best[:, None] + tails))[:, 2:] >= threshold  # for c = 2 .. C - 1
    reached = sure.any(1)
    first = torch.where(reached, sure.long().argmax(1) + 2, target.shape[1] - 1)
    later = scores.flip(1).logcumsumexp(1).flip(1).gather(1, first[:, None])[:, 0]
    each = best * (torch.logaddexp(scores[:, 0], later) - scores[:, 0])
    counts = reached & ~certain
    return Shrunk(torch.where(counts, each, torch.zeros_like(each)), torch.where(certain, 0, first), certain, counts)


def certain_loss(target: Tensor, logits: Tensor, certain: Tensor) -> Tensor:
    """Cross-entropy with the whole target of certain items, divided by all items; 0 with a graph without items."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    each = -(target.detach() * F.log_softmax(logits.float(), dim=1)).sum(1)
    return torch.where(certain, each, torch.zeros_like(each)).sum() / len(logits)


def next_ratio(ratio: Tensor, share: Tensor, decay: Tensor, is_first: Tensor) -> Tensor:
    """Running share of certain items; the first share stands for itself."""
    return torch.where(is_first, share, decay * ratio + (1.0 - decay) * share)


def auxiliary_head(width: int, classes: int, hidden: int | None = None, slope: float = 0.1) -> nn.Sequential:
    """Linear, BatchNorm, LeakyReLU, twice, and linear; hidden width a quarter of the input's."""
    inner = max(1, width // 4) if hidden is None else hidden
    return nn.Sequential(
        nn.Linear(width, inner), RowNorm(inner), nn.LeakyReLU(slope),
        nn.Linear(inner, inner), RowNorm(inner), nn.LeakyReLU(slope),
        nn.Linear(inner, classes),
    )  # fmt: skip
