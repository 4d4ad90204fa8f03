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
from tests.generic.ranks import SETTINGS, SHARED, Uneven, objective


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
    by_strategy = {"ddp": first}
    if method in SHARED:
        by_strategy["fsdp"] = torch.load(ran / f"{method}.shared.pt", weights_only=True)
    start = objective(method).state_dict()
    moved = [name for name, value in one.items() if not torch.equal(value, start[name])]
    assert any(name.startswith("task.") for name in moved)
    assert all(found.keys() == one.keys() for found in by_strategy.values())
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.isfinite(value).all(), name
        for how, found in by_strategy.items():
            torch.testing.assert_close(
                found[name], value, atol=1e-5, rtol=1e-4, msg=lambda told, at=f"{how} {name}": f"{at}: {told}"
            )


def test_parameters_that_some_micro_batches_leave_out_are_exchanged_all_the_same(ran: Path) -> None:
    """Used before the last micro-batch only, in one process only, or never: as in one process, decay included."""
    first, second, one = (torch.load(ran / f"uneven.{name}.pt", weights_only=True) for name in ("0", "1", "one"))
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, msg=lambda told, at=name: f"{at}: {told}")
        assert torch.equal(value, Uneven().state_dict()[name]) == (name == "one.e"), name
