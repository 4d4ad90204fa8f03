"""Method ``generic/class-gaussian-contrast``: the task's own loss, and a contrast with running statistics of classes.

Xie et al. 2023 (TPAMI), "SePiCo: Semantic-Guided Pixel Contrast for Domain Adaptive Semantic Segmentation".

Works on pooled vectors where items have a class, and on tokens where their elements have. Differs: classes never seen
take no part, the evening term has the sign that evens, banks start empty, temperature 0.5. Unlabelled target data with
pseudo-labels are not part of this method.

Symbols: B items, N labelled vectors or tokens, A projected width, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.evaluation.tasks.dense import DenseClassification, DenseTask, at_elements, flat_tokens, level_tokens
from repcore.evaluation.tasks.item import ItemTask
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress, Task
from repcore_generic.configs.class_gaussians import ClassGaussiansConfig
from repcore_generic.objectives.class_statistics import (
    ClassStatistics,
    Moments,
    bank_contrast,
    class_moments,
    evenness,
    gaussian_contrast,
    merged,
    token_labels,
)
from repcore_generic.objectives.labelled import ClassMethod, nothing, unit
from repcore_generic.objectives.pairs import no_autocast


class _Seen(NamedTuple):
    """What one pass gives: the task's outputs and labels in its own form, and the vectors that are contrasted."""

    outputs: Tensor
    labels: Tensor
    vectors: Tensor  # (N, D)
    classes: Tensor  # (N,)


class ClassGaussians(nn.Module):
    """See the module's text.

    Args:
        config: settings.
        encoder: of the task.
        task: core's class task of items or of elements.

    Raises:
        ConfigError: the label is no class, or the task reads something else than the encoder's vectors or tokens.
    """

    def __init__(self, config: ClassGaussiansConfig, encoder: nn.Module, task: nn.Module) -> None:
        super().__init__()
        self.dense = isinstance(task, DenseClassification) and type(task).forward is DenseTask.forward
        if self.dense:
            width, self.classes = int(cast(Any, task).config.width), int(cast(Any, task).outputs)
        elif isinstance(task, DenseTask):
            raise ConfigError(
                f"class-gaussian-contrast learns classes; {type(task).__name__} gives something else",
                hint="a class label of elements",
            )
        else:
            checked = ClassMethod("class-gaussian-contrast", encoder, task)
            width, self.classes = checked.width, checked.classes
        self.config, self.task = config, task
        self.project = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.projection))
        self.statistics = ClassStatistics(self.classes, config.projection, config.bank)

    @property
    def encoder(self) -> nn.Module:
        """The encoder that is fine-tuned."""
        return cast(nn.Module, self.task.encoder)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``active`` (): whether the contrast counts at this step."""
        del generator
        labels = self._labels(batch)
        return {"active": torch.tensor(progress.step >= self.config.warm_steps, device=labels.device)}

    def _labels(self, batch: Batch) -> Tensor:
        found: Tensor = batch.targets[cast(Any, self.task).target.name]
        return found

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Labelled items or elements."""
        del draws
        return {"supervised": (self._labels(batch) >= 0).sum()}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        seen = self._tokens(batch) if self.dense else self._items(batch)
        with no_autocast(seen.vectors):
            rows = unit(self.project(seen.vectors.float()))
            contrast, even = self._contrast(rows, seen.classes)
        active = draws["active"].to(contrast.dtype)
        found = class_moments(rows, seen.classes, self.classes)
        return LossTerms.of(
            {
                "supervised": cast(Task, self.task).loss(seen.outputs, seen.labels),
                "contrast": torch.where(draws["active"], contrast, nothing(rows)),
                "evenness": torch.where(draws["active"], even, nothing(rows)),
            },
            {"supervised": 1.0, "contrast": self.config.weight, "evenness": self.config.regulariser},
            counts=self.counts(batch, draws),
            carry=found._asdict(),
            metrics={
                "classes_seen": (self.statistics.count > 0).sum().to(active.dtype),
                "contrasted": active * len(rows),
            },
        )

    def _items(self, batch: Batch) -> _Seen:
        features: Features = self.encoder(batch)
        labels = self._labels(batch)
        task = cast(ItemTask, self.task)
        return _Seen(
            task.classifier(features),
            labels.float().masked_fill(labels < 0, float("nan")),
            features.pooled[labels >= 0],
            labels[labels >= 0],
        )

    def _tokens(self, batch: Batch) -> _Seen:
        task, labels = cast(DenseClassification, self.task), self._labels(batch)
        tokens = level_tokens(self.encoder(batch), task.config.tokens)
        flat = flat_tokens(tokens)
        classes = labels
        if tokens.source is not None:
            classes = token_labels(tokens.source, labels, len(flat), self.classes, self.config.least_share)
        stored = task.values[labels.clamp(min=0)].to(flat.dtype).masked_fill(labels < 0, float("nan"))
        outputs = at_elements(tokens, task.classifier(flat))
        return _Seen(outputs, stored, flat[classes >= 0], classes[classes >= 0])

    def _contrast(self, rows: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean contrast of the rows whose class has statistics, and evenness; 0 with a graph where there are none."""
        statistics, temperature = self.statistics, self.config.temperature
        known = statistics.count > 0
        kept = known[classes]
        rows, classes = rows[kept], classes[kept]
        if len(rows) == 0:
            return nothing(rows), nothing(rows)
        if self.config.loss == "bank":
            each = bank_contrast(rows, classes, statistics.bank, statistics.filled, temperature)
        else:
            spread = self.config.loss == "distribution"
            each = gaussian_contrast(rows, classes, statistics.moments, temperature, spread=spread, known=known)
        return each.mean(), evenness(rows, statistics.mean[known], temperature)

    @torch.no_grad()
    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """Take the statistics of the step's micro-batches into the running ones."""
        del progress
        parts = [Moments(one["count"], one["mean"], one["variance"]) for one in carried]
        total = parts[0]
        for part in parts[1:]:
            total = merged(total, part)
        self.statistics.add(total)
