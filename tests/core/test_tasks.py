"""Fine-tuning tasks: losses with missing labels, scalers and weights from train only, published heads expressible."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.data.batching import label_array
from repcore.errors import ConfigError, DataError, RunError, ShapeError
from repcore.evaluation.tasks.configs import ClassificationConfig, MultilabelConfig, RegressionConfig
from repcore.evaluation.tasks.heads import first_tokens
from repcore.evaluation.tasks.item import ClassificationTask, ItemTask, MultilabelTask, RegressionTask
from repcore.interfaces import Batch, Features, Tokens
from repcore.specs import TargetSpec

BINARY = TargetSpec("active", "class")
TASKS = TargetSpec("tox", "multilabel", names=("a", "b", "c"))
LOGS = TargetSpec("logS", "regression", unit="log mol/L")
GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "selformer"
nan = math.nan


class GivenTokens(nn.Module):
    """An encoder whose tokens are the input: (B, T, D)."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, batch: Batch, layers: Any = ()) -> Features:
        return Features(pooled=batch.inputs.mean(dim=1), tokens={"tokens": Tokens(batch.inputs)})


def batch_of(tokens: Tensor) -> Batch:
    return Batch(inputs=tokens, size=len(tokens))


def test_masked_losses_equal_loops_over_known_labels() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(5, 3)
    labels = torch.tensor([[0, 1, nan], [nan, nan, nan], [1, 1, 0], [0, nan, 1], [1, 0, 0.0]])
    known = [(i, k) for i in range(5) for k in range(3) if not math.isnan(labels[i, k])]
    expected = np.mean([
        math.log1p(math.exp(-float(outputs[i, k]) * (2 * float(labels[i, k]) - 1))) for i, k in known
    ])  # fmt: skip
    task = MultilabelTask(MultilabelConfig(), GivenTokens(), TASKS)
    assert float(task.loss(outputs, labels)) == pytest.approx(expected, rel=1e-6)

    values = torch.tensor([1.0, nan, 3.0, nan, -2.0])
    regression = RegressionTask(RegressionConfig(), GivenTokens(), LOGS)
    regression.fit_targets(np.array([2.0, 4.0, nan, 6.0]))
    scaled = [(float(v) - 4.0) / np.std([2, 4, 6]) for v in (1.0, 3.0, -2.0)]
    by_hand = np.mean([(float(outputs[i, 0]) - s) ** 2 for i, s in zip((0, 2, 4), scaled, strict=True)])
    assert float(regression.loss(outputs[:, :1], values)) == pytest.approx(by_hand, rel=1e-5)

    classes = ClassificationTask(ClassificationConfig(outputs=3), GivenTokens(), BINARY)
    numbers = torch.tensor([2.0, nan, 0.0, 1.0, nan])
    each = [-float(outputs[i].log_softmax(0)[c]) for i, c in ((0, 2), (2, 0), (3, 1))]
    assert float(classes.loss(outputs, numbers)) == pytest.approx(np.mean(each), rel=1e-6)


@pytest.mark.parametrize("kind", ["class", "multilabel", "regression"])
def test_a_batch_without_labels_gives_zero_loss_and_zero_finite_gradients(kind: str) -> None:
    task, width = task_of(kind)
    outputs = task(batch_of(torch.randn(4, 2, 4)))
    loss = task.loss(outputs, torch.full((4, width) if width > 1 else (4,), nan))
    loss.backward()
    assert float(loss.detach()) == 0.0
    for parameter in task.classifier.parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().sum()) == 0.0


def task_of(kind: str, **settings: Any) -> tuple[Any, int]:
    if kind == "class":
        return ClassificationTask(ClassificationConfig(**settings), GivenTokens(), BINARY), 1
    if kind == "multilabel":
        return MultilabelTask(MultilabelConfig(**settings), GivenTokens(), TASKS), 3
    return RegressionTask(RegressionConfig(**settings), GivenTokens(), LOGS), 1


def test_missing_labels_leave_no_gradient_of_nan() -> None:
    task, _ = task_of("multilabel")
    labels = torch.tensor([[0.0, nan, 1.0]]).repeat(4, 1)
    task.loss(task(batch_of(torch.randn(4, 2, 4))), labels).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in task.classifier.parameters())


def test_predictions_are_probabilities_and_original_units() -> None:
    outputs = torch.randn(6, 3)
    classes, _ = task_of("class", outputs=3)
    assert torch.allclose(classes.predict(outputs).sum(1), torch.ones(6))
    tasks, _ = task_of("multilabel")
    assert torch.allclose(tasks.predict(outputs), 1 / (1 + (-outputs).exp()))
    regression, _ = task_of("regression")
    regression.fit_targets(np.array([10.0, 20.0, 30.0]))
    assert regression.predict(torch.zeros(2, 1)).tolist() == [[20.0], [20.0]]
    plain, _ = task_of("regression", standardise=False)
    plain.fit_targets(np.array([10.0, 20.0, 30.0]))
    assert torch.equal(plain.predict(outputs[:, :1]), outputs[:, :1].double())


