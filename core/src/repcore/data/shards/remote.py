"""Data at an address (fsspec): what lies there is listed once, shards are fetched when they are read.

A single file is fetched into the cache. A folder of shards becomes a stand-in folder that holds their list; shards come
into the cache one by one and leave it again, the one that was used longest ago first, when it grows beyond its bound
(``REPCORE_REMOTE_CACHE`` GiB, 20 unless set). A folder of other files is fetched whole if it fits. A connection that
drops is tried again; what is not there, or may not be read, is an error that names it.

    <cache>/remote/<hash>/     one address: its listing, or its files
    <cache>/remote/shards/     fetched shards
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec

from repcore.data.preparation import cache_root
from repcore.data.shards.addresses import whole_address
from repcore.data.shards.shard import LISTING, Shard
from repcore.errors import DataError, PluginError, RepcoreError
from repcore.files import write_text
from repcore.outputs import sole_writer

T = TypeVar("T")
TRIES = 5
FIRST_WAIT = 0.5  # seconds before the second try; doubled each time
BUFFER = 1 << 20  # bytes that are read ahead
LIMIT_VARIABLE = "REPCORE_REMOTE_CACHE"
LIMIT_GIB = 20.0
SHARD_SUFFIXES = (".tar", ".parquet")
TAGS = ("ETag", "etag", "checksum", "md5Hash", "blob_id")  # of the content
STAMPS = (*TAGS, "mtime", "LastModified", "updated", "created")
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError, RepcoreError)


def stand_in(address: str | Path) -> Path:
    """A path of this machine for the data at an address.

    Raises:
        DataError: nothing there, no rights, unreachable, or other files than shards that do not fit into the cache.
        PluginError: the package for this kind of address is missing; names the command that installs it.
    """
    text = whole_address(address)
    system, root = _system(text)
    if text.startswith("file:"):
        return Path(root)
    found = _tried(text, lambda: _listed(system, root))
    key = sha256(json.dumps([text, found]).encode()).hexdigest()[:24]
    folder = cache_root() / "remote" / key
    names = [name for name, _, _ in found]
    if names == [""]:
        return _fetched_file(text, Shard("", found[0][1], found[0][2]), folder / _name(text))
    if any(name.lower().endswith(SHARD_SUFFIXES) for name in names):
        if not (folder / LISTING).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / LISTING, json.dumps({"address": text, "files": found}))
        return folder
    size = sum(one[1] for one in found)
    if size > cache_limit():
        raise DataError(
            f"{text!r} holds {len(names):,} files of {size / 2**30:,.1f} GiB that are no shards",
            cache=f"{cache_limit() / 2**30:g} GiB ({LIMIT_VARIABLE})",
            hint="pack them into .tar or .parquet shards, which are fetched one by one",
        )
    for name, length, stamp in found:
        _fetched_file(text, Shard(name, length, stamp), folder / "files" / name)
    return folder / "files"


def fetched_shard(address: str, shard: Shard) -> Path:
    """The shard as a file of the cache, fetched if it is not there.

    Raises:
        DataError: it is no longer there, or cannot be reached.
    """
    name = sha256(f"{address}|{shard.name}|{shard.size}|{shard.stamp}".encode()).hexdigest()[:24]
    path = cache_root() / "remote" / "shards" / f"{name}{Path(shard.name).suffix}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with sole_writer(path, patience=math.inf):  # the processes of a loader or a run want the same one at once
            _fetched_file(address, shard, path)
        trim(path.parent, cache_limit(), path)
    else:
        with contextlib.suppress(OSError):
            os.utime(path)  # used now
    return path


def opened_shard(address: str, shard: Shard) -> IO[bytes]:
    """A shard to read stretches of, without fetching all of it."""
    return io.BufferedReader(_Stretches(address, shard), BUFFER)


def trim(folder: Path, limit: float, keep: Path) -> None:
    """Remove files that were used longest ago until the folder is within its bound."""
    facts = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process removes, too
            facts.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    held = sum(size for _, size, _ in facts)
    for _, size, path in sorted(facts):
        if held <= limit:
            return
        if path != keep and ".partial-" not in path.name and not path.name.startswith("."):
            path.unlink(missing_ok=True)
            held -= size


class _Stretches(io.RawIOBase):
    """A file at an address, read in stretches; each is tried again when the connection drops."""

    def __init__(self, address: str, shard: Shard) -> None:
        super().__init__()
        self._address, self._shard, self._at = address, shard, 0
        self._system, root = _system(address)
        self._path = _joined(root, shard.name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + {0: 0, 1: self._at, 2: self._shard.size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._shard.size)
        if stop <= self._at:
            return 0
        wanted = stop - self._at

        def read() -> bytes:
            data: bytes = self._system.cat_file(self._path, start=self._at, end=stop)
            if len(data) == self._shard.size > wanted:  # a server that knows no stretches
                data = data[self._at : stop]
            if len(data) != wanted:
                raise OSError(f"{len(data):,} of {wanted:,} bytes came")
            return data

        buffer[:wanted] = _tried(_whole_name(self._address, self._shard), read)
        self._at = stop
        return wanted


def _fetched_file(address: str, shard: Shard, path: Path) -> Path:
    """One file fetched whole, under its name only when it is complete."""
    if path.is_file():
        return path
    system, root = _system(address)
    partial = path.with_name(f"{path.name}.partial-{uuid.uuid4().hex[:8]}")

    def fetch() -> None:
        system.get_file(_joined(root, shard.name), str(partial))
        if partial.stat().st_size != shard.size:
            raise OSError(f"{partial.stat().st_size:,} of {shard.size:,} bytes came")
        _refuse_changed(system, root, address, shard)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < shard.size:
            raise DataError(
                f"{shard.name or address} has {shard.size:,} bytes, the cache has room for {free:,}",
                hint="set REPCORE_CACHE to a folder with space",
            )
        _tried(_whole_name(address, shard), fetch)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _listed(system: Any, root: str) -> list[tuple[str, int, str]]:  # system: of fsspec
    """Name below the root (empty: the root itself), bytes and stamp of every file there."""
    system.invalidate_cache()  # an earlier listing of this process
    if system.isfile(root):
        return [("", *_facts(system, root, system.info(root)))]
    files = system.find(root, detail=True)
    if not files:
        raise FileNotFoundError(root)
    prefix = system._strip_protocol(root).rstrip("/") + "/"
    found = [(path.removeprefix(prefix), *_facts(system, path, info)) for path, info in files.items()]
    return sorted(one for one in found if not any(part.startswith(".") for part in one[0].split("/")))


def _facts(system: Any, path: str, info: Mapping[str, Any]) -> tuple[int, str]:
    size = info.get("size")
    name = next((name for name in STAMPS if info.get(name)), "")
    return int(system.size(path) or 0) if size is None else int(size), f"{name} {_said(info, name)}".strip()


def _said(info: Mapping[str, Any], name: str) -> str:
    return str(info.get(name) or "").strip('"')


def _refuse_changed(system: Any, root: str, address: str, shard: Shard) -> None:
    """Refuse a file that is another one than when it was listed, where its store tags contents. (Times are written in
    other ways when a file is asked for than when it is listed.)

    Raises:
        DataError: its tag is another.
    """
    name, _, value = shard.stamp.partition(" ")
    if name not in TAGS:
        return
    path = _joined(root, shard.name)
    system.invalidate_cache(path)
    now = _said(system.info(path), name)
    if now and now != value:
        raise DataError(
            f"{_whole_name(address, shard)} has changed since the data were opened",
            was=f"{name} {value}", is_now=f"{name} {now}", hint="the same command again reads it anew",
        )  # fmt: skip


def _whole_name(address: str, shard: Shard) -> str:
    return f"{address.rstrip('/')}/{shard.name}".rstrip("/")


def _system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises:
        PluginError: its package is missing. DataError: it cannot be understood.
    """
    try:
        system, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise PluginError(
            f"addresses like {address.partition(':')[0]}:// need a package that is not installed",
            missing=str(error),
            hint='pip install "repcore[remote]"',
        ) from error
    except Exception as error:  # whatever a file system raises while it is set up
        raise DataError(f"{address!r} cannot be opened: {type(error).__name__}: {error}") from error
    return system, root


