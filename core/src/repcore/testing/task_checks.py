"""Checks of fine-tuning tasks: training labels only, missing ones nowhere, predictions in the units of the data.

A task about elements (points, voxels, tokens, nodes, edges) has drawn labels, too, one for each of its outputs; which
tokens answer, and how wide they are, is found as fine-tuning finds it.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from repcore.embedding.dense import place_of
from repcore.interfaces import Batch, Features
from repcore.registry import Entry
from repcore.specs import TargetSpec, TaskSpec
from repcore.testing.bfloat16 import bfloat16_autocast, bfloat16_products
from repcore.testing.check import Check, SubjectError, fail
from repcore.testing.subjects import BATCH, EncoderSubject
from repcore.testing.tensors import difference, largest_gap

CLASSES = 3
ROWS = 40  # training labels
FAR = 1e4  # labels of the test part, if a task looked at them
SUM_ROUNDING = ROUNDING = 1e-4
FITTED_ROWS, FIT_STEPS = 500, 50  # outputs that are fitted to labels by themselves
MOST_OFF, LEAST_RIGHT = 0.3, 0.8
DENSE_ITEMS = 2  # of a batch with labels of elements, the cheapest ones: heads on every element are large


@dataclass
class TaskSubject:
    """A task around an encoder of its domain, with drawn labels of items or of elements."""

    entry: Entry[TaskSpec]
    encoder: EncoderSubject | None

    @property
    def is_dense(self) -> bool:
        """Whether labels belong to elements."""
        return self.entry.spec.target_level != "item"

    @property
    def target(self) -> TargetSpec:
        """A label of the task's kind and level."""
        kind = self.entry.spec.target_kind
        names = tuple(f"name {number}" for number in range(CLASSES)) if kind in ("class", "multilabel") else ()
        return TargetSpec("drawn", kind, self.entry.spec.target_level, names=names)

    def build(self, seed: int = 0) -> Any:  # the author's own module
        """A new task, fitted to training labels.

        Raises:
            SubjectError: no encoder of the domain goes with it.
        """
        task = self.unfitted(seed)
        task.fit_targets(self.labels(ROWS, seed=1))
        return task

    def unfitted(self, seed: int = 0) -> Any:  # the author's own module
        """A new task that has seen no label."""
        if self.encoder is None:
            raise SubjectError("no encoder of the domain can be built")
        torch.manual_seed(seed)
        return self.entry.load()(self._config, self.encoder.build(seed), self.target)

    @cached_property
    def _config(self) -> Any:  # the author's dataclass
        """Its settings, with the token level and its width where labels belong to elements."""
        config = self.entry.load("config")()
        known = {one.name for one in dataclasses.fields(config)}
        if not self.is_dense or not {"tokens", "width"} <= known or (config.tokens and config.width):
            return config
        assert self.encoder is not None
        encoder = self.encoder.build()
        with torch.no_grad():
            place = place_of(cast(Features, encoder(self.batch())), self.entry.spec.target_level, encoder)
        return dataclasses.replace(config, tokens=config.tokens or place.tokens, width=config.width or place.width)

    def batch(self) -> Batch:
        """Items as fine-tuning gives them."""
        assert self.encoder is not None
        if self.is_dense and self.encoder.recipe is not None:
            return self.encoder.batch(self.encoder.recipe.cheapest_first()[:DENSE_ITEMS])
        return self.encoder.batch(range(BATCH))

    def labels(self, count: int, seed: int = 0) -> np.ndarray:
        """Drawn labels as core keeps them: (N,) or (N, K) float64; some are missing."""
        rng, kind = np.random.default_rng(seed), self.entry.spec.target_kind
        if kind == "class":
            labels = rng.integers(CLASSES, size=count).astype(np.float64)
        elif kind == "multilabel":
            labels = rng.integers(2, size=(count, CLASSES)).astype(np.float64)
        else:
            labels = 20.0 + 5.0 * rng.normal(size=count)
        if count > BATCH:
            labels[::7] = np.nan
        return labels

    def tensor(self, outputs: Tensor, seed: int = 0) -> Tensor:
        """Labels of a batch, one for each row of its outputs; none missing."""
        drawn = self.labels(len(outputs), seed)
        return torch.from_numpy(np.nan_to_num(drawn, nan=float(np.nanmax(drawn)))).float()

    def of_data(self, batch: Batch) -> dict[str, int]:
        """How many labels of the task's own level the batch carries, by name: as many outputs are due."""
        assert self.encoder is not None
        if not self.is_dense or self.encoder.recipe is None:
            return {}
        level = self.entry.spec.target_level
        names = [one.name for one in self.encoder.recipe.parts.reader.targets if one.level == level]
        return {name: int(batch.targets[name].numel()) for name in names if isinstance(batch.targets.get(name), Tensor)}


