"""What makes data the same data: their content, not the time at which a file was copied.

A file is hashed in blocks, once; the hash is remembered by device, inode, size and both times of change (of content,
which programs put back, and of the inode, which they cannot) in ``<cache>/identity.sqlite``, so that a second look
costs a ``stat``. Copying or touching a file changes none of this but the time, and costs one reading; a changed byte
changes the hash, but for the time and the name that gzip notes: a table that is packed anew is the same. Files beyond
``REPCORE_HASH_LIMIT`` GiB (64 unless set) are known by size and time instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from repcore.data.preparation import cache_root
from repcore.reporting import Wait

BLOCK = 64 * 2**20
READ = 2**20
LIMIT_VARIABLE = "REPCORE_HASH_LIMIT"
LIMIT_GIB = 64.0

Key = tuple[int, int, int, str]


def settings_stamp(config: Any, names: Iterable[str]) -> str:  # a dataclass of settings
    """Settings that change what a file's bytes become, for :attr:`repcore.data.catalogue.Row.stamp`.

    Without it, what was prepared in one way of reading would be taken for another. Empty where all are as they are when
    left out, so that a new setting leaves what was prepared before as it is.
    """
    asked = set(names)
    told = {one.name: getattr(config, one.name) for one in fields(config) if one.name in asked}
    usual = {one.name: one.default if one.default is not MISSING else None for one in fields(config)}
    return "" if all(value == usual[name] for name, value in told.items()) else repr(sorted(told.items()))


def read_limit() -> float:
    """Bytes up to which data are read to be known."""
    try:
        return float(os.environ.get(LIMIT_VARIABLE, "") or LIMIT_GIB) * 2**30
    except ValueError:
        return LIMIT_GIB * 2**30


def file_identity(path: Path) -> str:
    """Hash of a file's content; ``absent`` where there is none, size and time where it is too large to read."""
    try:
        facts = path.stat()
    except OSError:
        return "absent"
    if not stat.S_ISREG(facts.st_mode):  # reading a pipe waits for ever
        return "no file"
    if facts.st_size > read_limit():
        return f"{facts.st_size}-{facts.st_mtime_ns}"
    key = _key(facts)
    known = _memory().get(key) or _remembered(key)
    if known is None:
        try:
            known = _hashed(path)
        except OSError as error:
            return f"unreadable-{error.errno}"
        _remember(key, known)
    _memory()[key] = known
    return known


def remember_as(path: Path, value: str) -> None:
    """Let a file be known by what it was made of, not by its bytes; ``value`` names that.

    Raises:
        OSError: there is no such file.
    """
    key, known = _key(path.stat()), hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
    if _memory().get(key) != known:
        _remember(key, known)
        _memory()[key] = known


def _key(facts: os.stat_result) -> Key:
    return (facts.st_dev, facts.st_ino, facts.st_size, f"{facts.st_mtime_ns}-{facts.st_ctime_ns}")


def files_identity(files: Mapping[str, Path]) -> str:
    """Hash of the names and contents of files that are one data set; of names, sizes and times where all of them
    together are too large to read."""
    sizes = {name: path.stat() for name, path in files.items()}
    if sum(one.st_size for one in sizes.values()) > read_limit():
        lines = [f"{name}|{one.st_size}-{one.st_mtime_ns}" for name, one in sizes.items()]
    else:
        lines = [f"{name}|{file_identity(path)}" for name, path in files.items()]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _hashed(path: Path) -> str:
    """Hash over the hashes of blocks."""
    whole, wait, read = hashlib.sha256(), Wait(f"looking whether {path.name} has changed"), 0
    with path.open("rb") as file:
        file.seek(_header_end(file.read(READ)))
        while True:
            block, left = hashlib.blake2b(digest_size=32), BLOCK
            while left and (piece := file.read(min(READ, left))):
                block.update(piece)
                left -= len(piece)
            read += BLOCK - left
            wait.at(f"{read / 1e9:.1f} GB read")
            if left == BLOCK:
                return whole.hexdigest()
            whole.update(block.digest())


def _header_end(start: bytes) -> int:
    """Where the packed bytes of a gzip file begin; 0 for any other, and for one whose header cannot be followed.

    Source: RFC 1952, section 2.3: ten bytes, then by flags extra facts, a name, a comment, a checksum of the header.
    """
    if start[:3] != b"\x1f\x8b\x08" or len(start) < 12:
        return 0
    flags, end = start[3], 10
    if flags & 4:
        end += 2 + int.from_bytes(start[10:12], "little")
    for flag in (8, 16):
        if flags & flag:
            end = start.find(b"\0", end) + 1
            if not end:
                return 0
    return end + (2 if flags & 2 else 0)


@lru_cache(maxsize=1)
def _memory() -> dict[Key, str]:
    return {}


def _remembered(key: Key) -> str | None:
    with contextlib.suppress(sqlite3.Error, OSError):
        store = _store(cache_root(), os.getpid())
        found = store.execute(
            "SELECT hash FROM contents WHERE device=? AND inode=? AND size=? AND time=?", tuple(map(str, key))
        ).fetchone()
        return None if found is None else str(found[0])
    return None


def _remember(key: Key, value: str) -> None:
    with contextlib.suppress(sqlite3.Error, OSError):  # a cache that cannot be written costs time only
        store = _store(cache_root(), os.getpid())
        store.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?)", (*map(str, key), value))
        store.commit()


@lru_cache(maxsize=2)
def _store(root: Path, process: int) -> sqlite3.Connection:
    """One connection a process: they do not survive a fork."""
    root.mkdir(parents=True, exist_ok=True)
    store = sqlite3.connect(root / "identity.sqlite", timeout=5.0, check_same_thread=False)
    store.execute(
        "CREATE TABLE IF NOT EXISTS contents (device TEXT, inode TEXT, size TEXT, time TEXT, hash TEXT,"
        " PRIMARY KEY (device, inode, size, time))"
    )
    return store
