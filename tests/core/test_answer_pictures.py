"""Test items of a fine-tuning in its report: which are drawn, and the words beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repcore.cli.main import run
from repcore.embedding.dense import DenseRow
from repcore.embedding.prediction_files import read_table
from repcore.interfaces import DenseAnswer, Sample
from repcore.markup import safe_markup
from repcore.report.build import build_report
from repcore.specs import TargetSpec
from repcore.training.answer_pictures import EACH, answer_errors, chosen_places, in_words, label_in_words
from repcore.training.label_pictures import LabelPictures

KIND = TargetSpec("kind", "class", names=("line", "ring", "cloud"))


def test_errors_are_those_of_the_label() -> None:
    outputs = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])
    np.testing.assert_allclose(answer_errors(KIND, outputs, np.array([0.0, 0.0, np.nan])), [0.3, 0.9, np.nan])
    yes = TargetSpec("t", "multilabel", names=("a", "b"))
    found = answer_errors(yes, np.array([[0.9, 0.2], [0.5, 0.5]]), np.array([[1, np.nan], [np.nan, np.nan]]))
    np.testing.assert_allclose(found, [0.1, np.nan])
    values = TargetSpec("v", "regression", unit="eV")
    found = answer_errors(values, np.array([[1.0], [np.nan], [5.0]]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, [0.0, np.nan, 2.0 / np.std([1, 2, 3])])
    assert in_words(KIND, {}, outputs[1]) == "cloud (0.80)"
    assert label_in_words(KIND, np.array(1.0), outputs) == "ring"
    assert in_words(yes, {"thresholds": [0.95, 0.1]}, np.array([0.9, 0.2])) == "b"
    assert label_in_words(yes, np.array([0.0, np.nan]), np.zeros((1, 2))) == "none"
    assert in_words(values, {}, np.array([1.25])) == "1.25 eV"


def test_worst_best_and_random_items_are_chosen_once() -> None:
    errors = np.array([5.0, np.nan, *np.arange(20.0) / 10])
    chosen = chosen_places(errors)
    places = [place for place, _ in chosen]
    assert len(set(places)) == len(places) == 3 * EACH
    assert places[:EACH] == [0, 21, 20, 19]
    assert places[EACH : 2 * EACH] == [2, 3, 4, 5]
    assert not {0, 1, 2, 21} & set(places[2 * EACH :])
    assert [place for place, _ in chosen_places(np.array([0.1, 0.2, 0.3, np.nan, 0.4, 0.5]))] == [5, 4, 2, 1, 0]
    assert chosen_places(np.full(3, np.nan)) == []


def test_a_report_draws_test_items_with_prediction_and_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=2"]) == 0
    command = ["pairs", "finetune", "runs/r", "--data", "pairs/blobs", "--label", "kind", "--name", "f", "--no-twin"]
    assert run([*command, "--task", "classification", "trainer.epochs=1"]) == 0
    folder = tmp_path / "runs" / "f"
    lines = [json.loads(line) for line in (folder / "predictions" / "pictures.jsonl").read_text().splitlines()]
    table = read_table(folder / "predictions" / "test.parquet")
    assert len(lines) == min(12, len(table["id"]))
    for line in lines:
        row = table["id"].index(line["id"])
        assert line["predicted"] == f"{table['kind'][row]} ({table['probability'][row]:.2f})"
        assert line["label"] == table["label:kind"][row]
        assert "<svg" in line["html"]
    right = [table[f"p:{label}"][row] for row, label in enumerate(table["label:kind"])]
    assert lines[0]["id"] == table["id"][int(np.argmin(right))]
    page = build_report(folder).read_text()
    assert page.count(f"true: {lines[0]['label']}") >= 1
    assert f"predicted: {lines[0]['predicted']}" in page
    section = page.partition('class="answered"')[2]
    assert section.count("<svg") >= len(lines)


def test_answers_about_edges_are_a_table() -> None:
    """Names of nodes and classes as in the data, label and answer side by side; what is too much is counted."""
    target = TargetSpec("bond", "class", "edge", names=("weak <x>", "strong"))
    outputs = np.tile(np.array([[0.25, 0.75]], np.float32), (15, 1))
    names = np.array([f"n{number}" for number in range(15)])
    answer = DenseAnswer(Sample("g", None), "edge", outputs, target, (3, 7), {"source": names, "target": names[::-1]})
    truth = np.array([3.0] * 7 + [np.nan] + [7.0] * 7)
    pictures = LabelPictures(None, target, (3, 7))
    pictures.see(DenseRow("g", "ok", "", answer, {"bond": truth}))
    (line,) = pictures.lines
    kept = safe_markup(line["html"])
    assert kept.count("<tr>") == 14
    assert "<td>n0</td><td>n14</td><td>weak &lt;x&gt;</td><td>strong</td><td>0.750</td>" in kept
    assert "<td>n7</td><td>n7</td><td></td><td>strong</td>" in kept
    assert "and 3 more" in kept
    assert line["alt"] == "g; 3 weak <x>, 7 strong"