def answered(outputs: Tensor) -> Tensor:
    """Bool (E,): elements that have a token; the others' outputs are NaN."""
    return outputs.detach().isfinite().all(1)


def loss_and_predictions(subject: TaskSubject) -> None:
    """The loss is a finite scalar that reaches encoder and head; predictions have a row an item and are in range."""
    task = subject.build().train()
    batch = subject.batch()
    outputs = task(batch)
    loss = task.loss(outputs, subject.tensor(outputs))
    if loss.ndim != 0 or not loss.isfinite():
        fail(f"loss is {loss!r}; a finite scalar is due")
    loss.backward()
    reached = {name.split(".")[0] for name, one in task.named_parameters() if one.grad is not None and one.grad.any()}
    if not any(one.grad is not None and one.grad.any() for one in task.encoder.parameters()):
        fail(f"no parameter of task.encoder gets a gradient (only {', '.join(sorted(reached)) or 'none'})")
    with torch.no_grad():
        outputs = task.eval()(batch)
        predicted = task.predict(outputs).double()
    due, letter = (len(outputs), "E") if subject.is_dense else (batch.size, "B")
    for name, count in subject.of_data(batch).items():
        if count != len(outputs):
            fail(f"{len(outputs)} outputs for a batch with {count} labels {name!r}: one an element is due")
    good = answered(outputs) if subject.is_dense else torch.ones(len(predicted), dtype=torch.bool)
    if predicted.ndim != 2 or len(predicted) != due or not good.any() or not predicted[good].isfinite().all():
        fail(f"predict gives {tuple(predicted.shape)} for {batch.size} items; ({letter}, K) of finite numbers is due")
    predicted = predicted[good]
    kind = subject.entry.spec.target_kind
    if kind in ("class", "multilabel") and not ((predicted >= 0) & (predicted <= 1)).all():
        fail(f"probabilities of a {kind} target go from {predicted.min():.3g} to {predicted.max():.3g}")
    if kind == "class" and (predicted.shape[1] != CLASSES or (predicted.sum(1) - 1).abs().max() > SUM_ROUNDING):
        fail(f"predictions of {CLASSES} classes are {tuple(predicted.shape)} and add up to {predicted.sum(1)[0]:.4g}")


