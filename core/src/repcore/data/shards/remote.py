"""Data at an address (fsspec): what lies there is listed once, shards are fetched when they are read.

A single file is fetched into the cache. A folder of shards becomes a stand-in folder that holds their list; shards come
into the cache one by one. A folder of other files is fetched whole if it fits. What is fetched stays within a bound
(``REPCORE_REMOTE_CACHE`` GiB, 20 unless set; :mod:`repcore.data.shards.bounded_cache`). A connection that drops is
tried again; what is not there, or may not be read, is an error that names it
(:mod:`repcore.data.shards.connections`).
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl

from fsspec.implementations.local import LocalFileSystem

from repcore.credentials import held
from repcore.data.shards.addresses import whole_address
from repcore.data.shards.bounded_cache import (
    LIMIT_VARIABLE,
    cache_limit,
    fetched_root,
    note_bytes,
    partial_name,
    refuse_too_large,
    remove_partials,
    trim,
    use,
)
from repcore.data.shards.connections import file_system, tried
from repcore.data.shards.listings import UNKNOWN, Found, listed, refuse_changed
from repcore.data.shards.shard import LISTING, Shard
from repcore.errors import DataError
from repcore.files import write_text
from repcore.outputs import sole_writer

BUFFER = 1 << 20  # bytes that are read ahead
TRIES = 10
SHARD_SUFFIXES = (".tar", ".parquet")
PAGE_STARTS = (b"<!doctype html", b"<html")
PACKED = b"\x1f\x8b"
FULL = (errno.ENOSPC, errno.EDQUOT)
_fetched_now: set[Path] = set()  # of the files without a stamp, which are fetched once in each process


def stand_in(address: str | Path) -> Path:
    """A path of this machine for the data at an address.

    Raises:
        DataError: nothing there, no rights, unreachable, or other files than shards that do not fit into the cache.
        PluginError: the package for this kind of address is missing; names the command that installs it.
    """
    text = held(whole_address(address))
    system, root = file_system(text)
    if isinstance(system, LocalFileSystem):
        if not os.path.lexists(root):
            raise DataError(f"{text} does not exist")
        return Path(root)
    found = tried(text, lambda: listed(system, root))
    folder = fetched_root() / sha256(json.dumps([text, found]).encode()).hexdigest()[:24]
    names = [name for name, _, _ in found]
    if names == [""]:
        name = tried(text, lambda: _file_name(system, root, text))
        with _written_cache(folder):
            _fetch_files(text, found, folder, [folder / name])
            return _named_as_packed(folder / name)
    if any(name.lower().endswith(SHARD_SUFFIXES) for name in names):
        _refuse_unknown(text, found)
        if not (folder / LISTING).is_file():
            with _written_cache(folder):
                folder.mkdir(parents=True, exist_ok=True)
                write_text(folder / LISTING, json.dumps({"address": text, "files": found}))
        return folder
    _refuse_unknown(text, found)
    size = sum(one[1] for one in found)
    if size > cache_limit():
        raise DataError(
            f"{text!r} holds {len(names):,} files of {size / 2**30:,.1f} GiB that are no shards",
            cache=f"{cache_limit() / 2**30:g} GiB ({LIMIT_VARIABLE})",
            hint="pack them into .tar or .parquet shards, which are fetched one by one",
        )
    with _written_cache(folder):
        _fetch_files(text, found, folder, [folder / "files" / name for name in names])
    return folder / "files"


def fetched_shard(address: str, shard: Shard) -> Path:
    """The shard as a file of the cache, fetched if it is not there.

    Raises:
        DataError: it is no longer there, cannot be reached, or is larger than the cache may be.
    """
    name = sha256(f"{address}|{shard.name}|{shard.size}|{shard.stamp}".encode()).hexdigest()[:24]
    path = fetched_root() / "shards" / f"{name}{Path(shard.name).suffix}"
    if path.is_file():
        with contextlib.suppress(OSError):
            os.utime(path)  # used now
        return path
    with _written_cache(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with sole_writer(path, patience=math.inf):  # the processes of a loader or a run want the same one at once
            if not path.is_file():
                remove_partials(path)
                _fetched_file(address, shard, path)
        trim(path)
    return path


def whole_shard(address: str, shard: Shard) -> IO[bytes]:
    """The fetched shard as an open file.

    Raises:
        DataError: as :func:`fetched_shard`.
    """
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError):  # another process has needed the room before it was opened
            return fetched_shard(address, shard).open("rb")
    return fetched_shard(address, shard).open("rb")


def opened_shard(address: str, shard: Shard) -> IO[bytes]:
    """A shard to read stretches of, without fetching all of it."""
    return io.BufferedReader(_Stretches(address, shard), BUFFER)


class _Stretches(io.RawIOBase):
    """A file at an address, read in stretches; each is tried again when the connection drops. A server that knows no
    stretches answers with the whole file: it is fetched, once."""

    def __init__(self, address: str, shard: Shard) -> None:
        super().__init__()
        self._address, self._shard, self._at = address, shard, 0
        self._system, root = file_system(address)
        self._path = _joined(root, shard.name)
        self._whole: IO[bytes] | None = None

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
        if self._whole is None:
            data = tried(_whole_name(self._address, self._shard), lambda: self._stretch(stop))
            if len(data) > wanted:
                self._whole = whole_shard(self._address, self._shard)
        if self._whole is not None:
            self._whole.seek(self._at)
            data = self._whole.read(wanted)
        buffer[:wanted] = data
        self._at = stop
        return wanted

    def close(self) -> None:
        if self._whole is not None:
            self._whole.close()
        super().close()

    def _stretch(self, stop: int) -> bytes:
        data: bytes = self._system.cat_file(self._path, start=self._at, end=stop)
        if len(data) not in (stop - self._at, self._shard.size):
            raise OSError(f"{len(data):,} of {stop - self._at:,} bytes came")
        return data


def _fetch_files(address: str, found: list[Found], folder: Path, paths: list[Path]) -> None:
    """The files at an address, all of them, in its folder of the cache; one process fetches, the others wait."""
    with sole_writer(folder, patience=math.inf):
        use(folder)
        note_bytes(folder, sum(max(0, size) for _, size, _ in found))
        for (name, size, stamp), path in zip(found, paths, strict=True):
            if path.is_file() and (stamp or path in _fetched_now):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_partials(path)
            _fetched_file(address, Shard(name, size, stamp), path)
            if not stamp:
                _fetched_now.add(path)
        note_bytes(folder, sum(path.stat().st_size for path in paths))
    trim(folder)


def _fetched_file(address: str, shard: Shard, path: Path) -> None:
    """One file fetched whole, under its name only when it is complete."""
    system, root = file_system(address)
    name = _whole_name(address, shard)
    refuse_too_large(name, shard.size)
    partial = partial_name(path, shard.size)

    def fetch() -> None:
        try:
            system.get_file(_joined(root, shard.name), str(partial))
        except OSError as error:
            if error.errno in FULL:
                raise DataError(f"{name}: there is no room left in {path.parent}", hint=_ROOM) from error
            raise
        size = partial.stat().st_size
        if shard.size not in (UNKNOWN, size):
            raise OSError(f"{size:,} of {shard.size:,} bytes came")
        refuse_too_large(name, size)
        refuse_changed(system, _joined(root, shard.name), shard.stamp, name)

    try:
        partial.touch()
        trim(partial)
        free = shutil.disk_usage(path.parent).free
        if free < shard.size:
            raise DataError(f"{name} has {shard.size:,} bytes, the cache has room for {free:,}", hint=_ROOM)
        tried(name, fetch)
        _refuse_page(name, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


_ROOM = "set REPCORE_CACHE to a folder with space"


def _named_as_packed(path: Path) -> Path:
    """The file under a name without ``.gz`` where it was unpacked on the way (``Content-Encoding: gzip``)."""
    if path.suffix.lower() != ".gz":
        return path
    with path.open("rb") as file:
        if file.read(len(PACKED)) == PACKED:
            return path
    plain = path.with_suffix("")
    if not plain.exists() or not plain.samefile(path):
        plain.unlink(missing_ok=True)
        try:
            plain.hardlink_to(path)
        except OSError:  # a file system without such links
            shutil.copyfile(path, plain)
    return plain


def _refuse_page(name: str, path: Path) -> None:
    """Refuse a page of HTML that came in place of a file: to log in, or around the file.

    Raises:
        DataError: it is one.
    """
    if _name(name).lower().endswith((".html", ".htm")):
        return
    with path.open("rb") as file:
        head = file.read(200).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(PAGE_STARTS):
        raise DataError(
            f"{name} is answered with a web page, not with a file",
            hint="the address that the file itself comes from; a page to log in says that credentials are missing",
        )


def _refuse_unknown(address: str, found: list[Found]) -> None:
    """Refuse a folder with files of which nobody knows how long they are.

    Raises:
        DataError: names the first.
    """
    unknown = next((name for name, size, _ in found if size == UNKNOWN), None)
    if unknown is not None:
        raise DataError(
            f"{address.rstrip('/')}/{unknown}: the server does not say how many bytes it has",
            hint="its address alone, as a single file, or download the folder",
        )


@contextlib.contextmanager
def _written_cache(folder: Path) -> Iterator[None]:
    """Errors inside of it that come from the cache's own folders say so."""
    try:
        yield
    except OSError as error:
        if str(error.filename or "").startswith(str(fetched_root())):
            raise DataError(
                f"the cache cannot be written: {error.strerror}: {error.filename}",
                hint="set REPCORE_CACHE to a folder that you may write",
            ) from error
        raise


def _whole_name(address: str, shard: Shard) -> str:
    return f"{address.rstrip('/')}/{shard.name}".rstrip("/") if shard.name else address


def _joined(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if name else root


def _file_name(system: Any, root: str, address: str) -> str:
    """Name of a single file, whose ending readers look at: that of its address, else of the one that a web server sends
    on to (``/download/7``), else a value of its query (``?file=x.csv``)."""
    own = _name(address)
    if Path(own).suffix:
        return own
    others = [str(system.info(root).get("url") or ""), *(value for _, value in parse_qsl(address.partition("?")[2]))]
    return next((name for name in map(_name, others) if Path(name).suffix), own)


def _name(address: str) -> str:
    """File name that an address ends in, without a query."""
    last = address.partition("?")[0].rstrip("/").rpartition("/")[2]
    return last.replace("\\", "_") or "data"
