"""What others do meanwhile: locks that they leave behind, a model that they replace, devices that are full."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import repcore
from repcore.cli import embed
from repcore.cli.main import run
from repcore.embedding.model import Model
from repcore.outputs import sole_writer
from tests.toys.toy_run import make_run


@pytest.mark.parametrize("holder", ["999999999\n", "SELF@another-host\n", "", "\x00\xff"])
def test_a_lock_that_nobody_holds_any_more_is_no_lock(holder: str, tmp_path: Path) -> None:
    """Of a process that was killed, of another host, of this very number after a restart: the system knows."""
    (tmp_path / ".v.npz.lock").write_text(holder.replace("SELF", str(os.getpid())), encoding="utf-8")
    said: list[str] = []
    started = time.monotonic()
    with sole_writer(tmp_path / "v.npz", said.append):
        assert (tmp_path / ".v.npz.lock").read_text() == f"{os.getpid()}\n"
    assert (said, list(tmp_path.iterdir())) == ([], [])
    assert time.monotonic() - started < 4.0  # it would wait five seconds for one that is held


def test_a_model_that_is_replaced_after_it_was_loaded_is_the_loaded_one(toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "first")
    make_run(tmp_path / "second", "trainer.seed=5")
    folder = tmp_path / "first" / "model"
    own, other = repcore.load(folder).identity(), repcore.load(tmp_path / "second").identity()
    assert own != other
    loaded = repcore.load(folder)
    before = loaded.embed("pairs/blobs").vectors
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "second" / "model", folder)
    assert loaded.identity() == own
    assert (loaded.embed("pairs/blobs").vectors == before).all()
    assert repcore.load(folder).identity() == other


def test_an_embedding_says_which_model_made_it_though_another_took_its_place(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "first")
    make_run(tmp_path / "second", "trainer.seed=5")
    folder, own = tmp_path / "first" / "model", repcore.load(tmp_path / "first").identity()
    opened = embed._header

    def replaced(model: Model, *given: Any) -> dict[str, Any]:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "second" / "model", folder)
        return opened(model, *given)

    monkeypatch.setattr(embed, "_header", replaced)
    assert run(["embed", str(tmp_path / "first"), "pairs/blobs", "-o", str(tmp_path / "v.parquet")]) == 0
    table = pq.read_table(tmp_path / "v.parquet")
    assert own in str(table.schema.metadata)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_full_device_is_said(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "r")
    capsys.readouterr()
    assert run(["embed", str(tmp_path / "r"), "pairs/blobs", "-o", "/dev/full"]) == 2
    assert "'/dev/full' is a device, pipe or socket, not a file" in capsys.readouterr().err
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115  closing it fails as well
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        code = run(["list"])
    with contextlib.suppress(OSError):
        full.close()
    said = capsys.readouterr().err
    assert code == 2
    assert "No space left on device" in said
    assert "free some space" in said


def test_a_socket_is_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        place = os.path.relpath(tmp_path / "s.csv") if len(str(tmp_path)) > 90 else str(tmp_path / "s.csv")
        server.bind(place)
        assert run(["inspect", str(tmp_path / "s.csv")]) == 2
    said = capsys.readouterr().err
    assert "s.csv" in said
    assert "Traceback" not in said
