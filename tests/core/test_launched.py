"""Two processes that torchrun has started are one run; the death of one ends the other with words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repcore.files import read_lines
from tests.conftest import ROOT, write_distribution

STEPS = 4


def launched(tmp_path: Path, name: str, *settings: str) -> subprocess.Popen[str]:
    site = tmp_path / "site"
    if not site.is_dir():
        write_distribution(site, "toy-edges", "tests.toys.toy_edges._plugin", entry="edges")
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "core" / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "REPCORE_CACHE": str(tmp_path / "cache")}
    words = [
        "edges",
        "train",
        "edge-net",
        "--device",
        "cpu",
        "--name",
        name,
        "--out",
        str(tmp_path / "runs"),
        *settings,
    ]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "repcore"]
    return subprocess.Popen(
        [sys.executable, *torchrun, *words],
        env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def workers(launcher: int) -> list[int]:
    """Processes that torchrun has started, in the order of their ranks."""
    listed = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    found = []
    for number in map(int, listed):
        known = dict(one.split("=", 1) for one in Path(f"/proc/{number}/environ").read_text().split("\0") if "=" in one)
        if "LOCAL_RANK" in known:
            found.append((int(known["LOCAL_RANK"]), number))
    return [number for _, number in sorted(found)]


def test_torchrun_makes_one_run_and_one_voice(tmp_path: Path) -> None:
    process = launched(tmp_path, "r", f"trainer.steps={STEPS}", "trainer.validate_every=2", "trainer.log_every=1")
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    assert sorted(one.name for one in (tmp_path / "runs").iterdir()) == ["latest", "r"]
    lines = [line["step"] for line in read_lines(tmp_path / "runs" / "r" / "metrics.jsonl") if line["split"] == "train"]
    assert lines == list(range(1, STEPS + 1))
    assert said.count("model: ") == said.count("report: ") == 1
    assert "2 processes started by torchrun: trainer.devices=2" in said


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_dead_rank_ends_the_run_with_words(tmp_path: Path) -> None:
    process = launched(
        tmp_path, "r", "trainer.steps=100000", "trainer.checkpoint_every=2", "trainer.validate_every=1000"
    )
    sign, limit = tmp_path / "runs" / "r" / "checkpoints" / "last.ckpt", time.monotonic() + 300
    while not sign.is_file() and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.1)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "--resume" in said, said
    assert "unexpected" not in said
    assert sign.is_file()