def test_scaler_and_weights_travel_with_the_state_dict() -> None:
    first, _ = task_of("regression")
    first.fit_targets(np.array([10.0, 20.0, 60.0]))
    second, _ = task_of("regression")
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.predict(torch.ones(1, 1)), first.predict(torch.ones(1, 1)))


def test_constant_and_missing_training_labels() -> None:
    task, _ = task_of("regression")
    task.fit_targets(np.array([5.0, 5.0, nan]))
    assert float(task.predict(torch.zeros(1, 1))) == 5.0
    assert float(task.loss(torch.zeros(2, 1), torch.tensor([5.0, 6.0]))) == pytest.approx(0.5)
    with pytest.raises(DataError, match="no training row has a label 'logS'"):
        task.fit_targets(np.full(4, nan))
    with pytest.raises(ShapeError, match=r"expected \(N, 1\)"):
        task.fit_targets(np.zeros((4, 2)))


def test_balanced_weights_make_classes_count_the_same() -> None:
    task, _ = task_of("class", class_weights="balanced")
    labels = np.array([0.0] * 30 + [1.0] * 10)
    task.fit_targets(labels)
    outputs = torch.randn(40, 2)
    per_class = [
        float(F.cross_entropy(outputs[labels == c], torch.full((int((labels == c).sum()),), c))) for c in (0, 1)
    ]
    assert float(task.loss(outputs, torch.tensor(labels))) == pytest.approx(np.mean(per_class), rel=1e-5)
    tasks, _ = task_of("multilabel", class_weights="balanced")
    matrix = np.array([[1, 0, nan], [0, 0, 1], [0, 0, nan], [0, nan, nan]], dtype=float)
    tasks.fit_targets(matrix)
    assert tasks.weights.tolist() == [3.0, 1.0, 1.0]  # 3 zeros to 1 one; single-class tasks keep weight 1


@pytest.mark.parametrize(
    ("labels", "words"), [([0.0, 2.0], "class numbers 0 .. 1"), ([0.5, 1.0], "found"), ([-1.0, 0.0], "-1")]
)
def test_labels_that_are_no_classes_are_named(labels: list[float], words: str) -> None:
    task, _ = task_of("class")
    with pytest.raises(DataError) as caught:
        task.fit_targets(np.array(labels))
    assert words in str(caught.value)


def test_ignored_class_label_is_missing() -> None:
    target = TargetSpec("c", "class", names=("x", "y"), ignore=-1)
    task = ClassificationTask(ClassificationConfig(), GivenTokens(), target)
    task.fit_targets(np.array([0, 1, -1]))
    outputs = torch.randn(3, 2)
    assert torch.equal(task.loss(outputs, torch.tensor([0, 1, -1])), task.loss(outputs[:2], torch.tensor([0, 1])))


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="a regression target"):
        ClassificationTask(ClassificationConfig(), GivenTokens(), LOGS)
    with pytest.raises(ConfigError, match="outputs=None"):
        MultilabelTask(MultilabelConfig(), GivenTokens(), TargetSpec("t", "multilabel"))
    with pytest.raises(ConfigError, match="outputs=1"):
        ClassificationTask(ClassificationConfig(outputs=1), GivenTokens(), BINARY)
    with pytest.raises(ConfigError, match=r"dropout=1\.5"):
        task_of("class", dropout=1.5)
    with pytest.raises(ConfigError, match="no head 'last-token'"):
        task_of("class", head="last-token")
    with pytest.raises(ShapeError, match=r"expected \(4, 3\)"):
        task_of("multilabel")[0].loss(torch.zeros(4, 3), torch.zeros(4, 2))


def test_first_token_of_dense_and_ragged_features() -> None:
    dense = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(first_tokens(Features(dense.mean(1), {"t": Tokens(dense)})), dense[:, 0])
    owner = torch.tensor([0, 0, 0, 1, 1])
    ragged = Features(torch.zeros(2, 4), {"t": Tokens(torch.arange(20.0).reshape(5, 4), owner=owner)})
    assert first_tokens(ragged)[:, 0].tolist() == [0.0, 12.0]
    with pytest.raises(RunError, match="without tokens"):
        first_tokens(Features(torch.zeros(3, 4), {"t": Tokens(torch.zeros(5, 4), owner=owner)}))
    with pytest.raises(RunError, match="head=pooled-linear"):
        first_tokens(Features(torch.zeros(3, 4)))


