"""Stochastic depth: a residual branch is left out for whole items."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError


class DropPath(nn.Module):
    """Zero the branch of each item with probability ``rate`` in training, and scale the others by 1 / (1 - rate).

    Source: Huang et al. 2016 (arXiv 1603.09382).

    Args:
        rate: 0 <= rate < 1.

    Call:
        branch: (B, ...), or packed (S, ...) with ``owner`` int64 (S,) naming each token's item.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"drop path rate={rate} is outside 0 <= rate < 1")
        self.rate = rate

    def forward(self, branch: Tensor, owner: Tensor | None = None, items: int | None = None) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        count = branch.shape[0] if owner is None else items
        keep = 1.0 - self.rate
        # drawn from torch's global stream like dropout: the run reseeds it before every micro-batch
        factor = torch.empty(count or 0, device=branch.device).bernoulli_(keep).div_(keep).to(branch.dtype)
        if owner is not None:
            factor = factor[owner]
        return branch * factor.view(-1, *[1] * (branch.ndim - 1))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