def predicts_what_it_fits(subject: TaskSubject) -> None:
    """Outputs with the least loss are predicted as the labels, in the units of the data, each row for itself."""
    task, kind = subject.build().eval(), subject.entry.spec.target_kind
    with torch.no_grad():
        outputs = task(subject.batch())
    outputs = outputs[answered(outputs)][:FITTED_ROWS].clone().requires_grad_()
    labels = subject.tensor(outputs)
    fit = torch.optim.LBFGS([outputs], max_iter=FIT_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        fit.zero_grad()
        loss: Tensor = task.loss(outputs, labels)
        loss.backward()
        return loss

    fit.step(closure)
    with torch.no_grad():
        predicted, alone = task.predict(outputs).double(), task.predict(outputs[:1]).double()
    if largest_gap(predicted[:1], alone) > ROUNDING:
        fail("predict gives a row another answer without the others: it looks at the whole batch")
    if kind == "regression":
        off = float((predicted.reshape(len(labels), -1)[:, 0] - labels).abs().mean() / labels.std())
        if off > MOST_OFF:
            fail(f"the best outputs are predicted {off:.2g} standard deviations off: not in the units of the labels?")
        return
    said = predicted.argmax(1) if kind == "class" else (predicted > 0.5).double()
    right = float((said == labels).double().mean())
    if right < LEAST_RIGHT:
        fail(f"the best outputs are predicted right for {right:.0%} of the labels: classes stand in another order?")


def finite_in_bf16(subject: TaskSubject) -> None:
    """Loss, its gradients and predictions are finite under autocast to bfloat16, as training on a GPU runs them."""
    task, batch = subject.build().train(), subject.batch()
    with torch.no_grad():
        there = answered(task(batch))
    with bfloat16_autocast():
        outputs = task(batch)
        loss = task.loss(outputs, subject.tensor(outputs))
    if not loss.isfinite():
        fail("the loss is not finite in bfloat16")
    with bfloat16_products():
        loss.backward()
    bad = [name for name, one in task.named_parameters() if one.grad is not None and not one.grad.isfinite().all()]
    if bad:
        fail(f"gradients are not finite in bfloat16: {', '.join(bad[:3])}")
    with torch.no_grad(), bfloat16_autocast():
        if not task.eval().predict(task(batch))[there].isfinite().all():
            fail("predictions are not finite in bfloat16")


def missing_labels_masked(subject: TaskSubject) -> None:
    """Items or elements without a label change no loss and no gradient; without any label the loss is finite."""
    task, batch = subject.build().eval(), subject.batch()
    outputs = task(batch).detach().requires_grad_()
    labels = subject.tensor(outputs)
    hidden = int(answered(outputs).nonzero()[-1]) if subject.is_dense else len(outputs) - 1
    labels[hidden] = float("nan")
    others = torch.arange(len(outputs)) != hidden
    loss = task.loss(outputs, labels)
    (gradient,) = torch.autograd.grad(loss, outputs)
    if not loss.isfinite() or not gradient.isfinite().all():
        fail("a missing label makes the loss or its gradient not finite")
    if gradient[hidden].any():
        fail("what has no label has a gradient")
    without = task.loss(outputs[others], labels[others])
    if abs(float(loss.detach() - without.detach())) > 1e-5 * max(1.0, abs(float(without.detach()))):
        fail(f"what has no label changes the loss from {float(without):.6g} to {float(loss):.6g}")
    nothing = task.loss(outputs, torch.full_like(labels, float("nan")))
    if not nothing.isfinite():
        fail("a batch without any label gives a loss that is not finite")


def training_labels_only(subject: TaskSubject) -> None:
    """Nothing is learned from labels outside fit_targets: passes in eval mode with other labels change nothing."""
    task, batch = subject.build().eval(), subject.batch()
    with torch.no_grad():
        before = task.predict(task(batch)).clone()
        state = copy.deepcopy(task.state_dict())
        for seed in range(3):
            outputs = task(batch)
            labels = subject.tensor(outputs, seed)
            labels = labels * FAR if subject.entry.spec.target_kind == "regression" else labels
            task.loss(outputs, labels)
        after = task.predict(task(batch))
    if difference(dict(state), dict(task.state_dict())):
        fail(f"a loss in eval mode changes the state ({difference(dict(state), dict(task.state_dict()))})")
    if difference(before, after):
        fail("predictions depend on the labels of batches that were only judged: test labels leak into the task")


def fitted_state_saved(subject: TaskSubject) -> None:
    """What fit_targets learned is in the state dict: a task that never saw the labels predicts the same with it."""
    first = subject.build(seed=0).eval()
    second: nn.Module = subject.unfitted(seed=5)
    missing = second.load_state_dict(first.state_dict(), strict=False)
    if missing.missing_keys or missing.unexpected_keys:
        fail(f"keys depend on the labels: {[*missing.missing_keys, *missing.unexpected_keys][:4]}")
    batch = subject.batch()
    with torch.no_grad():
        where = difference(first.predict(first(batch)), second.eval().predict(second(batch)))  # type: ignore[operator]
    if where:
        fail("a task that loads the state predicts something else: what fit_targets learned is not saved")


CHECKS = (
    Check("task-loss-and-predictions", loss_and_predictions),
    Check("task-predicts-what-it-fits", predicts_what_it_fits),
    Check("task-finite-in-bf16", finite_in_bf16),
    Check("task-missing-labels-masked", missing_labels_masked),
    Check("task-training-labels-only", training_labels_only),
    Check("task-state-saved", fitted_state_saved),
)
