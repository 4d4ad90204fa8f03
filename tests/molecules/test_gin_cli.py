"""The whole way a user goes with GIN: train, embed, features of atoms, probe, fine-tune, predict, pages."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from safetensors.torch import load_file

import repcore
from repcore.cli.main import run
from repcore.embedding.writers import read_embeddings
from repcore.interfaces import Sample
from repcore_molecules.preprocessors.prepared_graphs import GraphPreparation
from tests.molecules.conftest import WriteTable

TINY = (
    "encoder.width=16", "encoder.layers=2", "data.limit=400", "data.batch_size=16", "trainer.validate_every=100",
)  # fmt: skip
NEW = {"name": ["aspirin", "broken", "salt", "odd"],
       "smiles": ["OC(=O)c1ccccc1OC(C)=O", "C1CC", "[Na+].CC(=O)[O-]", "C[Sb](C)C"]}  # fmt: skip


def train(out: Path, name: str, *words: str) -> Path:
    assert run(["molecules", "train", "gin", "--out", str(out), "--name", name, *TINY, *words]) == 0
    return out / name


@pytest.fixture(scope="module")
def gin_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPCORE_CACHE", os.environ.get("REPCORE_CACHE") or str(tmp_path_factory.getbasetemp() / "cache"))
        return train(tmp_path_factory.mktemp("runs"), "gin", "trainer.steps=30", "optimiser.lr=1e-2")


@pytest.fixture
def new(write_table: WriteTable) -> Path:
    return write_table("new.csv", NEW)  # type: ignore[arg-type]


def test_a_run_leaves_a_model_and_figures(gin_run: Path) -> None:
    lines = [json.loads(line) for line in (gin_run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "validation"]
    assert losses[-1] < losses[0]
    state = json.loads((gin_run / "model" / "molecule_graph.json").read_text())
    plain = json.loads((gin_run / "config.json").read_text())
    assert plain["encoder"]["elements"] == 1 + len(state["elements"]) > 5
    page = (gin_run / "report.html").read_text()
    assert "<svg" in page
    assert "unreadable molecule" not in page


def test_every_row_comes_back_with_its_status(gin_run: Path, new: Path, tmp_path: Path) -> None:
    assert run(["embed", str(gin_run), str(new), "-o", str(tmp_path / "v.parquet"), "--id-column", "name"]) == 0
    rows, _ = read_embeddings(tmp_path / "v.parquet")
    assert rows.ids == NEW["name"]
    assert rows.status[:2] == ["ok", "invalid_smiles"]
    assert rows.status[3] == "unknown_elements"
    assert "ring 1 is not closed" in rows.reason[1]
    assert rows.vectors.shape == (4, 2 * 3 * 16)
    assert np.isfinite(rows.vectors).all(1).tolist() == [True, False, True, True]
    model = repcore.load(gin_run)
    molecule = Chem.MolFromSmiles(NEW["smiles"][0])
    np.testing.assert_allclose(model.embed([molecule]).vectors[0], rows.vectors[0], atol=1e-5)


def test_features_of_atoms_name_their_atoms(
    gin_run: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embed", str(gin_run), str(new), "--id-column", "name"]
    for level in ("token", "node"):
        path = tmp_path / f"{level}.csv"
        assert run([*words, "-o", str(path), "--level", level, "--tokens", "atoms"]) == 0
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        symbols = {name: [row["symbol"] for row in rows if row["id"] == name] for name in NEW["name"]}
        for name, text in zip(NEW["name"], NEW["smiles"], strict=True):
            if name != "broken":
                canonical = Chem.MolFromSmiles(Chem.CanonSmiles(text))
                assert symbols[name] == [atom.GetSymbol() for atom in canonical.GetAtoms()]
        assert symbols["broken"] == [""]
        assert [int(float(row["atom"])) for row in rows if row["id"] == "salt"] == [0, 1, 2, 3, 4]
    assert run([*words, "-o", str(tmp_path / "edge.csv"), "--level", "edge"]) in (0, 1)
    assert "a molecule has atoms (--level token), no level 'edge'" in (tmp_path / "edge.csv").read_text()
    capsys.readouterr()
    assert run([*words, "-o", str(tmp_path / "v.npz"), "--tokens", "atoms"]) == 2
    assert "--level token --tokens atoms" in capsys.readouterr().err
    assert run(["probe", str(gin_run), "--data", str(new), "--tokens", "atoms"]) == 2
    assert "--tokens atoms is for labels of elements" in capsys.readouterr().err


def labelled(write_table: WriteTable) -> Path:
    sizes = [1 + row % 20 for row in range(60)]
    texts = ["C" * size + "NO"[row % 2] + "C1CC1" * (row % 3 > 0) for row, size in enumerate(sizes)]
    return write_table("labelled.csv", {"smiles": [*texts, "C1CC"], "y": [*(f"{size}.5" for size in sizes), "3.5"]})


def test_probe_finetune_predict(
    gin_run: Path, new: Path, tmp_path: Path, write_table: WriteTable, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled(write_table)
    assert run(["probe", str(gin_run), "--data", str(data), "--label", "y", "--seeds", "2", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    found = {one["features"]: one["mean"] for one in table["entries"] if one["primary"]}
    assert set(found) == {"trained", "random-init", "symbol-counts", "ecfp4", "descriptors", "train-mean"}
    assert found["trained"] < 0.2 * found["train-mean"], "sums know how many atoms there are"
    out = ["--out", str(tmp_path), "--name", "y", "trainer.epochs=1"]
    assert run(["molecules", "finetune", str(gin_run), "--data", str(data), "--label", "y", *out]) == 0
    answers = tmp_path / "answers.csv"
    assert run(["predict", str(tmp_path / "y"), str(new), "-o", str(answers), "--id-column", "name"]) == 0
    with answers.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == NEW["name"]
    assert [bool(row["y"]) for row in rows] == [True, False, True, True]
    assert rows[1]["reason"] == "ring 1 is not closed"


def test_pages_draw_molecules_and_values_of_atoms(
    gin_run: Path, new: Path, tmp_path: Path, write_table: WriteTable
) -> None:
    data = labelled(write_table)
    assert run(["explore", str(gin_run), str(new), "-o", str(tmp_path / "map.html"), "--id-column", "name"]) == 0
    assert "unreadable molecule" not in (tmp_path / "map.html").read_text()
    known = tmp_path / "known"
    assert run(["fit", "gaussian-anomaly-tokens", str(gin_run), str(data), "-o", str(known)]) == 0
    page = tmp_path / "scores.html"
    assert run(["apply", str(known), str(new), "-o", str(tmp_path / "scores.csv"), "--report", str(page)]) == 0
    text = page.read_text()
    assert text.count("values of atoms from") >= 3
    assert 'class="heat"' not in text, "on the molecule, not as a strip"


@pytest.mark.parametrize(
    "words", [("objective=generic/simclr",), ("--preset", "small", "trainer.steps=3"), ("--workers", "2")]
)
def test_other_ways_to_train(words: tuple[str, ...], tmp_path: Path, gin_run: Path) -> None:
    steps = () if "--preset" in words else ("trainer.steps=30", "optimiser.lr=1e-2")
    folder = train(tmp_path, "other", *steps, *words)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    ours, plain = (load_file(one / "model" / "weights.safetensors") for one in (folder, gin_run))
    same = all(bool((ours[name] == plain[name]).all()) for name in plain)
    assert same == ("--workers" in words)


def test_prepared_in_shares_and_trained_on_without_preparing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(GraphPreparation, "least_rows", 20)
    path = tmp_path / "m.smi"
    path.write_text("\n".join([f"{'C' * n}O x{n}" for n in range(1, 200)] + ["C1CC bad", "CO again"]))
    prepare = ["molecules", "prepare", "gin", "--data", str(path)]
    assert run([*prepare, "--share", "1/2"]) == 0
    assert run([*prepare, "--share", "0/2"]) == 0
    assert "199 distinct molecules in 201 rows; 1 rows cannot be used" in capsys.readouterr().out
    monkeypatch.setattr(GraphPreparation, "block", lambda *inputs: pytest.fail("prepared again"))
    train(tmp_path, "shared", "trainer.steps=1", "--data", str(path))


def test_answers_at_a_level_that_molecules_have_not(gin_run: Path) -> None:
    preprocessor = repcore.load(gin_run).preprocessor
    sample = Sample("", "OCC")
    columns = preprocessor.elements(sample, "token")  # type: ignore[attr-defined]
    assert columns["atom"].tolist() == [0, 1, 2]
    assert columns["symbol"].tolist() == ["C", "C", "O"]


def test_commands_about_tokens_say_that_there_are_none(gin_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["molecules", "tokenize", "CCO", "--model", str(gin_run)]) == 2
    assert "MoleculeGraphPreprocessor, makes no SELFIES" in capsys.readouterr().err
    assert run(["molecules", "doctor", str(gin_run)]) == 2
    assert "is a run of molecules/gin, not of molecules/selformer" in capsys.readouterr().err


def test_an_export_is_refused_in_words(
    gin_run: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ("onnx", "torch-export"):
        words = ["export", str(gin_run), "--format", form, "-o", str(tmp_path / "e"), "--data", str(new)]
        assert run(words) == 2
        assert "molecules/gin cannot be exported: " in capsys.readouterr().err
