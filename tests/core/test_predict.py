"""From fine-tuning to predictions: a whole model, one row out for every row in, the same numbers in a new process."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import repcore
from repcore.checkpoints.reading import read_file
from repcore.cli.main import run
from repcore.cli.predict import unknown_labels
from repcore.embedding.answers import answer_columns, label_columns, names_in_set, output_names
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.prediction import PredictedRows
from repcore.embedding.prediction_files import TableWriter, read_table
from repcore.embedding.windows import prepared_windows, size_of
from repcore.errors import CheckpointError, ConfigError, DataError
from repcore.evaluation.predictions import score_table, why_unscored
from repcore.specs import TargetSpec

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KIND = TargetSpec("kind", "class", names=("line", "ring", "cloud"))


def finetuned(folder: Path, *extra: str, domain: str = "pairs", recipe: str = "set-net", label: str = "kind") -> Path:
    """A run folder of the toy domain, fine-tuned in one epoch."""
    data = {"pairs": "pairs/blobs", "edges": "edges/rings"}[domain]
    assert run([domain, "train", recipe, "--name", "r", "--device", "cpu", "trainer.steps=4"]) == 0
    command = [domain, "finetune", "runs/r", "--data", data, "--label", label, "--name", "f"]
    command += ["--task", "classification"] if label == "kind" else []  # core's own, not the toy's
    assert run([*command, "trainer.epochs=2", "optimiser.lr=0.01", *extra]) == 0
    return folder / "runs" / "f"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_fine_tuned_model_is_whole(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finetuned(here)
    assert "pre-trained is " in capsys.readouterr().out
    state = read_file(folder / "model" / "weights.safetensors")
    assert {"task.classifier.out_proj.weight", "task.weights"} <= set(state)
    record = json.loads((folder / "model" / "config.json").read_text())["task"]
    assert record["name"] == "classification"
    assert record["target"]["names"] == ["line", "ring", "cloud"]
    card = (folder / "model" / "README.md").read_text()
    assert "it answers kind (class of each item: line, ring, cloud)" in card.replace("\\", "")
    assert "`repcore predict PATH/OF/THIS/FOLDER DATA -o predictions.csv`" in card
    assert "Fine-tuned on labels" in card
    assert "Trained without labels" not in card
    saved = pq.read_table(folder / "predictions" / "test.parquet").to_pydict()
    model = repcore.load(folder)
    found = model.predict("pairs/blobs")
    assert list(found.ids) == [f"blob-{row}" for row in range(60)]
    place = {name: row for row, name in enumerate(found.ids)}
    for name in ("line", "ring", "cloud"):
        mine = [found.columns[f"p:{name}"][place[one]] for one in saved["id"]]
        np.testing.assert_allclose(mine, saved[f"p:{name}"], atol=1e-6)
    np.testing.assert_allclose(found.outputs.sum(1), 1.0, atol=1e-6)
    scores = score_table(KIND, saved, 3)
    assert scores is not None
    told = json.loads((folder / "finetune.json").read_text())["test"]
    assert scores["accuracy"] == pytest.approx(told["accuracy"], abs=1e-9)
    vectors = model.embed("pairs/blobs").vectors  # the encoder is loaded without the task's tensors
    assert vectors.shape == (60, model.folder.dim)


def test_controls_live_inside_and_latest_stays(here: Path) -> None:
    folder = finetuned(here, "--seeds", "2")
    assert (here / "runs" / "latest").resolve() == folder.resolve()
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["f", "latest", "r"]
    inside = {path.relative_to(folder).as_posix() for path in folder.rglob("trained.json")}
    assert inside == {
        "trained.json", "seeds/1/trained.json", "controls/random-init-seed-0/trained.json",
        "controls/random-init-seed-1/trained.json",
    }  # fmt: skip
    assert not (folder / "controls" / "random-init-seed-0" / "model").exists()
    first = read_file(folder / "model" / "weights.safetensors")
    started = read_file(here / "runs" / "r" / "model" / "weights.safetensors")
    assert any(not torch.equal(first[name], value) for name, value in started.items()), "the encoder was not tuned"


def test_predict_writes_every_row_and_scores_labels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finetuned(here)
    capsys.readouterr()
    command = ["predict", "runs/f", "pairs/blobs", "--read", "broken=[3,17]", "--coverage", "0.8"]
    assert run([*command, "-o", "p.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows_in"] == told["rows_out"] == 60
    assert told["status"] == {"ok": 58, "unreadable": 2}
    assert told["without_prediction"] == 2
    labelled = sum(row % 11 != 0 and row not in (3, 17) for row in range(60))
    assert told["scores"]["rows"] == labelled
    assert told["doubled_ids"] == ""
    with (here / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"blob-{row}" for row in range(60)]
    assert rows[3]["status"] == "unreadable"
    assert rows[3]["reason"] == "blob 3 is broken on purpose"
    assert rows[3]["kind"] == rows[3]["p:ring"] == ""
    good = rows[4]
    assert good["kind"] == max(("line", "ring", "cloud"), key=lambda name: float(good[f"p:{name}"]))
    assert float(good["probability"]) == max(float(good[f"p:{name}"]) for name in ("line", "ring", "cloud"))
    assert set(good["set"].split("|")) <= {"line", "ring", "cloud"}
    assert good["label:kind"] == "ring"
    assert rows[11]["label:kind"] == ""  # a missing label stays missing
    tables = {}
    for suffix in ("tsv", "parquet", "npz"):
        assert run([*command, "-o", f"p.{suffix}"]) == 0
        tables[suffix] = read_table(here / f"p.{suffix}")
        assert [str(one) for one in tables[suffix]["id"]] == [row["id"] for row in rows]
    assert tables["tsv"]["kind"][4] == tables["parquet"]["kind"][4] == tables["npz"]["kind"][4] == good["kind"]
    assert tables["parquet"]["kind"][3] is None
    assert run([*command, "-o", "strict.csv", "--strict"]) == 1
    assert run([*command, "-o", "p.csv"]) == 2  # exists
    assert run(["predict", "runs/r", "pairs/blobs", "-o", "q.csv"]) == 2
    assert "has no task" in capsys.readouterr().err


def test_values_are_in_original_units_and_intervals_hold_them(here: Path) -> None:
    folder = finetuned(here, "trainer.epochs=20", domain="edges", recipe="edge-net", label="phase")
    model = repcore.load(folder)
    assert model.target == TargetSpec("phase", "regression", unit="rad")
    found = model.predict("edges/rings", coverage=0.9)
    reader = model.reader("edges/rings")
    truth = np.asarray([reader[row].targets["phase"] for row in range(len(reader))])
    values = np.asarray(found.columns["phase"], float)
    assert abs(values.mean() - truth.mean()) < 0.5 * truth.std()  # radians, not standardised
    low, high = (np.asarray(found.columns[f"{end}:phase"], float) for end in ("low", "high"))
    np.testing.assert_allclose(values - low, high - values, atol=1e-6)
    assert found.outputs.dtype == np.float64  # a float32 knows 1.7e9 seconds to two minutes
    predictor = model.predictor()
    task = predictor.tasks[0]
    mean = float(task.mean)  # type: ignore[arg-type]
    with torch.no_grad():
        task.mean.fill_(1.7e9)  # type: ignore[operator, union-attr]
    shifted = next(iter(predictor.windows(reader, InferenceOptions(), [0, 1, 2]))).outputs
    np.testing.assert_allclose(shifted[:, 0] - 1.7e9, values[:3] - mean, atol=1e-6)
    with pytest.raises(ConfigError, match="outside 0 < coverage < 1"):
        model.predict("edges/rings", coverage=1.5)


def test_a_coverage_is_looked_at_before_any_row(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that cannot be is refused and leaves nothing behind; one that the validation rows are too few for is said."""
    folder = finetuned(here, "trainer.epochs=2", "--no-twin", domain="edges", recipe="edge-net", label="phase")
    command = ["predict", "runs/f", "edges/rings", "-o", "p.csv", "--coverage"]
    for wrong in ("1.5", "nan", "0"):
        assert run([*command, wrong]) == 2
        assert "is outside 0 < coverage < 1" in capsys.readouterr().err
    assert not (here / "p.csv.parts").exists()
    TableWriter(here / "p.csv", {"model": "another that wrote no row"}, "phase").keep_record(0, {"old": 1})
    assert run([*command, "0.995", "--json"]) == 0
    said = capsys.readouterr()
    facts = json.loads((folder / "model" / "config.json").read_text())["task"]["facts"]
    known = len(facts["conformal"][0])
    assert f"coverage 0.995 needs 199 labelled validation rows, the model was calibrated with {known}" in said.err
    told = json.loads(said.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert told["scores"]["interval-width"] is None
    assert told["scores"]["coverage"] == 1.0
    with pytest.raises(ConfigError, match="outside 0 < coverage < 1"):
        repcore.load(folder).predict([], coverage=2.0)


def test_a_prediction_that_is_killed_then_stopped_goes_on_without_loss(here: Path) -> None:
    """kill -9 after the third part, SIGTERM two parts later: in the end every row is there once, as finetune saw it."""
    folder = finetuned(here)
    code = (
        "import os, signal, sys\n"
        "from repcore.embedding import blocks, prediction_files as files\n"
        "from repcore.cli.main import run\n"
        "blocks.block_rows = lambda *a: 7\n"
        "append = files.TableWriter.append\n"
        "number, part = map(int, os.environ['SIGNAL'].split())\n"
        "def signalling(self, table):\n"
        "    append(self, table)\n"
        "    if len(self._parts) == part:\n"
        "        os.kill(os.getpid(), number)\n"
        "files.TableWriter.append = signalling\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    words = ["predict", "runs/f", "pairs/blobs", "-o", "cut.parquet", "--device", "cpu"]
    site = next(path for path in sys.path if path.endswith("site"))
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([site, str(root), str(root / "core" / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def predict(number: int, part: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, *words], env={**environment, "SIGNAL": f"{number} {part}"},
                              cwd=here, timeout=120, check=False, capture_output=True, text=True)  # fmt: skip

    assert predict(signal.SIGKILL, 3).returncode == -signal.SIGKILL
    assert not (here / "cut.parquet").exists()
    stopped = predict(signal.SIGTERM, 5)
    assert stopped.returncode == 143, stopped.stderr
    assert "going on after 21 rows" in stopped.stderr
    assert "35 of 60 rows are kept" in stopped.stdout
    assert " ".join(["go on with: repcore", *words]) in stopped.stdout, "the command that goes on is not printed"
    assert not (here / "cut.parquet").exists()
    again = predict(0, 0)
    assert again.returncode == 0, again.stderr
    assert "going on after 35 rows" in again.stderr
    cut, saved = read_table(here / "cut.parquet"), read_table(folder / "predictions" / "test.parquet")
    assert cut["id"] == [f"blob-{row}" for row in range(60)]
    place = {name: row for row, name in enumerate(cut["id"])}
    for name in ("p:line", "p:ring", "p:cloud"):
        np.testing.assert_allclose([cut[name][place[one]] for one in saved["id"]], saved[name], rtol=0, atol=1e-6)
    assert [cut["kind"][place[one]] for one in saved["id"]] == saved["kind"]


def test_an_output_that_is_not_finite_is_a_failed_row(here: Path) -> None:
    folder = finetuned(here)
    model = repcore.load(folder)
    sets = [np.full((4, 2), value, np.float32) for value in (0.1, np.nan, 0.3)]
    found = model.predict(sets)
    assert list(found.status) == ["ok", "not_finite", "ok"]
    assert found.columns["kind"][1] is None
    assert "NaN or Inf" in found.reason[1]
    rows = model.embed(sets)
    assert list(rows.status) == ["ok", "not_finite", "ok"]
    assert np.isnan(rows.vectors[1]).all()


def test_windows_of_work_are_bounded_in_bytes(here: Path) -> None:
    from tests.toys.toy_pairs.code import Blobs, Sets
    from tests.toys.toy_pairs.configs import BlobsConfig, SetsConfig

    reader, preprocessor = Blobs(BlobsConfig()), Sets(SetsConfig())
    windows = list(prepared_windows(reader, preprocessor, np.arange(60), most_bytes=600))
    sizes = [sum(size_of(item.values) for row in window for item in row.items) for window in windows]
    assert [row.id for window in windows for row in window] == [f"blob-{row}" for row in range(60)]
    assert max(sizes) <= 600
    assert len(windows) > 10
    one = list(prepared_windows(reader, preprocessor, np.arange(5), most_bytes=1))
    assert [len(window) for window in one] == [1] * 5  # a row larger than the bound still passes
    several = list(prepared_windows(reader, preprocessor, np.arange(60), most_rows=9, workers=2))
    assert [row.id for window in several for row in window] == [f"blob-{row}" for row in range(60)]


def test_sizes_look_through_containers() -> None:
    from torch_geometric.data import Data

    assert size_of(np.zeros((3, 2), np.float32)) == 24
    assert size_of({"a": torch.zeros(4), "b": [np.zeros(2, np.int64), "abc"]}) == 16 + 16 + 3
    assert size_of(Data(x=torch.zeros(5, 2))) == 40


def test_answers_of_multilabel_and_ensembles() -> None:
    target = TargetSpec("toxic", "multilabel", names=("liver", "heart"))
    members = np.asarray([[[0.9, 0.2], [0.7, 0.6]], [[0.4, 0.1], [0.4, 0.3]]])
    rows = PredictedRows(["a", "b"], ["ok"] * 2, [""] * 2, members.mean(1), members)
    facts = {"thresholds": [0.5, 0.35], "conformal": [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]}
    columns = answer_columns(target, facts, rows, 0.5)
    assert columns["liver"] == [1, 0]
    assert columns["heart"] == [1, 0]
    assert columns["p:liver"] == pytest.approx([0.8, 0.4])
    assert columns["sd:liver"] == pytest.approx([math.sqrt(0.02), 0.0], abs=1e-7)
    assert columns["disagreement"] == pytest.approx([0.5, 0.0])
    assert columns["set:liver"] == ["1", "{}"]  # threshold 0.2: p(1) >= 0.8 or p(1) <= 0.2
    assert columns["set:heart"] == ["{}", "0"]


def test_the_deviation_of_members_is_that_of_their_values() -> None:
    """In float32 that of 300.0001 and 300.0004 is off by a tenth; two paths to the same members would differ."""
    members = np.asarray([[[300.0001], [300.0004], [300.0002]]], np.float32)
    rows = PredictedRows(["a"], ["ok"], [""], members.mean(1), members, [{}])
    found = answer_columns(TargetSpec("y", "regression"), {}, rows)["sd:y"][0]
    assert found == pytest.approx(np.std(members.astype(np.float64)[0], 0, ddof=1)[0], rel=1e-12)


def test_labels_of_the_data_are_matched_by_class_name() -> None:
    """The data lists its classes in another order and has one that the model does not know."""
    data = TargetSpec("kind", "class", names=("cloud", "blob", "line"))
    cells = label_columns(KIND, data, [{"kind": 0}, {"kind": 1}, {"kind": 2.0}, {"kind": float("nan")}, {}], 3)
    assert cells["label:kind"] == ["cloud", "blob", "line", None, None]
    table = {"p:line": [0.1, 0.2, 0.8, 0.1, 0.1], "p:ring": [0.1] * 5, "p:cloud": [0.8, 0.7, 0.1, 0.8, 0.8], **cells}
    scores = score_table(KIND, table, 3)
    assert scores is not None
    assert scores["accuracy"] == 1.0
    assert scores.rows is not None
    assert scores.rows.tolist() == [0, 2]
    assert "blob" in scores.notes[0]
    swapped = label_columns(
        TargetSpec("t", "multilabel", names=("a", "b")), TargetSpec("t", "multilabel", names=("b", "c", "a")),
        [{"t": np.asarray([1.0, 0.0, np.nan])}], 2,
    )  # fmt: skip
    assert swapped == {"label:a": [None], "label:b": [1.0]}


def test_labels_that_score_nothing_are_given_a_reason() -> None:
    target = TargetSpec("y", "class", names=("neg", "pos"))
    answers = {"p:neg": [0.2, 0.9], "p:pos": [0.8, 0.1]}
    told = why_unscored(target, {**answers, "label:y": ["A", "B"]}, 2)
    assert told == "'y' in the data holds 'A', 'B', none of which is a class of the model ('neg', 'pos')"
    assert why_unscored(target, {**answers, "label:y": [None, ""]}, 2) == "no row has a class label 'y'"
    assert why_unscored(target, answers, 2) == ""
    lost = {"p:neg": [None], "p:pos": [None], "label:y": ["neg"]}
    assert why_unscored(target, lost, 2) == "no row with a label has a prediction"


def test_a_row_whose_labels_are_all_unknown_to_the_model_is_not_a_row_without_labels() -> None:
    model = TargetSpec("t", "multilabel", names=("a", "b"))
    data = TargetSpec("t", "multilabel", names=("a", "b", "q"))
    rows = [{"t": np.asarray(one, float)} for one in ([1, 0, 1], [0, 0, 1], [0, 0, 0], [0, 1, 0])]
    cells = label_columns(model, data, rows, 2)
    assert cells == {"label:a": [1.0, None, 0.0, 0.0], "label:b": [0.0, None, 0.0, 1.0]}
    scores = score_table(model, {"p:a": [0.9, 0.9, 0.1, 0.1], "p:b": [0.1, 0.9, 0.1, 0.9], **cells}, 2)
    assert scores is not None
    assert scores.rows is not None
    assert scores.rows.tolist() == [0, 2, 3]
    assert scores["accuracy"] == 1.0


def test_labels_that_a_multilabel_model_does_not_know_are_said() -> None:
    model = TargetSpec("t", "multilabel", names=("a", "b"))
    data = SimpleNamespace(targets=[TargetSpec("t", "multilabel", names=("b", "q")), TargetSpec("u", "class")])
    said = "labels that the model does not know are left out, and with them rows that have no other: q"
    assert unknown_labels(model, data) == [said]  # type: ignore[arg-type]
    assert unknown_labels(KIND, SimpleNamespace(targets=[KIND])) == []  # type: ignore[arg-type]


def test_names_that_the_file_needs_itself_are_kept_apart() -> None:
    """Tasks called status and id do not overwrite the columns of that name; a bar in a class name parts nothing."""
    target = TargetSpec("all", "multilabel", names=("status", "id", "heart"))
    rows = PredictedRows(["a"], ["ok"], [""], np.asarray([[0.9, 0.2, 0.7]]))
    columns = answer_columns(target, {}, rows)
    assert not {"id", "status", "reason"} & set(columns)
    assert columns["predicted:status"] == [1]
    columns.update(label_columns(target, target, [{"all": [1.0, 1.0, float("nan")]}], 3))
    scores = score_table(target, columns, 3)
    assert scores is not None
    assert scores["accuracy"] == pytest.approx(0.5)
    edges = TargetSpec("target", "regression", "edge")
    assert output_names(edges, 1) == ["predicted:target"]
    assert output_names(TargetSpec("target", "regression"), 1) == ["target"]
    odd = TargetSpec("kind", "class", names=('a|"b"', "c, d", "e\nf"))
    rows = PredictedRows(["a", "b"], ["ok"] * 2, [""] * 2, np.asarray([[0.5, 0.4, 0.1], [0.1, 0.1, 0.8]]))
    sets = answer_columns(odd, {"conformal": [[0.6]]}, rows, 0.5)["set"]
    assert [names_in_set(one) for one in sets] == [['a|"b"', "c, d"], ["e\nf"]]
    braces = TargetSpec("kind", "class", names=("{}", "b", "c"))
    sets = answer_columns(braces, {"conformal": [[0.6]]}, rows, 0.5)["set"]
    assert [names_in_set(one) for one in sets] == [["{}", "b"], ["c"]]
    assert answer_columns(braces, {"conformal": [[0.1]]}, rows, 0.5)["set"] == ["{}", "{}"]
    assert names_in_set("{}") == []


def test_what_sets_and_intervals_hold_of_the_labels_is_a_score() -> None:
    columns = {
        "p:line": [0.7, 0.2, 0.1], "p:ring": [0.2, 0.7, 0.2], "p:cloud": [0.1, 0.1, 0.7],
        "set": ["line|ring", "{}", "cloud"], "label:kind": ["ring", "ring", None],
    }  # fmt: skip
    scores = score_table(KIND, columns, 3, coverage=0.9)
    assert scores is not None
    assert (scores["coverage"], scores["set-size"]) == (0.5, 1.0)  # the row without a label does not count
    assert "coverage" not in (score_table(KIND, columns, 3) or {})
    value = TargetSpec("v", "regression")
    columns = {"v": [1.0, 2.0, 3.0, None], "low:v": [0.0, 1.0, 2.0, None], "high:v": [2.0, 3.0, 4.0, None],
               "label:v": [1.5, 9.0, 2.0, 1.0]}  # fmt: skip
    found = score_table(value, columns, 1, coverage=0.9)
    assert found is not None
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["interval-width"] == 2.0
    several = TargetSpec("t", "multilabel", names=("a", "b"))
    columns = {"p:a": [0.9, 0.1], "p:b": [0.5, 0.5], "label:a": [1.0, 1.0], "label:b": [0.0, None],
               "set:a": ["1", "{}"], "set:b": ["0|1", "{}"]}  # fmt: skip
    found = score_table(several, columns, 2, coverage=0.9)
    assert found is not None
    assert found["coverage"] == pytest.approx(2 / 3)  # the missing label does not count
    assert found["set-size"] == pytest.approx(1.0)


def test_rows_that_are_read_in_another_way_are_not_mixed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parts of a command that was killed belong to its own reading of the data: ids and labels would be another's."""
    finetuned(here, "--no-twin")
    reader = repcore.load("runs/f").reader("pairs/blobs")
    header = {"model": repcore.load("runs/f").identity(), "data": reader.fingerprint, "rows": 60, "target": "kind",
              "kind": "class", "unit": "", "coverage": None, "reading": {"reader": None, "id_column": "x"}}  # fmt: skip
    TableWriter(here / "p.csv", header, "p:line").write(["blob-0"], ["ok"], [""], {"p:line": [0.5]})
    assert run(["predict", "runs/f", "pairs/blobs", "-o", "p.csv"]) == 2
    assert "holds parts of another prediction run" in capsys.readouterr().err
    assert run(["predict", "runs/f", "pairs/blobs", "-o", "q.csv", "--metric", "surface-dice"]) == 2
    assert "--metric surface-dice is for tasks about elements" in capsys.readouterr().err


def test_a_table_of_failed_rows_keeps_its_types(tmp_path: Path) -> None:
    """The first part has no prediction at all: the columns of later parts still fit."""
    writer = TableWriter(tmp_path / "p.parquet", {}, "p:line", {"kind"})
    writer.write(["a"], ["bad"], ["why"], {"kind": [None], "p:line": [None]})
    writer.write(["b"], ["ok"], [""], {"kind": ["line"], "p:line": [0.75]})
    assert writer.failed == 1
    writer.finish()
    assert read_table(tmp_path / "p.parquet")["kind"] == [None, "line"]
    with pytest.raises(ConfigError, match="did you mean"):
        TableWriter(tmp_path / "p.parqet", {}, "x")
    (tmp_path / "broken.parquet").write_text("no")
    with pytest.raises(DataError, match="not a table of predictions"):
        read_table(tmp_path / "broken.parquet")


def test_a_model_without_a_task_says_how_to_get_one(here: Path) -> None:
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=2"]) == 0
    with pytest.raises(CheckpointError, match="pairs finetune"):
        repcore.load(here / "runs" / "r").predict("pairs/blobs")


def test_identity_is_of_the_content(here: Path) -> None:
    """The same tensors written in another order are the same model; a changed fact is another one."""
    from safetensors.torch import save_file

    folder = finetuned(here)
    first = repcore.load(folder).identity()
    path = folder / "model" / "weights.safetensors"
    state = read_file(path)
    save_file(dict(reversed(list(state.items()))), path, metadata={"other": "words"})
    assert repcore.load(folder).identity() == first
    config = folder / "model" / "config.json"
    content = json.loads(config.read_text())
    content["task"]["facts"]["temperature"] = 3.0
    config.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"changed since the model was saved: task"):
        repcore.load(folder)
    content["content"] = {name: one for name, one in content["content"].items() if "#" not in name}
    config.write_text(json.dumps(content))  # as an earlier version wrote it
    with pytest.warns(UserWarning, match="no hash of its settings"):
        assert repcore.load(folder).identity() != first


def test_ids_of_several_rows_are_named(tmp_path: Path) -> None:
    """Over parts, also of an interrupted command; of rows with a line for each element an id counts once."""
    for start in range(2):
        writer = TableWriter(tmp_path / "p.csv", {}, "y")
        ids = [f"r{number}" for number in range(6)] if start else ["r1", "a", "r2", "b", "r1", "c"]
        writer.write(ids, ["ok"] * 6, [""] * 6, {"y": [0.5] * 6})
    told = "4 ids are those of several rows (9 rows, all of them are kept): 'r1', 'r2', 'r3', ..."
    assert writer.rows_done == 12
    more = TableWriter(tmp_path / "p.csv", {}, "y")
    more.write(["r3", "r4"], ["ok"] * 2, [""] * 2, {"y": [0.5] * 2})
    assert more.doubled_ids() == told
    more.finish()
    assert read_table(tmp_path / "p.csv")["id"].count("r1") == 3
    points = TableWriter(tmp_path / "q.csv", {}, "y")
    cells = {"y": [0.5] * 5, "row": [0.0, 0.0, 1.0, 2.0, 2.0], "element": [0.0, 1.0, None, 0.0, 1.0]}
    points.write(["a", "a", "b", "c", "c"], ["ok"] * 5, [""] * 5, cells)
    assert points.doubled_ids() == ""
    points.write(["b"], ["ok"], [""], {"y": [0.5], "row": [3.0], "element": [None]})
    assert points.doubled_ids() == "1 id is that of several rows (2 rows, all of them are kept): 'b'"
