"""Labels of elements through the same verbs: finetune, predict and embed at the level of points, with windows."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import repcore
from repcore.cli.main import run
from repcore.embedding.dense import DenseRow, dense_windows, level_of
from repcore.embedding.dense_files import AnswerFiles, ElementTable, FolderWriter
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.prediction_files import read_table
from repcore.errors import ConfigError, DataError
from repcore.evaluation.dense_answers import DensePredictor, class_numbers, dense_temperature, named_classes, void_said
from repcore.evaluation.dense_metrics import confusion, dense_scores, overlaps
from repcore.evaluation.probing import LabelledRows, read_rows
from repcore.evaluation.tasks.dense import DenseClassification, at_elements, flat_tokens, soft_dice
from repcore.evaluation.tasks.dense_configs import DenseClassificationConfig
from repcore.interfaces import Batch, DenseAnswer, Features, Item, Sample, Tokens
from repcore.specs import TargetSpec

SIDE = TargetSpec("side", "class", "point", names=("2", "7"), ignore=9)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finetuned(label: str, *extra: str, train: tuple[str, ...] = ()) -> None:
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=4", *train]) == 0
    command = ["pairs", "finetune", "runs/r", "--data", "pairs/blobs", "--label", label, "--name", "f"]
    assert run([*command, "trainer.epochs=15", "optimiser.lr=0.03", *extra]) == 0


@pytest.mark.parametrize("window", [0, 6])
def test_points_are_learned_and_answered_in_their_own_order(
    here: Path, window: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels 2 and 7 (9 = none) come back as 2 and 7, at the sample's own points, through windows or not."""
    finetuned("side", "--no-twin", train=(f"preprocessor.window={window}",))
    told = json.loads((here / "runs" / "f" / "finetune.json").read_text())
    assert told["test"]["miou"] > 0.8
    record = json.loads((here / "runs" / "f" / "model" / "config.json").read_text())["task"]
    assert record["settings"]["values"] == [2, 7]
    assert record["settings"]["tokens"] == "point"
    capsys.readouterr()
    assert (
        run(["predict", "runs/f", "pairs/blobs", "-o", "out", "--format", "npz", "--read", "broken=[3]", "--json"]) == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert said["rows_out"] == 60
    assert said["status"] == {"ok": 59, "unreadable": 1}
    assert said["scores"]["miou"] > 0.8
    assert set(said["scores"]["classes"]) == {"2", "7"}
    index = read_table(here / "out" / "index.csv")
    assert index["id"] == [f"blob-{row}" for row in range(60)]
    assert index["file"][3] in (None, "")
    assert index["file"][4] == "blob-4.npz"
    reader = repcore.load("runs/f").reader("pairs/blobs")
    sample = reader[4]
    with np.load(here / "out" / "blob-4.npz") as found:
        np.testing.assert_array_equal(found["x"], sample.inputs[:, 0])
        own = sample.targets["side"]  # the data's own labels, beside the answers
        np.testing.assert_array_equal(found["label:side"], ["" if one == 9 else str(int(one)) for one in own])
        agrees = found["labels"] == sample.targets["side"]
        assert set(np.unique(found["labels"])) <= {2, 7}
        assert agrees[1:].mean() > 0.7
        assert found["outputs"].shape == (len(sample.inputs), 2)
    assert index["elements"][4] == len(sample.inputs)
    tested = read_table(here / "runs" / "f" / "predictions" / "test.parquet")
    assert all(tested["file"])
    kept = here / "runs" / "f" / "predictions" / "test"
    for name in tested["file"]:
        if name != "blob-3.npz":  # broken when it was predicted
            with np.load(kept / name) as one, np.load(here / "out" / name) as other:
                assert set(one.files) == set(other.files)
                np.testing.assert_allclose(one["outputs"], other["outputs"], atol=1e-6)
                np.testing.assert_array_equal(one["labels"], other["labels"])


def test_answers_about_test_rows_are_kept_up_to_a_size(tmp_path: Path) -> None:
    target = TargetSpec("side", "class", "point", names=("2", "7"))

    def row(name: str, points: int) -> DenseRow:
        outputs = np.full((points, 2), 0.5, np.float32)
        return DenseRow(name, "ok", "", DenseAnswer(Sample(name, None), "point", outputs, target, (2, 7)), {})

    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "of-before.npz").write_bytes(b"")
    files = AnswerFiles(tmp_path / "test", most_bytes=8 * 10)
    first = row("a", 6)
    assert files.write(first) == files.write(dataclasses.replace(first, id="part-2")) == "a.npz"  # parts of one sample
    assert files.write(row("b", 5)) is None
    assert files.write(row("a", 4)) == "a-2.npz"
    assert files.write(dataclasses.replace(first, answer=None)) is None
    assert files.note(5) == ("answers of the elements of 1 of 5 test rows are not kept: they are large",)
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ["a-2.npz", "a.npz"]


