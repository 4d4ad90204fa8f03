"""Where fine-tuning starts: the last layer of the head fitted to the features of the encoder as it is.

A head of random weights needs many steps before the encoder gets a gradient that means anything, and few steps are
what a small data set has. So the last linear layer is a linear probe first (Kumar et al. 2022, linear probing then
fine-tuning): the task's own loss, with an L2 penalty on standardised features, over training rows only. Control runs
from random weights start the same way.

Few rows of wide features are always told apart, and a layer that does so is sure of itself on rows where it is wrong.
So the penalty, and a factor on the weights, are those of least loss on held-out training rows; where none is below the
loss of a constant answer, the layer starts as that constant (``finetune.head_start=linear``). With few rows, held-out
quarters of them choose badly, and constants are kept where a probe tells classes apart: then the penalty is that of the
linear probe ``linear@1``, whatever the rows say (``probe``).

Symbols: n rows, D width of what reaches the layer, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from repcore.data.label_numbers import labels_for
from repcore.data.seeds import generator, mix
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.prediction import Predictor
from repcore.evaluation.probing import LabelledRows
from repcore.interfaces import Batch, Task
from repcore.nn.drop_path import DropPath
from repcore.specs import TargetSpec
from repcore.training.assembly import RunParts

MOST_ROWS = 2000
"""Training rows that the layer is fitted to; drawn by the seed where there are more."""
PENALTY = 0.01
"""Factor of the sum of squared weights beside the mean loss, the least that is tried."""
PENALTIES = (PENALTY, 0.1, 1.0, 10.0)
SHARES = (1.0, 0.7, 0.5, 0.35, 0.2, 0.1, 0.05)
"""Of the fitted weights, added to the constant answer: 1 = as fitted."""
PROBE_PENALTY = {"regression": 100.0}
"""Of ``head_start=probe`` times the number of labels; others have ``PROBE_PENALTY_OF_CLASSES``, which is the constant
C = 0.05 of ``linear@1`` (1 / 2C)."""
PROBE_PENALTY_OF_CLASSES = 10.0
PRIOR = 1e-3
"""Factor of the sum of squared biases: a class that a part of the rows lacks is unlikely, not impossible."""
FOLDS = 4
MANY = 500
"""Rows from which one held-out quarter is enough."""
LEAST_DEVIATION = 0.05
"""Of a feature, as a share of the median feature's: smaller ones would get very large weights."""
LEAST_CHANGE = 0.02
"""Deviation of a feature as a share of its size (root mean square): what hardly differs between rows would get weights
under which one small step of the encoder moves the answers by much."""
STEPS = 100
SETTLED = 3.0
"""Batches times momentum from which running statistics are those of the data (5 % of the first ones are left)."""


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
    parts: RunParts,
    rows: LabelledRows,
    train: np.ndarray,
    *,
    seed: int,
    device: str,
    how: str = "linear",
) -> bool:
    """Fit the last layer of a task's head in place, on at most ``MOST_ROWS`` training rows.

    Args:
        task: on the CPU, with what it learns from labels already fitted.
        parts: reader and preprocessor of the run.
        train: rows of the reader, all labelled.
        how: ``linear`` or ``probe``, see the module.

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
    labels = labels_for(task, torch.from_numpy(rows.labels(target)[train]))
    was_training = task.training
    task.to(device)
    try:
        layer = cast(nn.Linear, task.get_submodule(name))
        moved, vectors = (torch.from_numpy(one) for one in _reaching(task, layer, model, target, parts, train, seed))
        task.cpu()
        usable = torch.isfinite(vectors).all(1)
        if not bool(usable.any()):
            return False
        moved, vectors, labels = moved[usable], vectors[usable], labels[usable]
        if how == "probe":
            weight, bias = fitted(cast(Task, task), vectors, labels, probe_penalty(target.kind, labels))
        else:
            groups = [rows.groups[row] for row in train[usable.numpy()]]
            weight, bias = careful(cast(Task, task), vectors, labels, groups, seed, moved)
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            return False
        with torch.no_grad():
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)
    finally:
        task.cpu().train(was_training)
    return True


def probe_penalty(kind: str, labels: Tensor) -> float:
    """Factor of the sum of squared weights beside the mean loss over known labels, (n,) or (n, K)."""
    known = int(torch.isfinite(labels.double()).sum())
    return PROBE_PENALTY.get(kind, PROBE_PENALTY_OF_CLASSES) / max(1, known)


def _reaching(
    task: nn.Module,
    layer: nn.Linear,
    model: Model,
    target: TargetSpec,
    parts: RunParts,
    train: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """What reaches the layer from each training row, (n, D): as in training, and as in an answer."""
    device = str(next(task.parameters()).device)
    predictor = Predictor([_Inputs(task, layer)], parts.preprocessor, target, {}, model.domain, device)
    options = InferenceOptions(device=device)
    with as_in_training(task), torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed, "head-start-draws"))
        moved = predictor.raw(parts.reader, options, train)[:, 0]
    task.eval()
    return moved, predictor.raw(parts.reader, options, train)[:, 0]


class _Inputs(nn.Module):
    """A task that gives what reaches its last layer, (B, D); the mean over an item's views where a task looks at
    several (crops, votes), which stand together in a batch or come one after the other."""

    def __init__(self, task: nn.Module, layer: nn.Linear) -> None:
        super().__init__()
        self.task, self.layer, self.outputs = task, layer, layer.in_features

    @property
    def encoder(self) -> nn.Module:
        return cast(nn.Module, self.task.encoder)

    def forward(self, batch: Batch) -> Tensor:
        seen: list[Tensor] = []
        hook = self.layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            self.task(batch)
        finally:
            hook.remove()
        if not seen or any(one[..., 0].numel() % batch.size for one in seen):
            return torch.full((batch.size, self.outputs), torch.nan)  # not one answer an item
        return torch.cat([one.reshape(batch.size, -1, self.outputs) for one in seen], dim=1).mean(1)


@contextmanager
def as_in_training(task: nn.Module) -> Iterator[None]:
    """Augmentation, and batch normalisation by the batch, but no dropout, whose noise is no shift of features.

    Statistics of a network that was hardly trained are far from the data's and move towards them with every step, and
    features move with them. All buffers are as before afterwards, but those that hardly saw data (of a new head,
    of a random network) are then the means over what was run: few steps would not bring them there, and answers would
    be those of another network than the one that training sees.
    """
    norms = [one for one in task.modules() if getattr(one, "running_mean", None) is not None]
    unsettled = [one for one in norms if _unsettled(one)]
    kept = {id(buffer): (buffer, buffer.clone()) for buffer in task.buffers()}
    momenta = [one.momentum for one in unsettled]
    modes = [(one, one.training) for one in task.modules()]
    task.train()
    for one in task.modules():
        if isinstance(one, nn.modules.dropout._DropoutNd | DropPath):
            one.eval()
    for one in unsettled:
        one.reset_running_stats()  # type: ignore[operator]
        one.momentum = None  # type: ignore[assignment]  # the plain mean over batches
    try:
        yield
    finally:
        for one, momentum in zip(unsettled, momenta, strict=True):
            one.momentum = momentum
        for one, mode in modes:
            one.training = mode
        for one in unsettled:
            found = [cast(Tensor, one.running_mean), cast(Tensor, one.running_var)]
            if int(cast(Tensor, one.num_batches_tracked)) and all(bool(torch.isfinite(value).all()) for value in found):
                for buffer in one.buffers(recurse=False):  # else no batch could be run, or one that is not finite
                    kept.pop(id(buffer), None)
        with torch.no_grad():
            for buffer, value in kept.values():
                buffer.copy_(value)


def _unsettled(norm: nn.Module) -> bool:
    """Whether running statistics are still much of those that a network is made with: no batch yet, or few."""
    if not isinstance(norm, nn.modules.batchnorm._NormBase) or norm.num_batches_tracked is None:
        return False  # somebody's own, which is left alone
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    batches, momentum = getattr(norm, "num_batches_tracked", None), getattr(norm, "momentum", None)
    few = batches is not None and bool(momentum) and 0 < int(batches) * float(cast(float, momentum)) < SETTLED
    return few or bool((mean == 0).all() and (variance == 1).all())


def careful(
    task: Task,
    vectors: Tensor,
    labels: Tensor,
    groups: Sequence[str | None],
    seed: int,
    moved: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weight (K, D) and bias (K,) with the penalty and the share of least loss on held-out rows.

    Zero weights and the bias of the best constant where no share of any fit is surely below that constant's loss on
    those rows, or where nothing can be held out.

    Args:
        groups: (n,) of rows that are held out together; None = a row of its own.
        moved: (n, D) the features as training will see them; the larger loss of the two counts.
    """
    moved = vectors if moved is None else torch.where(torch.isfinite(moved), moved, vectors)
    gains = _held_out_gains(task, (vectors, moved), labels, _folds(groups, seed))
    weight, constant = torch.zeros(int(task.outputs), vectors.shape[1]), _constant(task, labels)  # type: ignore[attr-defined]  # asked by last_layer
    # the best of many tries looks better than it is: a gain counts less its standard error over the folds
    sure = {tried: float(np.mean(one)) - _standard_error(one) for tried, one in gains.items() if np.isfinite(one).all()}
    if not sure or max(sure.values()) <= 0.0:
        return weight, constant
    penalty, share = max(sure, key=lambda tried: sure[tried])
    weight, bias = fitted(task, vectors, labels, penalty)
    return share * weight, constant + share * (bias - constant)