def test_head_names_and_dropout() -> None:
    task, _ = task_of("class", head="first-token", dropout=0.5)
    names = {name for name, _ in task.classifier.named_parameters()}
    assert names == {"dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias"}
    batch = batch_of(torch.randn(3, 2, 4))
    assert not torch.equal(task(batch), task(batch))
    task.eval()
    assert torch.equal(task(batch), task(batch))


@pytest.mark.learns
def test_a_task_learns_a_rule_with_gaps() -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 1, 4, generator=draw)
    truth = 100 + 20 * inputs[:, 0, 0]
    labels = truth.clone()
    labels[::4] = nan
    torch.manual_seed(0)
    task, _ = task_of("regression", dropout=0.0)
    task.fit_targets(labels.numpy())
    optimiser = torch.optim.Adam(task.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        task.loss(task(batch_of(inputs)), labels).backward()
        optimiser.step()
    error = (task.predict(task(batch_of(inputs)))[:, 0] - truth).abs().max()
    assert float(error.detach()) < 1.0  # of a range of more than 100; rows without a label are predicted too


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="no golden data of molecules/selformer beside the repository")
@pytest.mark.parametrize("name", ["binary", "regression", "multilabel"])
def test_published_fine_tuning_heads_are_reproduced(name: str) -> None:
    from safetensors.torch import load_file

    weights, inputs, outputs = (load_file(GOLDEN / f"{part}.safetensors") for part in ("weights", "inputs", "outputs"))
    prefix = f"finetune_{name}."
    hidden = outputs["encoder_mask.last_hidden"]
    width = len(outputs[prefix + "logits"][0])
    task: ItemTask
    if name == "binary":
        config = ClassificationConfig(head="first-token", dropout=0.0, outputs=width)
        task = ClassificationTask(config, GivenTokens(hidden.shape[-1]), BINARY)
    elif name == "regression":
        task = RegressionTask(RegressionConfig(head="first-token", dropout=0.0), GivenTokens(hidden.shape[-1]), LOGS)
    else:
        many = MultilabelConfig(head="first-token", dropout=0.0, outputs=width)
        task = MultilabelTask(many, GivenTokens(hidden.shape[-1]), TargetSpec("t", "multilabel"))
    published = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    own = {key for key in task.state_dict() if key.startswith("classifier.")}
    assert own == set(published)
    task.load_state_dict(published, strict=False)
    logits = task(batch_of(hidden))
    # tolerances of the golden folder: logits 1e-4, losses 2e-5 (float32)
    torch.testing.assert_close(logits, outputs[prefix + "logits"], atol=1e-4, rtol=0)
    loss = task.loss(logits, inputs[f"labels_{name}"])
    torch.testing.assert_close(loss.detach(), outputs[prefix + "loss"].reshape(()), atol=2e-5, rtol=0)


def test_numbers_are_standardised_before_they_are_rounded() -> None:
    """A spread of 1 about 1e9 is nothing in float32, and 1e39 is no number there."""
    spread = np.array([-3.25, 0.5, 1.75, 2.0, -1.0])
    for mean, factor in ((1e9, 1.0), (0.0, 1e39), (1.7e9, 20.0), (0.0, 1e-100)):
        values = mean + factor * spread
        task, _ = task_of("regression")
        task.fit_targets(values)
        wanted = torch.from_numpy((spread - spread.mean()) / spread.std()).float()[:, None]
        assert float(task.loss(wanted, torch.from_numpy(values))) == pytest.approx(0.0, abs=1e-12)
        assert float(task.loss(torch.zeros(5, 1), torch.from_numpy(values))) == pytest.approx(1.0, rel=1e-6)
        answers = task.predict(wanted)[:, 0].numpy()
        np.testing.assert_allclose((answers - mean) / factor, spread, rtol=1e-5)
        again, _ = task_of("regression")
        again.load_state_dict(task.state_dict())
        np.testing.assert_array_equal(again.predict(wanted)[:, 0].numpy(), answers)


def test_numbers_whose_squares_are_none_are_refused() -> None:
    task, _ = task_of("regression")
    with pytest.raises(DataError, match="labels 'logS' lie between 1e-310 and 2e-310"):
        task.fit_targets(np.array([1e-310, 2e-310]))
    with pytest.raises(DataError, match=r"label 'logS' holds 1e\+308, whose square is no number"):
        label_array([1.0, 1e308, -1e308], LOGS)
    assert label_array([1e39, None], LOGS).tolist()[0] == 1e39
    assert label_array([16777217], TargetSpec("c", "class")).tolist() == [16777217.0]  # float32 knows no such number
    task.fit_targets(np.full(7, 0.1))  # equal but for rounding: their spread is none
    assert task.scale.tolist() == [1.0]
