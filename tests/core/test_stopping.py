"""Signals x commands: the work in hand is finished and saved, the way on is said, the exit code is 128 + signal."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from repcore import stopping
from repcore.cli.main import run
from repcore.files import read_lines
from repcore.training.listeners import ProgressShow
from tests.conftest import ROOT, write_distribution

DRIVER = """
import json, os, signal, sys, time
from pathlib import Path

import lightning.pytorch, torch.utils.tensorboard, pyarrow.parquet  # once for all cases
from repcore.cli.main import run
from repcore.specs import TargetSpec
from tests.toys.toy_pairs import code


class Slow:
    key = "slow"

    def run(self, reader, folder, progress):
        for row in range(100000):
            (folder / "begun").touch()
            time.sleep(0.01)
            progress(row, 100000)


code.Sets.preparation = lambda self, workers: Slow() if "prepare" in sys.argv else None
results = []
for case in json.loads(sys.argv[1]):
    out, error = Path(case["folder"]) / "out", Path(case["folder"]) / "err"
    child = os.fork()
    if child == 0:
        os.chdir(case["folder"])
        sys.argv = ["repcore", *case["words"]]
        os.environ["REPCORE_CACHE"] = case["folder"] + "/cache"
        for number, path in ((1, out), (2, error)):
            os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), number)
        os._exit(run(case["words"]))
    limit = time.monotonic() + 100
    while not any(Path(case["folder"]).glob(case["sign"])) and time.monotonic() < limit:
        time.sleep(0.02)
    time.sleep(0.1)
    os.kill(child, case["signal"])
    _, status = os.waitpid(child, 0)
    code_ = os.waitstatus_to_exitcode(status)
    results.append({"code": code_, "out": out.read_text(), "err": error.read_text()})
print("RESULTS", json.dumps(results))
"""
LONG = ["trainer.checkpoint_every=1", "trainer.validate_every=100000", "trainer.log_every=1"]
TRAIN = ["pairs", "train", "set-net", "--device", "cpu", "--name", "r", "trainer.steps=50000", *LONG]
EMBED = ["embed", "../model/model", "pairs/blobs", "--read", "items=40000", "-o", "v.parquet", "--device", "cpu"]
FINETUNE = ["pairs", "finetune", "../model", "--data", "pairs/blobs", "--label", "kind", "--device", "cpu"]
PREPARE = ["pairs", "prepare", "set-net"]
COMMANDS = {
    "train": (TRAIN, "runs/r/checkpoints/last.ckpt"),
    "embed": (EMBED, "v.parquet.parts/part-*.parquet"),
    "finetune": ([*FINETUNE, "trainer.epochs=5000", *LONG], "runs/*/checkpoints/last.ckpt"),
    "prepare": (PREPARE, "cache/prepared/*/begun"),
}
CASES = [
    *(("train", name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT")),
    *(("embed", name) for name in ("SIGTERM", "SIGINT")),
    *(("finetune", name) for name in ("SIGTERM", "SIGHUP")),
    *(("prepare", name) for name in ("SIGUSR1", "SIGINT")),
]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Path, dict[str, object]]]:
    """Folder and outcome of every case, all run by one process that has paid for the imports."""
    root = tmp_path_factory.mktemp("stopped")
    write_distribution(root / "site", "toy-pairs", "tests.toys.toy_pairs._plugin", entry="pairs")
    path = os.pathsep.join([str(root / "site"), str(ROOT), str(ROOT / "core" / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    cases = []
    for command, name in CASES:
        words, sign = COMMANDS[command]
        (root / f"{command}-{name}").mkdir()
        number = int(signal.Signals[name])
        cases.append({"folder": str(root / f"{command}-{name}"), "words": words, "sign": sign, "signal": number})
    first = [*TRAIN[:-4], "trainer.steps=2", "--out", str(root)]
    first[first.index("r")] = "model"
    for words in ([sys.executable, "-m", "repcore", *first], [sys.executable, "-c", DRIVER, json.dumps(cases)]):
        done = subprocess.run(
            words, env=environment, cwd=root, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.rpartition("RESULTS")[2])
    return {case: (root / "-".join(case), one) for case, one in zip(CASES, found, strict=True)}


@pytest.mark.parametrize(("command", "name"), CASES)
def test_a_signal_is_obeyed(
    command: str, name: str, stopped: dict[tuple[str, str], tuple[Path, dict[str, object]]]
) -> None:
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
    if command == "embed":
        assert "rows are kept" in out
        assert list((folder / "v.parquet.parts").glob("part-*.parquet"))
    if command == "prepare":
        assert list((folder / "cache" / "prepared").iterdir()) == []  # nothing half-made is left


def test_a_stopped_run_goes_on(
    stopped: dict[tuple[str, str], tuple[Path, dict[str, object]]],
    toys: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, found = stopped["train", "SIGTERM"]
    step = int(str(found["out"]).split("step ")[1].split()[0])
    monkeypatch.chdir(folder)
    config = json.loads((folder / "runs" / "r" / "config.json").read_text())
    config["trainer"]["steps"] = step + 2
    (folder / "runs" / "r" / "config.json").write_text(json.dumps(config))
    assert run(["pairs", "train", "--resume", "r"]) == 0
    assert f"at step {step}:" in capsys.readouterr().err
    steps = [line["step"] for line in read_lines(folder / "runs" / "r" / "metrics.jsonl") if line["split"] == "train"]
    assert steps == list(range(1, step + 3))  # none lost, none twice


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
    assert stopping.AT_ONCE in told.out
    assert not (tmp_path / "r" / "checkpoints" / "last.ckpt").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # as it was before the command


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
