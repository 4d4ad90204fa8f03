"""Two processes make the step that one process makes on the joint batch, although their batches count differently."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from repcore.errors import RunError
from repcore.files import read_lines
from repcore.reporting import LogReporter
from repcore.training.processes import shared_batch
from tests.conftest import ROOT, write_distribution


def repcore(tmp_path: Path, *words: str, launcher: Mapping[str, str] | None = None) -> str:
    site = tmp_path / "site"
    if not site.is_dir():
        site.mkdir()
        for toy in ("edges", "pairs"):
            write_distribution(site, f"toy-{toy}", f"tests.toys.toy_{toy}._plugin", entry=toy)
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "core" / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    environment.update(launcher or {})
    done = subprocess.run(
        [sys.executable, "-m", "repcore", *words, "--device", "cpu"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


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


def test_a_run_of_two_processes_goes_on_in_one(tmp_path: Path) -> None:
    """The same items a step, so the same stream, losses and parameters."""
    two = ["data.batch_size=4", "trainer.devices=2", "trainer.strategy=ddp", "trainer.checkpoint_every=2"]
    run = train(tmp_path, "r", *two, "trainer.log_every=1")
    last = run / "checkpoints" / "last.ckpt"
    expected, lines = torch.load(last, weights_only=True)["state_dict"], read_lines(run / "metrics.jsonl")
    shutil.rmtree(run / "model")
    last.with_name("previous.ckpt").rename(last)
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "29517"}
    said = repcore(tmp_path, "edges", "train", "--resume", str(run), launcher=alone)
    assert "began with 2 processes of 4 items and goes on with 1 of 8" in said
    got = torch.load(last, weights_only=True)["state_dict"]
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-6, rtol=1e-5, msg=name)
    losses = [
        [one["loss"] for one in found if one["split"] == "train"]
        for found in (lines, read_lines(run / "metrics.jsonl"))
    ]
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), atol=1e-5, rtol=1e-4)


def test_items_that_cannot_be_shared_are_refused() -> None:
    assert shared_batch(4, 2, 8, LogReporter()) == 1
    with pytest.raises(RunError, match=r"8 items a step cannot be shared by 3 processes(.|\n)*1, 2, 4, 8"):
        shared_batch(4, 2, 3, LogReporter())
