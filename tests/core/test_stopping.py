"""Signals x commands: the work in hand is finished and saved, the way on is said, the exit code is 128 + signal."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from repcore import stopping
from repcore.__main__ import main as console_script
from repcore.cli.ending import ended
from repcore.cli.main import run
from repcore.files import read_lines
from repcore.training.listeners import ProgressShow
from repcore.training.state import RunState
from tests.conftest import ROOT, write_distribution

DRIVER = """
import json, os, shlex, signal, sys, time
from pathlib import Path

import lightning.pytorch, torch.utils.tensorboard, pyarrow.parquet  # once for all cases
from repcore.cli.main import run
from tests.toys.toy_pairs import code

torch.set_num_threads(1)


class Slow:
    key = "slow"

    def run(self, reader, folder, progress):
        for row in range(3 if Path("again").exists() else 100000):
            (folder / "begun").touch()
            time.sleep(0.01)
            progress(row, 100000)

    def open(self, reader, folder):
        return reader


code.Sets.preparation = lambda self, workers: Slow() if "prepare" in sys.argv else None


def begun(folder, words, name):
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        sys.argv = ["repcore", *words]
        os.environ["REPCORE_CACHE"] = folder + "/cache"
        for number, kind in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{name}.{kind}", os.O_CREAT | os.O_WRONLY), number)
        os._exit(run(words))
    return child


def ended(folder, child, name):
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"code": code} | {kind: Path(folder, f"{name}.{kind}").read_text() for kind in ("out", "err")}


def stopped(cases):
    '''All at once: each gets its signal as soon as its sign is there.'''
    children = [begun(one["folder"], one["words"], "first") for one in cases]
    waiting, limit = list(range(len(cases))), time.monotonic() + 200
    while waiting:
        for number in list(waiting):
            one = cases[number]
            if any(Path(one["folder"]).glob(one["sign"])) or time.monotonic() > limit:
                os.kill(children[number], one["number"])
                waiting.remove(number)
        time.sleep(0.01)
    return [ended(one["folder"], child, "first") for one, child in zip(cases, children)]


def way_on(found):
    said = [line for line in found["out"].splitlines() if line.startswith("go on with: ")]
    assert said, found
    return shlex.split(said[0][len("go on with: ") :])[1:]


plan = json.loads(sys.argv[1])
for words in plan["first"]:  # in this very process, so that what commands import is imported once for all forks
    assert run(words) == 0, words
results = [found for group in plan["groups"] for found in stopped(group)]
going_on = []
for one, found in zip([one for group in plan["groups"] for one in group], results):
    if one["goes_on"]:
        Path(one["folder"], "again").touch()
        going_on.append((found, one["folder"], begun(one["folder"], way_on(found), "second")))
for found, folder, child in going_on:
    found["again"] = ended(folder, child, "second")
