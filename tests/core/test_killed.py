"""A run that is killed and goes on leaves what an undisturbed one leaves, bit for bit; and the measuring of it.

The kill is an exception that nothing catches; real ones, at random moments, are in ``benchmarks/random_kills.py``,
whose comparison is used here.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from repcore import registry
from repcore.checkpoints.content import write_tensors
from repcore.cli.main import run
from repcore.config.resolve import resolve_run
from repcore.files import read_lines
from repcore.reporting import LogReporter
from repcore.training import checkpointing
from repcore.training.assembly import RunParts, assemble
from repcore.training.checkpointing import Checkpoints
from repcore.training.run import execute, resume_run, start_run
from repcore.training.run_folder import RunFolder
from repcore.training.state import RunState
from tests.conftest import ROOT
from tests.toys.toy_run import make_run

RHYTHM = ("trainer.steps=10", "trainer.checkpoint_every=4", "trainer.log_every=3", "trainer.validate_every=5")


class Killed(BaseException):
    """Nobody catches it."""


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark script."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("random_kills")


def parts_of(*overrides: str, fitted: Path | None = None) -> RunParts:
    resolved = resolve_run(registry.default(), "pairs/set-net", overrides=overrides)
    return assemble(resolved, LogReporter(), fitted=fitted)


def die_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Die in this step, after its line of metrics and before its checkpoint."""

    def die(self: Checkpoints, state: RunState, record: object) -> None:
        if state.step == step:
            raise Killed
        checkpointed(self, state, record)

    checkpointed = Checkpoints.step
    patch.setattr(Checkpoints, "step", die)


def go_on(folder: Path, *overrides: str) -> None:
    torch.manual_seed(1234)  # whatever state a new process is in must not matter
    found = RunFolder(folder)
    parts = parts_of(*overrides, fitted=found.preprocessing)
    resume_run(registry.default(), parts, found, LogReporter(), device="cpu")


