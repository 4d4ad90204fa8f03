"""What lies beside a checkpoint can be edited or exchanged by hand between a stop and a resume: it is noticed."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from repcore.cli.main import run
from repcore.errors import RunError
from repcore.training.listeners import ProgressShow
from repcore.training.run_folder import RunFolder
from repcore.training.same_run import check_carried, check_same_settings
from repcore.training.state import RunState

STEPS = ("trainer.steps=4", "trainer.checkpoint_every=1", "trainer.validate_every=4", "--device", "cpu")


@pytest.fixture
def stopped(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run that was stopped after its second step."""
    begin(tmp_path, "r", monkeypatch)
    capsys.readouterr()
    return tmp_path / "r"


def begin(root: Path, name: str, monkeypatch: pytest.MonkeyPatch, *settings: str) -> None:
    def stop(self: ProgressShow, state: RunState, record: object) -> None:
        if state.step == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(ProgressShow, "step", stop)
        assert run(["pairs", "train", "set-net", "--out", str(root), "--name", name, *STEPS, *settings]) == 143


def resume(folder: Path) -> int:
    return run(["pairs", "train", "--resume", str(folder), "--device", "cpu"])


def edit(folder: Path, section: str, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[section].update(values)
    (folder / "config.json").write_text(json.dumps(config))


def test_edited_settings_are_named_with_both_values(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (stopped / "config.json").read_text()
    edit(stopped, "optimiser", lr=0.5, betas=[0.5, 0.6])
    edit(stopped, "trainer", steps=3, log_every=1)  # the last may be another one
    edit(stopped, "encoder", width=24)  # told before "does not fit the network"
    assert resume(stopped) == 2
    said = capsys.readouterr().err
    assert f"the settings of {stopped} are not those that last.ckpt was written with" in said
    old = json.loads(whole)
    assert f"optimiser.lr {old['optimiser']['lr']} -> 0.5; optimiser.betas [0.9, 0.999] -> [0.5, 0.6]" in said
    assert f"encoder.width {old['encoder']['width']} -> 24" in said
    assert "trainer.steps 4 -> 3" in said
    assert "log_every" not in said
    assert str(stopped / "config.json") in said
    (stopped / "config.json").write_text(whole)
    assert resume(stopped) == 0


def test_settings_that_change_nothing_learned_may_be_edited(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = json.loads((stopped / "config.json").read_text())["trainer"]["log_every"]
    edit(stopped, "trainer", log_every=every + 1, checkpoint_every=2)
    assert resume(stopped) == 0
    said = capsys.readouterr().err
    assert f"trainer.log_every {every} -> {every + 1}; trainer.checkpoint_every 1 -> 2" in said
    assert "which change nothing of what is learned" in said
    last = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["repcore"]["of"]["settings"]["trainer"]["log_every"] == every + 1


def test_another_run_s_checkpoint_is_named(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(stopped.parent, "other", monkeypatch)
    own = stopped / "checkpoints" / "last.ckpt"
    shutil.copy(stopped.parent / "other" / "checkpoints" / "last.ckpt", own)
    capsys.readouterr()
    assert resume(stopped) == 2
    assert f"{own} is a checkpoint of another run (other), not of {stopped}" in capsys.readouterr().err
    own.unlink()  # as the error advises
    assert resume(stopped) == 0
    assert "at step 1:" in capsys.readouterr().err


def test_an_edited_preprocessor_is_named(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stopped / "preprocessing" / "notes.txt").write_text("x")
    assert resume(stopped) == 2
    said = capsys.readouterr().err
    assert "the fitted preprocessor of" in said
    assert str(stopped / "preprocessing" / "notes.txt") in said


def test_what_a_system_leaves_beside_the_preprocessor_is_none_of_it(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (".DS_Store", "Thumbs.db", "._state.json", "state.json~", "Desktop.ini", ".nfs0000000003", "~$notes"):
        (stopped / "preprocessing" / name).write_bytes(b"\0\1")
    assert resume(stopped) == 0, capsys.readouterr().err


def test_a_setting_that_neither_file_knows_is_of_a_later_version(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both were written before there was such a setting; one that only one of them lacks was taken out by hand."""
    last = stopped / "checkpoints" / "last.ckpt"
    config = json.loads((stopped / "config.json").read_text())
    content = torch.load(last, weights_only=True)
    carried = content["repcore"]["of"]["settings"]
    for settings in (config, carried):
        del settings["optimiser"]["betas"], settings["schedule"]["warmup_steps"]
    torch.save(content, last)
    edit(stopped, "optimiser", betas=[0.5, 0.6])
    edited = json.loads((stopped / "config.json").read_text())
    del edited["schedule"]["warmup_steps"]
    (stopped / "config.json").write_text(json.dumps(edited))
    assert resume(stopped) == 2
    assert "changed: optimiser.betas null -> [0.5, 0.6]" in capsys.readouterr().err
    (stopped / "config.json").write_text(json.dumps(config))
    assert resume(stopped) == 0, capsys.readouterr().err


def test_a_copy_of_a_run_and_an_older_checkpoint_go_on(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = stopped.parent / "moved"
    stopped.rename(moved)
    last = moved / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    assert content["repcore"]["of"]["identity"] == json.loads((moved / "environment.json").read_text())["run"]
    del content["repcore"]["of"]
    torch.save(content, last)
    assert resume(moved) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("accumulate", "order", "is_told"), [(2, 1, True), (2, None, True), (2, 2, False), (1, 1, False)]
)
def test_an_older_order_of_rows_is_told(
    accumulate: int, order: int | None, is_told: bool, toys: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    begin(tmp_path, "r", monkeypatch, f"trainer.accumulate={accumulate}")
    last = tmp_path / "r" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    if order is None:
        del content["repcore"]["of"]
    else:
        content["repcore"]["of"]["order"] = order
    torch.save(content, last)
    capsys.readouterr()
    assert resume(tmp_path / "r") == 0
    assert ("dealt the 2 micro-batches of a step out otherwise" in capsys.readouterr().err) == is_told


def test_what_a_checkpoint_says_of_its_run_may_be_anything() -> None:
    sound = {"identity": "a", "name": "r", "settings": {}, "preprocessing": {}}
    check_carried(None)
    check_carried(sound)
    for odd in (3, [], {}, {**sound, "settings": 1}, {**sound, "identity": None}):
        with pytest.raises(ValueError, match="what it says of its run has no"):
            check_carried(odd)


def test_settings_that_change_nothing_learned_may_be_given(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_steps = run(["pairs", "train", "--resume", str(stopped), "--device", "cpu", "trainer.steps=9"])
    assert with_steps == 2
    assert "takes no others (trainer.steps=9)" in capsys.readouterr().err
    assert run(["pairs", "train", "--resume", str(stopped), "--device", "cpu", "trainer.log_every=2"]) == 0
    assert "trainer.log_every" in capsys.readouterr().err


def test_where_a_teacher_lies_is_free(tmp_path: Path) -> None:
    """Its content is compared; see ``Frozen``."""
    part = {"name": "toy/follow", "teacher": "teach", "depth": 2}
    then = {"settings": {"objective": part}, "preprocessing": {}}
    now: dict[str, Any] = {"settings": {"objective": {**part, "teacher": "moved"}}, "preprocessing": {}}
    folder = RunFolder(tmp_path)
    path = folder.last_checkpoint
    assert check_same_settings(path, then, now, folder, other_data=False) == "objective.teacher teach -> moved"
    now["settings"]["objective"]["depth"] = 3
    with pytest.raises(RunError, match=r"objective\.depth 2 -> 3"):
        check_same_settings(path, then, now, folder, other_data=False)


def test_paths_of_a_run_are_seen_from_where_it_began(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here" / "data").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = RunFolder.create(tmp_path / "runs", "r")
    monkeypatch.chdir(tmp_path / "there")
    assert folder.place_of("data") == str(tmp_path / "here" / "data")
    for path in ("lost", "s3://bucket/data", "", str(tmp_path / "here")):
        assert folder.place_of(path) == path
    (folder.path / "config.json").write_text(json.dumps({"dataset": {"path": "lost.csv"}}))
    assert run(["pairs", "train", "--resume", str(folder.path)]) == 2
    said = capsys.readouterr().err
    assert "'lost.csv', the data of" in said
    assert "--data PATH where the same data lie now" in said
