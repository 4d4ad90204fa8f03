"""Fine-tuning with few labelled rows: one rule of the rows, what wins over it, and a start that only proof replaces."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import repcore
from repcore.cli.main import run
from repcore.config.resolve import ResolvedPart
from repcore.evaluation.tasks.configs import ClassificationConfig
from repcore.evaluation.tasks.item import ClassificationTask
from repcore.interfaces import Batch, Features, Progress
from repcore.specs import TargetSpec
from repcore.training.few_rows import LEAST_STEPS, for_rows, is_few, said_of_few
from repcore.training.finetune import DEFAULTS, FinetuneSettings
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.head_start import fitted, probe_penalty
from repcore.training.kept_start import Gain
from repcore.training.supervised import Supervised

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KIND = TargetSpec("kind", "class", names=("a", "b", "c"))
FINETUNE = ["pairs", "finetune", "runs/r", "--data", "pairs/blobs", "--label", "kind", "--name", "f", "--no-twin"]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=4"]) == 0
    return tmp_path


class Part:
    name = "classification"


def settings(
    level: Literal["item", "point"] = "item", given: tuple[str, ...] = (), **sections: Any
) -> FinetuneSettings:
    part = cast(ResolvedPart, Part())
    target = dataclasses.replace(KIND, level=level)
    return FinetuneSettings(part, target, part, {**DEFAULTS, **sections}, given=frozenset(given))


def test_what_is_left_open_follows_from_the_rows() -> None:
    few, more, many = (for_rows(settings(), rows) for rows in (20, 200, 500))
    assert few.sections["trainer"].steps == LEAST_STEPS
    assert few.sections["optimiser"].lr == pytest.approx(1e-5)
    assert (more.sections["trainer"].steps, more.sections["trainer"].epochs) == (None, 25)
    assert more.sections["optimiser"].lr == pytest.approx(1e-4)
    for one in (few, more):
        found = one.sections["finetune"]
        assert (found.head_start, found.keep_start, found.norm_statistics) == ("probe", "unless-surely-worse", "kept")
    found = many.sections["finetune"]
    assert (found.head_start, found.keep_start, found.norm_statistics) == ("linear", "unless-worse", "moving")
    assert (many.sections["trainer"], many.sections["optimiser"]) == (DEFAULTS["trainer"], DEFAULTS["optimiser"])
    assert for_rows(settings(), 20).sections == few.sections, "a run that goes on has the same"
    assert not said_of_few(many, 500)
    assert "20 labelled rows are few" in said_of_few(few, 20)
    assert "60 steps at lr 1e-05" in said_of_few(few, 20)


def test_what_a_user_sets_stays() -> None:
    own = FinetuneConfig(head_start="linear", keep_start="never", norm_statistics="moving")
    found = for_rows(settings(given=("trainer.epochs", "optimiser.lr"), finetune=own), 20)
    assert found.sections == {**DEFAULTS, "finetune": own}
    assert not is_few(settings(finetune=FinetuneConfig(few_rows=0)), 1)
    assert not is_few(settings(level="point"), 20), "a row has many labelled elements"


def test_members_of_an_ensemble_are_trained() -> None:
    """Or all of them would be the same probe, and their spread 0."""
    assert for_rows(settings(), 20, members=3).sections["finetune"].keep_start == "never"


@pytest.mark.parametrize(
    ("gain", "surely", "better"),
    [
        (Gain(0.3, 0.1, 9), False, False),
        (Gain(0.1, 0.3, 9), True, False),
        (Gain(-0.1, 0.3, 9), True, True),
        (Gain(0.2, float("inf"), 1), True, False),
        (Gain(0.2, float("nan"), 9), False, False),
        (Gain(0.0, float("nan"), 0), True, True),
        (Gain(float("nan"), float("nan"), 9), True, True),
    ],
)
def test_only_a_sure_gain_replaces_the_start(gain: Gain, surely: bool, better: bool) -> None:
    assert gain.keeps_start("unless-surely-worse") is surely
    assert gain.keeps_start("unless-worse") is better
    assert gain.keeps_start("never") is False


class Wide(nn.Module):
    dim = 6


def test_the_start_of_few_rows_is_the_linear_probe() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(30, 6, generator=draw) * torch.tensor([1.0, 10.0, 0.5, 1.0, 2.0, 1.0]) + 3.0
    labels = torch.arange(30) % 3
    x[:, 0] += labels
    task = ClassificationTask(ClassificationConfig(), Wide(), KIND)
    weight, bias = fitted(task, x, labels.float(), probe_penalty("class", labels.float()))
    z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    probe = LogisticRegression(C=0.05, max_iter=1000).fit(z, labels.numpy())
    np.testing.assert_allclose((x @ weight.T + bias).softmax(1), probe.predict_proba(z), atol=5e-3)


class Normed(nn.Module):
    dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, batch: Batch) -> Features:
        return Features(pooled=self.norm(batch.inputs["x"]), tokens={})


@pytest.mark.parametrize("how", ["kept", "moving"])
def test_running_statistics_stay_where_rows_are_few(how: str) -> None:
    task = ClassificationTask(ClassificationConfig(), Normed(), KIND)
    one = Supervised(task, "kind", FinetuneConfig(norm_statistics=how), "classifier.out_proj").train()  # type: ignore[arg-type]
    batch = Batch({"x": torch.randn(8, 3) + 5.0}, 8, targets={"kind": torch.zeros(8)})
    before = task.encoder.norm.running_mean.clone()  # type: ignore[union-attr, operator]
    one(batch, one.draw(batch, torch.Generator(), Progress(0, 10)))
    assert torch.equal(task.encoder.norm.running_mean, before) is (how == "kept")  # type: ignore[union-attr, arg-type]
    assert one.lr_scale("task.classifier.out_proj.weight") == 1.0
    assert Supervised(task, "kind", FinetuneConfig(head_lr_factor=7.0)).lr_scale("task.classifier.out_proj.bias") == 7.0


def finished() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("runs/f/trained.json").read_text())
    return found


def test_a_start_that_is_kept_is_the_model_fitted_to_all_labelled_rows(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*FINETUNE, "optimiser.lr=0.5", "trainer.epochs=10"]) == 0
    said = capsys.readouterr().err
    assert "49 labelled rows are few (below finetune.few_rows=500), so: task classification" in said
    assert "the start, a linear probe, is kept and fitted again to all labelled rows: training lowered the loss" in said
    record = finished()
    assert record["kept_step"] == 0
    assert record["finetune"]["keep_start"] == "unless-surely-worse"
    assert record["validation"] != record["last_validation"]
    first, tuned = repcore.load("runs/r"), repcore.load("runs/f")
    for one, other in zip(first.encoder.parameters(), tuned.encoder.parameters(), strict=True):
        assert torch.equal(one, other), "nothing of a step is left"


def test_few_rows_are_all_learned_from_in_the_end(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FINETUNE, "finetune.keep_start=never", "trainer.epochs=4"]) == 0
    kept = finished()["kept_step"]
    assert f"the same {kept} steps again, with all 49 labelled rows" in capsys.readouterr().err
    again = json.loads(Path("runs/f/all-rows/0/trained.json").read_text())
    assert (again["steps"], again["kept_step"]) == (kept, kept)
    assert json.loads(Path("runs/f/finetune.json").read_text())["rows"] == {"train": 44, "validation": 5, "test": 5}


def test_a_kept_start_is_the_same_after_a_stop(trained: Path) -> None:
    asked = ["optimiser.lr=0.5", "trainer.epochs=10"]
    assert run([*FINETUNE, *asked]) == 0
    whole = repcore.load("runs/f").identity()
    Path("runs/f/finetune.json").unlink()
    shutil.rmtree("runs/f/model")
    assert run(["pairs", "finetune", "--resume", "f"]) == 0
    assert repcore.load("runs/f").identity() == whole


def test_few_rows_take_the_task_that_reads_what_probes_read(trained: Path) -> None:
    """The toy domain has a task of its own, which is taken for many rows, or where it is named or set."""

    def task_of(*words: str) -> str:
        shutil.rmtree("runs/f", ignore_errors=True)
        assert run([*FINETUNE, "trainer.epochs=1", *words]) == 0
        return str(json.loads(Path("runs/f/model/config.json").read_text())["task"]["name"])

    assert task_of() == "classification"
    assert task_of("finetune.few_rows=10") != "classification"
