"""What Python code opens, lists and reads while something is tried.

The interpreter's audit hooks stay for good, so there is one for all; it notes nothing while nobody watches.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_watching: list[list[tuple[str, str]]] = []  # an event and a path, for each who watches
_EVENTS = {"open": "file", "os.listdir": "folder", "os.scandir": "folder"}


@cache
def _install() -> None:
    def note(event: str, arguments: tuple[object, ...]) -> None:
        if _watching and event in _EVENTS and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
            seen = (_EVENTS[event], os.fsdecode(arguments[0]))
            for one in _watching:
                one.append(seen)

    sys.addaudithook(note)


@contextmanager
def watched() -> Iterator[list[tuple[str, str]]]:
    """Events in order, as ``("file", path)`` for what is opened and ``("folder", path)`` for what is listed."""
    _install()
    seen: list[tuple[str, str]] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching[:] = [one for one in _watching if one is not seen]  # by identity: equal lists are others'


def opened_below(folder: Path, work: Callable[[], object]) -> set[str]:
    """Different files that Python code opens, a file itself or below a folder."""
    with watched() as seen:
        work()
    return {path for event, path in seen if event == "file" and _is_below(path, folder)}


def listed_below(folder: Path, work: Callable[[], object]) -> set[str]:
    """Different folders that Python code lists, the folder itself among them."""
    with watched() as seen:
        work()
    return {path for event, path in seen if event == "folder" and _is_below(path, folder)}


def _is_below(path: str, folder: Path) -> bool:
    return path == str(folder) or path.startswith(f"{folder}{os.sep}")