def test_windows_are_averaged_where_they_overlap(here: Path) -> None:
    """The answer at a point equals the mean of its windows' calibrated answers, computed one by one."""
    finetuned("side", "--no-twin", train=("preprocessor.window=6",))
    model = repcore.load("runs/f")
    sample = next(one for one in map(model.reader("pairs/blobs").__getitem__, range(60)) if len(one.inputs) > 12)
    items = model.preprocessor.prepare(sample)
    assert len(items) > 2
    predictor = model.predictor()
    task = predictor.tasks[0]
    with torch.inference_mode():
        each = [predictor.answered(task, task(model.preprocessor.collate([item]))).numpy() for item in items]
    by_hand = np.zeros((len(sample.inputs), 2))
    number = np.zeros((len(sample.inputs), 1))
    for cut, values in zip(model.preprocessor.cuts(len(sample.inputs)), each, strict=True):  # type: ignore[attr-defined]
        by_hand[cut] += values
        number[cut] += 1
    assert run(["predict", "runs/f", "pairs/blobs", "-o", "out", "--format", "npz"]) == 0
    with np.load(here / "out" / f"{sample.id}.npz") as found:
        np.testing.assert_allclose(found["outputs"], by_hand / number, atol=1e-6)


def test_an_ensemble_of_elements_is_calibrated_and_says_where_it_disagrees(here: Path) -> None:
    finetuned("side", "--no-twin", "--ensemble", "2", "trainer.epochs=3")
    record = json.loads((here / "runs" / "f" / "model" / "config.json").read_text())["task"]["facts"]
    assert record["members"] == 1
    assert 0.08 < record["temperature"] < 12.5
    assert record["temperature"] != 1.0
    assert run(["predict", "runs/f", "pairs/blobs", "-o", "out", "--format", "npz", "--read", "broken=[3]"]) == 0
    index = read_table(here / "out" / "index.csv")
    model = repcore.load("runs/f")
    sample = model.reader("pairs/blobs")[4]
    batch = model.preprocessor.collate(model.preprocessor.prepare(sample))
    predictor = model.predictor()
    assert len(predictor.tasks) == 2
    with torch.inference_mode():
        members = np.stack([predictor.answered(one, one(batch)).numpy() for one in predictor.tasks])
    with np.load(here / "out" / "blob-4.npz") as found:
        np.testing.assert_allclose(found["outputs"], members.mean(0), atol=1e-6)
    differ = (members.argmax(2) != members.mean(0).argmax(1)).mean()
    assert index["disagreement"][4] == pytest.approx(differ, abs=1e-6)
    assert index["disagreement"][3] is None
    saved = read_table(here / "runs" / "f" / "predictions" / "test.parquet")
    place = {name: row for row, name in enumerate(index["id"])}
    for name, value in zip(saved["id"], saved["disagreement"], strict=True):  # the same in the saved test predictions
        assert index["disagreement"][place[name]] == pytest.approx(value, abs=1e-6)


