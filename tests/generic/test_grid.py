"""``repcore probe --grid``: quality of every layer and width, with the time of each and a word at the unbeaten ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repcore.embedding.inference import InferenceOptions, embed_rows
from repcore.embedding.model import load
from repcore.evaluation.grid import Cell, compute_grid, with_cost
from repcore.evaluation.protocol import ProbeEntry, ProbeTable
from repcore.reporting import LogReporter
from repcore.specs import TargetSpec
from tests.core.test_toy_path import run
from tests.toys.toy_run import make_run

TINY = ("data.limit=40", "encoder.hidden_width=32", "encoder.feed_forward_width=32", "encoder.layers=2",
        "trainer.steps=1", "data.batch_size=4")  # fmt: skip
CELLS = [f"layer {layer}, {width} numbers" for layer in range(3) for width in (32, 16, 8, 4)]


def entry(features: str, mean: float, higher: bool = True) -> ProbeEntry:
    return ProbeEntry(features, "ridge@1", "r2", higher, "", (mean,), mean, float("nan"), True)


def test_a_cell_stays_unbeaten_while_nothing_smaller_is_as_good() -> None:
    cells = [Cell(1, 8, 2.0), Cell(1, 4, 2.0), Cell(2, 8, 4.0), Cell(2, 4, 4.0)]
    means = dict(zip([one.name for one in cells], (0.5, 0.3, 0.6, 0.3), strict=True))
    entries = (entry("trained", 0.9), *(entry(name, mean) for name, mean in means.items()))
    table = ProbeTable(TargetSpec("y", "regression"), (0,), "random", True, 9, 0, entries, (), {})
    notes = {one.features: one.notes for one in with_cost(table, cells, True).entries}
    assert notes["trained"] == ()
    assert {name for name, several in notes.items() if "no other is better for its cost" in several} == {
        "layer 1, 8 numbers", "layer 1, 4 numbers", "layer 2, 8 numbers",
    }  # fmt: skip
    assert notes["layer 2, 4 numbers"] == ("4 ms an item",)
    errors = replace(table, entries=tuple(replace(one, higher_is_better=False) for one in entries))
    found = {one.features: one.notes for one in with_cost(errors, cells, False).entries}
    assert found["layer 2, 8 numbers"] == ("4 ms an item (all layers are computed)",)
    assert "no other is better for its cost" in found["layer 1, 4 numbers"]


def test_every_layer_and_width_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{'C' * (3 + number % 7)}{'O' * (1 + number // 7)},{number % 7}.5" for number in range(40)]
    Path("chains.csv").write_text("\n".join(["smiles,carbons", *rows]), encoding="utf-8")
    assert run(["molecules", "train", "selformer", "objective=matryoshka-2d", "--name", "nested", *TINY]) == 0
    capsys.readouterr()
    assert run(["probe", "runs/nested", "--data", "chains.csv", "--seeds", "1", "--grid", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    primary = [one for one in table["entries"] if one["primary"] and one["features"] in CELLS]
    assert [one["features"] for one in primary] == CELLS
    assert all(any(note.endswith("ms an item") for note in one["notes"]) for one in primary)
    assert {one["features"] for one in table["entries"]} > {"trained", "random-init"}
    (stored,) = Path("runs/nested/probes").glob("*-grid.json")
    assert json.loads(stored.read_text(encoding="utf-8"))["table"]["entries"] == table["entries"]
    model = load(Path("runs/nested"))
    reader = model.reader("chains.csv")
    features, _ = compute_grid(model, reader, [0], InferenceOptions(), LogReporter())
    short = embed_rows(model.encoder.eval(), model.preprocessor, reader, InferenceOptions(layer=1, dim=8))
    np.testing.assert_allclose(features.matrices["layer 1, 8 numbers"], short.vectors, atol=1e-6)


def test_what_has_no_layers_is_said(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "r")
    assert run(["probe", "runs/r", "--data", "pairs/blobs", "--grid"]) == 2
    assert "gives no layers" in capsys.readouterr().err
    np.savez("vectors.npz", vectors=np.zeros((3, 2)))
    assert run(["probe", "vectors.npz", "--data", "pairs/blobs", "--grid"]) == 2
    assert "--grid needs a model" in capsys.readouterr().err
