"""The whole way a user goes, in this process: train, stop, resume, embed, probe, report, prepare."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import repcore
from repcore.cli.main import run
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.writers import read_embeddings
from repcore.training.listeners import ProgressShow
from repcore_molecules.preprocessors.prepared import SelfiesPreparation
from tests.molecules.conftest import TINY, WriteTable, train


def embedded(run_folder: Path, data: Path, out: Path, *options: str) -> Any:
    assert run(["embed", str(run_folder), str(data), "-o", str(out), *options]) == 0
    return read_embeddings(out)[0]


def test_a_run_leaves_a_model_and_figures(tiny_run: Path) -> None:
    assert (tiny_run / "model" / "tokeniser.json").is_file()
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "validation"]
    assert losses[-1] < losses[0]
    plain = json.loads((tiny_run / "config.json").read_text())
    assert plain["encoder"]["vocabulary_size"] == plain["objective"]["token_count"] > 10


def test_an_interrupted_run_goes_on_exactly(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(self: ProgressShow, state: Any, record: Any) -> None:
        if state.step == 5:
            signal.raise_signal(signal.SIGINT)

    words = ["molecules", "train", "selformer", "--out", str(tmp_path), "--name", "cut", *TINY, "trainer.steps=12"]
    with monkeypatch.context() as patch:
        patch.setattr(ProgressShow, "step", interrupt)
        assert run(words) == 130
    assert "train --resume" in capsys.readouterr().out
    assert run(["molecules", "train", "--resume", "cut", "--out", str(tmp_path)]) == 0
    ours, whole = (load_file(folder / "model" / "weights.safetensors") for folder in (tmp_path / "cut", tiny_run))
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_two_loader_workers_train_the_same_model(tiny_run: Path, tmp_path: Path) -> None:
    other = train(tmp_path, "workers", "trainer.steps=12", "--workers", "2")
    ours, whole = (load_file(folder / "model" / "weights.safetensors") for folder in (other, tiny_run))
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_every_row_of_bbbp_comes_back(tiny_run: Path, tmp_path: Path, shared: Path) -> None:
    rows = embedded(tiny_run, shared / "data" / "molecules" / "bbbp", tmp_path / "b.parquet")
    assert len(rows.ids) == 2050
    bad = [row for row, status in enumerate(rows.status) if status == "invalid_smiles"]
    assert len(bad) == 11
    assert all(rows.reason[row] for row in bad)
    assert np.isnan(rows.vectors[bad]).all()
    good = np.setdiff1d(np.arange(2050), bad)
    assert np.isfinite(rows.vectors[good]).all()
    assert rows.ids == [str(row) for row in range(2050)]


def test_esol_with_trailing_blanks_loses_no_row(tiny_run: Path, tmp_path: Path, shared: Path) -> None:
    """The reference refuses 264 rows of its own ESOL file: 212 end in a blank, 59 write nitro groups as N(=O)=O."""
    lines = (shared / "data" / "molecules" / "esol" / "esol.csv").read_text().splitlines()
    changed = [lines[0], *(f"{line.split(',')[0]} ,{','.join(line.split(',')[1:])}" for line in lines[1:])]
    (tmp_path / "esol.csv").write_text("\n".join(changed))
    rows = embedded(tiny_run, tmp_path / "esol.csv", tmp_path / "e.npz")
    assert len(rows.ids) == 1128
    assert np.isfinite(rows.vectors).all()


def test_neither_batch_mates_nor_order_change_a_vector(tiny_run: Path, shared: Path) -> None:
    import csv

    with (shared / "data" / "molecules" / "bbbp" / "bbbp.csv").open(newline="") as file:
        texts = [row["smiles"] for row in csv.DictReader(file)][::8]
    model = repcore.load(tiny_run)
    reference = model.embed(texts, options=InferenceOptions(batch_size=1)).vectors
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = model.embed([texts[row] for row in order], options=InferenceOptions(batch_size=64)).vectors
    budget = model.embed(texts, options=InferenceOptions(batch_size=16, cost_budget=300, window=50)).vectors
    usable = np.isfinite(reference).all(1)
    assert usable.sum() > 200
    # float32 sums in another order; vectors are of size 1
    np.testing.assert_allclose(shuffled[np.argsort(order)][usable], reference[usable], atol=1e-5)
    np.testing.assert_allclose(budget[usable], reference[usable], atol=1e-5)
    assert np.isnan(budget[~usable]).all()


def test_poolings_and_layers_by_name(tiny_run: Path, tmp_path: Path, write_table: WriteTable) -> None:
    data = write_table("m.csv", {"smiles": ["CCO", "c1ccccc1O"], "y": [0.5, 1.5]})
    found = {name: embedded(tiny_run, data, tmp_path / f"{name}.npz", "--pool", name).vectors
             for name in ("mean", "mean-symbols", "bos", "max")}  # fmt: skip
    for first in found:
        for second in found:
            assert (first == second) == np.allclose(found[first], found[second])
    assert (embedded(tiny_run, data, tmp_path / "d.npz").vectors == embedded(
        tiny_run, data, tmp_path / "l.npz", "--pool", "mean-layers").vectors).all()  # fmt: skip
    unit = embedded(tiny_run, data, tmp_path / "u.npz", "--normalise", "--layer", "0").vectors
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-6)


def test_probe_and_report(
    tiny_run: Path, tmp_path: Path, write_table: WriteTable, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [3 + row % 20 for row in range(80)]
    data = write_table(
        "p.csv",
        {
            "smiles": ["C" * size + "NO"[row % 2] + "C1CC1" * (row % 3 > 0) for row, size in enumerate(sizes)],
            "size": [f"{size}.5" for size in sizes],
            "oxygen": [row % 2 for row in range(80)],
            "ring": [int(row % 3 > 0) if row % 5 else "" for row in range(80)],
        },
    )
    assert run(["probe", str(tiny_run), "--data", str(data), "--seeds", "2", "--json"]) == 0
    tables = {one["target"]["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(tables) == {"size", "oxygen", "ring", "all-binary"}
    features = {one["features"] for one in tables["size"]["entries"]}
    assert features == {"trained", "random-init", "symbol-counts", "ecfp4", "descriptors", "train-mean"}
    joined = [one for one in tables["all-binary"]["entries"] if one["features"] == "symbol-counts" and one["primary"]]
    assert joined[0]["mean"] > 0.9  # symbols tell oxygen and rings
    assert set(joined[0]["tasks"]) == {"oxygen", "ring"}
    assert run(["probe", str(tiny_run), "--data", str(data), "--label", "size", "--split", "scaffold-seeded"]) == 0
    assert run(["report", str(tiny_run)]) == 0
    page = (tiny_run / "report.html").read_text()
    assert "<svg" in page
    assert "logp" in page


def test_prepared_in_shares_and_trained_on_without_preparing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command ends with all of it there; the second finds it, and so does training."""
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(SelfiesPreparation, "least_rows", 20)
    path = tmp_path / "m.smi"
    path.write_text("\n".join([f"{'C' * n}O x{n}" for n in range(1, 200)] + ["C1CC bad", "CO again"]))
    prepare = ["molecules", "prepare", "selformer", "--data", str(path)]
    assert run([*prepare, "--share", "2/2"]) == 2
    assert "counted from 0" in capsys.readouterr().err
    assert run([*prepare, "--share", "0/2", "--overwrite"]) == 2
    assert "not shared out" in capsys.readouterr().err
    assert run([*prepare, "--share", "1/2", "--workers", "2"]) == 0
    assert "199 distinct molecules in 201 rows; 1 rows cannot be used" in capsys.readouterr().out
    monkeypatch.setattr(SelfiesPreparation, "block", lambda *inputs: pytest.fail("prepared again"))
    assert run([*prepare, "--share", "0/2"]) == 0
    train(tmp_path, "shared", "trainer.steps=1", "--data", str(path))


def test_training_goes_on_from_a_model_and_another_mode_is_refused(
    tiny_run: Path, tmp_path: Path, write_table: WriteTable, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(tmp_path, "more", "trainer.steps=2", "--init-from", str(tiny_run / "model"))
    ours, donor = (load_file(one / "model" / "weights.safetensors") for one in (folder, tiny_run))
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in donor.items()}
    words = ["molecules", "train", "selformer", "--out", str(tmp_path), "--init-from", str(tiny_run / "model"), *TINY]
    assert run([*words, "preprocessor.mode=fast"]) == 2
    assert "made with mode=symbol, the settings say mode=fast" in capsys.readouterr().err
