"""The head's last layer as a linear probe: it is the least penalised loss, found in whatever head a task has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from repcore.evaluation.tasks.configs import ClassificationConfig, RegressionConfig
from repcore.evaluation.tasks.item import ClassificationTask, RegressionTask
from repcore.specs import TargetSpec
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.head_start import PENALTY, fitted, last_layer


class Wide(nn.Module):
    dim = 6


def vectors(count: int = 40) -> torch.Tensor:
    """Features of very different sizes, one of them constant."""
    draw = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 100.0, 0.01, 1.0, 1.0, 0.0])
    return torch.randn(count, 6, generator=draw) * scale + torch.tensor([5.0, 1000.0, 0.0, -2.0, 0.0, 3.0])


def test_regression_is_a_ridge_on_standardised_features() -> None:
    x = vectors()
    y = 3.0 * x[:, 0] - 0.02 * x[:, 1] + 40.0 * x[:, 2] + 7.0
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
