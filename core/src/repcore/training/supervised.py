"""A task as an objective, so that fine-tuning runs on the machinery of pre-training.

Learning rates fall by a constant factor a layer away from the head (Clark et al. 2020; Bao et al. 2022), and the
encoder may stay as it is for the first epochs while the head learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from repcore.data.label_numbers import labels_for
from repcore.interfaces import Batch, Draws, LossTerms, Progress, Task
from repcore.training.finetune_config import FinetuneConfig

ENCODER = "task.encoder."


class Supervised(nn.Module):
    """One loss term, counted in labelled items or elements.

    Args:
        task: with attribute ``encoder``.
        target: name of the label.
        config: how the encoder is treated.
        started: name in the task of a layer that is a linear probe already; it learns at the encoder's rate.
    """

    def __init__(
        self, task: nn.Module, target: str, config: FinetuneConfig | None = None, started: str | None = None
    ) -> None:
        super().__init__()
        self._started = None if started is None else f"task.{started}."
        self.task, self.target, self.config = task, target, config or FinetuneConfig()
        self._depths, self._deepest = layer_depths(self.encoder)
        self._fresh: tuple[str, ...] = tuple(getattr(self.encoder, "fresh", ()))
        learns = (name for name, one in self.encoder.named_parameters() if one.requires_grad)
        self._learns = {name for name in learns if not name.startswith(self._fresh)}

    @property
    def encoder(self) -> nn.Module:
        """The encoder that is fine-tuned; it becomes the model."""
        return cast(nn.Module, self.task.encoder)

    def lr_scale(self, name: str) -> float:
        """Factor on the learning rate of a parameter of this module. What a method put into the encoder (prefixes in
        its attribute ``fresh``) learns as the head does."""
        own = name.removeprefix(ENCODER)
        if self._started is not None and name.startswith(self._started):
            return 1.0
        if own == name or own.startswith(self._fresh):
            return self.config.head_lr_factor or 1.0
        steps = self._deepest - self._depths.get(name.removeprefix(ENCODER), self._deepest)
        return float(self.config.layer_decay**steps)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Nothing random; keeps the encoder, but for what a method put into it, as it is while only the head learns.
        Running statistics stay, too, where that was chosen."""
        if self.config.frozen_epochs:
            frozen = progress.step < round(self.config.frozen_epochs * progress.steps_per_epoch)
            for name, parameter in self.encoder.named_parameters():
                if name in self._learns:
                    parameter.requires_grad_(not frozen)
            self.encoder.train(self.training and not frozen)  # frozen statistics do not move either
            for prefix in self._fresh:
                self.encoder.get_submodule(prefix.rstrip(".")).train(self.training)
        if self.config.norm_statistics == "kept":
            for name, one in self.encoder.named_modules():
                if isinstance(one, nn.modules.batchnorm._NormBase) and not f"{name}.".startswith(self._fresh):
                    one.eval()
        return {}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        labels = batch.targets[self.target]
        known = ~torch.isnan(labels) if labels.is_floating_point() else torch.ones_like(labels, dtype=torch.bool)
        return {"supervised": known.sum()}

    @property
    def answering(self) -> nn.Module:
        """The task that is validated and kept."""
        return self.task

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        return self.plain_terms(self.task, batch, draws)

    def plain_terms(self, task: nn.Module, batch: Batch, draws: Draws) -> LossTerms:
        """The loss of a task, which says so itself."""
        loss = cast(Task, task).loss(task(batch), labels_for(task, batch.targets[self.target]))
        return LossTerms.of({"supervised": loss}, counts=self.counts(batch, draws))


def layer_depths(encoder: nn.Module) -> tuple[dict[str, int], int]:
    """Depth of each parameter by name, counted in blocks from the input, and the depth of the last.

    Blocks are the members of the outermost ``ModuleList`` s in the order of the parameters; what stands between them
    belongs to the block before it. An encoder without such lists is one layer.
    """
    lists = [name for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList)]
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    depths: dict[str, int] = {}
    seen: dict[str, int] = {}
    current = 0
    for name, _ in encoder.named_parameters():
        block = next((_block(name, one) for one in outer if name.startswith(f"{one}.")), None)
        if block is not None:
            current = seen.setdefault(block, len(seen) + 1)
        depths[name] = current
    return depths, max(depths.values(), default=0)


def _block(name: str, container: str) -> str:
    return f"{container}.{name.removeprefix(f'{container}.').partition('.')[0]}"
