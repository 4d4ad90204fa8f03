"""Preparation by several processes into one folder: whatever happens to one, the result is that of one alone."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.data import blocks as module
from repcore.data.blocks import SUFFIX, Share, block_rows
from repcore.data.preparation import run_preparation
from repcore.data.whole_folders import CHECKSUMS, PARTIAL, damaged, machine_name
from repcore.errors import ConfigError, DataError

ROWS = 25
FORK: Any = multiprocessing.get_context("fork")


class Numbers:
    """Rows of one number each."""

    fingerprint = "numbers"

    def __init__(self, rows: int = ROWS) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows


class Squares:
    """Notes in ``log`` who made which block, and who joined."""

    least_rows = 2

    def __init__(self, log: Path, seconds: float = 0.0, key: str = "squares", meeting: Any = None) -> None:
        self.log, self.seconds, self.key, self.meeting = log, seconds, key, meeting

    def note(self, word: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{word} {os.getpid()}\n")

    def block(self, reader: Any, rows: range, folder: Path, progress: Callable[[int, int], None]) -> None:
        for row in rows:
            time.sleep(self.seconds)
            progress(row - rows.start + 1, len(rows))
        np.square(np.asarray(rows, np.int64)).tofile(folder / "squares.bin")
        self.note(str(rows.start))

    def join(self, reader: Any, blocks: Sequence[Path], folder: Path) -> None:
        if self.meeting is not None:
            self.note("met")
            self.meeting.wait(20)
        (folder / "squares.bin").write_bytes(b"".join((block / "squares.bin").read_bytes() for block in blocks))
        self.note("joined")

    def open(self, reader: Any, folder: Path) -> Any:
        return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path))
    return tmp_path


def made(log: Path, process: int | None = None) -> list[int]:
    """First rows of the blocks that were made, in order; by one process."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [int(word) for word, who in lines if word != "joined" and process in (None, int(who))]


def prepare(squares: Squares, told: list[str] | None = None, **options: Any) -> Path:
    told = [] if told is None else told
    reader: Any = Numbers()
    found: Any = run_preparation(squares, reader, lambda done, total: None, told.append, **options)
    return Path(found)


def is_whole(folder: Path) -> bool:
    """The squares of all rows in order, and nothing else in the cache."""
    alone = [one.name for one in folder.parent.iterdir()] == [folder.name]
    return (
        alone
        and not damaged(folder)
        and np.fromfile(folder / "squares.bin", np.int64).tolist() == [row * row for row in range(ROWS)]
    )


def begun(squares: Squares, **options: Any) -> Any:
    process = FORK.Process(target=prepare, args=(squares,), kwargs=options)
    process.start()
    return process


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.005)


def stopped_after(blocks: int, log: Path, monkeypatch: pytest.MonkeyPatch, key: str = "squares") -> Path:
    """A preparation that is interrupted in a block; the folder of the blocks that are there."""
    squares = Squares(log, key=key)
    own = squares.block

    def block(reader: Any, rows: range, folder: Path, progress: Any) -> None:
        if rows.start == 2 * blocks:
            raise KeyboardInterrupt
        own(reader, rows, folder, progress)

    monkeypatch.setattr(squares, "block", block)
    with pytest.raises(KeyboardInterrupt):
        prepare(squares)
    known = {one.name for one in (log.parent / "prepared").iterdir()}
    return log.parent / "prepared" / max(known, key=lambda name: (log.parent / "prepared" / name).stat().st_mtime_ns)


@pytest.mark.parametrize("workers", [0, 3])
def test_the_result_is_that_of_one(workers: int, cache: Path) -> None:
    folder = prepare(Squares(cache / "log"), workers=workers)
    assert sorted(made(cache / "log")) == list(range(0, ROWS, 2))
    (cache / "log").unlink()
    assert is_whole(folder)
    assert prepare(Squares(cache / "log")) == folder
    assert not (cache / "log").exists()


def test_two_at_once_share_the_work(cache: Path) -> None:
    """Without saying which is which; the second begins what the first has not."""
    log = cache / "log"
    squares = Squares(log, 0.02)
    both = [begun(squares), begun(squares)]
    for process in both:
        process.join(30)
        assert process.exitcode == 0
    counts = [len(made(log, process.pid)) for process in both]
    assert min(counts) >= 3
    assert sum(counts) <= 13 + 3  # at the beginning and in the end both may have the same in hand
    assert set(made(log)) == set(range(0, ROWS, 2))
    assert is_whole(prepare(Squares(log)))


