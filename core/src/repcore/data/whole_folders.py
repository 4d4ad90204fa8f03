"""Folders of the cache that appear whole, however many processes make them and whichever are killed.

A folder is filled under a temporary name and renamed, so a killed process leaves nothing that looks finished.
``checksums.json`` holds a checksum of every block of every file, by which damage is found later.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from repcore.errors import DataError
from repcore.files import read_json_file, write_text

BLOCK = 16 * 2**20
CHECKSUMS = "checksums.json"
PARTIAL = ".partial-"


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
    partial = temporary_name(folder)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    except OSError as error:
        if not is_there():
            raise DataError(f"{cannot}: {error}", hint="set REPCORE_CACHE to a folder with space") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def temporary_name(folder: Path) -> Path:
    """A name beside a folder that says which process of which machine fills it."""
    return folder.with_name(f"{folder.name}{PARTIAL}{machine_name()}.{os.getpid()}.{uuid.uuid4().hex[:8]}")


def link_files(source: Path, folder: Path, pattern: str) -> None:
    """The files of a folder also in another, without copying where the file system can; both may then go."""
    for path in source.glob(pattern):
        try:
            (folder / path.name).hardlink_to(path)
        except OSError:  # such links are not made here
            shutil.copy2(path, folder / path.name)


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


def sealed(folder: Path) -> None:
    """Write the checksums of a folder that is filled."""
    write_text(folder / CHECKSUMS, json.dumps(checksums(folder)))


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
