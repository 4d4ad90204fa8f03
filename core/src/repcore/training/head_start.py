"""Where fine-tuning starts: the last layer of the head fitted to the features of the encoder as it is.

A head of random weights needs many steps before the encoder gets a gradient that means anything, and few steps are
what a small data set has. So the last linear layer is a linear probe first (Kumar et al. 2022, linear probing then
fine-tuning): the task's own loss, with an L2 penalty on standardised features, over training rows only. Control runs
from random weights start the same way.

Symbols: n rows, D width of what reaches the layer, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from repcore.data.seeds import generator
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.prediction import Predictor
from repcore.evaluation.probing import LabelledRows
from repcore.interfaces import DatasetReader, Task
from repcore.specs import TargetSpec

MOST_ROWS = 2000
"""Training rows that the layer is fitted to; drawn by the seed where there are more."""
PENALTY = 0.01
"""Factor of the sum of squared weights beside the mean loss."""
LEAST_DEVIATION = 1e-2
"""Of a feature, as a share of the median feature's: smaller ones would get very large weights."""
STEPS = 100


def last_layer(task: nn.Module) -> str | None:
    """Name of the linear layer of ``task.classifier`` that gives the K outputs; None where there is none such."""
    head = getattr(task, "classifier", None)
    if not isinstance(head, nn.Module):
        return None
    found = [(name, one) for name, one in head.named_modules() if isinstance(one, nn.Linear)]
    if not found or found[-1][1].out_features != getattr(task, "outputs", None):
        return None
    return f"classifier.{found[-1][0]}".rstrip(".")


def start_head(
    task: nn.Module,
    model: Model,
    target: TargetSpec,
    reader: DatasetReader,
    rows: LabelledRows,
    train: np.ndarray,
    *,
    seed: int,
    device: str,
) -> bool:
    """Fit the last layer of a task's head in place, on at most ``MOST_ROWS`` training rows.

    Args:
        task: on the CPU, with what it learns from labels already fitted.
        train: rows of the reader, all labelled.

    Returns:
        whether there was such a layer and a usable row.
    """
    name = last_layer(task)
    if name is None or target.level != "item":
        return False
    if not cast(nn.Linear, task.get_submodule(name)).weight.requires_grad:  # a method holds it fixed
        return False
    if len(train) > MOST_ROWS:
        train = np.sort(generator(seed, "head-start").choice(train, MOST_ROWS, replace=False))
    labels = torch.from_numpy(rows.labels(target)[train]).float()
    was_training = task.training
    task.to(device).eval()
    try:
        with _reaching(task, name) as inputs:
            predictor = Predictor([inputs], model.preprocessor, target, {}, model.domain, device)
            vectors = torch.from_numpy(predictor.raw(reader, InferenceOptions(device=device), train)[:, 0])
        task.cpu()
        usable = torch.isfinite(vectors).all(1)
        if not bool(usable.any()):
            return False
        weight, bias = fitted(cast(Task, task), vectors[usable], labels[usable])
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            return False
        layer = cast(nn.Linear, task.get_submodule(name))
        with torch.no_grad():
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)
    finally:
        task.cpu().train(was_training)
    return True


class _Inputs(nn.Module):
    """A task without its last layer."""

    def __init__(self, task: nn.Module, width: int) -> None:
        super().__init__()
        self.task, self.outputs = task, width

    @property
    def encoder(self) -> nn.Module:
        return cast(nn.Module, self.task.encoder)

    def forward(self, batch: object) -> Tensor:
        found: Tensor = self.task(batch)
        return found


@contextmanager
def _reaching(task: nn.Module, name: str) -> Iterator[nn.Module]:
    layer = cast(nn.Linear, task.get_submodule(name))
    parent, _, own = name.rpartition(".")
    owner = task.get_submodule(parent)
    setattr(owner, own, nn.Identity())
    try:
        yield _Inputs(task, layer.in_features).eval()
    finally:
        setattr(owner, own, layer)


def fitted(task: Task, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (K, D) and bias (K,) of least penalised loss.

    Args:
        task: its ``loss`` and ``outputs`` are used; on the CPU.
        vectors: (n, D).
        labels: (n,) or (n, K), NaN = missing.
    """
    outputs = int(task.outputs)  # type: ignore[attr-defined]  # asked by last_layer
    mean, deviation = vectors.mean(0), vectors.std(0, correction=0)
    scale = deviation.clamp(min=max(float(deviation.median()) * LEAST_DEVIATION, 1e-6))
    x = (vectors - mean) / scale
    weight = torch.zeros(outputs, x.shape[1], requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def penalised() -> Tensor:
        search.zero_grad()
        value = task.loss(x @ weight.T + bias, labels) + PENALTY * weight.square().sum()
        value.backward()
        return value

    search.step(penalised)
    found = weight.detach() / scale
    return found, bias.detach() - found @ mean
