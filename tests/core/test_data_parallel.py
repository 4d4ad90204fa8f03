"""Two processes make the step that one process makes on the joint batch, although their batches count differently."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from repcore.files import read_lines
from tests.conftest import ROOT, write_distribution


def repcore(tmp_path: Path, *words: str) -> None:
    site = tmp_path / "site"
    if not site.is_dir():
        site.mkdir()
        for toy in ("edges", "pairs"):
            write_distribution(site, f"toy-{toy}", f"tests.toys.toy_{toy}._plugin", entry=toy)
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "core" / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-m", "repcore", *words, "--device", "cpu"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def train(tmp_path: Path, name: str, *settings: str) -> Path:
    # every edge is hidden: the draws of one and of two processes are the same
    common = ["objective.mask_ratio=1.0", "trainer.steps=4", "trainer.validate_every=2"]
    repcore(tmp_path, "edges", "train", "edge-net", "--name", name, "--out", str(tmp_path), *common, *settings)
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


def test_two_processes_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """Queue, teacher and running statistics are those of both processes in each: one checkpoint holds all of them."""
    two = ["trainer.devices=2", "trainer.strategy=ddp"]
    often = ["trainer.steps=4", "trainer.checkpoint_every=2", "trainer.validate_every=4", "trainer.log_every=1"]
    repcore(tmp_path, "pairs", "train", "set-net", "--name", "r", "--out", str(tmp_path), *two, *often)
    run = tmp_path / "r"
    last = run / "checkpoints" / "last.ckpt"
    expected, lines = torch.load(last, weights_only=True), read_lines(run / "metrics.jsonl")
    shutil.rmtree(run / "model")
    last.with_name("previous.ckpt").rename(last)
    assert torch.load(last, weights_only=True)["global_step"] == 2
    repcore(tmp_path, "pairs", "train", "--resume", str(run))
    got = torch.load(last, weights_only=True)
    assert got["global_step"] == 4
    assert {
        name for name, one in expected["state_dict"].items() if not torch.equal(got["state_dict"][name], one)
    } == set()
    assert [one["loss"] for one in read_lines(run / "metrics.jsonl")] == [one["loss"] for one in lines]
