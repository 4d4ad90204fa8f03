"""Method ``generic/core-tuning``: classification of mixed vectors and a focal contrast over the same rows.

Zhang et al. 2021 (NeurIPS), "Unleashing the Power of Contrastive Self-Supervised Visual Models via
Contrast-Regularized Fine-Tuning".

Differs: originals reach the encoder, partners are mined among those that are some, mixed labels are compared exactly,
and the contrast is a mean over positives; each published form is a setting. The head is the task's (with bias and
dropout). Mining and contrast see one micro-batch of one device.

Symbols: B items, n labelled ones, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws, LossTerms, Progress
from repcore_generic.configs.core_tuning import CoreTuningConfig
from repcore_generic.objectives.core_tuning_loss import (
    Rows,
    equal_hashes,
    equal_labels,
    focal_contrast,
    mined_partners,
    mixed_rows,
)
from repcore_generic.objectives.labelled import ClassMethod, draw_beta, draw_order, nothing, unit
from repcore_generic.objectives.pairs import no_autocast


class Projector(nn.Module):
    """Linear, ReLU, linear; unit rows.

    Args:
        width: D, of input and hidden layer.
        output: P.
    """

    def __init__(self, width: int, output: int) -> None:
        super().__init__()
        self.input = nn.Linear(width, width)
        self.output = nn.Linear(width, output)

    def forward(self, rows: Tensor) -> Tensor:
        """(R, D) -> (R, P)."""
        return unit(self.output(torch.relu(self.input(rows))))


class CoreTuning(ClassMethod):
    """See the module's text.

    Args:
        config: settings.
        encoder: of the task.
        task: a class task of items with a head on pooled vectors.
    """

    def __init__(self, config: CoreTuningConfig, encoder: nn.Module, task: nn.Module) -> None:
        super().__init__("core-tuning", encoder, task)
        self.config = config
        self.projector = Projector(self.width, config.projection)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Of the n labelled items: ``permutation``, ``lam_negative``, ``lam_positive`` (n,)."""
        del progress
        labels = self.labels(batch)
        count, device = int((labels >= 0).sum()), labels.device
        return {
            "permutation": draw_order(count, generator, device),
            "lam_negative": draw_beta(self.config.alpha, count, generator, device),
            "lam_positive": draw_beta(self.config.alpha, count, generator, device),
        }

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Rows that are classified: three an item, or the items alone where fewer than two are labelled."""
        del draws
        known = (self.labels(batch) >= 0).sum()
        return {"classification": torch.where(known > 1, 3 * known, known)}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        features, labels = self.labelled(batch)
        counts = self.counts(batch, draws)
        with no_autocast(features):
            features = features.float()
            if len(labels) < 2:
                plain = self.plain_loss(self.logits(features), labels)
                terms = {"classification": plain, "contrast": nothing(features, *self.projector.parameters())}
                return LossTerms.of(terms, {"classification": 1.0, "contrast": self.config.eta}, counts=counts)
            partners = mined_partners(features, labels, self.config.mining)
            rows = self._rows(features, labels, draws, partners)
            soft, outputs = rows.soft(self.classes), self.logits(rows.features)
            same = equal_hashes(soft) if self.config.labels == "hash" else equal_labels(*rows[1:])
            found = focal_contrast(self.projector(rows.features), same, self.config.temperature, self.config.norm)
        own = torch.arange(len(labels), device=labels.device)
        metrics = {
            "anchors": found.anchors / len(same),
            "focal_weight": found.weight,
            "alone": (partners[0] == own).float().mean(),
            "accuracy": (outputs[: len(labels)].argmax(1) == labels).float().mean(),
        }
        return LossTerms.of(
            {"classification": self.soft_loss(outputs, soft), "contrast": found.loss},
            {"classification": 1.0, "contrast": self.config.eta},
            counts=counts,
            metrics=metrics,
        )

    def _rows(self, features: Tensor, labels: Tensor, draws: Draws, partners: tuple[Tensor, Tensor]) -> Rows:
        return mixed_rows(
            features, labels, draws["permutation"], (draws["lam_negative"], draws["lam_positive"]), partners,
            floor=self.config.floor, detach_originals=self.config.detach_originals,
        )  # fmt: skip