@pytest.mark.parametrize("step", [6, 8])
def test_a_killed_run_equals_the_whole_one(
    step: int, toys: None, tmp_path: Path, kills: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of several steps with a checkpoint in between, rows that cannot be used, a kill between checkpoints."""
    known, words = registry.default(), (*RHYTHM, "dataset.broken=[3,8,20]")
    for name in ("whole", "cut"):
        root = tmp_path / name / "runs"
        if name == "whole":
            start_run(known, parts_of(*words), LogReporter(), root=root, name="r", device="cpu")
            continue
        with monkeypatch.context() as patch, pytest.raises(Killed):
            die_at(patch, step)
            start_run(known, parts_of(*words), LogReporter(), root=root, name="r", device="cpu")
        go_on(root / "r", *words)
    whole, cut = (kills.run_outputs(tmp_path / name) for name in ("whole", "cut"))
    outcome = kills.Outcome()
    kills.compare(whole, cut, outcome, "cut")
    assert (outcome.lost, outcome.doubled, outcome.different) == (0, 0, [])
    assert [line["step"] for line in read_lines(tmp_path / "cut/runs/r/metrics.jsonl")] == [0, 3, 5, 6, 9, 10, 10]
    rejected = [list(read_lines(tmp_path / name / "runs" / "r" / "rejected.jsonl")) for name in ("whole", "cut")]
    assert rejected[0]
    assert rejected[0] == rejected[1]


def test_a_killed_finetuning_equals_the_whole_one(
    toys: None, tmp_path: Path, kills: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout and batch statistics of the loaded encoder are at work from the first step after the resume on."""
    make_run(tmp_path / "m")
    tune = ["pairs", "finetune", str(tmp_path / "m"), "--data", "pairs/blobs", "--label", "kind", "--no-twin"]
    more = ["--device", "cpu", "--name", "r", "trainer.epochs=2", "trainer.checkpoint_every=2",
            "trainer.validate_every=4", "trainer.log_every=1", "optimiser.lr=0.01"]  # fmt: skip
    for name in ("whole", "cut"):
        out = ["--out", str(tmp_path / name / "runs")]
        if name == "whole":
            assert run([*tune, *more, *out]) == 0
            continue
        with monkeypatch.context() as patch, pytest.raises(Killed):
            die_at(patch, 3)
            run([*tune, *more, *out])
        assert run(["pairs", "finetune", "--resume", "r", "--device", "cpu", *out]) == 0
    outcome = kills.Outcome()
    kills.compare(*(kills.run_outputs(tmp_path / name) for name in ("whole", "cut")), outcome, "cut")
    assert (outcome.lost, outcome.doubled, outcome.different) == (0, 0, [])


def test_what_is_lost_doubled_or_different_is_counted(kills: ModuleType) -> None:
    whole = {"lines": ["a", "b", "c"], "model": b"1", "checkpoint": {"w": b"1"}}
    outcome = kills.Outcome()
    kills.compare(whole, {"lines": ["a", "c", "c"], "model": b"2", "checkpoint": {"w": b"1"}}, outcome, "x")
    assert (outcome.lost, outcome.doubled, outcome.different) == (1, 1, ["x: lines", "x: model"])


def test_the_clock_is_no_difference(kills: ModuleType, tmp_path: Path) -> None:
    """Every value that depends on it is left out, and nothing else: a line holds what a training line holds."""
    line = {"step": 1, "loss": 2.0, "lr": 0.1, "grad_norm": 1.0, "items_per_second": 9.0, "data_wait_share": 0.4}
    assert set(line) - set(kills.OF_THE_CLOCK) == {"step", "loss", "lr", "grad_norm"}


def test_an_inner_run_that_died_early_begins_again_in_place(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control of a fine-tuning has a fixed folder: lines of a first try without checkpoint must not stay."""
    known, folder = registry.default(), RunFolder.inside(tmp_path / "controls" / "random-init")
    words = ("trainer.steps=4", "trainer.log_every=1", "trainer.validate_every=2", "trainer.checkpoint_every=4")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(patch, 3)
        execute(known, parts_of(*words), folder, LogReporter(), device="cpu", resume=False, export=False)
    assert [line["step"] for line in read_lines(folder.path / "metrics.jsonl")] == [0, 1, 2, 2, 3]
    (folder.path / ".metrics.jsonl.0a1b2c3d").write_text("half of a f")
    execute(known, parts_of(*words), folder, LogReporter(), device="cpu", resume=False, export=False)
    assert [line["step"] for line in read_lines(folder.path / "metrics.jsonl")] == [0, 1, 2, 2, 3, 4, 4]
    assert not list(folder.path.glob(".metrics*"))
    folder.last_checkpoint.rename(checkpointing.previous_of(folder.last_checkpoint))  # killed between two renames
    assert checkpointing.has_checkpoint(folder)


def test_the_best_weights_survive_a_kill_between_two_names(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``last.ckpt`` of the best step is written, its second name is not: going on gives it that name."""
    words = ("trainer.steps=6", "trainer.checkpoint_every=2", "trainer.validate_every=2", "trainer.log_every=1")

    def die(source: Path, target: Path) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpointing, "link_or_copy", die)
        start_run(registry.default(), parts_of(*words), LogReporter(), root=tmp_path, name="r", device="cpu")
    best = RunFolder(tmp_path / "r").best_checkpoint
    assert not best.exists()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(patch, 3)  # before a later step can be the best one
        go_on(tmp_path / "r", *words)
    assert int(torch.load(best, weights_only=True)["global_step"]) == 2


def test_equal_tensors_are_equal_files(tmp_path: Path) -> None:
    """The library's own order of metadata changes from call to call."""
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}
    written = set()
    for number in range(16):
        write_tensors(tmp_path / f"{number}", tensors, {"format": "pt", "encoder": "pairs/größe", "a": "1", "z": "2"})
        written.add((tmp_path / f"{number}").read_bytes())
    assert len(written) == 1
    from safetensors import safe_open

    with safe_open(tmp_path / "0", framework="pt") as file:
        assert file.metadata() == {"a": "1", "encoder": "pairs/größe", "format": "pt", "z": "2"}
        assert torch.equal(file.get_tensor("b"), tensors["b"])
        assert torch.equal(file.get_tensor("a"), tensors["a"])