def _folds(groups: Sequence[str | None], seed: int) -> list[np.ndarray]:
    """(n,) bool masks of rows to hold out; none where there are fewer than two groups."""
    names = [f"row {row}" if group is None else f"group {group}" for row, group in enumerate(groups)]
    known, number = np.unique(np.asarray(names), return_inverse=True)
    if len(known) < 2:
        return []
    count = min(FOLDS, len(known))
    fold = generator(seed, "head-start-folds").permutation(len(known)) % count
    return [fold[number] == one for one in range(1 if len(names) > MANY else count)]


def _standard_error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) / float(np.sqrt(len(values))) if len(values) > 1 else 0.0


def _held_out_gains(
    task: Task, both: tuple[Tensor, Tensor], labels: Tensor, folds: Sequence[np.ndarray]
) -> dict[tuple[float, float], list[float]]:
    """By penalty and share: how far the mean loss of each fold is below that of the constant."""
    gains: dict[tuple[float, float], list[float]] = {}
    for fold in folds:
        out = torch.from_numpy(fold)
        x, y, answers = both[0][~out], labels[~out], labels[out]
        constant = _constant(task, y)
        base = float(task.loss(constant.expand(len(answers), -1), answers))
        if not np.isfinite(base):  # no loss is defined on these rows: no event, no label
            continue
        for penalty in PENALTIES:
            weight, bias = fitted(task, x, y, penalty)
            off = [one[out] @ weight.T + bias - constant for one in both]
            for share in SHARES:
                loss = max(float(task.loss(constant + share * one, answers)) for one in off)
                gains.setdefault((penalty, share), []).append(base - loss)
    return gains


