"""Fine-tuning: folds, ensembles, resume, groups in the validation part, rates by depth, frozen start, calibration."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import repcore
from repcore import registry
from repcore.checkpoints.reading import read_file
from repcore.cli.main import run
from repcore.config import OptimiserConfig, ScheduleConfig
from repcore.data.label_budgets import label_budgets, within_budget
from repcore.data.split_plans import SplitPlan
from repcore.embedding.conformal import (
    answer_sets,
    check_coverage,
    class_sets,
    conformal_scores,
    intervals,
    threshold,
)
from repcore.embedding.prediction_files import read_table
from repcore.errors import ConfigError, DataError, ItemError
from repcore.evaluation.calibration import calibration_error, temperature_of
from repcore.evaluation.probing import LabelledRows, read_rows
from repcore.explore.runs import key_figures
from repcore.interfaces import ProbeSplit, Progress, Sample
from repcore.report.collect import collect
from repcore.report.findings import cards, verdict_sentence
from repcore.specs import TargetSpec
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.finetune_labels import OneTarget
from repcore.training.finetune_parts import calibration_apart, with_validation
from repcore.training.finetune_plan import FinetuneRequest, untrained_classes
from repcore.training.listeners import validation_losses
from repcore.training.optimisers import build_optimiser, matrices_decay, set_rates
from repcore.training.run_folder import RunFolder
from repcore.training.supervised import Supervised, layer_depths

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KIND = TargetSpec("kind", "class", names=("a", "b", "c"))
VALUE = TargetSpec("v", "regression")


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=4"]) == 0
    return tmp_path


FINETUNE = ["pairs", "finetune", "runs/r", "--data", "pairs/blobs", "--label", "kind", "--name", "f"]
FINETUNE += ["--task", "classification"]  # core's own, not the toy's


def test_folds_give_every_row_an_out_of_fold_prediction(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FINETUNE, "--folds", "3", "--no-twin", "trainer.epochs=1"]) == 0
    assert "stratified-folds:3 split" in capsys.readouterr().out
    table = read_table(trained / "runs" / "f" / "predictions" / "out-of-fold.parquet")
    labelled = {f"blob-{row}" for row in range(60) if row % 11}
    assert sorted(table["id"]) == sorted(labelled)
    assert set(table["fold"]) == {"seed-0-fold-1", "seed-0-fold-2", "seed-0-fold-3"}
    told = json.loads((trained / "runs" / "f" / "finetune.json").read_text())
    assert told["rows"] == {"train": 49, "validation": 5, "test": 0}  # the kept model learns from all labelled rows
    means = np.mean([part["test"]["accuracy"] for part in told["parts"] if part["test"]])
    assert told["test"]["accuracy"] == pytest.approx(means)
    assert repcore.load("runs/f").predict("pairs/blobs").outputs.shape == (60, 3)


def test_an_ensemble_is_one_model(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FINETUNE, "--ensemble", "3", "--no-twin", "trainer.epochs=1", "optimiser.lr=0.02"]) == 0
    folder = trained / "runs" / "f" / "model"
    assert sorted(path.name for path in (folder / "members").iterdir()) == ["1.safetensors", "2.safetensors"]
    first, other = read_file(folder / "weights.safetensors"), read_file(folder / "members" / "1.safetensors")
    assert not torch.equal(first["task.classifier.out_proj.weight"], other["task.classifier.out_proj.weight"])
    model = repcore.load("runs/f")
    found = model.predict("pairs/blobs")
    each = []
    for task in model.predictor().tasks:
        item = model.preprocessor.prepare(model.reader("pairs/blobs")[5])[0]
        with torch.inference_mode():
            raw = task(model.preprocessor.collate([item])) / model.folder.task["facts"]["temperature"]  # type: ignore[index]
            each.append(task.predict(raw)[0].numpy())  # type: ignore[operator]
    np.testing.assert_allclose(found.outputs[5], np.mean(each, 0), atol=1e-6)
    assert found.columns["sd:ring"][5] == pytest.approx(np.std(each, 0, ddof=1)[1], abs=1e-6)
    votes = [one.argmax() for one in each]
    assert found.columns["disagreement"][5] == pytest.approx(np.mean(np.asarray(votes) != found.outputs[5].argmax()))
    identity = model.identity()
    for name in ("._1.safetensors", "1.safetensors~", ".DS_Store", "3.safetensors"):  # not recorded
        (folder / "members" / name).write_bytes(b"\0\1")
    assert repcore.load("runs/f").identity() == identity
    assert run(["embed", "runs/f", "pairs/blobs", "-o", "v.npz"]) == 0, capsys.readouterr().err
    (folder / "members" / "1.safetensors").unlink()
    assert run(["embed", "runs/f", "pairs/blobs", "-o", "w.npz"]) == 2
    assert "lacks members/1.safetensors, a member of its ensemble" in capsys.readouterr().err


def test_an_interrupted_fine_tuning_goes_on_to_the_same_end(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped within the control run: the finished part is not trained again, the end is that of an undisturbed run."""
    from repcore.training import finetune as module
    from repcore.training.listeners import Checkpoints

    settings = ["trainer.epochs=4", "optimiser.lr=0.02", "trainer.validate_every=3"]
    assert run([*("whole" if word == "f" else word for word in FINETUNE), *settings]) == 0
    save, saved = Checkpoints.save, []

    def dying(self: Checkpoints, state: object) -> None:
        save(self, state)  # type: ignore[arg-type]
        saved.append(state.folder.path)  # type: ignore[attr-defined]
        if "controls" in str(saved[-1]) and sum("controls" in str(one) for one in saved) == 2:
            raise SystemError("the power went")

    monkeypatch.setattr(Checkpoints, "save", dying)
    assert run([*FINETUNE, *settings]) != 0
    monkeypatch.setattr(Checkpoints, "save", save)
    assert (trained / "runs" / "f" / "trained.json").is_file()
    assert not (trained / "runs" / "f" / "finetune.json").exists()
    ran = []
    execute = module.execute
    monkeypatch.setattr(module, "execute", lambda *a, **k: ran.append(a[2].path.name) or execute(*a, **k))
    capsys.readouterr()
    assert (trained / "runs" / "latest").resolve().name == "f"
    (trained / "runs" / "latest").unlink()
    (trained / "runs" / "latest").symlink_to("whole", target_is_directory=True)  # another run since then
    assert run(["pairs", "finetune", "--resume", "f"]) == 0
    assert (trained / "runs" / "latest").resolve().name == "f"
    assert not list((trained / "runs" / "f").rglob("latest"))
    assert ran == ["random-init-seed-0"]
    assert "resuming" in capsys.readouterr().err
    first, second = (json.loads((trained / "runs" / name / "finetune.json").read_text()) for name in ("whole", "f"))
    assert [part["test"] for part in first["parts"]] == [part["test"] for part in second["parts"]]
    whole, cut = (read_file(trained / "runs" / name / "model" / "weights.safetensors") for name in ("whole", "f"))
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())
    assert run(["pairs", "finetune", "--resume", "r"]) == 2
    card = json.loads((trained / "runs" / "f" / "model" / "config.json").read_text())["card"]
    assert card["command"] == " ".join(["repcore", *FINETUNE, *settings])
    assert card["resumed"] == "1 time"
    assert "resumed" not in json.loads((trained / "runs" / "whole" / "model" / "config.json").read_text())["card"]
    for place in (".", "controls/random-init-seed-0"):
        kept = json.loads((trained / "runs" / "f" / place / "environment.json").read_text())
        assert kept["command"] == [*FINETUNE, *settings]


