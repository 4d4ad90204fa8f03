"""How much is hidden: schedules from 0 (all) to 1 (none), and the masks that follow from draws.

Source: Chang et al. 2022 (MaskGIT, arXiv 2202.04200), section 3.2, and its public code (google-research/maskgit).
Everything is computed in float64 on the CPU: counts are ceilings and floors at whole numbers.

Symbols: B clips, L tokens.
"""

from __future__ import annotations

import math

from torch import Tensor

from repcore.nn.masking import exact_count_mask

LOWEST = 1e-6
GAUSSIAN_MEAN, GAUSSIAN_DEVIATION, GAUSSIAN_LOWEST = 0.55, 0.25, 0.5  # Li et al. 2023 (MAGE, arXiv 2211.09117)
LEAST_SHARE = 0.5  # MaskGIT's configuration


def schedule(name: str, ratio: Tensor, *, tokens: int, exponent: float = 2.0) -> Tensor:
    """gamma(ratio) in float64, within [1e-6, 1].

    Args:
        name: cosine, arccos, linear, pow (1 - r^exponent) or log (-log2 r / log2 tokens).
        ratio: in [0, 1], any shape.
        tokens: L of the logarithmic schedule.
    """
    r = ratio.detach().double().cpu()
    values = {
        "cosine": lambda: (math.pi / 2 * r).cos(),
        "arccos": lambda: 2 / math.pi * r.clamp(-1, 1).acos(),
        "linear": lambda: 1 - r,
        "pow": lambda: 1 - r**exponent,
        "log": lambda: -r.log2() / math.log2(max(tokens, 2)),
    }
    return values[name]().clamp(LOWEST, 1.0)


def hidden_counts(share: Tensor, valid: Tensor) -> Tensor:
    """ceil(share x tokens) of each clip, 1 at least and all at most, int64 (B,).

    Args:
        share: float64 (B,).
        valid: bool (B, L).
    """
    tokens = valid.sum(1).cpu()
    return (share * tokens).ceil().long().clamp(min=1).minimum(tokens).to(valid.device)


def hidden_tokens(scores: Tensor, count: Tensor, valid: Tensor) -> Tensor:
    """The ``count`` tokens (B,) with the smallest scores (B, L), ties by number; bool (B, L)."""
    return exact_count_mask(scores, count, valid)
