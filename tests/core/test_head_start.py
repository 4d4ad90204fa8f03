"""The head's last layer as a linear probe: it is the least penalised loss, found in whatever head a task has."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from repcore.evaluation.tasks.configs import ClassificationConfig, RegressionConfig
from repcore.evaluation.tasks.item import ClassificationTask, RegressionTask
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.head_start import PENALTY, _Inputs, as_in_training, careful, fitted, last_layer


class Wide(nn.Module):
    dim = 6


def vectors(count: int = 40) -> torch.Tensor:
    """Features of very different sizes, one of them constant."""
    draw = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 100.0, 0.1, 1.0, 1.0, 0.0])
    return torch.randn(count, 6, generator=draw) * scale + torch.tensor([5.0, 1000.0, 0.0, -2.0, 0.0, 3.0])


def test_regression_is_a_ridge_on_standardised_features() -> None:
    x = vectors()
    y = 3.0 * x[:, 0] - 0.02 * x[:, 1] + 4.0 * x[:, 2] + 7.0
    task = RegressionTask(RegressionConfig(), Wide(), TargetSpec("y", "regression"))
    labels = y.clone()
    labels[3] = np.nan  # a missing label takes no part
    task.fit_targets(labels.double().numpy())
    weight, bias = fitted(task, x, labels)
    found = task.predict(x @ weight.T + bias)[:, 0]
    known = np.arange(len(x)) != 3
    z = x.double().numpy()
    z = (z - z.mean(0))[:, :5] / z.std(0)[:5]
    # a column of ones for the bias, which is not penalised
    a, target = np.concatenate([z, np.ones((len(z), 1))], 1)[known], (y.numpy()[known] - y.numpy()[known].mean())
    penalties = PENALTY * len(a) * np.diag([1.0] * 5 + [0.0])
    solution = np.linalg.solve(a.T @ a + penalties, a.T @ (target / target.std()))
    expected = np.concatenate([z, np.ones((len(z), 1))], 1) @ solution * target.std() + y.numpy()[known].mean()
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3 * float(target.std()))


def test_classes_that_features_tell_apart_are_told_apart() -> None:
    x = vectors(60)
    labels = (x[:, 0] > 5.0).float()
    task = ClassificationTask(ClassificationConfig(), Wide(), TargetSpec("c", "class", names=("no", "yes")))
    weight, bias = fitted(task, x, labels)
    assert weight.shape == (2, 6)
    assert float(((x @ weight.T + bias).argmax(1) == labels).float().mean()) > 0.9
    assert float(task.loss(x @ weight.T + bias, labels)) < 0.4


def class_task(classes: int) -> ClassificationTask:
    names = tuple("abcdefghij"[:classes])
    return ClassificationTask(ClassificationConfig(), Wide(), TargetSpec("c", "class", names=names))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_rows_of_wide_noise_start_no_worse_than_a_constant(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, new = torch.randn(24, 300, generator=draw), torch.randn(400, 300, generator=draw)
    labels, wanted = torch.arange(24).float() % 4, torch.arange(400).float() % 4
    task = class_task(4)
    weight, bias = careful(task, x, labels, [None] * 24, seed)
    assert float(task.loss(new @ weight.T + bias, wanted)) < np.log(4) + 0.02
    weight, bias = fitted(task, x, labels)
    assert float(task.loss(new @ weight.T + bias, wanted)) > np.log(4) + 0.15, "the plain fit is sure and wrong"


def test_what_held_out_rows_confirm_is_kept() -> None:
    x = torch.cat([vectors(60), torch.randn(60, 40, generator=torch.Generator().manual_seed(3))], 1)
    labels = (x[:, 0] > 5.0).float()
    task = class_task(2)
    weight, bias = careful(task, x[:40], labels[:40], [None] * 40, 0)
    assert float(task.loss(x[40:] @ weight.T + bias, labels[40:])) < 0.6
    one = careful(task, x[:40], labels[:40], ["a"] * 40, 0)
    assert float(one[0].abs().max()) == 0.0, "nothing can be held out of one group"
    share = float(labels[:40].mean())
    assert float(one[1].softmax(0)[1]) == pytest.approx(share, abs=0.01)


def test_features_that_hardly_differ_get_no_large_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(40).float() % 2
    x = torch.randn(8, generator=draw) + 1e-4 * torch.randn(40, 8, generator=draw)
    x[:, 0] += 2e-4 * labels

    def moves() -> float:
        """Of the answers, when all features change by a hundredth."""
        weight, _ = fitted(class_task(2), x, labels)
        return float((0.01 * x @ weight.T).abs().max())

    assert 0.0 < moves() < 0.5
    monkeypatch.setattr("repcore.training.head_start.LEAST_CHANGE", 0.0)
    assert moves() > 5.0, "what the bound is for"


def test_features_that_training_will_move_are_not_relied_on() -> None:
    x = vectors(60)
    labels = (x[:, 0] > 5.0).float()
    weight, _ = careful(class_task(2), x, labels, [None] * 60, 0, x)
    assert float(weight.abs().max()) > 0.0
    still, _ = careful(class_task(2), x, labels, [None] * 60, 0, x - 50.0 * x.std(0))
    assert float(still.abs().max()) == 0.0


def test_batch_statistics_are_looked_at_and_left_alone() -> None:
    net = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    norm, x = net[1], vectors()
    norm.running_mean.fill_(2.0)
    norm.num_batches_tracked.fill_(40)
    before, eval_mode = copy.deepcopy(net.state_dict()), net(x)
    with as_in_training(net):
        found = net(x).detach()
    assert float(found.mean(0).abs().max()) < 1e-3, "of the batch, not the running statistics, and without dropout"
    assert all(torch.equal(one, net.state_dict()[name]) for name, one in before.items())
    assert not norm.training
    assert torch.equal(net(x), eval_mode)


@pytest.mark.parametrize("batches", [0, 2, 40])
def test_statistics_that_hardly_saw_data_are_those_of_the_training_rows(batches: int) -> None:
    """Those of a new head would be half the initial ones after six steps, and answers those of another network."""
    norm, x = nn.BatchNorm1d(6), vectors()
    for _ in range(batches):
        norm(torch.randn(8, 6))
    stored = norm.running_mean.clone()
    with as_in_training(norm.eval()):
        for rows in (x[:20], x[20:]):
            norm(rows)
    settled = batches == 40
    torch.testing.assert_close(norm.running_mean, stored if settled else x.mean(0), rtol=1e-5, atol=1e-4)
    if not settled:
        torch.testing.assert_close(norm.running_var, (x[:20].var(0) + x[20:].var(0)) / 2)
    assert norm.momentum == 0.1
    assert not norm.training


@pytest.mark.parametrize("rows", [0, 8], ids=["nothing ran", "not finite"])
def test_statistics_that_cannot_be_had_are_left(rows: int) -> None:
    norm = nn.BatchNorm1d(6)
    norm(vectors(8))
    stored = copy.deepcopy(norm.state_dict())
    with as_in_training(norm.eval()):
        if rows:
            norm(torch.full((rows, 6), torch.inf))
    assert all(torch.equal(one, norm.state_dict()[name]) for name, one in stored.items())


class Crops(nn.Module):
    """Answers from three views of an item, averaged as probabilities: what reaches the layer is no answer's form."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.encoder, self.classifier, self.apart = Wide(), nn.Linear(2, 4), apart

    def forward(self, batch: Batch) -> torch.Tensor:
        views = batch.inputs["x"]  # (B, 3, 2)
        if self.apart:
            return sum(self.classifier(views[:, one]) for one in range(3))  # type: ignore[return-value]
        return self.classifier(views.flatten(0, 1)).unflatten(0, views.shape[:2]).softmax(-1).mean(1).log()


