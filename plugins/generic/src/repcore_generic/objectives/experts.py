"""Method ``generic/experts``: the task's plain loss with one feed-forward expert a domain, beside a contrast of pairs.

Hallee et al. 2024, arXiv 2401.15713, "Contrastive Learning and Mixture of Experts Enables Precise Vector Embeddings".
Blocks and routing are in :mod:`repcore_generic.encoders.experts`.

Differs: unit vectors with a learned scale and the partner itself as target; rows of no known domain take the mean of
the experts; the task's own loss stands beside. Pairs are items of one class and domain of the batch, and other items
of that domain and another class are their negatives.

Symbols: B items, R items with a partner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.evaluation.tasks.item import ClassificationTask, ItemTask
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress, Task
from repcore.specs import TargetSpec
from repcore_generic.configs.experts import ExpertsConfig
from repcore_generic.encoders.experts import WithExperts
from repcore_generic.layers.expert_blocks import Experts
from repcore_generic.objectives.experts_loss import LARGEST_SCALE, SCALE_AT_START, Pooler, pair_loss, weight_distance
from repcore_generic.objectives.labelled import nothing, unit
from repcore_generic.objectives.pairs import no_autocast
from repcore_generic.objectives.sherl import plain_labels

NONE = -1


class DomainExperts(nn.Module):
    """See the module's text.

    Args:
        config: settings.
        encoder: a :class:`repcore_generic.encoders.experts.WithExperts`.
        task: one of core's tasks of items.

    Raises:
        ConfigError: the encoder has no experts, or the task is another one.
    """

    @staticmethod
    def completed(
        config: ExpertsConfig, target: TargetSpec, earlier: ExpertsConfig | None, targets: Sequence[TargetSpec]
    ) -> ExpertsConfig:
        """Experts for the domains of the model and of the data; see :meth:`ExpertsConfig.completed`."""
        return config.completed(target, earlier, targets)

    def __init__(self, config: ExpertsConfig, encoder: nn.Module, task: nn.Module) -> None:
        super().__init__()
        if not isinstance(encoder, WithExperts) or not isinstance(task, ItemTask):
            raise ConfigError(
                f"experts need a label of items and an encoder with experts, not {type(task).__name__} and "
                f"{type(encoder).__name__}",
                hint="--task classification, multilabel or regression",
            )
        self.config, self.task = config, task
        self.paired = isinstance(task, ClassificationTask) and config.weight > 0
        self.pooler = Pooler(int(cast(Any, encoder).dim)) if self.paired else None
        self.log_scale = nn.Parameter(torch.tensor(SCALE_AT_START)) if self.paired else None

    @property
    def encoder(self) -> nn.Module:
        """The encoder with experts."""
        return self.task.encoder

    def _labels(self, batch: Batch) -> Tensor:
        found: Tensor = batch.targets[self.task.target.name]
        return found

    def _domains(self, batch: Batch) -> Tensor:
        """Expert of each item (B,), -1 = unknown."""
        found = cast(WithExperts, self.encoder).experts_of(batch)
        return torch.full((batch.size,), NONE, device=self._labels(batch).device) if found is None else found

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``keys`` (B, B): an item's partner is the one of its class and domain with the largest."""
        del progress
        if not self.paired:
            return {}
        keys = torch.rand(batch.size, batch.size, generator=generator, device=generator.device)
        return {"keys": keys.to(self._labels(batch).device)}

    def _partners(self, batch: Batch, draws: Draws) -> Tensor:
        """Another item of the same class and domain (B,), -1 = none."""
        labels, domains = self._labels(batch), self._domains(batch)
        same = (labels[:, None] == labels) & (domains[:, None] == domains) & (labels >= 0)[:, None]
        same = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        partner = draws["keys"].masked_fill(~same, -1.0).argmax(1)
        return torch.where(same.any(1), partner, NONE)

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Labelled items, and those with a partner and a negative."""
        labels = self._labels(batch)
        known = ~torch.isnan(labels).reshape(len(labels), -1).all(1) if labels.is_floating_point() else labels >= 0
        own: dict[str, Any] = {"supervised": known.sum()}
        if self.paired:
            own["contrast"] = len(self._rows(batch, self._partners(batch, draws))[0])
        return own

    def _rows(self, batch: Batch, partner: Tensor) -> tuple[Tensor, Tensor]:
        """Items with a partner and a negative (R,), and which of them are negatives of which, bool (R, R)."""
        labels, domains = self._labels(batch), self._domains(batch)
        rows = (partner >= 0).nonzero()[:, 0]
        other = (labels[rows][:, None] != labels[rows]) & (domains[rows][:, None] == domains[rows])
        kept = other.any(1)
        return rows[kept], other[kept][:, kept]

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        features: Features = self.encoder(batch)
        outputs: Tensor = cast(nn.Module, self.task.classifier)(features)
        labels = plain_labels(self.task, batch, outputs.dtype)
        terms = {"supervised": cast(Task, self.task).loss(outputs, labels)}
        weights = {"supervised": 1.0}
        metrics = self._figures(batch)
        if self.paired:
            terms["contrast"], further = self._contrast(features.pooled, batch, draws)
            weights["contrast"] = self.config.weight
            metrics |= further
        return LossTerms.of(terms, weights, counts=self.counts(batch, draws), metrics=metrics)

    def _contrast(self, pooled: Tensor, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        assert self.pooler is not None
        assert self.log_scale is not None
        partner = self._partners(batch, draws)
        rows, negatives = self._rows(batch, partner)
        with no_autocast(pooled):
            if len(rows) == 0:
                return nothing(pooled, self.log_scale, *self.pooler.parameters()), {}
            vectors = self.pooler(pooled.float())
            one, two = vectors[rows], vectors[partner[rows]]
            if self.config.loss != "contrast":
                found = pair_loss(one, two, self.config.loss)
                return found.loss + self.log_scale * 0.0, {}
            logits = self.log_scale.clamp(max=LARGEST_SCALE).exp() * unit(one) @ unit(two).T
            own = torch.arange(len(rows), device=rows.device)
            allowed = negatives | torch.eye(len(rows), dtype=torch.bool, device=rows.device)
            logits = logits.masked_fill(~allowed, -torch.inf)
            loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        right = (logits.argmax(1) == own).float().mean()
        return loss, {"scale": self.log_scale.detach().exp(), "top_1": right}

    def _figures(self, batch: Batch) -> dict[str, Tensor]:
        encoder = cast(WithExperts, self.encoder)
        domains = self._domains(batch)
        found = {
            f"items_of_{name}": (domains == number).sum().float() for number, name in enumerate(encoder.config.domains)
        }
        last = encoder.inner.get_submodule(encoder.names[-1])
        return {**found, "expert_distance": weight_distance(list(cast(Experts, last).experts))}
