"""The way out of a real domain: a fine-tuned SELFormer predicts the same in a new process, and as an ONNX file."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import repcore
from repcore.cli.main import run
from repcore.embedding.export_program import TOLERANCE
from repcore.embedding.prediction_files import read_table
from repcore.interfaces import Sample

ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
ROWS = 40


@pytest.fixture(scope="module")
def tuned(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning of one epoch on a label that the length of a chain decides."""
    folder = tmp_path_factory.mktemp("tuned")
    rows = [f"{'C' * (1 + n % 9)}O,{'long' if n % 9 > 4 else 'short'}" for n in range(ROWS)]
    (folder / "alcohols.csv").write_text("\n".join(["smiles,chain", *rows, "C(C,long"]) + "\n")
    command = ["molecules", "finetune", str(tiny_run), "--data", str(folder / "alcohols.csv"), "--label", "chain"]
    command += ["--name", "tuned", "--out", str(folder), "--no-twin", "--device", "cpu", "trainer.epochs=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPCORE_CACHE", os.environ.get("REPCORE_CACHE") or str(tmp_path_factory.getbasetemp() / "cache"))
        assert run(command) == 0
    return folder


def test_a_new_process_predicts_what_finetune_saved(tuned: Path) -> None:
    command = ["predict", str(tuned / "tuned"), str(tuned / "alcohols.csv"), "-o", str(tuned / "p.parquet")]
    code = "import sys; from repcore.cli.main import run; sys.exit(run(sys.argv[1:]))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code, *command, "--device", "cpu"], env=environment, check=False,
                          cwd=tuned, capture_output=True, text=True, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, saved = read_table(tuned / "p.parquet"), read_table(tuned / "tuned" / "predictions" / "test.parquet")
    assert found["id"] == [str(n) for n in range(ROWS + 1)]
    assert found["status"][-1] != "ok"
    assert found["chain"][-1] is None
    place = [found["id"].index(one) for one in saved["id"]]
    assert len(place) >= 3
    for name in ("p:long", "p:short", "probability"):
        np.testing.assert_allclose([found[name][k] for k in place], saved[name], rtol=0, atol=1e-6)
    assert [found["chain"][k] for k in place] == saved["chain"]


@pytest.mark.skipif(not ONNX, reason="onnx, onnxscript and onnxruntime are not installed")
def test_an_onnx_file_answers_as_the_model(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Captured by torch.export first, so that both formats are tried; both axes stay free."""
    path = tuned / "m.onnx"
    command = ["export", str(tuned / "tuned"), "--format", "onnx", "-o", str(path)]
    command += ["--data", str(tuned / "alcohols.csv"), "--json"]
    assert run(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["largest_error"] <= TOLERANCE
    assert told["inputs"] == {"input_ids": ["batch", "length1"], "attention_mask": ["batch", "length1"]}
    model = repcore.load(tuned / "tuned")
    smiles = ["CCO", "c1ccccc1CC(=O)N", "C", "CC(C)CO", "CCCCCCCCC"]  # other sizes and lengths than the example's
    rows = [Sample(str(n), one) for n, one in enumerate(smiles)]
    inputs = model.preprocessor.collate([model.preprocessor.prepare(row)[0] for row in rows]).inputs
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
    np.testing.assert_allclose(found, model.predict(smiles).outputs, atol=1e-5)
    assert run(command) == 2
    assert "exists" in capsys.readouterr().err


def test_a_fine_tuning_goes_on_over_the_same_data_wherever_they_lie(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changed bytes are refused and named; a new time or another folder changes nothing; without the model that it
    began with it says why it needs it."""
    from repcore.training import finetune_plan as module

    reached: list[str] = []

    def stopped(*given: object, **_: object) -> None:
        reached.append(str(given[5].path.name))  # type: ignore[attr-defined]
        raise SystemError("the power went")

    run_plan = module.run_plan
    monkeypatch.setattr(module, "run_plan", stopped)
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    data, model = tmp_path / "alcohols.csv", tmp_path / "base"
    data.write_text("\n".join(["smiles,chain", *(f"{'C' * (1 + n % 9)}O,{n % 9 > 4:d}" for n in range(ROWS))]) + "\n")
    shutil.copytree(tiny_run / "model", model)
    begin = ["molecules", "finetune", str(model), "--data", str(data), "--label", "chain", "--name", "f"]
    begin += ["--out", str(tmp_path), "--no-twin", "--device", "cpu", "trainer.epochs=1"]
    assert run(begin) != 0
    resume = ["molecules", "finetune", "--resume", str(tmp_path / "f"), "--device", "cpu"]
    content = data.read_bytes()
    for changed in (content.replace(b"CCCO,0", b"CCCO,1", 1), content + b"CCCCCCCCCCO,1\n"):
        data.write_bytes(changed)
        capsys.readouterr()
        assert run(resume) == 2
        told = capsys.readouterr().err
        assert "the data is not the one that" in told
        assert "alcohols.csv" in told
        assert "row" in told
    assert reached == ["f"]
    data.write_bytes(content)
    os.utime(data, (1e9, 1e9))
    assert run(resume) != 0
    assert reached == ["f", "f"]  # touched only: it goes on
    (tmp_path / "moved").mkdir()
    data.rename(tmp_path / "moved" / "other.csv")
    capsys.readouterr()
    assert run(resume) == 2
    assert "alcohols.csv" in capsys.readouterr().err
    model.rename(tmp_path / "away")
    moved = [*resume, "--data", str(tmp_path / "moved" / "other.csv")]
    assert run(moved) == 2
    told = capsys.readouterr().err
    assert "base" in told
    assert "does not exist" in told
    assert "further networks" in told
    assert reached == ["f", "f"]
    (tmp_path / "away").rename(model)
    monkeypatch.setattr(module, "run_plan", run_plan)
    assert run(moved) == 0, capsys.readouterr().err
    asked = json.loads((tmp_path / "f" / "finetune.json").read_text())["request"]
    assert asked["data"] == str(tmp_path / "moved" / "other.csv")