def test_another_finishes_what_a_killed_one_leaves(cache: Path) -> None:
    log = cache / "log"
    killed = begun(Squares(log, 0.05), share=Share(0, 2))
    wait_for(lambda: len(made(log)) >= 2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    before = made(log)
    assert len(before) < 13
    folder = prepare(Squares(log), share=Share(1, 2))
    assert is_whole(folder)
    own = made(log)[len(before) :]
    assert own[0] == 12  # its own share first
    assert sorted({*before, *own}) == list(range(0, ROWS, 2))
    assert len(set(before) & set(own)) <= 1  # nothing that is there is made again


def test_a_block_that_a_dead_machine_has_begun_is_made_in_the_end(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = stopped_after(3, cache / "log", monkeypatch)
    assert work.name.endswith(SUFFIX)
    (work / f"rows-{6:012}{PARTIAL}elsewhere.1.ab").mkdir()
    folder = prepare(Squares(cache / "log"))
    assert made(cache / "log") == [0, 2, 4, *range(8, ROWS, 2), 6]
    assert is_whole(folder)


def test_both_may_join_at_once(cache: Path) -> None:
    log = cache / "log"
    squares = Squares(log, 0.01, meeting=FORK.Barrier(2))
    both = [begun(squares, share=Share(number, 2)) for number in (0, 1)]
    for process in both:
        process.join(30)
        assert process.exitcode == 0
    words = [line.split()[0] for line in log.read_text().splitlines()]
    assert words.count("met") == 2
    assert words.count("joined") in (1, 2)  # the blocks are gone for one who is late: the other has joined them
    assert is_whole(prepare(Squares(log)))


def test_a_restart_skips_what_is_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_after(5, cache / "log", monkeypatch)
    folder = prepare(Squares(cache / "log"))
    assert made(cache / "log") == list(range(0, ROWS, 2))  # each once
    assert is_whole(folder)


@pytest.mark.parametrize("damage", ["flip", "cut", "unsealed", "other settings", "other rows"])
def test_a_block_that_is_not_right_is_made_again(damage: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = stopped_after(5, cache / "log", monkeypatch)
    block = work / f"rows-{4:012}"
    content = bytearray((block / "squares.bin").read_bytes())
    content[0] ^= 1
    if damage == "flip":
        (block / "squares.bin").write_bytes(content)
    elif damage == "cut":
        (block / "squares.bin").write_bytes(b"")
    elif damage == "unsealed":
        (block / CHECKSUMS).unlink()
    else:
        other = stopped_after(5, cache / "log", monkeypatch, key="cubes") / block.name
        shutil.rmtree(block)
        shutil.copytree(other if damage == "other settings" else work / f"rows-{2:012}", block)
        shutil.rmtree(other.parent)
    (cache / "log").unlink()
    told: list[str] = []
    folder = prepare(Squares(cache / "log"), told)
    assert len(told) == 1
    assert "the block of rows 4 to 5" in told[0]
    assert "made again" in told[0]
    assert made(cache / "log")[-1] == 4
    assert is_whole(folder)


def test_storage_that_keeps_nothing_whole_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Blocks, "wrong", lambda self, rows: "block 0 of squares.bin" if not rows.start else "")
    with pytest.raises(DataError, match=r"just written to .*rows-000000000000 is damaged"):
        prepare(Squares(cache / "log"), [])


def test_what_is_left_of_a_process_that_died_when_all_was_done_is_removed(cache: Path) -> None:
    folder = prepare(Squares(cache / "log"))
    (folder.with_name(f"{folder.name}{SUFFIX}") / "rows-000000000000").mkdir(parents=True)
    assert is_whole(prepare(Squares(cache / "log")))


def test_again_makes_all_of_it_and_keeps_the_old_one_until_then(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(Squares(cache / "log"))
    first = (folder / "squares.bin").stat().st_ino
    failing = Squares(cache / "log")
    monkeypatch.setattr(failing, "join", lambda *inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(failing, again=True)
    assert is_whole(folder)
    assert (folder / "squares.bin").stat().st_ino == first
    assert prepare(Squares(cache / "log"), again=True) == folder
    assert len(made(cache / "log")) == 3 * 13
    assert (folder / "squares.bin").stat().st_ino != first
    assert is_whole(folder)


def test_a_full_disk_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squares = Squares(cache / "log")

    def full(*inputs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(squares, "join", full)
    with pytest.raises(DataError, match=r"cannot be written: .*No space left"):
        prepare(squares)
    monkeypatch.setattr(squares, "block", full)
    with pytest.raises(DataError, match=r"cannot be written: .*No space left"):
        prepare(squares, again=True)
    assert not list((cache / "prepared").glob(f"*{PARTIAL}{machine_name()}*"))


def test_progress_counts_what_others_have_made(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_after(5, cache / "log", monkeypatch)
    told: list[tuple[int, int]] = []
    reader: Any = Numbers()
    run_preparation(Squares(cache / "log"), reader, lambda done, total: told.append((done, total)))
    assert told[0] == (11, ROWS)
    assert told[-1] == (ROWS, ROWS)
    assert told == sorted(told)


def test_a_share_is_read_and_refused_in_words() -> None:
    assert Share.read("3/16") == Share(3, 16)
    for text in ("16/16", "1", "a/2", "-1/2", "1/0", ""):
        with pytest.raises(ConfigError, match="counted from 0"):
            Share.read(text)


def test_a_launcher_says_where_a_process_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Share.of_this_process() == Share(0, 1)
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    assert Share.of_this_process() == Share(2, 4)


def test_blocks_follow_from_the_number_of_rows() -> None:
    assert [block_rows(rows, 1) for rows in (0, 1, 64, 65, 640, 10**8)] == [1, 1, 1, 2, 10, 8192]
    assert [block_rows(rows, 1024) for rows in (5, 65_536, 131_072, 10**8)] == [1024, 1024, 2048, 8192]


def test_what_is_made_in_one_piece_is_not_shared_out(tmp_path: Path) -> None:
    class Whole:
        key = "whole"

        def run(self, reader: Any, folder: Path, progress: Any) -> None:
            (folder / "all.txt").write_text("all")

        def open(self, reader: Any, folder: Path) -> Any:
            return folder

    whole, reader = Whole(), Numbers()
    shared: Any = (whole, reader, lambda done, total: None)
    with pytest.raises(ConfigError, match="in one piece"):
        run_preparation(*shared, share=Share(0, 2))
    assert (Path(str(run_preparation(*shared))) / "all.txt").read_text() == "all"
