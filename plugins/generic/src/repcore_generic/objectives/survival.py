"""Survival in K time bins: hazards, the curve, the loss of censored and observed items, and one number of risk.

Zadeh and Schmid 2020 (TPAMI), "Bias in Cross-Entropy-Based Training of Deep Survival Networks".

Symbols: B items, K bins.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-7
"""Below which no logarithm is taken."""


def survival_curve(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Hazards (B, K), the chance that it happens in a bin if not before, and survival (B, K) past each bin."""
    hazards = scores.sigmoid()
    return hazards, (1.0 - hazards).cumprod(dim=-1)


def survival_loss(scores: Tensor, bins: Tensor, censored: Tensor, observed_weight: float = 0.0) -> Tensor:
    """Negative log-likelihood (B,).

    Args:
        scores: (B, K).
        bins: int64 (B,), bin of the event, or of the last time that an item was seen.
        censored: (B,), 1 = no event was seen.
        observed_weight: 0 to 1, by which censored items count less.
    """
    hazards, curve = survival_curve(scores)
    before = torch.cat([torch.ones_like(curve[:, :1]), curve], dim=1)
    at = bins[:, None]
    alive, event, past = (one.gather(1, at)[:, 0].clamp(min=LEAST).log() for one in (before, hazards, curve))
    hidden = censored.to(scores.dtype)
    observed = -(1.0 - hidden) * (alive + event)
    return (1.0 - observed_weight) * (observed - hidden * past) + observed_weight * observed


def risk(scores: Tensor) -> Tensor:
    """(B,), higher = earlier."""
    return -survival_curve(scores)[1].sum(-1)