def test_a_fine_tuning_goes_on_only_from_what_it_began_with(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``runs/latest`` is the fine-tuning itself once it has begun; the model that it came from is remembered."""
    from repcore.training import finetune_plan as module

    def dying(*_: object, **__: object) -> None:
        raise SystemError("the power went")

    run_plan = module.run_plan
    monkeypatch.setattr(module, "run_plan", dying)
    command = [word.replace("runs/r", "runs/latest") for word in FINETUNE]
    assert run([*command, "trainer.epochs=1", "--no-twin"]) != 0
    assert (trained / "runs" / "latest").resolve().name == "f"
    assert json.loads((trained / "runs" / "f" / "request.json").read_text())["model"] == "runs/r"
    monkeypatch.setattr(module, "run_plan", run_plan)
    kept = trained / "runs" / "kept"
    (trained / "runs" / "r").rename(kept)
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=6"]) == 0
    capsys.readouterr()
    assert run(["pairs", "finetune", "--resume", "f"]) == 2
    assert "the model is not the one that runs/f began with" in capsys.readouterr().err.replace(str(trained) + "/", "")
    (trained / "runs" / "r").rename(trained / "runs" / "other")
    assert run(["pairs", "finetune", "--resume", "f"]) == 2
    assert "'runs/r', the model that" in (told := capsys.readouterr().err)
    assert "finetune MODEL --resume f" in told
    kept.rename(trained / "runs" / "r")
    (trained / "deeper").mkdir()
    monkeypatch.chdir(trained / "deeper")  # paths are seen from where the run began
    begun = json.loads((trained / "runs" / "f" / "begun.json").read_text())
    (trained / "runs" / "f" / "begun.json").write_text(json.dumps({**begun, "data": "0" * 64}))
    assert run(["pairs", "finetune", "--resume", "../runs/f"]) == 2
    assert "the data is not the one that" in capsys.readouterr().err
    (trained / "runs" / "f" / "begun.json").write_text(json.dumps(begun))
    (trained / "runs" / "r").rename(trained / "base")
    assert run(["pairs", "finetune", "../runs/other", "--resume", "../runs/f"]) == 2
    assert "the model is not the one that" in capsys.readouterr().err
    assert run(["pairs", "finetune", "../base", "--resume", "../runs/f", "trainer.epochs=2"]) == 2
    assert "takes no others (trainer.epochs=2)" in capsys.readouterr().err
    assert run(["pairs", "finetune", "../base", "--resume", "../runs/f"]) == 0, capsys.readouterr().err


def test_what_cannot_be_trained_leaves_no_run_behind(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.toys.toy_pairs.code import Blobs

    item = Blobs.__getitem__
    notes = ["every blob has one kind"]
    monkeypatch.setattr(Blobs, "notes", notes, raising=False)

    def constant(self: Blobs, index: int) -> Sample:
        if index in (3, 5):
            raise ItemError("malformed_row", "2 fields instead of 3")
        if index == 7:
            return Sample("blob-7", item(self, index).inputs, {})
        sample = item(self, index)
        return Sample(sample.id, sample.inputs, {"kind": 1.0}, sample.group, sample.meta)

    monkeypatch.setattr(Blobs, "__getitem__", constant)
    assert run([*FINETUNE, "trainer.epochs=1"]) == 2
    told = capsys.readouterr().err
    assert "labels of 'kind' are 'ring': nothing can be learned from one class" in told
    assert "fill in labels of a second class, or another --label" in told
    assert notes[0] in told  # the account of the data, as train and embed say it
    assert "2 of 60 rows cannot be used and take no part (blob-3, blob-5)" in told
    assert "1 of 60 rows have no 'kind' and take no part" in told
    assert not (trained / "runs" / "f").exists()
    assert (trained / "runs" / "latest").resolve().name == "r"


def test_a_limit_of_rows_is_refused_and_points_to_labels(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FINETUNE, "data.limit=24"]) == 2
    said = capsys.readouterr().err
    assert "data.limit=24" in said
    assert "--labels N" in said
    assert not (trained / "runs" / "f").exists()


def test_the_run_ends_when_validation_gets_no_better(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FINETUNE, "--no-twin", "trainer.epochs=40", "optimiser.lr=0.5", "trainer.validate_every=2",
                "trainer.patience=3", "finetune.keep_start=never"]) == 0  # fmt: skip
    record = json.loads((trained / "runs" / "f" / "trained.json").read_text())
    assert record["steps"] < 120
    losses = dict(validation_losses(RunFolder(trained / "runs" / "f")))
    first = losses.pop(0)
    best = min(losses, key=losses.__getitem__)
    assert (record["kept_step"], record["validation"]["loss"]) == (best, losses[best])
    assert record["last_validation"]["loss"] == losses[record["steps"]]
    assert record["steps"] == best + 6  # three validations later, however good the network before the first step was
    assert first < losses[best]
    said = capsys.readouterr()
    kept = f"weights of step {best} of {record['steps']} are kept, the smallest validation loss of the trained steps"
    assert f"{kept} ({losses[best]:.4g})" in said.out + said.err
    assert f"the start had a smaller one ({first:.4g})" in said.err
    card = json.loads((trained / "runs" / "f" / "model" / "config.json").read_text())["card"]
    assert (card["steps"], card["kept_step"]) == (record["steps"], best)
    assert card["validation"]["loss"] == losses[best]
    assert card["diagnostics"]["step"] == best
    page = collect(trained / "runs" / "f")
    shown = next(one for one in cards(page, None) if one.title == "Validation loss")
    assert shown.value == f"{losses[best]:.4g}"
    assert shown.detail == (
        f"from {first:.4g} at step 0; weights of step {best} are kept; {losses[record['steps']]:.4g} at the last, "
        f"{record['steps']}"
    )
    assert f"to {losses[best]:.4g}" in verdict_sentence(page)
    assert key_figures(trained / "runs" / "f")["validation_loss"] == losses[best]


def test_an_encoder_that_is_as_it_was_before_it_was_unfrozen_is_said(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*FINETUNE, "--no-twin", "trainer.epochs=2", "finetune.frozen_epochs=2", "trainer.validate_every=2",
                "finetune.keep_start=never"]) == 0  # fmt: skip
    said = capsys.readouterr()
    assert "lies before the encoder was unfrozen: its parameters are the pre-trained ones" in said.out + said.err
    assert "finetune.frozen_epochs=2 lasts for all 6 steps of the run: only the head learns" in said.err


def labelled_rows(groups: list[str | None], labels: list[float]) -> LabelledRows:
    samples: list[Sample | None] = [
        Sample(str(row), None, {"v": label}, group)
        for row, (group, label) in enumerate(zip(groups, labels, strict=True))
    ]
    return LabelledRows([str(row) for row in range(len(groups))], samples, None)  # type: ignore[arg-type]


def test_groups_stay_together_in_the_validation_part() -> None:
    groups: list[str | None] = [f"g{row // 5}" for row in range(100)]
    rows = labelled_rows(groups, [1.0] * 100)
    for seed in range(5):
        split = with_validation(ProbeSplit(np.arange(90), np.arange(90, 100)), rows, VALUE, seed)
        assert split.validation is not None
        train, validation = ({groups[row] for row in part} for part in (split.train, split.validation))
        assert not train & validation
        assert 5 <= len(split.validation) <= 15
        assert len(split.train) + len(split.validation) == 90
    with pytest.raises(DataError, match="one group"):
        with_validation(ProbeSplit(np.arange(5), np.arange(90, 95)), rows, VALUE, 0)
    missing = labelled_rows([None] * 20, [float("nan")] * 10 + [1.0] * 10)
    split = with_validation(ProbeSplit(np.arange(5, 20), np.arange(10, 15)), missing, VALUE, 0)
    assert len(split.train) + len(split.validation) == 10  # type: ignore[arg-type]
    with pytest.raises(DataError, match="test part"):
        with_validation(ProbeSplit(np.arange(5, 20), np.arange(5)), missing, VALUE, 0)


def test_a_class_without_training_rows_is_said() -> None:
    """Class c is in the test rows of the second fold alone; the kept model of several folds has no test rows."""
    rows = labelled_rows([None] * 20, [float(row % 2) for row in range(18)] + [2.0, float("nan")])
    folds = (ProbeSplit(np.arange(10, 20), np.arange(10)), ProbeSplit(np.arange(10), np.arange(10, 20)))
    target = dataclasses.replace(KIND, name="v")
    said = untrained_classes(SplitPlan("s", (folds,), seeded=True), FinetuneRequest(), rows, target)
    assert said.startswith("no training row shows 'c' (1 of 2 splits) of 'v'")
    alone = SplitPlan("s", ((folds[1],),), seeded=True)
    assert "shows 'c' of 'v'" in untrained_classes(alone, FinetuneRequest(), rows, target)
    assert untrained_classes(SplitPlan("s", ((folds[0],),), seeded=True), FinetuneRequest(), rows, target) == ""
    assert untrained_classes(alone, FinetuneRequest(), rows, VALUE) == ""


def test_unlabelled_rows_come_from_the_training_part_alone() -> None:
    """Rows 0-59 train, 60-79 test; every third has no label; a budget hides most others; one cannot be read."""
    labels = [float("nan") if row % 3 == 0 else float(row % 2) for row in range(80)]
    groups: list[str | None] = [f"g{row // 4}" for row in range(80)]
    rows = labelled_rows(groups, labels)
    rows.samples[9] = None
    part = ProbeSplit(np.arange(60), np.arange(60, 80))
    split = with_validation(part, rows, VALUE, 0)
    assert split.unlabelled is not None
    assert split.validation is not None
    held = {groups[row] for row in split.validation}
    expected = {row for row in range(0, 60, 3) if row != 9 and groups[row] not in held}
    assert set(split.unlabelled.tolist()) == expected
    assert not held & {groups[row] for row in split.unlabelled}
    plan = within_budget(SplitPlan("s", ((part,),), seeded=True), label_budgets("12")[0], rows.labelled(VALUE), [0])
    few = with_validation(plan.folds[0][0], rows, VALUE, 0)
    assert few.unlabelled is not None
    assert few.validation is not None
    assert len(few.train) + len(few.validation) == 12
    used = {*few.train.tolist(), *few.validation.tolist()}
    assert not used & set(few.unlabelled.tolist())
    assert set(few.unlabelled.tolist()) <= set(range(60)) - {9}
    assert any(not np.isnan(labels[row]) for row in few.unlabelled)  # hidden ones are among them


def test_hidden_labels_are_not_given(toys: None) -> None:
    reader = (
        registry.default().dataset("pairs/blobs").load()(registry.default().dataset("pairs/blobs").load("config")())
    )
    shown = OneTarget(reader, KIND, hidden=frozenset({1}))
    assert "kind" not in shown[1].targets
    assert "kind" in reader[1].targets
    assert "kind" in shown[2].targets


class Blocks(nn.Module):
    dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 2)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(3)])
        self.norm = nn.LayerNorm(2)


class OnBlocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Blocks(), nn.Linear(2, 2)


def test_rates_fall_away_from_the_head() -> None:
    depths, deepest = layer_depths(Blocks())
    assert deepest == 3
    assert (depths["embed.weight"], depths["layers.0.0.weight"], depths["layers.2.0.bias"], depths["norm.weight"]) == (
        0, 1, 3, 3,
    )  # fmt: skip
    objective = Supervised(OnBlocks(), "y", FinetuneConfig(layer_decay=0.5, head_lr_factor=10.0))
    config = OptimiserConfig(lr=1e-3, weight_decay=0.1)
    optimiser = build_optimiser(objective.named_parameters(), config, matrices_decay, objective.lr_scale)
    set_rates(optimiser, 0, 10, config, ScheduleConfig(name="constant"))
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimiser.param_groups for p in group["params"]}
    named = dict(objective.named_parameters())
    assert rates[id(named["task.encoder.embed.weight"])] == pytest.approx((1.25e-4, 0.1))
    assert rates[id(named["task.encoder.layers.1.0.bias"])] == pytest.approx((5e-4, 0.0))
    assert rates[id(named["task.encoder.norm.weight"])] == pytest.approx((1e-3, 0.0))
    assert rates[id(named["task.head.weight"])] == pytest.approx((1e-2, 0.1))
    assert len(rates) == len(named)


def test_only_the_head_learns_at_first() -> None:
    objective = Supervised(OnBlocks(), "y", FinetuneConfig(frozen_epochs=1.5)).train()
    generator = torch.Generator()
    for step, frozen in ((0, True), (14, True), (15, False)):
        objective.draw(None, generator, Progress(step, 100, steps_per_epoch=10))  # type: ignore[arg-type]
        assert all(p.requires_grad is not frozen for p in objective.encoder.parameters())
        assert objective.encoder.training is not frozen
        assert objective.task.head.weight.requires_grad  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="layer_decay"):
        FinetuneConfig(layer_decay=1.5)


def test_conformal_sets_cover_what_they_promise() -> None:
    """Mean coverage over 200 draws of 60 calibration and 200 test rows, for intervals, sets and yes/no answers."""
    rng = np.random.default_rng(0)
    covered: dict[str, list[float]] = {"interval": [], "class": [], "multilabel": []}
    several = TargetSpec("t", "multilabel", names=("a",))
    for _ in range(200):
        y = rng.normal(size=260)
        p = (y + rng.standard_t(3, 260))[:, None]  # heavy tails, no model of the error
        low, high = intervals(conformal_scores(VALUE, y[:60], p[:60]), p[60:], 0.9)
        covered["interval"].append(float(((low[:, 0] <= y[60:]) & (y[60:] <= high[:, 0])).mean()))
        true = rng.dirichlet(np.ones(4), 260)
        label = np.asarray([rng.choice(4, p=one) for one in true])
        said = true**3 / (true**3).sum(1, keepdims=True)  # overconfident
        held = class_sets(conformal_scores(KIND, label[:60].astype(float), said[:60]), said[60:], 0.9)
        covered["class"].append(float(held[np.arange(200), label[60:]].mean()))
        q = rng.random((260, 1))
        yes = (rng.random((260, 1)) < q).astype(float)
        sets = answer_sets(conformal_scores(several, yes[:60], q[:60]), q[60:], 0.9)
        covered["multilabel"].append(float(sets[np.arange(200), 0, yes[60:, 0].astype(int)].mean()))
    for name, values in covered.items():
        assert 0.89 < np.mean(values) < 0.93, name


def test_a_score_that_is_the_threshold_is_held() -> None:
    """Rounding of 1 - (1 - p) must not leave out the very row that set the threshold."""
    p = 10.0 ** np.random.default_rng(0).uniform(-12, 0, (500, 1))
    for row in p[:, 0]:
        (scores,) = conformal_scores(KIND, np.zeros(1), np.array([[row]]))
        assert class_sets([scores], np.array([[row]]), 0.5)[0, 0]


def test_thresholds_of_few_rows_are_honest() -> None:
    assert threshold([0.1, 0.2, 0.3], 0.9) == float("inf")  # three rows cannot promise 90 %
    assert threshold([0.1, 0.2, 0.3], 0.5) == 0.2
    assert threshold(sorted(np.linspace(0, 1, 9).tolist()), 0.9) == 1.0
    with pytest.raises(ConfigError):
        threshold([0.1], 1.0)
    with pytest.raises(DataError, match="no conformal scores"):
        intervals([], np.zeros((1, 1)), 0.9)
    for coverage, needed in ((0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.7, 3)):
        assert check_coverage([[0.1] * needed], coverage) == ""
        few = [[0.1] * needed, [0.1] * (needed - 1)]
        assert f"needs {needed} labelled validation rows" in check_coverage(few, coverage)


def test_a_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    label = np.asarray([rng.choice(3, p=one) for one in p])
    found = temperature_of(KIND, label.astype(float), (3.0 * logits)[:, None])
    assert found == pytest.approx(3.0, rel=0.15)
    sharp = np.exp(3 * logits) / np.exp(3 * logits).sum(1, keepdims=True)
    assert calibration_error(label, p) < 0.03 < 0.15 < calibration_error(label, sharp)
    assert temperature_of(KIND, label[:10].astype(float), logits[:10, None]) == 1.0  # too few
    assert temperature_of(VALUE, label.astype(float), logits[:, None]) == 1.0
    several = TargetSpec("t", "multilabel", names=("a", "b"))
    q = rng.normal(size=(4000, 2))
    yes = (rng.random((4000, 2)) < 1 / (1 + np.exp(-q))).astype(float)
    yes[::7, 0] = np.nan
    assert temperature_of(several, yes, (2 * q)[:, None]) == pytest.approx(2.0, rel=0.15)


def test_a_temperature_of_rows_that_are_all_right_is_no_certainty() -> None:
    """20 right answers of 20 are worth 21 / 22 (rule of succession), however far apart the outputs lie."""
    label = np.arange(20) % 3
    for scale in (0.5, 5.0, 50.0):
        raw = scale * (label[:, None] == np.arange(3))[:, None].astype(float)
        p = torch.tensor(raw[:, 0] / temperature_of(KIND, label.astype(float), raw)).softmax(1).numpy()
        assert p[np.arange(20), label] == pytest.approx(21 / 22, abs=0.01)
    several = TargetSpec("t", "multilabel", names=("a", "b"))
    yes = np.stack([label == 0, label == 1], axis=1).astype(float)
    yes[0, 1] = np.nan
    raw = np.where(yes == 1, 8.0, -8.0)[:, None]
    found = torch.tensor(raw[:, 0] / temperature_of(several, yes, raw)).sigmoid().numpy()
    assert np.where(yes == 1, found, 1 - found)[1:].min() == pytest.approx(0.954, abs=0.01)


def test_large_inputs_are_not_held(toys: None) -> None:
    from tests.toys.toy_pairs.code import Blobs
    from tests.toys.toy_pairs.configs import BlobsConfig

    class Large(Blobs):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            return Sample(sample.id, np.zeros((20_000, 2)), sample.targets)

    small, large = read_rows(Blobs(BlobsConfig(items=4))), read_rows(Large(BlobsConfig(items=4)))
    assert small.samples[1].inputs is not None  # type: ignore[union-attr]
    assert large.samples[1].inputs is None  # type: ignore[union-attr]
    assert "side" not in large.samples[1].targets  # type: ignore[union-attr]
    assert (
        sum(large.dense["side"][1].values()) == len(Blobs(BlobsConfig())[1].inputs) - 1
    )  # the ignored one is not counted


def test_calibration_rows_choose_nothing() -> None:
    split = ProbeSplit(np.arange(400), np.arange(450, 500), np.arange(400, 450))
    chosen, rows = calibration_apart(split, 3)
    assert chosen.validation is not None
    assert len(chosen.validation) == len(rows) == 25
    assert sorted([*chosen.validation, *rows]) == list(range(400, 450))
    np.testing.assert_array_equal(rows, calibration_apart(split, 3)[1])
    assert chosen.train is split.train
    few = ProbeSplit(np.arange(10), np.arange(0), np.arange(10, 40))
    same, rows = calibration_apart(few, 3)
    assert same is few
    np.testing.assert_array_equal(rows, few.validation)


def test_a_first_fine_tuning_with_defaults_beats_the_majority(trained: Path) -> None:
    """Few rows and one epoch, as in a user's first try; the control from random weights starts with the same care."""
    assert run(["pairs", "finetune", "runs/r", "--data", "pairs/blobs", "--read", "items=400", "--label", "kind",
                "--name", "f", "--task", "classification", "trainer.epochs=1"]) == 0  # fmt: skip
    table = read_table(trained / "runs" / "f" / "predictions" / "test.parquet")
    truth = np.asarray(table["label:kind"])
    right = float(np.mean(truth == np.asarray(table["kind"])))
    majority = max(np.mean(truth == one) for one in set(truth))
    assert right > majority + 0.2
    parts = json.loads((trained / "runs" / "f" / "finetune.json").read_text())["parts"]
    assert all(part["test"]["accuracy"] > majority for part in parts)