def test_dense_temperature_repairs_outputs_that_are_too_sure() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (6, 500)).astype(float)
    logits = np.where(labels[..., None] == np.arange(2), 1.0, 0.0) + generator.normal(size=(6, 500, 2))

    class Head(nn.Module):
        sure = 5.0

        def predict(self, outputs: torch.Tensor) -> torch.Tensor:
            return outputs.softmax(1)

    predictor = DensePredictor([Head()], None, SIDE, (2, 7), "x")  # type: ignore[arg-type]

    def rows(*_: object) -> Iterator[DenseRow]:
        for number, (y, raw) in enumerate(zip(np.where(labels == 1, 7.0, 2.0), Head.sure * logits, strict=True)):
            answer = DenseAnswer(Sample(str(number), None), "point", raw.astype(np.float32), None, (), {})
            yield DenseRow(str(number), "ok", "", answer, {"side": y})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DensePredictor, "raw", rows)
        found = dense_temperature(predictor, None, InferenceOptions(), np.arange(6))  # type: ignore[arg-type]
        assert found == pytest.approx(Head.sure, rel=0.1)  # these logits are calibrated as they are
        patch.setattr(Head, "predict", lambda self, outputs: outputs.sigmoid())
        assert dense_temperature(predictor, None, InferenceOptions(), np.arange(6)) == 1.0  # type: ignore[arg-type]


def test_tables_of_elements_and_features(here: Path) -> None:
    finetuned("radius", "--no-twin")
    assert run(["predict", "runs/f", "pairs/blobs", "-o", "p.csv", "--read", "broken=[0,3]"]) == 0
    table = read_table(here / "p.csv")
    reader = repcore.load("runs/f").reader("pairs/blobs")
    counts = [1 if row in (0, 3) else len(reader[row].inputs) for row in range(60)]
    assert table["id"] == [f"blob-{row}" for row in range(60) for _ in range(counts[row])]
    assert table["status"][0] == "unreadable"
    assert table["radius"][0] is None
    place = table["id"].index("blob-4")
    assert table["element"][place : place + counts[4]] == list(range(counts[4]))
    np.testing.assert_allclose(table["x"][place : place + counts[4]], reader[4].inputs[:, 0], atol=1e-6)
    truth = np.concatenate([reader[row].targets["radius"] for row in range(60) if row not in (0, 3)])
    found = np.asarray([one for one in table["radius"] if one is not None])
    assert abs(found.mean() - truth.mean()) < 0.5 * truth.std()  # metres, not standardised
    labels = [one for one, status in zip(table["label:radius"], table["status"], strict=True) if status == "ok"]
    np.testing.assert_allclose(np.asarray(labels, float), truth, rtol=1e-6)  # the data's own, beside the answers
    assert table["label:radius"][0] is None
    assert run(["embed", "runs/f", "pairs/blobs", "-o", "features", "--format", "npz", "--level", "point"]) == 0
    with np.load(here / "features" / "blob-4.npz") as features:
        assert features["outputs"].shape == (counts[4], 16)
    assert (
        run(["embed", "runs/f", "pairs/blobs", "-o", "features", "--format", "npz", "--level", "point"]) == 2
    )  # is there
    assert run(["predict", "runs/f", "pairs/blobs", "-o", "o", "--format", "nifti"]) == 2
    assert run(["predict", "runs/f", "pairs/blobs", "-o", "o", "--coverage", "0.9"]) == 2


@pytest.mark.parametrize(
    ("shape", "names"), [((2, 3), ("y", "x")), ((2, 1, 3), ("i", "j", "k"))], ids=["image", "scan"]
)
def test_tables_of_grids_name_the_place_of_every_element(
    tmp_path: Path, shape: tuple[int, ...], names: tuple[str, ...]
) -> None:
    target = TargetSpec("x", "regression", level="voxel")
    outputs = np.arange(np.prod(shape), dtype=np.float32).reshape(*shape, 1)
    writer = ElementTable(tmp_path / "p.csv", {}, target)
    for one in ("a", "b"):
        answer = DenseAnswer(Sample(one, None), "voxel", outputs, target)
        writer.write(DenseRow(one, "ok", "", answer, {}), {})
    writer.finish()
    table = read_table(tmp_path / "p.csv")
    places = np.stack([table[name] for name in names], 1).astype(int)[6:]
    assert len(places) == outputs.size
    assert [outputs[tuple(place)][0] for place in places] == table["predicted:x"][6:]