print("RESULTS", json.dumps(results))
"""
CPU = ["--device", "cpu"]
LONG = ["trainer.checkpoint_every=1", "trainer.validate_every=100000", "trainer.log_every=1"]
TRAIN = ["pairs", "train", "set-net", *CPU, "--name", "r", "trainer.steps=50000", *LONG]
ROWS = 8_000  # four windows: the signal comes after the first
READ = ["pairs/blobs", "--read", f"items={ROWS}", "-o", "v.parquet", *CPU]
LABELS = ["--data", "pairs/blobs", "--label", "kind", *CPU]
FINETUNE = ["pairs", "finetune", "../runs/model", *LABELS]
COMMANDS = {
    "train": (TRAIN, "runs/r/checkpoints/last.ckpt"),
    "embed": (["embed", "../runs/model/model", *READ], "v.parquet.parts/part-*.parquet"),
    "predict": (["predict", "../runs/fine", *READ], "v.parquet.parts/part-*.parquet"),
    "finetune": (
        ["pairs", "finetune", "../runs/model", *LABELS, "trainer.epochs=3", *LONG],
        "runs/*/checkpoints/last.ckpt",
    ),
    "prepare": (["pairs", "prepare", "set-net"], "cache/prepared/*/begun"),
}
FEW = ["pairs/blobs", "--read", "items=4", *CPU]
FIRST = (
    ["pairs", "train", "set-net", *CPU, "--name", "model", "trainer.steps=2", *LONG],
    ["pairs", "finetune", "runs/model", *LABELS, "--name", "fine", "trainer.epochs=1", *LONG],
    ["embed", "runs/model/model", *FEW, "-o", "few.parquet"],
    ["predict", "runs/fine", *FEW, "-o", "few-predicted.parquet"],
)
CASES = [(command, name) for command in COMMANDS for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT")]
Found = dict[str, Any]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Path, Found]]:
    """Folder and outcome of every case, all forked from one process that has paid for the imports."""
    root = tmp_path_factory.mktemp("stopped")
    write_distribution(root / "site", "toy-pairs", "tests.toys.toy_pairs._plugin", entry="pairs")
    path = os.pathsep.join([str(root / "site"), str(ROOT), str(ROOT / "core" / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    groups: dict[str, list[dict[str, object]]] = {command: [] for command in COMMANDS}
    for command, name in CASES:
        words, sign = COMMANDS[command]
        folder = root / f"{command}-{name}"
        folder.mkdir()
        number, goes_on = int(signal.Signals[name]), command != "train" and name == "SIGTERM"
        one = {"folder": str(folder), "words": words, "sign": sign, "number": number, "goes_on": goes_on}
        groups[command].append(one)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps({"first": FIRST, "groups": list(groups.values())})],
        env=environment, cwd=root, capture_output=True, text=True, timeout=550, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.rpartition("RESULTS")[2])
    return {case: (root / "-".join(case), one) for case, one in zip(CASES, found, strict=True)}


@pytest.mark.parametrize(("command", "name"), CASES)
def test_a_signal_is_obeyed(command: str, name: str, stopped: dict[tuple[str, str], tuple[Path, Found]]) -> None:
    folder, found = stopped[command, name]
    out = str(found["out"])
    assert found["code"] == 128 + signal.Signals[name], found["err"]
    assert "Traceback" not in str(found["err"])
    assert f"stopped by {'Ctrl-C' if name == 'SIGINT' else name}" in out
    way_on = shlex.split(next(line for line in out.splitlines() if line.startswith("go on with: "))[12:])
    assert way_on[0] == "repcore"
    if command == "train":
        assert way_on[1:4] == ["pairs", "train", "--resume"]
        step = int(out.split("step ")[1].split()[0])
        assert [line["step"] for line in read_lines(folder / "runs" / "r" / "metrics.jsonl")][-1] == step
    if command in ("embed", "predict"):
        assert "rows are kept" in out
        assert "again" in found or list((folder / "v.parquet.parts").glob("part-*.parquet"))
    if command == "prepare" and "again" not in found:
        assert list((folder / "cache" / "prepared").iterdir()) == []  # nothing half-made is left


@pytest.mark.parametrize("command", ["finetune", "embed", "predict", "prepare"])
def test_the_command_that_was_said_goes_on(
    command: str, stopped: dict[tuple[str, str], tuple[Path, Found]]
) -> None:  # train: below
    folder, found = stopped[command, "SIGTERM"]
    assert found["again"]["code"] == 0, found["again"]["err"]
    if command == "finetune":
        (run_folder,) = [one for one in (folder / "runs").iterdir() if not one.is_symlink()]
        steps = [line["step"] for line in read_lines(run_folder / "metrics.jsonl") if line["split"] == "train"]
        assert steps == list(range(1, len(steps) + 1))
        assert (run_folder / "model" / "weights.safetensors").is_file()
    if command in ("embed", "predict"):
        rows = pq.read_table(folder / "v.parquet").column("id").to_pylist()
        assert rows == [f"blob-{number}" for number in range(ROWS)]  # none lost, none twice, in order
    if command == "prepare":
        assert list((folder / "cache" / "prepared").iterdir())


def shorten(folder: Path, steps: int) -> None:
    """As if the run had been started with so many steps."""
    config = json.loads((folder / "config.json").read_text())
    config["trainer"]["steps"] = steps
    (folder / "config.json").write_text(json.dumps(config))
    last = folder / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["repcore"]["of"]["settings"]["trainer"]["steps"] = steps
    torch.save(content, last)


def test_a_stopped_run_goes_on(
    stopped: dict[tuple[str, str], tuple[Path, Found]],
    toys: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, found = stopped["train", "SIGTERM"]
    step = int(str(found["out"]).split("step ")[1].split()[0])
    monkeypatch.chdir(folder)
    shorten(folder / "runs" / "r", step + 2)
    assert run(["pairs", "train", "--resume", "r"]) == 0
    assert f"at step {step}:" in capsys.readouterr().err
    steps = [line["step"] for line in read_lines(folder / "runs" / "r" / "metrics.jsonl") if line["split"] == "train"]
    assert steps == list(range(1, step + 3))  # none lost, none twice
    card = json.loads((folder / "runs" / "r" / "model" / "config.json").read_text())["card"]
    assert card["command"].startswith("repcore pairs train set-net ")
    assert card["resumed"] == "1 time"


def test_a_second_ctrl_c_does_not_wait(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def twice(self: ProgressShow, state: object, record: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressShow, "step", twice)
    assert run([*TRAIN, "--out", str(tmp_path)]) == 130
    told = capsys.readouterr()
    assert "Ctrl-C once more: at once" in told.err
    assert f"before the first checkpoint of {tmp_path / 'r'}: its steps are made again" in told.out
    assert f"go on with: repcore {shlex.join([*TRAIN, '--out', str(tmp_path)])}\n" in told.out
    assert not (tmp_path / "r" / "checkpoints" / "last.ckpt").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # as it was before the command


def test_a_second_ctrl_c_in_the_middle_of_a_save_leaves_the_one_before(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = torch.save

    def interrupted(content: Any, file: Any) -> None:
        if content["global_step"] == 2:
            file.write(b"half")
            signal.raise_signal(signal.SIGTERM)  # asks for the end, and the save goes on
            signal.raise_signal(signal.SIGINT)
        save(content, file)

    monkeypatch.setattr(torch, "save", interrupted)
    assert run([*TRAIN, "--out", str(tmp_path)]) == 130
    told = capsys.readouterr()
    folder = tmp_path / "r" / "checkpoints"
    assert f"kept is {folder / 'last.ckpt'}, the steps after it are made again" in told.out
    assert "Traceback" not in told.err
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]  # nothing half-written beside it
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 1
    assert f"go on with: repcore pairs train --resume {tmp_path / 'r'}\n" in told.out  # not the whole run anew


@pytest.mark.parametrize("checkpoints", [True, False])
def test_a_second_ctrl_c_while_fine_tuning_says_resume(
    checkpoints: bool, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning makes an exit of it; the folder of the fine-tuning is there to go on with, whether or not it has a
    checkpoint."""
    monkeypatch.chdir(tmp_path)
    assert run([*TRAIN, "trainer.steps=1"]) == 0

    def twice(self: ProgressShow, state: RunState, record: object) -> None:
        if state.step == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    every = [] if checkpoints else ["trainer.checkpoint_every=1000"]
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(ProgressShow, "step", twice)
        assert run(["pairs", "finetune", "runs/r", *LABELS, "--name", "f", "trainer.steps=3", *LONG, *every]) == 130
    told = capsys.readouterr().out
    kept = "kept is " if checkpoints else "before the first checkpoint of "
    assert f"stopped by Ctrl-C: left in the middle of a step{'; ' if checkpoints else ', '}{kept}" in told
    command = next(line for line in told.splitlines() if line.startswith("go on with: "))
    assert command == "go on with: repcore pairs finetune --resume runs/f"
    assert run(shlex.split(command)[4:]) == 0
    assert (tmp_path / "runs" / "f" / "model" / "weights.safetensors").is_file()


