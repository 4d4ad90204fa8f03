"""Methods that see labels: each fine-tunes a toy, predicts through the folder, goes on exactly, meets bad data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import repcore
from repcore import registry
from repcore.cli.main import run
from repcore.errors import ConfigError, RunError
from repcore.evaluation.tasks.configs import ClassificationConfig
from repcore.evaluation.tasks.item import ClassificationTask
from repcore.interfaces import Batch, Features, LossTerms, Progress, Tokens
from repcore.specs import TargetSpec
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.methods import WithMethod, class_numbers
from tests.generic.resuming import check_that_it_goes_on

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
METHODS = ("core-tuning", "hydra", "metrix", "class-gaussian-contrast", "shrinkmatch", "stationary")
KIND = TargetSpec("kind", "class", names=("a", "b", "c"))
PROGRESS = Progress(step=0, total_steps=10)
SMALL: Mapping[str, list[str]] = {
    "hydra": ["method.embedding=8", "method.gate_hidden=8"],
    "shrinkmatch": ["method.strong=features", "--labels", "24", "data.unlabelled_ratio=1.0"],
    "stationary": ["method.slots=8"],
}
SETTINGS: Mapping[str, dict[str, Any]] = {
    "hydra": {"embedding": 8, "gate_hidden": 8},
    "shrinkmatch": {"strong": "features"},
    "stationary": {"slots": 8, "classes": KIND.names},
}
OWN = {"class-gaussian-contrast": "supervised", "shrinkmatch": "labelled"}
"""Name of the term that learns from labels, where it is not ``classification``."""


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=2"]) == 0
    return tmp_path


def finetune(method: str, name: str, *more: str) -> list[str]:
    words = ["pairs", "finetune", "runs/r", "--data", "pairs/blobs", "--label", "kind", "--name", name]
    words += ["--method", method] if method else []
    return [*words, "--no-twin", "--no-plain", "data.batch_size=8", *SMALL.get(method, []), *more]


@pytest.mark.parametrize("method", [*METHODS, ""])
def test_a_toy_is_fine_tuned_predicts_and_goes_on_exactly(
    trained: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its first checkpoint and resumed, a run ends with the weights of one that was not disturbed."""
    settings = ["trainer.steps=6", "trainer.validate_every=2", "optimiser.lr=0.02", "trainer.accumulate=2"]
    settings += ["finetune.keep_start=never"]  # trained weights are compared
    check_that_it_goes_on(lambda name: finetune(method, name, *settings), "pairs", monkeypatch)
    model = repcore.load("runs/cut")
    found = model.predict("pairs/blobs")
    assert found.outputs.shape == (60, 3)
    np.testing.assert_allclose(found.outputs.sum(1), 1.0, atol=1e-5)
    told = json.loads(Path("runs/cut/finetune.json").read_text())
    assert told["method"] == (f"generic/{method}" if method else "")
    assert told["rows"]["train"] > 0


