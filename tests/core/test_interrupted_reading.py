"""Ctrl-C while data are read, before the first step: the command ends at once with 130 and words; nothing is left."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repcore import registry
from repcore.cli.main import run
from repcore.data import tables
from repcore.data.records import Records
from tests.toys.toy_run import make_run

SHAPES = {
    "train": ["molecules", "train", "selformer", "--data", "m.csv", "--out", "runs", "--name", "r", "--device", "cpu"],
    "prepare": ["molecules", "prepare", "selformer", "--data", "m.csv"],
    "inspect": ["inspect", "m.csv", "--domain", "molecules"],
    "dry run": ["molecules", "train", "selformer", "--data", "m.csv", "--out", "runs", "--dry-run", "--device", "cpu"],
}


@pytest.mark.parametrize("command", SHAPES)
def test_a_ctrl_c_while_a_table_is_read_ends_at_once(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "molecules" not in registry.default().domains():
        pytest.skip("the molecules plugin is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.csv").write_text("smiles\n" + "C\n" * 5000)
    read: list[int] = []
    whole = Records.columns

    def interrupted(self: Records, most: int) -> Iterator[Any]:
        for block in whole(self, most):
            read.append(len(block[0]))
            if sum(read) > 1000:  # of a table that takes minutes
                signal.raise_signal(signal.SIGINT)
            yield block

    monkeypatch.setattr(Records, "columns", interrupted)
    monkeypatch.setattr(tables, "ROWS_PER_CHUNK", 64)
    assert run(SHAPES[command]) == 130
    told = capsys.readouterr()
    assert 1000 < sum(read) <= 1064  # not a block more
    assert told.out.startswith("stopped by Ctrl-C")
    assert "go on with: repcore " in told.out
    assert "Traceback" not in told.err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.csv"]


def test_a_ctrl_c_while_an_embedding_opens_its_data_leaves_no_output(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "r")
    from repcore.data import readers

    def interrupted(*given: Any, **more: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(readers, "dataset_settings", interrupted)
    monkeypatch.setattr(readers, "open_data", interrupted)
    assert run(["embed", str(tmp_path / "r"), "pairs/blobs", "-o", str(tmp_path / "v.parquet")]) == 130
    assert "stopped by Ctrl-C" in capsys.readouterr().out
    assert not (tmp_path / "v.parquet").exists()
    assert not list(tmp_path.glob(".v*"))