def _constant(task: Task, labels: Tensor) -> Tensor:
    """(K,) the bias of least loss without features."""
    nothing = torch.zeros(len(labels), 1)
    return fitted(task, nothing, labels)[1]


def fitted(task: Task, vectors: Tensor, labels: Tensor, penalty: float = PENALTY) -> tuple[Tensor, Tensor]:
    """Weight (K, D) and bias (K,) of least penalised loss.

    Args:
        task: its ``loss`` and ``outputs`` are used; on the CPU.
        vectors: (n, D).
        labels: (n,) or (n, K), NaN = missing.
        penalty: factor of the sum of squared weights of standardised features.
    """
    outputs = int(task.outputs)  # type: ignore[attr-defined]  # asked by last_layer
    mean, deviation = vectors.mean(0), vectors.std(0, correction=0)
    size = vectors.square().mean(0).sqrt()
    least = max(float(deviation.median()) * LEAST_DEVIATION, float(size.median()) * LEAST_CHANGE, 1e-6)
    scale = torch.maximum(deviation, (size * LEAST_CHANGE).clamp(min=least))
    x = (vectors - mean) / scale
    weight = torch.zeros(outputs, x.shape[1], requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def penalised() -> Tensor:
        search.zero_grad()
        value = task.loss(x @ weight.T + bias, labels)
        value = value + penalty * weight.square().sum() + PRIOR * bias.square().sum()
        value.backward()
        return value

    search.step(penalised)
    found = weight.detach() / scale
    return found, bias.detach() - found @ mean
