"""Method ``generic/hydra``: any two classes may be positives, in the features that a gate of the two selects.

Wu et al. 2024, arXiv 2410.18200, "Rethinking Positive Pairs in Contrastive Learning" (SimLAP).

Differs: an item is not its own positive, rows without a negative do not count, vectors are normalised after the gate,
and the classification reaches the encoder; each published form is a setting. Contrast is among the items of one
micro-batch of one device.

Symbols: B items, n labelled ones, D width, C classes, P projected width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws, LossTerms, Progress
from repcore_generic.configs.hydra import HydraConfig
from repcore_generic.objectives.hydra_loss import (
    Gate,
    PairMasks,
    gate_statistics,
    gated_similarity,
    pair_contrast,
    pair_masks,
    partner_classes,
    projector,
)
from repcore_generic.objectives.labelled import ClassMethod, draw_order, nothing
from repcore_generic.objectives.pairs import no_autocast

WIDEST = 256


class Hydra(ClassMethod):
    """See the module's text.

    Args:
        config: settings.
        encoder: of the task.
        task: a class task of items with a head on pooled vectors, and three classes at least.
    """

    def __init__(self, config: HydraConfig, encoder: nn.Module, task: nn.Module) -> None:
        super().__init__("hydra", encoder, task, fewest=3)
        self.config = config
        output = config.projection or min(WIDEST, 2 * self.width)
        self.projector = projector(self.width, config.hidden or 4 * self.width, output)
        self.gate = Gate(self.classes, config.embedding, config.gate_hidden, output, product=config.gate == "product")

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Of the n labelled items: ``permutation`` and ``shift`` in 1 .. C - 1, int64 (n,)."""
        del progress
        labels = self.labels(batch)
        count = int((labels >= 0).sum())
        shift = torch.randint(1, self.classes, (count,), generator=generator, device=generator.device)
        return {"permutation": draw_order(count, generator, labels.device), "shift": shift.to(labels.device)}

    def _masks(self, labels: Tensor, draws: Draws) -> tuple[Tensor, PairMasks]:
        partners = partner_classes(labels, self.config.pairs, draws["permutation"], draws["shift"], self.classes)
        return partners, pair_masks(labels, partners, self_pairs=self.config.self_pairs)

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Pairs (or items with one), which follow from labels and draws alone, and labelled items."""
        labels = self.labels(batch)
        known = labels[labels >= 0]
        positive = self._masks(known, draws)[1].positive
        pairs = positive.any(1).sum() if self.config.reduction == "anchors" else positive.sum()
        return {"contrast": pairs, "classification": torch.as_tensor(len(known), device=labels.device)}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        features, labels = self.labelled(batch)
        with no_autocast(features):
            features = features.float()
            outputs = self.logits(features if self.config.supervised else features.detach())
            terms = {"classification": self.plain_loss(outputs, labels)}
            metrics: dict[str, Tensor] = {}
            if len(labels) < 2:
                terms["contrast"] = nothing(features, *self.projector.parameters(), *self.gate.parameters())
            else:
                partners, masks = self._masks(labels, draws)
                gates = self.gate(labels, partners)
                similarity = gated_similarity(self.projector(features), gates, self.config.normalise)
                terms["contrast"] = pair_contrast(
                    similarity, masks, self.config.temperature, by_anchor=self.config.reduction == "anchors"
                )
                metrics = _metrics(similarity.detach(), gates.detach(), masks)
        return LossTerms.of(terms, counts=self.counts(batch, draws), metrics=metrics)


def _metrics(similarity: Tensor, gates: Tensor, masks: PairMasks) -> dict[str, Tensor]:
    active, entropy = gate_statistics(gates)
    return {
        "gate_active": active,
        "gate_entropy": entropy,
        "positive_similarity": (similarity * masks.positive).sum() / masks.positive.sum().clamp(min=1),
        "negative_similarity": (similarity * masks.negative).sum() / masks.negative.sum().clamp(min=1),
        "pairs_an_item": masks.positive.sum() / len(similarity),
    }
