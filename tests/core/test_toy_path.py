"""The whole path of a plugin: train -> kill -> resume -> embed -> probe -> finetune -> verify -> report.

Two toy plugins stand for what domains need: ragged tokens with two views, an EMA teacher, a queue, BatchNorm and
dropout; and PyG batches with edge tokens and groups.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from repcore.cli.main import run
from repcore.embedding.writers import read_embeddings
from repcore.files import read_lines
from tests.conftest import ROOT, write_distribution

TOYS = {"pairs": ("set-net", "pairs/blobs", "kind"), "edges": ("edge-net", "edges/rings", "alternating")}


@pytest.fixture
def toy_environment(tmp_path: Path) -> dict[str, str]:
    """Environment of a subprocess that sees the toy plugins as installed."""
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    for domain in TOYS:
        write_distribution(site, f"toy-{domain}", f"tests.toys.toy_{domain}._plugin", entry=domain)
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "core" / "src")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("domain", TOYS)
def test_killed_run_goes_on_exactly(domain: str, toy_environment: dict[str, str], tmp_path: Path) -> None:
    """SIGKILL in the middle of a run, then --resume in a new process: the weights of an undisturbed run."""
    recipe = TOYS[domain][0]
    command = [sys.executable, "-m", "repcore", domain, "train"]
    steps = ["trainer.steps=120", "trainer.checkpoint_every=7", "trainer.validate_every=100", "trainer.log_every=1"]
    whole = subprocess.run(
        [*command, recipe, *steps, "--name", "whole", "--out", str(tmp_path), "--device", "cpu"],
        env=toy_environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [*command, recipe, *steps, "--name", "cut", "--out", str(tmp_path), "--device", "cpu"],
        env=toy_environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(tmp_path / "cut" / "checkpoints" / "last.ckpt", process)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert not (tmp_path / "cut" / "model").exists(), "the run was over before it was killed"
    resumed = subprocess.run(
        [*command, "--resume", "cut", "--out", str(tmp_path), "--device", "cpu"],
        env=toy_environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stderr
    first, second = (weights(tmp_path / name) for name in ("whole", "cut"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def losses(folder: Path) -> list[tuple[str, int, float]]:
    return [(line["split"], line["step"], line["loss"]) for line in read_lines(folder / "metrics.jsonl")]


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 120
    while not path.is_file():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < limit, "no checkpoint within two minutes"
        time.sleep(0.02)


@pytest.mark.parametrize("domain", TOYS)
def test_train_embed_probe_finetune_report(
    domain: str, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe, data, label = TOYS[domain]
    assert run([domain, "train", recipe, "--name", "r", "--device", "cpu"]) == 0
    assert (tmp_path / "runs" / "latest").resolve() == tmp_path / "runs" / "r"
    assert "report:" in capsys.readouterr().out
    assert run(["embed", "runs/r", data, "-o", "vectors.parquet"]) == 0
    rows, header = read_embeddings(tmp_path / "vectors.parquet")
    assert len(rows.ids) == header["rows"]
    assert np.isfinite(rows.vectors).all()
    assert run(["probe", "runs/r/model", "--data", data, "--label", label, "--json"]) == 0
    captured = capsys.readouterr().out
    table = json.loads(captured[captured.index("[") :])[0]
    assert {"trained", "random-init"} <= {one["features"] for one in table["entries"]}
    assert len({one["features"] for one in table["entries"]}) == 4  # and a raw-input baseline, and the constant
    assert run([domain, "finetune", "runs/r", "--data", data, "--label", label, "trainer.epochs=1"]) == 0
    out = capsys.readouterr().out
    assert "random" in out
    assert "auroc" in out
    assert run(["report", "r"]) == 0
    assert (tmp_path / "runs" / "r" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("domain", TOYS)
def test_dry_run_writes_nothing(
    domain: str, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert run([domain, "train", TOYS[domain][0], "--dry-run"]) == 0
    assert "nothing was trained or written" in capsys.readouterr().out
    assert list(folder.iterdir()) == []


def token(point: list[float], w: dict[str, list]) -> list[float]:  # type: ignore[type-arg]
    """Linear, BatchNorm in eval mode, tanh, linear: in plain numbers."""
    hidden = []
    for i, row in enumerate(w["first.weight"]):
        lifted = sum(a * b for a, b in zip(row, point, strict=True)) + w["first.bias"][i]
        scaled = (lifted - w["norm.running_mean"][i]) / (w["norm.running_var"][i] + 1e-5) ** 0.5
        hidden.append(math.tanh(scaled * w["norm.weight"][i] + w["norm.bias"][i]))
    rows = zip(w["second.weight"], w["second.bias"], strict=True)
    return [sum(a * b for a, b in zip(row, hidden, strict=True)) + bias for row, bias in rows]


def golden_folder(folder: Path) -> Path:
    """Golden numbers of the toy set network from a formula written out by hand."""
    folder.mkdir()
    torch.manual_seed(3)
    width, sizes = 5, [2, 4, 1]
    weights = {
        "first.weight": torch.randn(width, 2), "first.bias": torch.randn(width),
        "norm.weight": torch.rand(width) + 0.5, "norm.bias": torch.randn(width),
        "norm.running_mean": torch.randn(width), "norm.running_var": torch.rand(width) + 0.5,
        "norm.num_batches_tracked": torch.tensor(1), "second.weight": torch.randn(width, width),
        "second.bias": torch.randn(width),
    }  # fmt: skip
    points = torch.randn(sum(sizes), 2)
    owner = torch.tensor([item for item, size in enumerate(sizes) for _ in range(size)])
    tokens = [token(point, {name: value.tolist() for name, value in weights.items()}) for point in points.tolist()]
    values = torch.tensor(tokens)
    pooled = torch.stack([values[owner == item].mean(0) for item in range(len(sizes))])
    save_file(weights, folder / "weights.safetensors")
    save_file({"points": points, "owner": owner}, folder / "inputs.safetensors")
    save_file({"tokens": values, "pooled": pooled}, folder / "outputs.safetensors")
    compare = {"kind": "absolute", "tolerance": 1e-5}
    manifest = {
        "format": 1, "system": "pairs/set-net", "reference": {"repository": "none", "commit": "none", "further": []},
        "config": {"encoder": {"width": width, "point_width": 2}, "items": len(sizes)},
        "stages": [{"name": name, "outputs": [name], "compare": compare, "note": ""} for name in ("tokens", "pooled")],
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_verify_passes_and_fails_where_it_must(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = golden_folder(tmp_path / "golden")
    assert run(["verify", "pairs/set-net", "--golden", str(folder)]) == 0
    assert "2 of 2 stages due passed" in capsys.readouterr().out
    from safetensors.torch import load_file

    outputs = load_file(folder / "outputs.safetensors")
    altered = {name: value.clone() for name, value in outputs.items()}
    altered["pooled"][1, 2] += 1e-3
    save_file(altered, folder / "outputs.safetensors")
    assert run(["verify", "pairs/set-net", "--golden", str(folder)]) == 1
    assert "FAIL" in capsys.readouterr().out
    save_file({"tokens": outputs["tokens"]}, folder / "outputs.safetensors")
    assert run(["verify", "pairs/set-net", "--golden", str(folder)]) == 1
