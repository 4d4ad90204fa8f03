"""Two processes make the step of one process that accumulates their batches, although these count differently."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from repcore.config import TrainerConfig
from repcore.errors import ConfigError, RunError
from repcore.files import read_lines
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts
from repcore.training.processes import shared_step
from repcore.training.run_folder import REQUEST, RunFolder
from repcore.training.sharding import SharingStrategy, check_sharing
from repcore.training.way_on import resume_command
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
    assert "reducer.cpp" not in done.stderr, "advice of torch to its own developers"
    said = done.stdout.splitlines()
    assert len(said) == len(set(said)), "one process speaks"
    return done.stderr


def train(tmp_path: Path, name: str, *settings: str) -> Path:
    common = ["data.batch_size=4", "trainer.steps=4", "trainer.validate_every=2"]
    words = ("--name", name, "--out", str(tmp_path), *common, *settings)
    assert "4 steps of 8 items" in repcore(tmp_path, "edges", "train", "edge-net", *words)
    return tmp_path / name


def test_two_processes_equal_one(tmp_path: Path) -> None:
    one = train(tmp_path, "one", "trainer.accumulate=2")
    two = train(tmp_path, "two", "trainer.devices=2", "trainer.strategy=ddp")
    expected, got = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, two)
    )
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-6, rtol=1e-5, msg=name)  # sums in another order
    for split in ("train", "validation"):
        losses = [[x["loss"] for x in read_lines(run / "metrics.jsonl") if x["split"] == split] for run in (one, two)]
        torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), atol=1e-5, rtol=1e-4)
    rows = json.loads((one / "environment.json").read_text())["rows"]["train"]
    for run in (one, two):
        lines = [line for line in read_lines(run / "metrics.jsonl") if line["split"] == "train"]
        assert [line["epoch"] for line in lines] == pytest.approx([line["step"] * 8 / rows for line in lines], abs=1e-3)
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
    """The same micro-batches a step, so the same stream, masks, losses and parameters."""
    two = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.checkpoint_every=2"]
    run = train(tmp_path, "r", *two, "trainer.log_every=1")
    last = run / "checkpoints" / "last.ckpt"
    expected, lines = torch.load(last, weights_only=True)["state_dict"], read_lines(run / "metrics.jsonl")
    shutil.rmtree(run / "model")
    last.with_name("previous.ckpt").rename(last)
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "29517"}
    said = repcore(tmp_path, "edges", "train", "--resume", str(run), launcher=alone)
    assert "began with 2 processes and goes on with 1, each with 2 micro-batches of 4 items a step (before: 1)" in said
    got = torch.load(last, weights_only=True)["state_dict"]
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-6, rtol=1e-5, msg=name)
    losses = [
        [one["loss"] for one in found if one["split"] == "train"]
        for found in (lines, read_lines(run / "metrics.jsonl"))
    ]
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), atol=1e-5, rtol=1e-4)


def test_items_that_cannot_be_shared_are_refused() -> None:
    said: list[str] = []
    reporter = LogReporter()
    reporter.info = said.append  # type: ignore[method-assign]
    assert shared_step(4, 1, 2, 1, reporter) == (4, 2)
    assert shared_step(4, 3, 2, 3, reporter) == (4, 2)
    assert all("the same items and draws" in one for one in said)
    assert shared_step(4, 1, 2, 8, reporter) == (1, 1)
    assert shared_step(6, 2, 2, 3, reporter) == (4, 2)  # no micro-batch is larger than before
    assert ["is another" in one for one in said] == [False, False, True, True]
    with pytest.raises(RunError, match=r"8 items a step cannot be shared by 3 processes(.|\n)*1, 2, 4, 8"):
        shared_step(4, 1, 2, 3, reporter)


def test_shared_parameters_learn_what_one_process_learns(tmp_path: Path) -> None:
    """FSDP2 with a teacher, a queue, dropout and BatchNorm. Not under Adam, which makes whole steps of the rounding
    that a bias in front of a BatchNorm has for a gradient."""
    common = ["trainer.steps=4", "trainer.validate_every=2", "optimiser.name=sgd", "optimiser.lr=0.1"]
    common = [*common, "trainer.log_every=1", "--out", str(tmp_path)]
    for name, how in (("one", ["trainer.accumulate=2"]), ("fsdp", ["trainer.strategy=fsdp", "trainer.devices=2"])):
        repcore(tmp_path, "pairs", "train", "set-net", "--name", name, *common, *how)
    expected, got = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("one", "fsdp")
    )
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-5, rtol=1e-5, msg=lambda told, at=name: f"{at}: {told}")
    losses = [[x["loss"] for x in read_lines(tmp_path / name / "metrics.jsonl")] for name in ("one", "fsdp")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_a_run_with_shared_parameters_goes_on(tmp_path: Path) -> None:
    """The checkpoint holds whole tensors: one process goes on from it, and two as if nothing had been."""
    common = ["trainer.steps=4", "trainer.validate_every=2", "trainer.checkpoint_every=2", "trainer.log_every=1"]
    common = [*common, "trainer.devices=2", "trainer.strategy=fsdp", "--out", str(tmp_path)]
    repcore(tmp_path, "pairs", "train", "set-net", "--name", "fsdp", *common)
    last = tmp_path / "fsdp" / "checkpoints" / "last.ckpt"
    expected = torch.load(last, weights_only=True)
    assert (tmp_path / "fsdp" / "model" / "weights.safetensors").is_file()
    run = tmp_path / "fsdp"
    lines = read_lines(run / "metrics.jsonl")
    shutil.rmtree(run / "model")
    for size, launcher in ((1, {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}), (2, {})):
        last.with_name("previous.ckpt").rename(last)
        assert torch.load(last, weights_only=True)["global_step"] == 2
        repcore(tmp_path, "pairs", "train", "--resume", str(run), launcher=launcher)
        again = torch.load(last, weights_only=True)
        assert again["global_step"] == 4
        if size == 2:
            for name, value in expected["state_dict"].items():
                torch.testing.assert_close(again["state_dict"][name], value, atol=1e-6, rtol=1e-5, msg=name)
            losses = [one["loss"] for one in read_lines(run / "metrics.jsonl")]
            assert losses == pytest.approx([one["loss"] for one in lines])
        shutil.rmtree(run / "model")


def test_a_fine_tuning_with_shared_parameters_keeps_what_one_process_keeps(tmp_path: Path) -> None:
    """It goes on after its steps: with the best weights, to predictions and a model, from random weights once more."""
    repcore(tmp_path, "pairs", "train", "set-net", "--name", "donor", "--out", str(tmp_path), "trainer.steps=2")
    common = ["--data", "pairs/blobs", "--label", "kind", "--out", str(tmp_path), "trainer.validate_every=2"]
    common = [*common, "trainer.steps=4", "finetune.keep_start=never", "optimiser.name=sgd", "optimiser.lr=0.1"]
    for name, how in (("one", ["trainer.accumulate=2"]), ("fsdp", ["trainer.strategy=fsdp", "trainer.devices=2"])):
        repcore(tmp_path, "pairs", "finetune", str(tmp_path / "donor" / "model"), "--name", name, *common, *how)
    expected, got = (load_file(tmp_path / name / "model" / "weights.safetensors") for name in ("one", "fsdp"))
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-5, rtol=1e-5, msg=lambda told, at=name: f"{at}: {told}")
    rows = [pq.read_table(tmp_path / name / "predictions" / "test.parquet").to_pylist() for name in ("one", "fsdp")]
    assert len(rows[0]) == len(rows[1]) > 0


def test_what_goes_on_is_the_whole_fine_tuning(tmp_path: Path) -> None:
    inner = RunFolder(tmp_path / "run" / "seeds" / "1")
    inner.path.mkdir(parents=True)
    training, tuning = (
        cast(RunParts, SimpleNamespace(resolved=SimpleNamespace(domain="toy", recipe=f"toy/{one}")))
        for one in ("net", "finetune")
    )
    assert resume_command(training, inner).endswith(f"toy train --resume {inner.path}")
    assert "same arguments" in resume_command(tuning, inner)
    (tmp_path / "run" / REQUEST).write_text("{}")
    assert resume_command(tuning, inner).endswith(f"toy finetune --resume {tmp_path / 'run'}")


def test_what_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    class Scaled(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.scale = nn.Parameter(torch.tensor(1.0))

    strategy = SharingStrategy(1.0, lambda: None)
    with pytest.raises(ConfigError, match=r"single numbers(.|\n)*parameters: scale"):
        strategy.share(Scaled())
    for wrong in (TrainerConfig(strategy="fsdp", compile=True), TrainerConfig(strategy="fsdp", precision="16-mixed")):
        with pytest.raises(ConfigError, match=r"trainer\.strategy=fsdp"):
            check_sharing(wrong)
    check_sharing(TrainerConfig(strategy="fsdp", precision="bf16-mixed"))
