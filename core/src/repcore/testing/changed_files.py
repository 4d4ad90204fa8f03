"""Copies of a file or folder in which one thing is another: what a fingerprint must notice."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

CELLS = 6  # columns of a table of which one is changed


def changed_copy(path: Path, folder: Path, change: Callable[[bytes], bytes | None]) -> Path | None:
    """A copy of a file or tree whose largest file went through ``change``; None where that cannot be changed so."""
    target = folder / path.name
    if path.is_dir():
        shutil.copytree(path, target)
        files = sorted((one for one in target.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    else:
        shutil.copy(path, target)
        files = [target]
    before = files[-1].read_bytes()
    after = change(before)
    if after is None or after == before:
        return None
    files[-1].write_bytes(after)
    return target


def _another_digit(content: bytes) -> bytes:
    """The last digit is another one."""
    changed = bytearray(content)
    for place in range(len(changed) - 1, -1, -1):
        if chr(changed[place]).isdigit():
            changed[place] = ord("7") if changed[place] != ord("7") else ord("3")
            break
    return bytes(changed)


def _a_line_less(content: bytes) -> bytes | None:
    """Without the last line of a text."""
    lines = _lines(content)
    return None if lines is None else b"".join(lines[:-1])


def _another_cell(content: bytes, column: int) -> bytes | None:
    """A cell in the middle of a table is that of another line, where they differ; else its last digit is another."""
    lines = _lines(content)
    if lines is None:
        return None
    cells = [re.split(rb"([,;\t])", line.rstrip(b"\r\n")) for line in lines]
    middle, place = len(lines) // 2, 2 * column
    if any(len(one) <= place for one in (cells[middle], *cells[1:])):
        return None
    others = [one[place] for one in cells[1:] if one[place] != cells[middle][place]]
    cells[middle][place] = others[0] if others and column else _another_digit(cells[middle][place])  # ids stay unique
    lines[middle] = b"".join(cells[middle]) + b"\n"
    return b"".join(lines)


def _lines(content: bytes) -> list[bytes] | None:
    """Of a text of three lines or more."""
    if b"\0" in content:
        return None
    lines = content.splitlines(keepends=True)
    return lines if len(lines) > 2 else None


CHANGES: Mapping[str, Callable[[bytes], bytes | None]] = {
    "another digit in the largest file": _another_digit,
    "a line less in the largest file": _a_line_less,
    **{f"another cell in column {number + 1}": partial(_another_cell, column=number) for number in range(CELLS)},
}
"""What to change, in words."""
