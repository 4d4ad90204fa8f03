"""Hierarchical contrast of TS2Vec.

Source: Yue et al. 2022 (arXiv 2106.10466), sections 3.3 to 3.5; `zhihanyue/ts2vec`, `models/losses.py`.

Symbols: B series, T steps, D features. Both crops' features (B, T, D) over the same steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Level:
    """Terms of one level of pooling; ``temporal`` is 0 where it is not computed."""

    instance: Tensor
    temporal: Tensor


def instance_contrast(one: Tensor, two: Tensor) -> Tensor:
    """At every step, each of 2B rows finds the same series in the other crop; 0 for a single series."""
    if one.shape[0] == 1:
        return one.new_zeros(()) + 0.0 * one.sum()
    return _matched(torch.cat([one, two]).transpose(0, 1))


def temporal_contrast(one: Tensor, two: Tensor) -> Tensor:
    """In every series, each of 2T rows finds the same step in the other crop; 0 for a single step."""
    if one.shape[1] == 1:
        return one.new_zeros(()) + 0.0 * one.sum()
    return _matched(torch.cat([one, two], dim=1))


def _matched(rows: Tensor) -> Tensor:
    """Mean cross-entropy of row i against row i + N of (X, 2N, D) by dot products, all other rows being negatives."""
    count = rows.shape[1]
    logits = rows @ rows.transpose(1, 2)
    itself = torch.eye(count, dtype=torch.bool, device=rows.device)
    wanted = torch.arange(count, device=rows.device).roll(count // 2)
    logits = logits.masked_fill(itself, -torch.inf)
    return F.cross_entropy(logits.flatten(0, 1), wanted.repeat(len(rows)))


def levels(one: Tensor, two: Tensor, temporal_unit: int) -> Iterator[Level]:
    """Terms from the full resolution to one step, each level max-pooled by two from the one before."""
    number = 0
    while True:
        is_last = one.shape[1] == 1
        wants_steps = not is_last and number >= temporal_unit
        temporal = temporal_contrast(one, two) if wants_steps else one.new_zeros(())
        yield Level(instance_contrast(one, two), temporal)
        if is_last:
            return
        number += 1
        one, two = (F.max_pool1d(x.transpose(1, 2), 2).transpose(1, 2) for x in (one, two))


def hierarchical_terms(one: Tensor, two: Tensor, temporal_unit: int) -> Level:
    """Mean of both terms over the levels: the loss is alpha x instance + (1 - alpha) x temporal."""
    found = list(levels(one, two, temporal_unit))
    return Level(torch.stack([x.instance for x in found]).mean(), torch.stack([x.temporal for x in found]).mean())
