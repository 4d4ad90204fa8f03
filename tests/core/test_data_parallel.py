"""Two processes make the step that one process makes on the joint batch, although their batches count differently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from repcore.files import read_lines
from tests.conftest import ROOT, write_distribution


def train(tmp_path: Path, name: str, *settings: str) -> Path:
    site = tmp_path / "site"
    if not site.is_dir():
        site.mkdir()
        write_distribution(site, "toy-edges", "tests.toys.toy_edges._plugin", entry="edges")
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "core" / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    # every edge is hidden: the draws of one and of two processes are the same
    common = ["objective.mask_ratio=1.0", "trainer.steps=4", "trainer.validate_every=2"]
    command = [sys.executable, "-m", "repcore", "edges", "train", "edge-net", "--name", name, "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--device", "cpu", *common, *settings],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path / name


def test_two_processes_equal_one(tmp_path: Path) -> None:
    one = train(tmp_path, "one", "data.batch_size=8")
    two = train(tmp_path, "two", "data.batch_size=4", "trainer.devices=2", "trainer.strategy=ddp")
    expected, got = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, two)
    )
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-6, rtol=1e-5, msg=name)  # sums in another order
    for split in ("train", "validation"):
        losses = [[x["loss"] for x in read_lines(run / "metrics.jsonl") if x["split"] == split] for run in (one, two)]
        torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), atol=1e-5, rtol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one", "site", "two"]
    assert (two / "model" / "weights.safetensors").is_file()
