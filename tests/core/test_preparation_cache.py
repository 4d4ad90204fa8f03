"""A prepared cache is checked block by block, and made again where it is damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from repcore.data import whole_folders as module
from repcore.data.preparation import run_preparation
from repcore.data.whole_folders import CHECKSUMS, damaged
from repcore.errors import DataError

READER: Any = SimpleNamespace(fingerprint="data")


class Squares:
    key = "squares"

    def __init__(self) -> None:
        self.runs = 0

    def run(self, reader: Any, folder: Path, progress: Any) -> None:
        self.runs += 1
        np.arange(1000, dtype=np.int64).tofile(folder / "numbers.bin")
        (folder / "more").mkdir()
        (folder / "more" / "note.txt").write_text("squares")

    def open(self, reader: Any, folder: Path) -> Any:
        return folder


def prepared(squares: Squares, told: list[str]) -> Path:
    found: Any = run_preparation(squares, READER, lambda done, total: None, told.append)  # type: ignore[arg-type]
    return Path(found)


@pytest.mark.parametrize(
    ("damage", "words"),
    [("flip", "block 3 of numbers.bin"), ("cut", "numbers.bin is cut off"), ("lose", "more/note.txt is missing"),
     ("list", "Expecting value")],
)  # fmt: skip
def test_a_damaged_cache_is_made_again(
    damage: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "BLOCK", 1024)
    squares, told = Squares(), list[str]()
    folder = prepared(squares, told)
    assert prepared(squares, told) == folder
    assert (squares.runs, told) == (1, [])
    numbers = folder / "numbers.bin"
    if damage == "flip":
        content = bytearray(numbers.read_bytes())
        content[3 * 1024 + 5] ^= 1
        numbers.write_bytes(content)
    elif damage == "cut":
        numbers.write_bytes(numbers.read_bytes()[:-1030])
    elif damage == "lose":
        (folder / "more" / "note.txt").unlink()
    else:
        (folder / CHECKSUMS).write_text("nothing")
    assert prepared(squares, told) == folder
    assert squares.runs == 2
    assert len(told) == 1
    assert words in told[0]
    assert "made again" in told[0]
    assert damaged(folder) == ""
    assert np.fromfile(numbers, np.int64).tolist() == list(range(1000))


def test_overwrite_makes_these_data_again_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old ones stay until the new ones are whole, and for good if making them again fails."""
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path))
    squares, told = Squares(), list[str]()
    folder = prepared(squares, told)
    other = folder.with_name("0123456789abcdef01234567")
    other.mkdir()
    (other / "numbers.bin").write_bytes(b"another data set's")

    def again() -> Any:
        return run_preparation(squares, READER, lambda done, total: None, told.append, again=True)  # type: ignore[arg-type]

    (folder / "more" / "note.txt").chmod(0o600)
    first = (folder / "more" / "note.txt").stat().st_ino
    assert again() == folder
    assert squares.runs == 2
    assert (folder / "more" / "note.txt").stat().st_ino != first
    assert (damaged(folder), told) == ("", [])
    assert (other / "numbers.bin").read_bytes() == b"another data set's"

    def full(reader: Any, folder: Path, progress: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(squares, "run", full)
    with pytest.raises(DataError, match="cannot be written"):
        again()
    assert damaged(folder) == ""
    assert sorted(one.name for one in folder.parent.iterdir()) == sorted([folder.name, other.name])


def test_what_a_killed_process_had_begun_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    here = module.machine_name()
    gone, alive, elsewhere = (
        tmp_path / "prepared" / f"k{module.PARTIAL}{owner}.{number}.ab"
        for owner, number in ((here, child.pid), (here, os.getpid()), ("other", child.pid))
    )
    for folder in (gone, alive, elsewhere):
        folder.mkdir(parents=True)
    prepared(Squares(), [])
    assert [folder.is_dir() for folder in (gone, alive, elsewhere)] == [False, True, True]
