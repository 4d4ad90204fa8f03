"""Two processes fine-tune as one process does that takes their micro-batches in turn: every method, to rounding."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.generic.ranks import SETTINGS, objective

OF_THE_FIRST = ("running_mean", "running_var", "num_batches_tracked")
"""Running statistics of batch norms (in heads that training alone uses) are those of the first process."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.generic.ranks", str(folder), port],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("method", SETTINGS)
def test_two_processes_are_one_that_accumulates(ran: Path, method: str) -> None:
    """Weights, queues, running means and teachers; batches without labels, of one class, and without a domain."""
    first, second, one = (torch.load(ran / f"{method}.{name}.pt", weights_only=True) for name in ("0", "1", "one"))
    start = objective(method).state_dict()
    moved = [name for name, value in one.items() if not torch.equal(value, start[name])]
    assert any(name.startswith("task.") for name in moved)
    assert first.keys() == one.keys()
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.isfinite(value).all(), name
        if name.endswith(OF_THE_FIRST):
            continue
        torch.testing.assert_close(first[name], value, atol=1e-5, rtol=1e-4, msg=lambda told, at=name: f"{at}: {told}")