def _tried(what: str, action: Callable[[], T]) -> T:
    """Do something with a connection, again after a while where it fails.

    Raises:
        DataError: it is not there, may not be read, or still fails at the last try.
    """
    wait = FIRST_WAIT
    for number in range(1, TRIES + 1):
        try:
            return action()
        except FINAL as error:
            raise _in_words(what, error) from error
        except Exception as error:  # each file system has errors of its own
            if number == TRIES:
                raise DataError(
                    f"{what} cannot be read: {type(error).__name__}: {error}", tried=f"{TRIES} times"
                ) from error
            time.sleep(wait)
            wait *= 2
    raise AssertionError


def _in_words(what: str, error: BaseException) -> RepcoreError:
    if isinstance(error, RepcoreError):
        return error
    if isinstance(error, PermissionError):
        return DataError(f"{what} may not be read: {error}", hint="credentials are taken from the environment")
    if isinstance(error, ImportError):
        return PluginError(f"{what} needs a missing package: {error}", hint='pip install "repcore[remote]"')
    return DataError(f"{what} does not exist")


def _joined(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if name else root


def _name(address: str) -> str:
    """File name that an address ends in, without a query."""
    last = address.partition("?")[0].rstrip("/").rpartition("/")[2]
    return last.replace("\\", "_") or "data"


def cache_limit() -> float:
    """Most bytes of fetched shards."""
    try:
        return float(os.environ.get(LIMIT_VARIABLE, "") or LIMIT_GIB) * 2**30
    except ValueError:
        return LIMIT_GIB * 2**30
