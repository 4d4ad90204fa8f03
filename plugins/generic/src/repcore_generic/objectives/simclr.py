"""SimCLR: two views of an item recognise each other among all other views of the batch (InfoNCE).

Chen et al. 2020, arXiv 2002.05709: normalised, temperature-scaled cross-entropy over 2B vectors behind a projection
head. Items of one batch that carry the same id are not each other's negatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws, LossTerms, Progress
from repcore_generic.configs.pairs import SimclrConfig
from repcore_generic.objectives.pairs import in_float32, no_autocast, pooled_views, projector, width_of


def info_nce(one: Tensor, two: Tensor, temperature: float, ids: Sequence[str] = ()) -> tuple[Tensor, Tensor]:
    """Cross-entropy over all other views of the batch.

    Args:
        one / two: projected views (B, P); row i of both is one item.
        temperature: of the cosine similarities.
        ids: items with one id are left out of each other's negatives.

    Returns:
        mean loss over 2B views, and the share of views whose partner is the nearest.
    """
    count = len(one)
    vectors = F.normalize(torch.cat([one, two]), dim=-1)
    logits = vectors @ vectors.T / temperature
    hidden = torch.eye(2 * count, dtype=torch.bool, device=one.device)
    if ids:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(ids))}
        number = torch.tensor([numbers[name] for name in ids], device=one.device).repeat(2)
        hidden = hidden | (number[:, None] == number[None, :])
    partner = torch.arange(2 * count, device=one.device).roll(count)
    hidden = hidden & ~F.one_hot(partner, 2 * count).bool()
    logits = logits.masked_fill(hidden, float("-inf"))
    return F.cross_entropy(logits, partner), (logits.argmax(-1) == partner).float().mean()


class Simclr(nn.Module):
    """Objective ``generic/simclr``; expects views of the role ``pair``."""

    def __init__(self, config: SimclrConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        width = width_of(encoder)
        self.projector = projector(width, config.hidden_width, config.output_width, layers=config.layers)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Nothing: the views are drawn by the data side."""
        del batch, generator, progress
        return {}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """The loss is a mean over items."""
        del draws
        return {"contrast": batch.size}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        vectors = pooled_views(self.encoder, batch)
        projected = {name: self.projector(value) for name, value in vectors.items()}
        loss, accuracy = self._compared(projected, batch)
        return LossTerms.of({"contrast": loss}, counts=self.counts(batch, draws), metrics={"accuracy": accuracy})

    def pair_loss(self, vectors: Mapping[str, Tensor], batch: Batch, draws: Draws) -> Tensor:
        """The loss on given vectors without the projection head, whose width they need not have."""
        del draws
        return self._compared(vectors, batch)[0]

    def _compared(self, vectors: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        one, two = in_float32(vectors)
        with no_autocast(one):
            return info_nce(one, two, self.config.temperature, batch.sample_id)
