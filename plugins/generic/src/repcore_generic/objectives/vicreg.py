"""VICReg: two views agree, every dimension keeps its variance, and dimensions do not repeat each other.

Bardes et al. 2022, arXiv 2105.04906, equations 1 to 6. No negatives and no teacher, so small batches do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws, LossTerms, Progress
from repcore_generic.configs.pairs import VicregConfig
from repcore_generic.objectives.pairs import in_float32, no_autocast, pooled_views, projector, width_of

VARIANCE_FLOOR = 1e-4


def variance_hinge(values: Tensor) -> Tensor:
    """Mean over dimensions of max(0, 1 - standard deviation): values (B, P) -> scalar; 0 for a single row."""
    if len(values) < 2:
        return values.sum() * 0.0
    return F.relu(1.0 - (values.var(0) + VARIANCE_FLOOR).sqrt()).mean()


def covariance_penalty(values: Tensor) -> Tensor:
    """Squared covariances between different dimensions, summed and divided by P: (B, P) -> scalar."""
    count, width = values.shape
    if count < 2:
        return values.sum() * 0.0
    centred = values - values.mean(0)
    covariance = centred.T @ centred / (count - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / width


class Vicreg(nn.Module):
    """Objective ``generic/vicreg``; expects views of the role ``pair``."""

    def __init__(self, config: VicregConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        width = width_of(encoder)
        self.projector = projector(width, config.hidden_width, config.output_width, layers=config.layers)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Nothing: the views are drawn by the data side."""
        del batch, generator, progress
        return {}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Every term is weighed by items."""
        del draws
        return dict.fromkeys(("invariance", "variance", "covariance"), batch.size)

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        vectors = pooled_views(self.encoder, batch)
        terms = self._terms({name: self.projector(value) for name, value in vectors.items()})
        return LossTerms.of(terms, self._weights(), counts=self.counts(batch, draws))

    def pair_loss(self, vectors: Mapping[str, Tensor], batch: Batch, draws: Draws) -> Tensor:
        """The weighted loss on given vectors without the projection head."""
        del batch, draws
        weights = self._weights()
        return torch.stack([weights[name] * value for name, value in self._terms(vectors).items()]).sum()

    def _weights(self) -> dict[str, float]:
        config = self.config
        return {
            "invariance": config.invariance_weight,
            "variance": config.variance_weight,
            "covariance": config.covariance_weight,
        }

    def _terms(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        one, two = in_float32(vectors)
        with no_autocast(one):
            return {
                "invariance": F.mse_loss(one, two),
                "variance": 0.5 * (variance_hinge(one) + variance_hinge(two)),
                "covariance": covariance_penalty(one) + covariance_penalty(two),
            }
