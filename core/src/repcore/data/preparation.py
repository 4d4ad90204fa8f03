"""Slow preparation done once: an atomic cache beside the runs, never beside the user's data.

Key = hash of (data fingerprint, preparation key). The folder is filled under a temporary name and renamed, so a
killed run leaves nothing that looks finished. ``checksums.json`` holds a checksum of every block of every file; a
folder that does not agree with it is made again.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from repcore.data.divided import over
from repcore.errors import DataError
from repcore.files import read_json_file, write_text
from repcore.interfaces import DatasetReader, Preparation, Preprocessor

Report = Callable[[int, int], None]
BLOCK = 16 * 2**20
CHECKSUMS = "checksums.json"
PARTIAL = ".partial-"


def cache_root() -> Path:
    """``REPCORE_CACHE``, else ``$XDG_CACHE_HOME/repcore``, else ``~/.cache/repcore``."""
    if os.environ.get("REPCORE_CACHE"):
        return Path(os.environ["REPCORE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repcore"


def prepared(
    reader: DatasetReader,
    preprocessor: Preprocessor,
    *,
    workers: int = 0,
    progress: Report = lambda done, total: None,
    warn: Callable[[str], None] = warnings.warn,
    again: bool = False,
) -> DatasetReader:
    """The reader over prepared data if the preprocessor wants preparation, otherwise the reader itself.

    Readers that stand over another (of one label, of groups of elements) stand over the prepared data afterwards.

    Args:
        warn: is told that a damaged cache is made again.
        again: make it again although it is there and sound.
    """
    make = getattr(preprocessor, "preparation", None)
    if make is None:
        return reader
    preparation = make(workers)
    if preparation is None:
        return reader
    return over(reader, lambda whole: run_preparation(preparation, whole, progress, warn, again))


def run_preparation(
    preparation: Preparation,
    reader: DatasetReader,
    progress: Report,
    warn: Callable[[str], None] = warnings.warn,
    again: bool = False,
) -> DatasetReader:
    """Open the cached result, making it first if it is not there, and again if it is damaged or ``again`` asks for it.

    Raises:
        DataError: the cache cannot be written.
    """
    key = sha256(f"{reader.fingerprint}|{preparation.key}".encode()).hexdigest()[:24]
    folder = cache_root() / "prepared" / key
    damage = damaged(folder) if folder.is_dir() else ""
    if damage:
        warn(f"prepared data in {folder} are damaged ({damage}); they are made again")
        shutil.rmtree(folder, ignore_errors=True)
    if again or not folder.is_dir():
        cannot = f"the preparation cache {cache_root()} cannot be written"
        with appearing_whole(folder, lambda: not again and folder.is_dir(), cannot) as partial:
            preparation.run(reader, partial, progress)
            write_text(partial / CHECKSUMS, json.dumps(checksums(partial)))
            if again:  # the old one stays until the new one is complete
                shutil.rmtree(folder, ignore_errors=True)
    return preparation.open(reader, folder)


@contextmanager
def appearing_whole(folder: Path, is_there: Callable[[], bool], cannot: str) -> Iterator[Path]:
    """A folder to fill that becomes ``folder`` of the cache when it is full, or goes; several processes may do so.

    Args:
        is_there: whether another process has finished first, so that a failure does not matter.
        cannot: what to say otherwise.

    Raises:
        DataError: the cache cannot be written.
    """
    remove_abandoned(folder.parent)
    partial = folder.with_name(f"{folder.name}{PARTIAL}{machine_name()}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    except OSError as error:
        if not is_there():
            raise DataError(f"{cannot}: {error}", hint="set REPCORE_CACHE to a folder with space") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine had begun to prepare when they were killed."""
    for path in folder.glob(f"*{PARTIAL}{machine_name()}.*"):
        try:
            os.kill(int(path.name.split(".")[-2]), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (OSError, ValueError):  # another user's, or not ours
            continue


def machine_name() -> str:
    """This machine's name: process numbers of others mean nothing here."""
    return "".join(one if one.isalnum() else "-" for one in platform.node())


def checksums(folder: Path) -> dict[str, list[int]]:
    """CRC-32 of each block of each file below a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / CHECKSUMS)
    return {path.relative_to(folder).as_posix(): _of_blocks(path) for path in files}


def _of_blocks(path: Path) -> list[int]:
    with path.open("rb") as file:
        return [zlib.crc32(block) for block in iter(lambda: file.read(BLOCK), b"")]


def damaged(folder: Path) -> str:
    """What of a prepared folder does not agree with its checksums, in words; empty where all does.

    Folders of versions that wrote no checksums are taken as they are.
    """
    if not (folder / CHECKSUMS).is_file():
        return ""
    try:
        wanted = read_json_file(folder / CHECKSUMS)
        found = checksums(folder)
    except (OSError, ValueError) as error:
        return str(error)
    for name, blocks in wanted.items() if isinstance(wanted, dict) else ():
        if name not in found:
            return f"{name} is missing"
        if len(found[name]) != len(blocks):
            return f"{name} is cut off"
        bad = next(
            (place for place, sums in enumerate(zip(found[name], blocks, strict=True)) if len(set(sums)) > 1), -1
        )
        if bad >= 0:
            return f"block {bad} of {name}"
    return "" if isinstance(wanted, dict) else f"{CHECKSUMS} is none"
