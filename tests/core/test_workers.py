"""Workers leave stopping to their parent; the death of one is one error, after the step in hand is saved."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from repcore import registry, stopping
from repcore.cli.main import run
from repcore.config.resolve import resolve_run
from repcore.data import shared_work
from repcore.data.workers import WorkerLoader, WorkerLostError
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.listeners import Interruption, ProgressShow
from repcore.training.run import resume_run, start_run
from repcore.training.run_folder import RunFolder
from repcore.training.state import RunState
from tests.conftest import ROOT, write_distribution
from tests.core.test_exact_resume import checkpoint
from tests.toys.toy_run import make_run

CPU = ["--device", "cpu"]
LONG = ["trainer.checkpoint_every=1", "trainer.validate_every=100000", "trainer.log_every=1"]
READ = ["pairs/blobs", "--read", "items=20000", *CPU]
GROUPS = {
    "train": ["pairs", "train", "set-net", *CPU, "--name", "r", "trainer.steps=50000", *LONG, "data.workers=2"],
    "embed": ["embed", "m/model", *READ, "-o", "v.parquet", "--workers", "2"],
    "limited": ["embed", "m/model", *READ, "-o", "w.parquet", "--workers", "2", "--item-timeout", "60"],
}
SIGNS = {
    "train": "runs/r/checkpoints/last.ckpt",
    "embed": "v.parquet.parts/part-*.parquet",
    "limited": "w.parquet.parts/part-*.parquet",
}
DRIVER = """
import json, os, signal, sys, time
from pathlib import Path

import torch
import lightning.pytorch, torch.utils.tensorboard, pyarrow.parquet  # once for all cases
from repcore.cli.main import run
import tests.toys.toy_pairs.code

torch.set_num_threads(1)
groups, signs, codes = json.loads(sys.argv[1]), json.loads(sys.argv[2]), {}
children = {}
for name, words in groups.items():
    children[name] = child = os.fork()
    if child == 0:
        os.setsid()
        for number in (1, 2):
            os.dup2(os.open(f"{name}.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
        os._exit(run(words))
limit = time.monotonic() + 120
while signs:
    for name, sign in list(signs.items()):
        if any(Path().glob(sign)) or time.monotonic() > limit:
            os.killpg(children[name], signal.SIGTERM)
            del signs[name]
    time.sleep(0.005)
for name, child in children.items():
    codes[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print("CODES", json.dumps(codes))
"""


def test_a_signal_for_the_whole_group_is_a_stop_and_no_death(toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "m")
    write_distribution(tmp_path / "driven", "toy-pairs", "tests.toys.toy_pairs._plugin", entry="pairs")
    path = os.pathsep.join([str(tmp_path / "driven"), str(ROOT), str(ROOT / "core" / "src")])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(GROUPS), json.dumps(SIGNS)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    said = {name: (tmp_path / f"{name}.txt").read_text() for name in GROUPS}
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.partition("CODES ")[2])
    assert codes == dict.fromkeys(GROUPS, 128 + signal.SIGTERM), said
    assert "of runs/r is saved, nothing is lost" in said["train"]
    for name, place in (("embed", "v"), ("limited", "w")):
        assert "rows are kept" in said[name]
        kept = [pq.read_table(one) for one in (tmp_path / f"{place}.parquet.parts").glob("part-*.parquet")]
        status = {one for table in kept for one in table.column("status").to_pylist()}
        assert status == {"ok"}


def killed_worker() -> None:
    """As by the system when the memory is used up, and noticed by the parent before it goes on."""
    worker = multiprocessing.active_children()[0]
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.2)


@pytest.mark.parametrize("asked", [False, True])
def test_a_dead_worker_ends_a_run_after_its_step(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    known = registry.default()
    resolved = resolve_run(known, "pairs/set-net", overrides=["data.workers=2"])
    start_run(known, assemble(resolved, LogReporter()), LogReporter(), root=tmp_path, name="whole", device="cpu")
    before = signal.getsignal(signal.SIGCHLD)
    with monkeypatch.context() as patched:
        step = ProgressShow.step

        def kill(self: ProgressShow, state: RunState, record: object) -> None:
            step(self, state, record)  # type: ignore[arg-type]
            if state.step == 2:
                killed_worker()

        def meant(self: Interruption, state: RunState) -> None:
            self.note.number = 15 if asked else 0
            lost(self, state)

        lost = Interruption.lost
        patched.setattr(Interruption, "lost", meant)
        patched.setattr(ProgressShow, "step", kill)
        parts = assemble(resolved, LogReporter())
        if asked:
            cut = start_run(known, parts, LogReporter(), root=tmp_path, name="cut", device="cpu")
            assert (cut.status, cut.signal) == ("interrupted", 15)
        else:
            with pytest.raises(WorkerLostError, match="was ended by SIGKILL") as told:
                start_run(known, parts, LogReporter(), root=tmp_path, name="cut", device="cpu")
            assert "out of memory?" in str(told.value)
            assert f"pairs train --resume {tmp_path / 'cut'} data.workers=1" in str(told.value)
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGCHLD) in (before, signal.SIG_DFL) or "torch" in str(before)
    folder = RunFolder.open("cut", tmp_path)
    assert 2 <= torch.load(folder.last_checkpoint, weights_only=True)["global_step"] < 10
    fewer = resolve_run(known, "pairs/set-net", overrides=["data.workers=1"])
    resume_run(known, assemble(fewer, LogReporter(), fitted=folder.preprocessing), folder, LogReporter(), device="cpu")
    whole, cut_then = checkpoint(tmp_path, "whole"), checkpoint(tmp_path, "cut")
    assert all(torch.equal(whole[name], cut_then[name]) for name in whole)


def test_a_dead_worker_ends_embedding_in_words(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "m")
    fetch = shared_work._Units.__getitem__

    def die(self: shared_work._Units[object, object], place: int) -> object:
        if place == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return fetch(self, place)

    monkeypatch.setattr(shared_work._Units, "__getitem__", die)
    command = ["embed", "m/model", "pairs/blobs", "--read", "items=40", "-o", "v.parquet", *CPU]
    assert run([*command, "--workers", "2"]) == 2
    said = capsys.readouterr().err
    assert "a worker process that reads and prepares rows was ended by SIGKILL (out of memory?)" in said
    assert "fewer --workers" in said
    assert "unexpected" not in said
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert run(command) == 0
    assert len(pq.read_table("v.parquet")) == 40


HANGING = """
import time
from repcore.data.workers import WorkerLoader

class Hanging:
    def __len__(self):
        return 8

    def __getitem__(self, place):
        time.sleep(600 if place else 0)
        return place

print(next(iter(WorkerLoader(Hanging(), batch_size=None, num_workers=1))))
"""


def test_a_worker_that_hangs_ends_with_the_command() -> None:
    """Its parent leaves after the first row."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "core" / "src")}
    done = subprocess.run([sys.executable, "-c", HANGING], env=environment, timeout=120,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_workers_ignore_what_asks_their_parent_to_stop() -> None:
    class Handlers(torch.utils.data.Dataset[np.ndarray]):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, place: int) -> np.ndarray:
            return np.array([signal.getsignal(one) is signal.SIG_IGN for one in stopping.SIGNALS])

    (ignored,) = list(WorkerLoader(Handlers(), batch_size=None, num_workers=1))
    assert ignored.all()
    assert len(ignored) == len(stopping.SIGNALS)