def test_labels_of_elements_are_told_in_the_words_of_the_model() -> None:
    """Missing and ignored labels are empty; a class that the model does not know keeps the data's name or number."""
    data = TargetSpec("side", "class", level="point", names=("a", "b", "c"), ids=(2, 7, 9), ignore=0)
    target = TargetSpec("side", "class", level="point", names=("b", "a"))

    class Reader:
        targets = (data,)

    predictor = DensePredictor([], None, target, (7, 2), "x")  # type: ignore[arg-type]
    sample = Sample("s", None)
    answer = DenseAnswer(sample, "point", np.zeros((6, 2), np.float32), target, (7, 2), {})
    labels = {"side": np.asarray([2.0, 7.0, 9.0, 0.0, np.nan, 4.0])}
    found = predictor.labels(DenseRow("s", "ok", "", answer, labels), Reader())  # type: ignore[arg-type]
    assert found == {"label:side": ["a", "b", "c", None, None, "4"]}
    assert predictor.labels(DenseRow("s", "ok", "", answer, {}), Reader()) == {}  # type: ignore[arg-type]


def test_labels_of_voxels_stand_beside_the_answers_in_their_numbers(tmp_path: Path) -> None:
    """In ``predict --format npz`` and in the saved test predictions: a grid of the numbers that the answers have."""
    data = TargetSpec("organ", "class", level="voxel", names=("a", "b", "c"), ids=(2, 7, 9), ignore=0)
    target = TargetSpec("organ", "class", level="voxel", names=("b", "a"))

    class Reader:
        targets = (data,)

    truth = np.asarray([[[2.0, 7.0, 9.0]], [[0.0, np.nan, 4.0]]])
    predictor = DensePredictor([], None, target, (70, 20), "x")  # type: ignore[arg-type]
    answer = DenseAnswer(Sample("s", None), "voxel", np.zeros((2, 1, 3, 2), np.float32), target, (70, 20))
    row = DenseRow("s", "ok", "", answer, {"organ": truth})
    files = AnswerFiles(tmp_path / "test", labels=lambda one: predictor.labels_in_file(one, Reader()))  # type: ignore[arg-type]
    assert files.write(row) == "s.npz"
    with np.load(tmp_path / "test" / "s.npz") as file:
        assert file["labels"].shape == (2, 1, 3)
        np.testing.assert_array_equal(file["label:organ"], [[[20, 70, -2]], [[-1, -1, -2]]])
    values = DensePredictor([], None, TargetSpec("t1", "regression", "voxel"), (), "x")  # type: ignore[arg-type]
    measured = dataclasses.replace(answer, outputs=np.zeros((2, 1, 3, 1), np.float32), target=values.target)
    found = values.labels_in_file(DenseRow("s", "ok", "", measured, {"t1": truth}), Reader())  # type: ignore[arg-type]
    np.testing.assert_array_equal(found["label:t1"], truth.astype(np.float32))