@pytest.mark.parametrize("name", ["SIGUSR2", "SIGXCPU"])
def test_a_signal_of_a_cluster_is_a_request(name: str) -> None:
    number = int(signal.Signals[name])
    before = signal.getsignal(number)
    with stopping.obeyed():
        with stopping.noted() as note:
            signal.raise_signal(number)
            assert note.number == number
        with pytest.raises(stopping.Stopped) as left:
            signal.raise_signal(number)
    assert (left.value.exit_code, str(left.value)) == (128 + number, name)
    assert signal.getsignal(number) == before


def left_in_report(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    from repcore.report import build

    monkeypatch.setattr(build, "build_report", lambda folder, **more: happen())


def test_what_is_left_in_the_report_is_only_the_report(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model is there: the command that is said writes the report, none trains again."""
    left_in_report(monkeypatch, lambda: signal.raise_signal(signal.SIGTERM))
    assert run([*TRAIN, "trainer.steps=2", "--out", str(tmp_path)]) == 143
    told, folder = capsys.readouterr().out, tmp_path / "r"
    assert (folder / "model" / "config.json").is_file()
    assert f"the run is finished, its model is {folder / 'model'}" in told
    assert f"go on with: repcore report {folder}\n" in told


def test_a_full_disk_at_the_report_names_the_file_and_keeps_the_model(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    left_in_report(monkeypatch, full)
    assert run([*TRAIN, "trainer.steps=2", "--out", str(tmp_path)]) == 2
    told, folder = capsys.readouterr().err, tmp_path / "r"
    assert f"the report is not written: No space left on device: {folder / 'report.html'}" in told
    assert f"its model is {folder / 'model'}" in told
    assert f"then repcore report {folder}" in told


def test_nohup_stays_deaf_to_hangups() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.obeyed(), stopping.noted() as note:
            signal.raise_signal(signal.SIGHUP)
            assert not note.asked
            signal.raise_signal(signal.SIGTERM)
            assert note.number == signal.SIGTERM
            with pytest.raises(stopping.Stopped) as left:
                note.obey("all rows", "repcore again")
        assert (left.value.exit_code, left.value.saved, left.value.command) == (143, "all rows", "repcore again")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_window_that_takes_too_long_is_left() -> None:
    import time

    with stopping.obeyed(), pytest.raises(stopping.Stopped) as left, stopping.noted(grace=0.05):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(5)
    assert left.value.number == signal.SIGTERM
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0


def test_a_ctrl_c_during_the_imports_is_obeyed_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *more: object) -> None:
            if name == "repcore.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "repcore.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        console_script()
    assert left.value.code == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C before anything was begun\n"


class Falling:
    """Something whose end is told to a weak reference: what is raised there never reaches the program."""


def lose_a_signal(number: signal.Signals) -> None:
    """A signal that arrives inside of such a callback, as the import system has them."""
    fallen = Falling()
    told = weakref.ref(fallen, lambda _: os.kill(os.getpid(), number))
    del fallen
    assert told() is None


@pytest.mark.parametrize("rest", [2.0, 0.0])
def test_a_signal_that_came_inside_a_callback_is_obeyed(rest: float, capfd: pytest.CaptureFixture[str]) -> None:
    """``rest``: seconds of work after it; with none the command is at its end before the request is repeated."""
    alarm, hook = signal.getsignal(signal.SIGALRM), sys.unraisablehook
    begun = time.monotonic()
    with pytest.raises(stopping.Stopped) as caught, stopping.obeyed():
        lose_a_signal(signal.SIGTERM)
        time.sleep(rest)
    assert caught.value.exit_code == 143
    assert time.monotonic() - begun < 1.5
    assert signal.getsignal(signal.SIGALRM) is alarm
    assert sys.unraisablehook is hook
    time.sleep(2 * stopping.AGAIN_SECONDS)  # no alarm is left behind, which would end the process
    assert "Traceback" not in capfd.readouterr().err


def module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that holds back every exception and goes on, as those do that try a faster library first."""
    (folder / f"{name}.py").write_text(f"import os, signal\ntry:\n    {text}\nexcept BaseException:\n    lost = True\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("rest", [2.0, 0.0])
def test_a_signal_that_came_inside_an_import_is_obeyed_after_it(
    rest: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(tmp_path, "holds_back", "os.kill(os.getpid(), signal.SIGTERM); whole = True", monkeypatch)
    begun, alarm = time.monotonic(), signal.getsignal(signal.SIGALRM)
    with pytest.raises(stopping.Stopped) as caught, stopping.obeyed():
        importlib.import_module("holds_back")
        time.sleep(rest)
    assert caught.value.exit_code == 143
    assert time.monotonic() - begun < 1.5
    assert vars(sys.modules["holds_back"]).get("whole")
    assert not vars(sys.modules["holds_back"]).get("lost")
    assert signal.getsignal(signal.SIGALRM) is alarm


def test_a_second_ctrl_c_does_not_wait_for_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = "[os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]; whole = True"
    module(tmp_path, "interrupted_twice", twice, monkeypatch)
    with pytest.raises(ImportError, match="after it") as caught, stopping.obeyed():
        importlib.import_module("interrupted_twice")
        assert vars(sys.modules["interrupted_twice"]).get("lost")
        raise ImportError("after it") from OSError("of the machine: told as it is")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("chained", [True, False])
def test_an_error_after_a_request_that_got_lost_is_told_as_the_request(
    chained: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*words: object, **more: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            if chained:
                raise ImportError("is already registered") from None
        raise ImportError("is already registered")

    monkeypatch.setattr("repcore.cli.main.root.main", broken)
    assert run(["list"]) == 143
    told = capsys.readouterr()
    assert "stopped by SIGTERM" in told.out
    assert "go on with: repcore list" in told.out
    assert "unexpected" not in told.err


def test_what_else_python_ignores_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: told.append(str(ignored.exc_value)))

    def broken(_: object) -> None:
        raise ValueError("of another kind")

    with stopping.obeyed():
        fallen = Falling()
        reference = weakref.ref(fallen, broken)
        del fallen
    assert told == ["of another kind"]
    assert reference() is None


def test_where_a_launcher_ends_all_a_failure_elsewhere_comes_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(stopping.Stopped(signal.SIGTERM), ["train"]) == 128 + signal.SIGTERM
    assert "another process" not in capsys.readouterr().out
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    ended(stopping.Stopped(signal.SIGTERM), ["train"])
    assert "another process of this run has ended with an error" in capsys.readouterr().out
