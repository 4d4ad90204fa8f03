"""Before long work begins: can its output be written, and is nobody else writing it?"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from repcore.errors import ConfigError, DataError

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}(?=[^/\\])")  # a Path keeps one slash of s3://
WAIT_SECONDS = 5.0


def local_output(path: Path, option: str = "-o", *, folder_too: bool = False) -> Path:
    """A path of this machine's file system, as a file that can be written.

    Args:
        option: of the command line, for messages.
        folder_too: an existing folder will do.

    Raises:
        ConfigError: it is an address such as ``s3://``. DataError: a folder is missing or in the way, or no rights.
    """
    text = str(path)
    refuse_address(path, option)
    if path.is_dir() and not folder_too:
        raise DataError(f"{text!r} is a folder", expected="a file name", hint=f"{option} {path / 'vectors.parquet'}")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError(f"{text!r} is a device, pipe or socket, not a file", hint="another file name")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise DataError(f"{text!r} cannot be written: {str(folder)!r} is a file")
    probe = folder / f".repcore-{os.getpid()}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(
            f"{text!r} cannot be written: {error.strerror}: {folder}", hint=f"{option} with a place that you may write"
        ) from error
    return path


def refuse_address(path: str | Path, option: str) -> None:
    """Refuse an address where something is to be written: a folder called ``s3:`` would be nobody's wish.

    Raises:
        ConfigError: it is one.
    """
    text = str(path)
    if ADDRESS.match(text):
        scheme, _, rest = text.partition(":")
        raise ConfigError(
            f"{option} {scheme}://{rest.lstrip('/')}: output goes to files of this machine",
            hint=f"write to a local file or folder, then copy it to {scheme}:",
        )


def folder_for(path: Path, option: str) -> Path:
    """A folder that exists afterwards.

    Args:
        option: how the user named it, for messages.

    Raises:
        ConfigError: a file is in the way; names it. It is an address.
    """
    refuse_address(path, option)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        there = next(one for one in (path, *path.absolute().parents) if one.exists())
        raise ConfigError(
            f"{option} {str(path)!r} can be no folder: {str(there)!r} is a file", hint=f"{option} with another name"
        ) from error
    return path


PARTS_HEADER = "_header.json"
"""File that makes a folder one of parts; tools that read folders of parquet leave such names out."""


def holds_vectors(path: Path) -> bool:
    """Whether a path is a file (of embeddings, and no model's folder), or a folder of their parts."""
    return path.is_file() or (path / PARTS_HEADER).is_file()


@contextmanager
def sole_writer(
    path: Path,
    say: Callable[[str], None] = lambda text: None,
    run: Path | None = None,
    patience: float = WAIT_SECONDS,
) -> Iterator[None]:
    """Hold an output while it is written; a second command waits a little, then names the first.

    The system lets go when the process ends, however it ends.

    Args:
        run: folder of the run whose training this is, in the words of what is said; None = a file is written.
        patience: seconds to wait for the other.

    Raises:
        DataError: another process is writing it.
    """
    lock = path.with_name(f".{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with lock.open("a+", encoding="utf-8") as file:
            _hold(file.fileno(), lock, _Held(path, run), say, patience)
            if not _is_named(file.fileno(), lock):  # the one before us has removed it meanwhile
                continue
            try:
                file.truncate(0)
                file.write(f"{os.getpid()}\n")
                file.flush()
                yield
            finally:
                with contextlib.suppress(OSError):
                    lock.unlink()
            return


def _is_named(number: int, lock: Path) -> bool:
    try:
        return os.fstat(number).st_ino == lock.stat().st_ino
    except FileNotFoundError:
        return False


class _Held(NamedTuple):
    """What is held, in words."""

    path: Path
    run: Path | None

    @property
    def words(self) -> str:
        if self.run is not None:
            return f"the run {str(self.run)!r} is being trained"
        return f"{str(self.path)!r} is being written"

    @property
    def hint(self) -> str:
        if self.run is not None:
            return "wait until it is done, or stop that one (Ctrl-C, kill) and go on here"
        return "wait until it is done, or write to another file"


def _hold(number: int, lock: Path, held: _Held, say: Callable[[str], None], patience: float) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two commands on one output are the user's affair
        return
    until, told = time.monotonic() + patience, False
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                holder = lock.read_text(encoding="utf-8").strip() or "unknown"
                raise DataError(
                    f"{held.words} by another command (process {holder})",
                    hint=held.hint,
                ) from None
        except OSError:  # a file system without locks
            return
        if not told:
            say(f"{held.words} by another command; waiting")
            told = True
        time.sleep(0.1)