def test_rows_of_a_long_table_that_are_said_to_be_kept_are_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elements are held until there are many; a request to stop puts them on disk before it says so."""
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=2"]) == 0
    command = ["embed", "runs/r", "pairs/blobs", "--level", "point", "--read", "broken=[2,9]", "-o"]
    assert run([*command, "whole.parquet"]) == 0
    write = ElementTable.write

    def stopping(self: ElementTable, row: DenseRow, columns: Mapping[str, object]) -> None:
        write(self, row, columns)
        if self.rows_done == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ElementTable, "write", stopping)
    capsys.readouterr()
    assert run([*command, "cut.parquet"]) == 143
    assert "5 of 60 rows are kept" in capsys.readouterr().out
    monkeypatch.setattr(ElementTable, "write", write)
    assert run([*command, "cut.parquet", "--json", "--strict"]) == 1
    said = capsys.readouterr()
    assert "going on after 5 rows" in said.err
    told = json.loads(said.out)
    assert (told["status"], told["failed"]) == ({"ok": 58, "unreadable": 2}, 2)
    cut, whole = read_table(here / "cut.parquet"), read_table(here / "whole.parquet")
    assert cut["id"] == whole["id"]
    assert cut["row"] == whole["row"]
    np.testing.assert_allclose(np.asarray(cut["f0"], float), np.asarray(whole["f0"], float), rtol=0, atol=1e-6)


def test_a_command_that_goes_on_scores_the_rows_before_it_too(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finetuned("side", "--no-twin")
    told = []
    write = FolderWriter.write

    def dying(self: FolderWriter, row: DenseRow, columns: Mapping[str, object]) -> None:
        write(self, row, columns)
        if self.rows_done == 20:
            raise SystemError("the power went")

    command = ["predict", "runs/f", "pairs/blobs", "--read", "broken=[3,41]", "--format", "npz", "-o"]
    for name in ("whole", "cut"):
        if name == "cut":
            monkeypatch.setattr(FolderWriter, "write", dying)
            assert run([*command, name]) != 0
            monkeypatch.setattr(FolderWriter, "write", write)
        capsys.readouterr()
        assert run([*command, name, "--json", "--strict"]) == 1
        told.append({**json.loads(capsys.readouterr().out), "output": ""})
    assert told[0] == told[1]
    assert (told[0]["status"], told[0]["failed"]) == ({"ok": 58, "unreadable": 2}, 2)
    assert not list(here.glob("cut/*.parts"))


def test_what_says_nothing_about_elements_is_refused_not_ignored(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=2"]) == 0
    for option in (["--layer", "1"], ["--dim", "4"], ["--normalise"], ["--windows"]):
        assert run(["embed", "runs/r", "pairs/blobs", "-o", "f", "--level", "point", *option]) == 2
        assert f"{option[0]} is for vectors of rows" in capsys.readouterr().err
    assert run(["embed", "runs/r", "pairs/blobs", "-o", "f", "--level", "point", "--pseudonymise", "key"]) == 2
    assert "pseudonymise" in capsys.readouterr().err  # this reader has no such setting, and says so


def test_few_labels_are_drawn_once_and_by_class(here: Path) -> None:
    """``labels_per_class`` and ``label_share`` keep the same elements in every epoch; test labels stay."""
    from repcore.training.finetune_config import FinetuneConfig
    from repcore.training.finetune_labels import OneTarget, fewer_labels
    from tests.toys.toy_pairs.code import Blobs
    from tests.toys.toy_pairs.configs import BlobsConfig

    reader = Blobs(BlobsConfig())
    rows = read_rows(OneTarget(reader, SIDE))
    train = np.arange(40)
    total = sum((np.asarray(reader[row].targets["side"]) == 7).sum() for row in train)

    def kept(config: FinetuneConfig) -> list[np.ndarray]:
        thin = OneTarget(reader, SIDE, fewer_labels(config, SIDE, rows, train, 5))
        return [np.asarray(thin[row].targets["side"], np.float64) for row in range(60)]

    few = kept(FinetuneConfig(labels_per_class=20))
    assert 8 <= sum((one == 7).sum() for one in few[:40]) <= 36  # binomial around 20
    assert [
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(few, kept(FinetuneConfig(labels_per_class=20)), strict=True)
    ] == [True] * 60
    np.testing.assert_array_equal(few[50], reader[50].targets["side"])
    half = kept(FinetuneConfig(label_share=0.5))
    assert 0.35 * total < sum((one == 7).sum() for one in half[:40]) < 0.65 * total
    with pytest.raises(ConfigError, match="thin class labels of elements"):
        fewer_labels(FinetuneConfig(label_share=0.5), TargetSpec("kind", "class"), rows, train, 0)


class Tokeniser(torch.nn.Module):
    """Two tokens for three elements, the last element without any."""

    def forward(self, batch: Batch, layers: tuple[int, ...] = ()) -> Features:
        values = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        tokens = Tokens(values, owner=torch.zeros(2, dtype=torch.int64), source=torch.tensor([1, 0, -1]))
        return Features(values.mean(0, keepdim=True), {"cell": tokens})


def task_on_cells(**settings: object) -> DenseClassification:
    config = DenseClassificationConfig(tokens="cell", width=2, values=(2, 7), **settings)  # type: ignore[arg-type]
    task = DenseClassification(config, Tokeniser(), SIDE)
    with torch.no_grad():
        task.classifier[-1].weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))  # type: ignore[union-attr, operator]
        task.classifier[-1].bias.zero_()  # type: ignore[union-attr, operator]
    return task.eval()


def test_outputs_follow_the_source_and_missing_labels_are_masked() -> None:
    task = task_on_cells()
    outputs = task(Batch(None, 1))
    assert outputs[:2].tolist() == [[0.0, 3.0], [2.0, 0.0]]
    assert outputs[2].isnan().all()
    wanted = -np.log(np.exp(3) / (1 + np.exp(3)))
    for labels in ([7, 9, 7], [7, float("nan"), 2], [7, 5, 7]):  # ignored, missing, no class; the last has no token
        assert float(task.loss(outputs, torch.tensor(labels))) == pytest.approx(wanted, abs=1e-6)
    nothing = task.loss(outputs, torch.tensor([9, 9, 9]))
    assert float(nothing) == 0.0
    assert nothing.requires_grad
    task.fit_counts({2: 30, 7: 10})
    assert task.weights.tolist() == [1.0, 1.0]
    balanced = task_on_cells(class_weights="balanced")
    balanced.fit_targets(np.asarray([2.0] * 30 + [7.0] * 10 + [np.nan]))
    assert balanced.weights.tolist() == pytest.approx([40 / 60, 2.0])
    with pytest.raises(DataError, match="1 classes"):
        task.fit_counts({2: 30})


def test_dense_tokens_are_flattened_without_padding() -> None:
    values = torch.arange(12.0).reshape(2, 3, 2)
    valid = torch.tensor([[True, True, False], [True, False, False]])
    assert flat_tokens(Tokens(values, valid=valid)).tolist() == [[0.0, 1.0], [2.0, 3.0], [6.0, 7.0]]
    assert at_elements(Tokens(values), torch.ones(6, 1)).shape == (6, 1)


def test_overlaps_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    truth, answered = rng.integers(-1, 3, (4, 50)), rng.integers(-1, 4, (4, 50))
    counts = np.stack([confusion(t, a, 4) for t, a in zip(truth, answered, strict=True)])
    iou, dice = overlaps(counts.sum(0))
    known = (truth >= 0) & (answered >= 0)  # what is not answered is not judged
    for k in range(4):
        inside, said = (truth == k) & known, (answered == k) & known
        if not inside.any():
            assert np.isnan(iou[k])
            continue
        assert iou[k] == pytest.approx((inside & said).sum() / (inside | said).sum())
        assert dice[k] == pytest.approx(2 * (inside & said).sum() / (inside.sum() + said.sum()))
    scores = dense_scores(counts, ("a", "b", "c", "d"), np.arange(4))
    assert scores["miou"] == pytest.approx(np.nanmean(iou))
    assert scores["element-accuracy"] == pytest.approx((truth == answered)[known].mean())
    assert "d" in scores.notes[0]
    without = ((truth >= 0) & (answered < 0)).sum()
    assert scores.notes[1] == f"{without} of {(truth >= 0).sum()} labelled elements have no answer and are not scored"
    assert scores.notes[2] == "mIoU and Dice leave out classes that are answered but occur in no label: d"
    each = [np.nanmean(overlaps(one)[1]) for one in counts]
    assert scores["dice-per-item"] == pytest.approx(np.mean(each))


def test_elements_without_an_answer_are_said_and_not_judged(here: Path) -> None:
    """Half of one row has no answer: the other half is judged; the reason and the notes count the rest."""
    truth = np.asarray([2.0, 2.0, 7.0, 7.0])
    outputs = np.asarray([[0.9, 0.1], [0.2, 0.8], [np.nan] * 2, [np.nan] * 2], np.float32)
    reader = LabelledPoints(truth)
    made = OnePiece()

    def function(batch: Batch) -> torch.Tensor:
        return torch.from_numpy(outputs)

    (row,) = dense_windows(function, made, reader, InferenceOptions(), level="point", domain="pairs", target=SIDE,
                           values=(2, 7))  # fmt: skip
    assert (row.status, row.reason, row.unanswered) == ("ok", "2 of 4 elements have no answer", 2)
    predictor = DensePredictor([], made, SIDE, (2, 7), "pairs")
    ((_, figures),) = predictor.scored(iter([row]), reader)
    assert figures["element-accuracy"] == figures["miou"] == 0.5
    scores = predictor.scores()
    assert scores is not None
    assert scores["miou"] == 0.5
    assert scores["element-accuracy"] == 0.5
    assert "2 of 4 labelled elements have no answer and are not scored" in scores.notes
    for path in (here / "t.csv", here / "t.npz"):
        table = ElementTable(path, {}, SIDE)
        table.write(row, {})
        table.keep()
        assert table.unanswered == ElementTable(path, {}, SIDE).unanswered == 2  # of an interrupted command, too


class LabelledPoints(Sequence[Sample]):
    """One sample with these labels of its points."""

    targets = (SIDE,)
    fingerprint = "one"

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        if index >= 1:
            raise IndexError(index)
        return Sample("one", np.zeros((len(self.truth), 2), np.float32), {"side": self.truth})


class OnePiece:
    """A sample as one item."""

    def prepare(self, sample: Sample) -> list[Item]:
        return [Item(sample.inputs, {})]

    def collate(self, items: Sequence[Item]) -> Batch:
        return Batch(inputs=torch.from_numpy(items[0].values), size=1)

    def cost(self, meta: Mapping[str, Any]) -> int:
        return 1


def test_soft_dice_of_certain_answers() -> None:
    right = torch.tensor([[20.0, 0.0], [0.0, 20.0], [0.0, 20.0]])
    assert float(soft_dice(right, torch.tensor([0, 1, 1]))) == pytest.approx(0.0, abs=1e-4)
    assert float(soft_dice(right, torch.tensor([1, 0, 0]))) == pytest.approx(1.0, abs=1e-4)


def test_labels_are_matched_by_name_or_value() -> None:
    truth = np.asarray([2.0, 7.0, 9.0, np.nan, 4.0])
    assert class_numbers(truth, SIDE, SIDE, (2, 7)).tolist() == [0, 1, -1, -1, -1]
    odd = np.asarray([2.5, 7.0, np.inf, -np.inf, 2.0])  # 2.5 is no class 2
    assert class_numbers(odd, SIDE, SIDE, (2, 7)).tolist() == [-1, 1, -1, -1, 0]
    named = TargetSpec("organ", "class", "voxel", names=("none", "liver", "spleen"))
    model = TargetSpec("organ", "class", "voxel", names=("none", "spleen", "liver"))
    assert class_numbers(np.asarray([0.0, 1.0, 2.0]), named, model, (0, 1, 2)).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("counts", "known", "said"),
    [
        ({0: 10, 1: 6, 255: 4}, {}, "255 of 'part' counts as a class (0.2 of"),
        ({0: 10, 252: 6, 65_535: 4}, {}, "--ignore 65535"),
        ({0: 10, 255: 4}, {}, None),  # a mask of black and white
        ({0: 10, 1: 6, 254: 4}, {}, None),
        ({0: 10, 252: 6, 254: 3, 255: 4}, {}, None),  # classes up to the top
        ({0: 10, 1: 6, 255: 4}, {"names": ("a", "b", "c"), "ids": (0, 1, 255)}, None),  # the data names it
        ({}, {}, None),
    ],
)
def test_a_number_that_looks_like_no_label_is_said(
    counts: dict[int, int], known: dict[str, tuple[object, ...]], said: str | None
) -> None:
    """What a file of whole positive numbers holds for elements without an answer is not a class without a word."""
    rows = LabelledRows([], [], read_rows, {"part": [counts, {}]})  # type: ignore[arg-type]
    found = void_said(rows, TargetSpec("part", "class", "point", **known))  # type: ignore[arg-type]
    assert found is None if said is None else said in str(found)


@pytest.mark.parametrize(
    ("known", "values", "names"),
    [
        ({"names": ("floor", "wall", "chair")}, (1, 2), ("wall", "chair")),
        ({"names": ("floor", "wall", "chair"), "ids": (0, 1, 2)}, (1, 2), ("wall", "chair")),
        ({}, (1, 2), ("1", "2")),
    ],
)
def test_an_ignored_number_is_no_class_whether_it_has_a_name_or_not(
    known: dict[str, Any], values: tuple[int, ...], names: tuple[str, ...]
) -> None:
    counts = {0: 40, 1: 20, 2: 30}
    rows = LabelledRows([], [], read_rows, {"part": [counts, {}]})  # type: ignore[arg-type]
    found, target = named_classes(rows, TargetSpec("part", "class", "point", ignore=0, **known))
    assert (found, target.names, target.ignore) == (values, names, 0)


def test_probe_and_finetune_say_it(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 2 and 7 left as they are, 9 counts as the toy's number of no label."""
    monkeypatch.setattr("repcore.data.label_facts.VOID_NUMBERS", (9,))
    monkeypatch.setattr("repcore.data.label_facts.VOID_FAR", 1)
    finetuned("side", "--no-twin", "--ignore", "100", "trainer.epochs=1")
    assert "9 of 'side' counts as a class" in capsys.readouterr().err
    command = ["probe", "runs/r", "--data", "pairs/blobs", "--level", "point", "--label", "side", "--seeds", "1"]
    assert run([*command, "--ignore", "100"]) == 0
    assert "9 of 'side' counts as a class" in capsys.readouterr().err


