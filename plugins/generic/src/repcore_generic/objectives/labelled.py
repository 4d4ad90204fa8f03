"""What methods share that see labels: a task whose head reads pooled vectors, and the rows of a batch with a label.

Symbols: B items, n labelled ones among them, D pooled width, K classes.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import betaincinv
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.evaluation.tasks.item import ItemTask
from repcore.interfaces import Batch, Features, Task

HINTS = {
    "regression": "bin the numbers into a class column first",
    "multilabel": "choose one label of the several as a class column",
}


class ClassMethod(nn.Module):
    """A method about classes of items: holds the task, whose encoder it trains.

    Args:
        name: of the method, for messages.
        encoder: of the task.
        task: one of core's item tasks with a head on pooled vectors.
        fewest: classes that the method needs.

    Raises:
        ConfigError: the label is no class, the head does not read pooled vectors, or there are too few classes.
    """

    task: ItemTask

    def __init__(self, name: str, encoder: nn.Module, task: nn.Module, *, fewest: int = 2) -> None:
        super().__init__()
        target = getattr(task, "target", None)
        kind = getattr(target, "kind", "class")
        if kind != "class" or getattr(target, "level", "item") != "item":
            raise ConfigError(
                f"{name} learns one class an item; '{getattr(target, 'name', '')}' is a {kind} label",
                hint=HINTS.get(kind, "a class label of items, or a method without classes"),
            )
        if (
            not isinstance(task, ItemTask)
            or type(task).forward is not ItemTask.forward
            or task.config.head != "pooled-linear"
        ):
            raise ConfigError(
                f"{name} changes pooled vectors, which the head of {type(task).__name__} does not read",
                hint="--task classification task.head=pooled-linear",
            )
        self.task, self.classes, self.width = task, int(task.outputs), int(encoder.dim)  # type: ignore[arg-type]
        if self.classes < fewest:
            raise ConfigError(f"{name} needs {fewest} classes; '{task.target.name}' has {self.classes}")

    @property
    def encoder(self) -> nn.Module:
        """The encoder that is fine-tuned."""
        encoder: nn.Module = self.task.encoder
        return encoder

    def labels(self, batch: Batch) -> Tensor:
        """Class numbers int64 (B,), -1 = missing."""
        found: Tensor = batch.targets[self.task.target.name]
        return found

    def labelled(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Pooled vectors (n, D) and classes (n,) of the labelled items, from one pass over all."""
        features: Features = self.encoder(batch)
        labels = self.labels(batch)
        return features.pooled[labels >= 0], labels[labels >= 0]

    def logits(self, vectors: Tensor) -> Tensor:
        """The task's head on pooled vectors (n, D): raw outputs (n, K)."""
        outputs: Tensor = cast(nn.Module, self.task.classifier)(Features(pooled=vectors, tokens={}))
        return outputs

    def plain_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The task's own loss; 0 with a graph without labels."""
        loss: Tensor = cast(Task, self.task).loss(outputs, labels.to(outputs.dtype))
        return loss

    def soft_loss(self, outputs: Tensor, soft: Tensor) -> Tensor:
        """Cross-entropy against mixed classes (n, K), weighted like the task's own; 0 with a graph without rows."""
        if len(outputs) == 0:
            return outputs.sum() * 0.0
        weighted = soft * cast(Tensor, self.task.weights).to(soft.dtype) if self.task.balanced else soft
        return -(weighted * F.log_softmax(outputs, dim=1)).sum() / weighted.sum().clamp(min=1e-12)


def nothing(*parents: Tensor) -> Tensor:
    """0 with a graph, so that a term without items still reaches what it trains."""
    return torch.stack([one.sum() * 0.0 for one in parents]).sum()


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays one."""
    return F.normalize(rows, dim=-1, eps=1e-12)


def draw_beta(shape: float, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draws of Beta(shape, shape), float32 (count,), by the inverse of its distribution function."""
    uniform = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64).cpu().numpy()
    return torch.from_numpy(np.asarray(betaincinv(shape, shape, uniform), np.float32)).to(device)


def draw_order(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """A permutation of 0 .. count - 1, int64."""
    return torch.randperm(count, generator=generator, device=generator.device).to(device)
