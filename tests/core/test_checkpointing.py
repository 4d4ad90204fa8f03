"""What a run keeps: all state, two generations, whole files only, no broken numbers; and who asks Slurm to go on."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from repcore import registry
from repcore.cli.main import run
from repcore.config.resolve import resolve_run
from repcore.errors import CheckpointError, RunError
from repcore.files import read_lines
from repcore.reporting import LogReporter
from repcore.training import checkpointing
from repcore.training.assembly import assemble
from repcore.training.listeners import ProgressShow, Validation
from repcore.training.module import ObjectiveModule
from repcore.training.run import build_module, start_run
from repcore.training.run_folder import RunFolder
from repcore.training.state import RunResult, RunState

EVERY_STEP = ("trainer.checkpoint_every=1", "trainer.validate_every=1", "trainer.log_every=1")


def train(root: Path, *overrides: str) -> RunResult:
    resolved = resolve_run(registry.default(), "pairs/set-net", overrides=overrides)
    parts = assemble(resolved, LogReporter())
    return start_run(registry.default(), parts, LogReporter(), root=root, name="r", device="cpu")


def losses(monkeypatch: pytest.MonkeyPatch, by_step: dict[int, float]) -> None:
    """Let validation find these losses."""

    def validate(self: Validation, state: RunState) -> None:
        if state.step in by_step:
            state.last_validation, state.validated_at = {"loss": by_step[state.step]}, state.step

    monkeypatch.setattr(Validation, "_run", validate)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    def ask(self: ProgressShow, state: RunState, record: object) -> None:
        if state.step == step:
            signal.raise_signal(number)

    monkeypatch.setattr(ProgressShow, "step", ask)


def step_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["global_step"])


def test_best_survives_a_resume(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worse weights after a resume must not replace better ones from before it."""
    losses(monkeypatch, {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5, 5: 2.0, 6: 2.0})
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        assert run(["pairs", "train", "set-net", "--out", str(tmp_path), "--name", "r", "trainer.steps=6", *EVERY_STEP,
                    "--device", "cpu"]) == 143  # fmt: skip
    assert step_of(tmp_path / "r" / "checkpoints" / "best.ckpt") == 2
    assert run(["pairs", "train", "--resume", "r", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert step_of(tmp_path / "r" / "checkpoints" / "best.ckpt") == 2
    assert step_of(tmp_path / "r" / "checkpoints" / "last.ckpt") == 6
    saved = torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)["repcore"]
    assert (saved["best"], saved["validated_at"]) == (1.0, 6)


def test_best_is_of_the_step_that_was_validated(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints every 2 steps, validation every 3: a loss of step 3 says nothing about the parameters of step 4."""
    losses(monkeypatch, {3: 1.0, 6: 2.0, 7: 3.0})
    train(tmp_path, "trainer.steps=7", "trainer.checkpoint_every=2", "trainer.validate_every=3")
    assert step_of(tmp_path / "r" / "checkpoints" / "best.ckpt") == 3
    assert step_of(tmp_path / "r" / "checkpoints" / "previous.ckpt") == 6
    assert step_of(tmp_path / "r" / "checkpoints" / "last.ckpt") == 7


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_last_falls_back(
    damage: str, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert run(["pairs", "train", "set-net", "--out", str(tmp_path), "--name", "r", "trainer.steps=6", *EVERY_STEP,
                    "--device", "cpu"]) == 143  # fmt: skip
    last = tmp_path / "r" / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "flipped":  # one bit in the middle of a tensor: torch itself reads such a file without a word
        place = content.index(b"data/0", 1000) + 200
        content[place] ^= 1
    last.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    if damage == "gone":
        last.unlink()
    capsys.readouterr()
    assert run(["pairs", "train", "--resume", "r", "--out", str(tmp_path), "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert ("is missing" if damage == "gone" else "is damaged") in said
    assert "at step 3:" in said
    steps = [line["step"] for line in read_lines(tmp_path / "r" / "metrics.jsonl") if line["split"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6]


def every(content: dict[str, Any], change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    content["state_dict"] = {name: change(value) for name, value in content["state_dict"].items()}


def moments(content: dict[str, Any], **changes: Callable[[torch.Tensor], torch.Tensor]) -> None:
    for kept in content["optimizer_states"][0]["state"].values():
        kept.update({key: change(kept[key]) for key, change in changes.items()})


ODD_CONTENT: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "moments of another shape": (lambda c: moments(c, exp_avg=lambda _: torch.zeros(3)), "has shape (3,), not"),
    "moments of another dtype": (lambda c: moments(c, exp_avg=torch.Tensor.double), "is of torch.float64"),
    "moments that are no numbers": (lambda c: moments(c, exp_avg=lambda v: v * math.nan), "is not finite"),
    "squares below 0": (lambda c: moments(c, exp_avg_sq=lambda v: -v - 1), "holds a square below 0"),
    "a lack of moments": (
        lambda c: [kept.pop("exp_avg") for kept in c["optimizer_states"][0]["state"].values()], "is incomplete"),
    "odd betas": (
        lambda c: [one.update(betas=(5.0, 9.0)) for one in c["optimizer_states"][0]["param_groups"]], "betas are"),
    "no optimiser": (lambda c: c.pop("optimizer_states"), "no optimizer_states"),
    "a step below 0": (lambda c: c.update(global_step=-5), "global_step is -5"),
    "a step beyond the run": (lambda c: c.update(global_step=10**30), "global_step is 1000"),
    "no loops": (lambda c: c.pop("loops"), "training loop counts None steps"),
    "whole numbers": (lambda c: every(c, lambda v: v.to(torch.int64)), "is of torch.int64"),
    "complex numbers": (lambda c: every(c, lambda v: v.to(torch.complex64)), "is of torch.complex64"),
    "sparse tensors": (lambda c: every(c, lambda v: v.to_sparse() if v.ndim == 2 else v), "is no ordinary tensor"),
    "a tensor too many": (lambda c: c["state_dict"].update({"x" * 5000: torch.zeros(1)}), "holds xxx"),
    "a loss in words": (lambda c: c["repcore"].update(best="x"), "in place of a number"),
    "a version in words": (lambda c: c.update({"pytorch-lightning_version": "x"}), "which version of Lightning"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_a_last_of_odd_content_falls_back(
    toys: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Files that torch reads without a word, and whose content would end the process or raise somewhere inside."""
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert run(["pairs", "train", "set-net", "--out", str(tmp_path), "--name", "r", "trainer.steps=6", *EVERY_STEP,
                    "--device", "cpu"]) == 143  # fmt: skip
    folder = RunFolder(tmp_path / "r")
    resolved = resolve_run(registry.default(), "pairs/set-net", overrides=["trainer.steps=6"])
    module, _ = build_module(assemble(resolved, LogReporter()), folder)
    whole = folder.last_checkpoint.read_bytes()
    assert checkpointing.newest_sound(folder, LogReporter(), module, 6)[1]["global_step"] == 4
    for change, words in ODD_CONTENT.values():
        folder.last_checkpoint.write_bytes(whole)
        content = torch.load(folder.last_checkpoint, weights_only=True)
        change(content)
        torch.save(content, folder.last_checkpoint)
        caplog.clear()
        path, found = checkpointing.newest_sound(folder, LogReporter(), module, 6)
        assert (path.name, found["global_step"]) == ("previous.ckpt", 3), words
        assert "is damaged" in caplog.text
        assert words in caplog.text
    capsys.readouterr()
    assert run(["pairs", "train", "--resume", "r", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert "at step 3:" in capsys.readouterr().err
    folder.last_checkpoint.write_bytes(whole)
    wider, _ = build_module(
        assemble(resolve_run(registry.default(), "pairs/set-net", overrides=["encoder.width=24"]), LogReporter()),
        folder,
    )
    with pytest.raises(CheckpointError, match=r"does not fit the network of .*config\.json") as told:
        checkpointing.newest_sound(folder, LogReporter(), wider)
    assert str(told.value.facts["hint"]).startswith("if config.json was changed, put it back")
    with pytest.raises(CheckpointError, match="global_step is 4, of 3 steps"):
        checkpointing.previous_of(folder.last_checkpoint).unlink()
        checkpointing.newest_sound(folder, LogReporter(), module, 3)
    folder.last_checkpoint.unlink()
    folder.last_checkpoint.mkdir()
    assert run(["pairs", "train", "--resume", "r", "--out", str(tmp_path), "--device", "cpu"]) == 2
    assert "last.ckpt is a folder, no checkpoint" in capsys.readouterr().err


def test_both_generations_damaged_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / "checkpoints" / name).write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(CheckpointError, match="no sound one before it"):
        checkpointing.newest_sound(RunFolder(tmp_path), LogReporter())


def test_a_full_disk_leaves_what_was_there(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a file is written, then the disk is full: a plain error, no leftovers, the earlier checkpoint whole."""
    save = torch.save
    written: list[int] = []

    def full(content: Any, file: Any, *more: Any, **other: Any) -> None:
        if content.get("global_step", 0) < 3:
            return save(content, file, *more, **other)
        file.write(b"half")
        written.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match="No space left") as told:
        train(tmp_path, "trainer.steps=5", *EVERY_STEP)
    assert "the checkpoint of step 2" in str(told.value)
    names = sorted(path.name for path in (tmp_path / "r" / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt"]  # the older generation made room for the second try
    assert len(written) == 2
    assert step_of(tmp_path / "r" / "checkpoints" / "last.ckpt") == 2


def test_a_disk_that_takes_only_a_part_is_said_in_words(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own text speaks of positions in its container."""
    save, limits = torch.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(content: Any, file: Any, *more: Any, **other: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            save(content, file, *more, **other)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(torch, "save", limited)
    with pytest.raises(RunError) as told:
        train(tmp_path, "trainer.steps=2", *EVERY_STEP)
    assert "enforce" not in str(told.value)
    assert re.search("cannot be written: (the disk took only a part of it|.*File too large)", str(told.value))
    assert "none was written yet" in str(told.value)
    assert str(told.value.facts["hint"]).endswith("then the same command again")  # there is nothing to resume
    assert [one.name for one in tmp_path.iterdir()] == ["site"]  # nor in the way of that command


def test_a_best_without_a_last_is_nothing_to_go_on_from(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``best.ckpt`` stayed on the full disk, and the same command again began another run beside it."""
    save = torch.save

    def full(content: Any, file: Any, *more: Any, **other: Any) -> None:
        if content.get("global_step", 0) < 2:
            return save(content, file, *more, **other)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    often = ("trainer.validate_every=1", "trainer.checkpoint_every=2")
    with pytest.raises(RunError, match="none was written yet") as told:
        train(tmp_path, "trainer.steps=4", *often)
    assert str(told.value.facts["hint"]).endswith("then the same command again")
    assert [one.name for one in tmp_path.iterdir()] == ["site"]
    monkeypatch.setattr(torch, "save", save)
    assert train(tmp_path, "trainer.steps=4", *often).folder.name == "r"


def test_temporary_files_lie_beside_the_target(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no" / "such" / "folder"))
    assert train(tmp_path, "trainer.steps=2").status == "finished"
    assert list((tmp_path / "r" / "checkpoints").glob(".*")) == []


def test_leftovers_of_a_kill_are_removed(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        train(tmp_path, "trainer.steps=4")
    left = tmp_path / "r" / "checkpoints" / ".last.ckpt.partial"
    left.write_bytes(b"half a checkpoint")
    assert run(["pairs", "train", "--resume", "r", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert not left.exists()


def test_parameters_that_are_not_finite_are_never_written(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(self: ProgressShow, state: RunState, record: object) -> None:
        if state.step == 3:
            with torch.no_grad():
                next(iter(state.module.objective.parameters())).view(-1)[:2] = math.nan

    monkeypatch.setattr(ProgressShow, "step", spoil)
    with pytest.raises(RunError, match="no checkpoint of step 3") as told:
        train(tmp_path, "trainer.steps=5", "trainer.checkpoint_every=1", "trainer.validate_every=100")
    assert "(2 values)" in str(told.value)
    assert "the checkpoint of step 2" in str(told.value)
    saved = torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values() if value.is_floating_point())


def spoil_queue(state: RunState) -> str:
    state.module.objective.queue[0, 0] = math.inf
    return "buffers are not finite\\n  found: objective.queue \\(1 values\\)"


def spoil_teacher(state: RunState) -> str:
    next(iter(state.module.objective.teacher.parameters())).view(-1)[0] = math.nan
    return "parameters are not finite\\n  found: objective.teacher.*\\(1 values\\)"


def spoil_moments(state: RunState) -> str:
    parameter = state.module.objective.hidden_point
    state.trainer.optimizers[0].state[parameter]["exp_avg_sq"][:] = math.inf
    return "moments of the optimiser are not finite\\n  found: exp_avg_sq of objective.hidden_point \\(2 values\\)"


@pytest.mark.parametrize("spoil", [spoil_queue, spoil_teacher, spoil_moments])
def test_what_later_steps_build_on_is_watched_too(
    spoil: Any, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = []

    def step(self: ProgressShow, state: RunState, record: object) -> None:
        if state.step == 2:
            with torch.no_grad():
                words.append(spoil(state))

    monkeypatch.setattr(ProgressShow, "step", step)
    with pytest.raises(RunError, match="no checkpoint of step 2") as told:
        train(tmp_path, "trainer.steps=2", "trainer.checkpoint_every=1", "trainer.validate_every=100")
    assert re.search(words[0], str(told.value))
    assert step_of(tmp_path / "r" / "checkpoints" / "last.ckpt") == 1


def test_infinities_that_a_buffer_holds_by_design_are_kept(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = resolve_run(registry.default(), "pairs/set-net", overrides=("trainer.steps=1",))
    parts = assemble(resolved, LogReporter())
    parts.objective.register_buffer("barrier", torch.tensor([0.0, -math.inf]))
    start_run(registry.default(), parts, LogReporter(), root=tmp_path, name="r", device="cpu")
    saved = torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert saved["objective.barrier"].tolist() == [0.0, -math.inf]


def test_a_validation_loss_that_is_no_number_is_never_the_best(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = iter([math.nan, 5.0, math.inf, 4.0, 6.0])
    monkeypatch.setattr(ObjectiveModule, "evaluate", lambda self, batches: {"loss": next(found)})
    with caplog.at_level("INFO"):
        result = train(tmp_path, "trainer.steps=4", "trainer.patience=2", *EVERY_STEP)
    assert result.steps == 4  # a NaN that counted as the best would have ended it at step 2
    assert step_of(tmp_path / "r" / "checkpoints" / "best.ckpt") == 3
    assert "step 0: the validation loss is nan" in caplog.text
    assert "step 2: the validation loss is inf" in caplog.text


def test_a_run_that_died_before_its_export_gets_its_model(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pairs", "train", "set-net", "--out", str(tmp_path), "--name", "r", "trainer.steps=3", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr("repcore.training.run.export_model", lambda *_: 1 / 0)
        assert run(words) == 2
    assert not (tmp_path / "r" / "model").exists()
    assert run(["pairs", "train", "--resume", "r", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert (tmp_path / "r" / "model" / "weights.safetensors").is_file()
    card = json.loads((tmp_path / "r" / "model" / "config.json").read_text())["card"]
    assert card["steps"] == 3
    assert math.isfinite(card["validation"]["loss"])
    assert run(["pairs", "train", "--resume", "r", "--out", str(tmp_path), "--device", "cpu"]) == 2
    assert "has made all its 3 steps, and its model is written" in capsys.readouterr().err


def test_slurm_is_asked_to_start_again_and_the_run_goes_on(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    words = ["pairs", "train", "set-net", "--out", str(tmp_path / "runs"), "--device", "cpu", "trainer.steps=5"]
    words += ["trainer.on_preempt=requeue"]
    with monkeypatch.context() as patch:
        stop_at(patch, 3, signal.SIGUSR1)
        assert run(words) == 128 + signal.SIGUSR1
    assert asked.read_text() == "requeue 4711\n"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run(words) == 0
    assert "at step 3:" in capsys.readouterr().err
    assert len([path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]) == 1