def test_levels_by_name() -> None:
    assert level_of("frame") == "token"
    with pytest.raises(ConfigError, match="no level of elements"):
        level_of("pixel")


def test_probe_of_elements_stands_beside_twins(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=4"]) == 0
    capsys.readouterr()
    command = ["probe", "runs/r", "--data", "pairs/blobs", "--level", "point", "--label", "side", "--ignore", "9"]
    assert run([*command, "--seeds", "2", "--json"]) == 0
    out = capsys.readouterr().out
    table = json.loads(out[out.index("[") :])[0]
    values = {one["features"]: one["mean"] for one in table["entries"] if one["metric"] == "miou"}
    assert set(values) == {"trained", "random-init", "train-majority"}
    assert values["trained"] > 0.85 > values["train-majority"]  # the side of a line is linear in a point's coordinates
    assert table["constants"]["dense-linear@1"]["elements_per_class"] == 600
    assert table["comparisons"][0]["interval"][0] is not None
    assert run([*command, "--seeds", "1", "--share", "0.05"]) == 0
    assert "mean IoU" in capsys.readouterr().out
    assert run([*command, "--share", "1.5"]) == 2
    assert run([*command, "--protocol", "ridge@1"]) == 2


def test_a_linear_probe_of_elements_draws_classes_alike() -> None:
    from repcore.evaluation.probes.dense import DenseLinearConfig, DenseLinearProbe, balanced_draw
    from repcore.interfaces import ProbeSplit

    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [1000, 30, 5])
    assert np.bincount(classes[balanced_draw(classes, 20, rng)]).tolist() == [20, 20, 5]
    features = rng.normal(size=(1035, 4)) + 8 * np.eye(3, 4)[classes] * np.asarray([1.0, 100.0, 0.01, 1.0])
    features[:, 2] = np.where(classes == 2, 5.0, 0.0)
    labels = classes.astype(float)
    labels[::9] = np.nan
    rows = rng.permutation(1035)
    found = DenseLinearProbe(DenseLinearConfig()).score(
        features, labels, TargetSpec("t", "class", "point"), ProbeSplit(rows[:700], rows[700:]), 0
    )
    assert found["miou"] > 0.9
    with pytest.raises(DataError, match="fewer than two classes"):
        DenseLinearProbe(DenseLinearConfig()).fit(features, np.zeros(1035))