def test_the_plain_loss_stands_beside_a_method(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [one for one in finetune("core-tuning", "f", "trainer.steps=2") if one != "--no-plain"]
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "plain loss" in shown
    assert "generic/core-tuning is" in shown
    told = json.loads(Path("runs/f/finetune.json").read_text())
    assert [part["start"] for part in told["parts"]] == ["model", "plain"]
    assert told["against_plain"]
    for start, name in (("runs/f", "generic/core-tuning"), ("runs/f/controls/plain-seed-0", "classification")):
        assert json.loads((Path(start) / "config.json").read_text())["objective"]["name"] == name


def test_methods_are_told_from_objectives_without_labels(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(finetune("generic/simclr", "f")) == 2
    assert "learns without labels" in capsys.readouterr().err
    assert run(["pairs", "train", "set-net", "objective=core-tuning"]) == 2
    assert "learns from labels, which train does not see" in capsys.readouterr().err
    assert run(["pairs", "train", "set-net", "data.sampler=balanced", "--name", "g"]) == 2
    assert "data.sampler=balanced needs labels" in capsys.readouterr().err
    assert run(finetune("core-tuning", "h", "--task", "kind")) == 2
    assert "which the head of KindTask does not read" in capsys.readouterr().err


def test_a_small_batch_still_shows_the_classes_of_a_method(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(finetune("metrix", "f", "trainer.steps=3", "trainer.log_every=1", "data.batch_size=6")) == 0
    assert "3 rows a class instead of data.per_class=4" in capsys.readouterr().err
    lines = [json.loads(one) for one in Path("runs/f/metrics.jsonl").read_text().splitlines()]
    mixed = [one["mixed"] for one in lines if one["split"] == "train"]
    assert len(mixed) == 3
    assert min(mixed) > 0


REFUSED: Mapping[str, tuple[list[str], str]] = {
    "small batch": (["--method", "hydra", "data.batch_size=2"], "data.batch_size=2 and data.per_class=4"),
    "few labels": (["--method", "metrix", "--labels", "1"], "each batch has to show 2 classes"),
    "no room": (
        ["--method", "shrinkmatch", "method.strong=features", "--labels", "9", "data.unlabelled_ratio=50"],
        "has no room for 1 labelled",
    ),
    "kind": (["--method", "core-tuning", "--label", "side"], "core-tuning learns one class an item; 'side' is"),
    "sampler": (["--label", "side", "data.sampler=balanced"], "data.sampler=balanced needs one class a row"),
    "thinned": (["finetune.label_share=0.5"], "thin class labels of elements"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_data_and_settings_refuse_leaves_no_run(
    trained: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {one.name: one.resolve() for one in Path("runs").iterdir()}
    words, said = REFUSED[case]
    given = [*finetune("", "f"), "trainer.steps=2"]
    if "--label" in words:
        del given[given.index("--label") : given.index("--label") + 2]
    assert run([*given, *words]) == 2
    assert said in capsys.readouterr().err
    assert {one.name: one.resolve() for one in Path("runs").iterdir()} == before


# ------------------------------------------------------------------------------------- batches of every kind


class Vectors(nn.Module):
    """A linear layer as an encoder."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.dim = width
        self.layer = nn.Linear(4, width)

    def forward(self, batch: Batch, layers: tuple[int, ...] = ()) -> Features:
        return Features(self.layer(batch.inputs), {})


def objective(method: str, **settings: Any) -> WithMethod:
    torch.manual_seed(0)
    entry = registry.default().objective(f"generic/{method}")
    small = SETTINGS.get(method, {})
    config = entry.load("config")(**{**small, **settings})
    encoder: nn.Module = Vectors()
    if entry.spec.encoder_change:
        encoder = entry.load("encoder_change")(config, encoder)
    task = ClassificationTask(ClassificationConfig(dropout=0.0), encoder, KIND)
    own = entry.load()(config, encoder, task)
    return WithMethod(task, KIND, FinetuneConfig(), own).train()


def batch_of(labels: list[float]) -> Batch:
    inputs = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(1))
    return Batch(inputs, len(labels), targets={"kind": torch.tensor(labels)})


def terms_of(one: WithMethod, batch: Batch, seed: int = 0) -> LossTerms:
    draws = one.draw(batch, torch.Generator().manual_seed(seed), PROGRESS)
    terms = one(batch, draws)
    assert {name: float(value) for name, value in one.counts(batch, draws).items()} == {
        name: float(value) for name, value in terms.counts.items()
    }
    terms.total.backward()
    bad = [name for name, value in one.named_parameters() if value.grad is not None and not value.grad.isfinite().all()]
    assert torch.isfinite(terms.total)
    assert not bad
    one.after_step(PROGRESS, [terms.carry])
    return terms


NAN = float("nan")
BATCHES: Mapping[str, list[float]] = {
    "all classes": [0, 1, 2, 0, 1, 2],
    "one class": [1, 1, 1, 1],
    "two of three": [0, 0, 2, 2],
    "each alone": [0, 1, 2],
    "some missing": [0, NAN, 2, NAN, 1, 0],
    "one label": [NAN, 2, NAN],
    "no label": [NAN, NAN],
    "one item": [1],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", BATCHES)
def test_terms_are_finite_on_every_batch(method: str, batch: str) -> None:
    one = objective(method)
    for seed in range(3):
        terms = terms_of(one, batch_of(BATCHES[batch]), seed)
    assert (float(terms.terms[OWN.get(method, "classification")].detach()) > 0) == (batch != "no label")


@pytest.mark.parametrize("method", [one for one in METHODS if one != "shrinkmatch"])
def test_rows_without_a_label_change_nothing(method: str) -> None:
    """The loss of the labelled rows alone is that of the batch with unlabelled rows between."""
    whole = batch_of([0, NAN, 1, 2, NAN, 0, 1])
    known = ~torch.isnan(whole.targets["kind"])
    alone = Batch(whole.inputs[known], int(known.sum()), targets={"kind": whole.targets["kind"][known]})
    values = [float(terms_of(objective(method), one).total.detach()) for one in (whole, alone)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_validation_is_the_plain_loss_of_the_task(method: str) -> None:
    one, batch = objective(method).eval(), batch_of([0, 1, 2, NAN])
    terms = one(batch, one.draw(batch, torch.Generator(), PROGRESS))
    assert list(terms.terms) == ["supervised"]
    expected = one.answering.loss(one.answering(batch), batch.targets["kind"])  # type: ignore[operator]
    assert float(terms.total.detach()) == pytest.approx(float(expected.detach()))


def test_a_method_learns_what_it_is_shown() -> None:
    """Three separable classes: a few steps of each method bring the head to the labels."""
    centres = torch.tensor([[4.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 4.0, 0]])
    labels = torch.arange(24) % 3
    inputs = centres[labels] + 0.3 * torch.randn(24, 4, generator=torch.Generator().manual_seed(3))
    batch = Batch(inputs, 24, targets={"kind": labels.float()})
    for method in METHODS:
        one = objective(method)
        optimiser = torch.optim.Adam(one.parameters(), lr=0.02)
        for step in range(60):
            draws = one.draw(batch, torch.Generator().manual_seed(step), PROGRESS)
            terms = one(batch, draws)
            optimiser.zero_grad()
            terms.total.backward()
            optimiser.step()
            one.after_step(PROGRESS, [terms.carry])
        with torch.no_grad():
            assert (one.eval().answering(batch).argmax(1) == labels).float().mean() > 0.9, method


def test_labels_that_a_method_cannot_use_are_refused() -> None:
    encoder = Vectors()
    task = ClassificationTask(ClassificationConfig(), encoder, TargetSpec("two", "class", names=("a", "b")))
    entry = registry.default().objective("generic/hydra")
    with pytest.raises(ConfigError, match="hydra needs 3 classes; 'two' has 2"):
        entry.load()(entry.load("config")(), encoder, task)
    wrong = ClassificationTask(ClassificationConfig(head="first-token"), encoder, KIND)
    for method in METHODS:
        entry = registry.default().objective(f"generic/{method}")
        with pytest.raises(ConfigError, match="does not read"):
            entry.load()(entry.load("config")(), encoder, wrong)


def test_class_numbers_keep_their_type_and_say_what_is_missing() -> None:
    def numbers(labels: Tensor, *more: Any) -> list[int]:
        found = class_numbers(labels, *more)
        assert found.dtype == torch.int64
        return found.tolist()

    assert numbers(torch.tensor([0.0, NAN, 2.0]), None) == [0, -1, 2]
    assert numbers(torch.tensor([[3], [9]]), 9) == [3, -1]
    assert numbers(torch.tensor([7.0, 2.0, 9.0, NAN, 5.0]), 9, torch.tensor([2, 7])) == [1, 0, -1, -1, -1]


class Pooled(Vectors):
    """A vector pooled from tokens of the input's numbers, by mean or max."""

    def __init__(self, pooling: str, *, ragged: bool = False) -> None:
        super().__init__()
        self.pooling, self.ragged = pooling, ragged

    def forward(self, batch: Batch, layers: tuple[int, ...] = ()) -> Features:
        values = self.layer(torch.stack([batch.inputs, batch.inputs.roll(1, 1), -batch.inputs], 1))  # (B, 3, D)
        pooled = values.mean(1) if self.pooling == "mean" else values.amax(1)
        valid = torch.ones(values.shape[:2], dtype=torch.bool)
        valid[0, 2] = not self.ragged
        return Features(pooled, {"tokens": Tokens(values, valid=valid)})


def mixed_terms(place: str, encoder: nn.Module) -> LossTerms:
    torch.manual_seed(5)
    for value in encoder.parameters():
        nn.init.normal_(value)
    task = ClassificationTask(ClassificationConfig(dropout=0.0), encoder, KIND)
    entry = registry.default().objective("generic/metrix")
    own = entry.load()(entry.load("config")(place=place, weight_alone=0.4), encoder, task)
    one = WithMethod(task, KIND, FinetuneConfig(), own).train()
    batch = batch_of([0, 1, 2, 0, 1, 2, NAN])
    return one(batch, one.draw(batch, torch.Generator().manual_seed(0), PROGRESS))


def test_feature_maps_are_mixed_before_they_are_pooled() -> None:
    """Under a mean the mixture of tokens is that of vectors; under a maximum it is not, and less than theirs."""
    means = [float(mixed_terms(place, Pooled("mean")).terms["mixed"].detach()) for place in ("embed", "feature")]
    assert means[0] == pytest.approx(means[1], rel=1e-5)
    largest = [float(mixed_terms(place, Pooled("max")).terms["mixed"].detach()) for place in ("embed", "feature")]
    assert largest[0] != pytest.approx(largest[1], rel=1e-3)
    with pytest.raises(RunError, match="these have different numbers"):
        mixed_terms("feature", Pooled("mean", ragged=True))
    with pytest.raises(RunError, match="neither mean, max nor first"):
        mixed_terms("feature", Vectors())


def test_what_a_method_put_into_the_encoder_learns_while_the_encoder_is_frozen() -> None:
    config = registry.default().objective("generic/stationary").load("config")(slots=8, classes=KIND.names)
    entry = registry.default().objective("generic/stationary")
    encoder = entry.load("encoder_change")(config, Vectors())
    task = ClassificationTask(ClassificationConfig(dropout=0.0), encoder, KIND)
    one = WithMethod(task, KIND, FinetuneConfig(frozen_epochs=1.0), entry.load()(config, encoder, task)).train()
    batch = batch_of([0, 1, 2])
    for step, learns in ((0, False), (1, True)):
        progress = Progress(step=step, total_steps=2, steps_per_epoch=1)
        one(batch, one.draw(batch, torch.Generator(), progress)).total.backward()
        assert encoder.map.weight.requires_grad
        assert encoder.map.weight.grad.abs().sum() > 0
        assert encoder.map.training
        assert {one.requires_grad for one in encoder.inner.parameters()} == {learns}
        assert encoder.inner.training is learns


def test_rows_without_a_label_are_said_to_be_learned_from(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(finetune("shrinkmatch", "f", "trainer.steps=1")) == 0
    assert "6 of 60 rows have no 'kind' and generic/shrinkmatch learns from them, too" in capsys.readouterr().err
    assert run(finetune("", "g", "trainer.steps=1")) == 0
    assert "6 of 60 rows have no 'kind' and take no part" in capsys.readouterr().err


def test_a_term_that_is_0_in_every_step_is_said(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    never = ["method.threshold=1.0", "finetune.keep_start=never", "trainer.steps=3"]
    assert run(finetune("shrinkmatch", "f", *never)) == 0
    said = "terms certain, shrunk were exactly 0 in all 3 steps: nothing was learned from it"
    assert said in capsys.readouterr().err
    assert run(finetune("shrinkmatch", "g", "method.threshold=0.01", *never[1:])) == 0
    assert "term shrunk of the loss was exactly 0 in all 3 steps" in capsys.readouterr().err
