"""Method ``generic/sherl``: the task's plain loss on a frozen encoder with a side block.

Diao et al. 2024 (ECCV), "SHERL: Synthesizing High Accuracy and Efficient Memory for Resource-Limited Transfer
Learning", arXiv 2407.07523. The block and the pass are in :mod:`repcore_generic.encoders.sherl`.

Differs: a layer's similarity with itself is 1, so a token of zeros gives no NaN; empty slots keep what they held; the
gate starts half open; the frozen encoder is in eval mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Progress, Task
from repcore_generic.configs.sherl import SherlConfig
from repcore_generic.encoders.sherl import SideTuned


class Sherl(nn.Module):
    """See the module's text.

    Args:
        config: settings.
        encoder: a :class:`repcore_generic.encoders.sherl.SideTuned`.
        task: any task of items or elements.

    Raises:
        ConfigError: the encoder has no side block.
    """

    def __init__(self, config: SherlConfig, encoder: nn.Module, task: nn.Module) -> None:
        super().__init__()
        if not isinstance(encoder, SideTuned):
            raise ConfigError(f"sherl needs an encoder with a side block, not {type(encoder).__name__}")
        self.config, self.task = config, task

    @property
    def encoder(self) -> nn.Module:
        """The encoder with its side block."""
        return cast(nn.Module, self.task.encoder)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Nothing is random."""
        del batch, generator, progress
        return {}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Labelled items or elements."""
        del draws
        labels = batch.targets[cast(Any, self.task).target.name]
        known = ~torch.isnan(labels) if labels.is_floating_point() else labels >= 0
        return {"supervised": known.sum()}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        outputs = self.task(batch)
        loss = cast(Task, self.task).loss(outputs, plain_labels(self.task, batch, outputs.dtype))
        figures = cast(SideTuned, self.encoder).figures()
        return LossTerms.of({"supervised": loss}, counts=self.counts(batch, draws), metrics=figures)


def plain_labels(task: nn.Module, batch: Batch, dtype: torch.dtype) -> torch.Tensor:
    """Labels in the form that a task's loss reads: class numbers of methods as float again, NaN = missing, and of
    elements as the values that they stand for."""
    labels = batch.targets[cast(Any, task).target.name]
    if labels.is_floating_point():
        return labels
    values = getattr(task, "values", None)
    stored = labels.to(dtype) if values is None else values[labels.clamp(min=0)].to(dtype)
    return stored.masked_fill(labels < 0, float("nan"))
