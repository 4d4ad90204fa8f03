"""The files of this machine that were fetched from addresses, all together within a bound.

    <cache>/remote/<hash>/     one address: its listing, or its files
    <cache>/remote/shards/     fetched shards

Shards leave when there is no room, and so do files of addresses that no process has open, those that were used longest
ago first. What is being fetched counts with all the bytes that it will have.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from pathlib import Path

from repcore.data.preparation import cache_root
from repcore.errors import DataError

LIMIT_VARIABLE = "REPCORE_REMOTE_CACHE"
LIMIT_GIB = 20.0
USED = ".used"
"""In the folder of an address: its bytes, as text. Open, and locked, in every process that uses the folder."""
DEAD_SECONDS = 3_600.0  # in which nothing came: who fetched it has been killed
_PARTIAL = re.compile(r".*\.partial-(\d+)-[0-9a-f]{8}")
_in_use: dict[Path, int] = {}  # and the open file that holds the lock


def fetched_root() -> Path:
    """Folder of everything that was fetched."""
    return cache_root() / "remote"


def cache_limit() -> float:
    """Most bytes of fetched files."""
    try:
        return float(os.environ.get(LIMIT_VARIABLE, "") or LIMIT_GIB) * 2**30
    except ValueError:
        return LIMIT_GIB * 2**30


def refuse_too_large(name: str, size: int) -> None:
    """Refuse what is larger than the whole cache.

    Raises:
        DataError: names the variable to set.
    """
    if size > cache_limit():
        raise DataError(
            f"{name} has {size:,} bytes, more than what is fetched may take in all",
            cache=f"{cache_limit() / 2**30:g} GiB ({LIMIT_VARIABLE})",
            hint=f"{LIMIT_VARIABLE}={1 + 2 * size // 2**30} (in GiB), or the data in smaller shards",
        )


def partial_name(path: Path, size: int) -> Path:
    """A name for a file that is being fetched, which says how large it will be."""
    return path.with_name(f"{path.name}.partial-{max(size, 0)}-{uuid.uuid4().hex[:8]}")


def remove_partials(path: Path) -> None:
    """What killed processes have left of a file. Only for who holds the lock of its name."""
    for one in path.parent.glob(f"{path.name}.partial-*"):
        one.unlink(missing_ok=True)


def use(folder: Path) -> None:
    """Keep the folder of an address as long as this process lives; makes it if needed."""
    if folder in _in_use and (folder / USED).exists():  # else somebody has emptied the cache
        os.utime(folder / USED)
        return
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / USED, os.O_RDWR | os.O_CREAT, 0o666)
        _lock(file, shared=True)
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            if os.fstat(file).st_ino == (folder / USED).stat().st_ino:
                break
        os.close(file)
    _in_use[folder] = file
    os.utime(folder / USED)


def note_bytes(folder: Path, size: int) -> None:
    """Write down how many bytes the folder of an address holds."""
    (folder / USED).write_text(str(size), encoding="utf-8")


def trim(keep: Path) -> None:
    """Remove what was used longest ago until all is within the bound.

    Args:
        keep: the shard, or the folder of an address, that stays.
    """
    entries = [*_shards(), *_folders()]
    held = sum(size for _, size, _, _ in entries)
    for _, size, path, may_go in sorted(entries):
        if held <= cache_limit():
            return
        if path != keep and may_go and _removed(path):
            held -= size


def _shards() -> list[tuple[int, int, Path, bool]]:
    """Last use, bytes, path, and whether it may go, of all in the folder of shards."""
    found = []
    folder = fetched_root() / "shards"
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # another process removes, too
            facts, partial = path.stat(), _PARTIAL.fullmatch(path.name)
            if partial and time.time() - facts.st_mtime > DEAD_SECONDS:
                path.unlink()
                continue
            size = max(facts.st_size, int(partial[1])) if partial else facts.st_size
            found.append((facts.st_mtime_ns, size, path, not partial and not path.name.startswith(".")))
    return found


def _folders() -> list[tuple[int, int, Path, bool]]:
    """The same of the folders of addresses that hold files."""
    found = []
    for mark in fetched_root().glob(f"*/{USED}"):
        with contextlib.suppress(OSError):
            text = mark.read_text(encoding="utf-8")
            found.append((mark.stat().st_mtime_ns, int(text) if text.isdigit() else 0, mark.parent, True))
    return found


def _removed(path: Path) -> bool:
    """Whether a shard, or the folder of an address that no process uses, is gone now."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return True
    try:
        with (path / USED).open("a", encoding="utf-8") as file:
            if not _lock(file.fileno(), shared=False):
                return False
            gone = path.with_name(f".gone-{uuid.uuid4().hex[:8]}")
            path.rename(gone)
    except OSError:
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _lock(file: int, *, shared: bool) -> bool:
    """Lock a file until it is closed, also by the end of the process; False where another has it, or nothing can."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # Windows, or a file system without locks: nothing is removed under anybody
        return False
    return True
