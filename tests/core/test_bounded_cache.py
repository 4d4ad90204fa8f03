"""What is fetched from addresses stays within its bound: with several processes, after kills, and while it is used."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest

from repcore.data.readers import local_path
from repcore.data.shards import bounded_cache, connections
from repcore.data.shards.remote import fetched_shard
from repcore.data.shards.shard import Shard
from repcore.errors import DataError

SIZE = 100_000


@pytest.fixture(autouse=True)
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(connections, "FIRST_WAIT", 0.001)
    bounded_cache._in_use.clear()
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def limit(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bounded_cache.LIMIT_VARIABLE, str(size / 2**30))


def held(folder: Path) -> int:
    total = 0
    for one in folder.rglob("*"):
        try:
            total += one.stat().st_size * (one.is_file() and one.name != bounded_cache.USED)
        except FileNotFoundError:
            continue
    return total


def fetch(start: int) -> None:
    system = fsspec.filesystem("memory")
    real = type(system).get_file

    def slow(self: Any, source: str, target: str, **_: Any) -> None:
        data = self.cat_file(source)
        with Path(target).open("wb") as file:
            for place in range(0, SIZE, SIZE // 4):
                file.write(data[place : place + SIZE // 4])
                file.flush()
                time.sleep(0.003)

    type(system).get_file = slow  # type: ignore[method-assign]
    for number in range(start, start + 12):
        system.pipe_file(f"/bucket/{number}.tar", bytes([number]) * SIZE)
        path = fetched_shard("memory://bucket", Shard(f"{number}.tar", SIZE, ""))
        assert path.name
    type(system).get_file = real  # type: ignore[method-assign]


def test_two_processes_at_once_stay_within_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(3.5 * SIZE, monkeypatch)
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=fetch, args=(start,)) for start in (0, 100)]
    for one in both:
        one.start()
    most = 0
    while any(one.is_alive() for one in both):
        most = max(most, held(tmp_path / "cache"))
    assert [one.exitcode for one in both] == [0, 0]
    assert SIZE < most <= 3.5 * SIZE
    assert held(tmp_path / "cache") <= 3.5 * SIZE


def test_what_a_killed_process_leaves_goes_away(tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"""
import os, signal, fsspec
from pathlib import Path
from repcore.data.shards.remote import fetched_shard
from repcore.data.shards.shard import Shard
system = fsspec.filesystem("memory")
def half(source, target, **_):
    Path(target).write_bytes(bytes({SIZE} // 2))
    os.kill(os.getpid(), signal.SIGKILL)
system.get_file = half
fetched_shard("memory://bucket", Shard("0.tar", {SIZE}, ""))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    shards = tmp_path / "cache" / "remote" / "shards"
    assert [one for one in shards.iterdir() if ".partial-" in one.name]
    bucket.pipe_file("/bucket/0.tar", bytes(SIZE))
    path = fetched_shard("memory://bucket", Shard("0.tar", SIZE, ""))
    assert list(shards.iterdir()) == [path]
    other = bounded_cache.partial_name(shards / "another.tar", 10 * SIZE)
    other.write_bytes(b"half")
    bucket.pipe_file("/bucket/1.tar", bytes(SIZE))
    limit(5 * SIZE, monkeypatch)
    fetched_shard("memory://bucket", Shard("1.tar", SIZE, ""))
    assert other.exists()
    assert not path.exists(), "what another process fetches counts in full"
    long_ago = time.time() - 2 * bounded_cache.DEAD_SECONDS
    os.utime(other, (long_ago, long_ago))
    fetched_shard("memory://bucket", Shard("0.tar", SIZE, ""))
    assert not other.exists()
    assert len(list(shards.iterdir())) == 2


def test_whole_files_count_and_leave_when_nobody_has_them_open(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(2.5 * SIZE, monkeypatch)
    for name in "abc":
        bucket.pipe_file(f"/bucket/{name}.csv", bytes(SIZE))
    opened = [local_path(f"memory://bucket/{name}.csv") for name in "abc"]
    assert all(one.exists() for one in opened), "this process uses them"
    for file in bounded_cache._in_use.values():
        os.close(file)  # as its end would
    bounded_cache._in_use.clear()
    bucket.pipe_file("/bucket/0.tar", bytes(SIZE))
    fetched_shard("memory://bucket", Shard("0.tar", SIZE, ""))
    assert [one.exists() for one in opened] == [False, False, True]
    assert held(tmp_path / "cache") <= 2.5 * SIZE
    assert local_path("memory://bucket/a.csv").exists()


def test_what_is_larger_than_the_cache_is_refused(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(SIZE / 2, monkeypatch)
    bucket.pipe_file("/bucket/0.tar", bytes(SIZE))
    bucket.pipe_file("/bucket/a.csv", bytes(SIZE))
    words = rf"has {SIZE:,} bytes, more than what is fetched may take(.|\n)*{bounded_cache.LIMIT_VARIABLE}=1"
    with pytest.raises(DataError, match=words):
        fetched_shard("memory://bucket", Shard("0.tar", SIZE, ""))
    with pytest.raises(DataError, match=words):
        local_path("memory://bucket/a.csv")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "file"))
    bucket.pipe_file("/bucket/a.csv", bytes(10))
    with pytest.raises(DataError, match=r"the cache cannot be written: Not a directory(.|\n)*REPCORE_CACHE"):
        local_path("memory://bucket/a.csv")