@pytest.mark.parametrize("apart", [True, False], ids=["one-by-one", "together"])
def test_what_reaches_the_layer_is_seen_whatever_follows(apart: bool) -> None:
    task, x = Crops(apart), torch.randn(5, 3, 2)
    found = _Inputs(task, task.classifier)(Batch(inputs={"x": x}, size=5))
    torch.testing.assert_close(found, x.mean(1))
    assert not task.classifier._forward_pre_hooks, "nothing stays in the network"
    unclear = _Inputs(task, task.classifier)(Batch(inputs={"x": x[:4]}, size=5))
    assert bool(torch.isnan(unclear).all()), "views that are not so many an item"


def test_the_last_layer_is_found_by_what_it_gives() -> None:
    task = ClassificationTask(ClassificationConfig(), Wide(), TargetSpec("c", "class", names=("a", "b")))
    assert last_layer(task) == "classifier.out_proj"
    task.classifier = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 2))
    assert last_layer(task) == "classifier.3"
    task.classifier = nn.Linear(6, 2)
    assert last_layer(task) == "classifier"
    task.classifier = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 5))
    assert last_layer(task) is None, "a layer that gives something else"
    assert last_layer(nn.Linear(3, 2)) is None


def test_a_head_learns_at_a_thousandth_unless_told_otherwise() -> None:
    assert FinetuneConfig().head_factor(1e-4) == pytest.approx(10.0)
    assert FinetuneConfig().head_factor(3e-3) == 1.0
    assert FinetuneConfig(head_lr_factor=1.0).head_factor(1e-4) == 1.0
    assert FinetuneConfig(head_lr_factor=5.0).head_factor(3e-3) == 5.0
