"""Numbers with a sign before thousands: ``3,990.00``, ``3 990,00``, ``3'990.00``.

``1,234`` alone may be a decimal, and ``1 234`` two numbers: a column is read so only where one of its cells, or another
column of the table, shows what is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MINUS = str.maketrans({"\u2212": "-", "\ufe63": "-", "\uff0d": "-"})  # as word processors set it
BLANKS = " \u00a0\u2009\u202f"
_SIGNS = {"a comma": (",", r"\."), "a blank": (BLANKS, ".,"), "an apostrophe": ("'\u2019", ".,")}
_GROUPED = {
    words: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?P<groups>(?:[{signs}]\d{{3}})+)(?:(?P<sign>[{decimals}])\d*)?")
    for words, (signs, decimals) in _SIGNS.items()
}
_PLAIN = re.compile(r"[+-]?(?:\d+(?:(?P<sign>[.,])\d*)?|(?P<first>[.,])\d+)(?:[eE][+-]?\d+)?")
_REMOVED = str.maketrans(dict.fromkeys(f",'\u2019{BLANKS}"))
LARGEST_ALONE = 999  # a whole number up to here has no sign before thousands


@dataclass(slots=True)
class _Seen:
    """What the cells of a column show."""

    words: set[str]
    decimals: set[str]
    rows: list[int]
    is_sure: bool = False
    has_small: bool = False


def without_groups(
    cells: Sequence[Any], asked: str | None = None, point: Callable[[], str] = str
) -> tuple[list[Any], str, str] | None:
    """Cells without the signs before thousands, their decimal sign, and what to say; None where they do not show it.

    Args:
        asked: decimal sign as the user says.
        point: why a comma stands before thousands, asked for where the cells of the column do not tell; empty where
            nothing of the table does.
    """
    seen = _Seen(set(), set() if asked is None else {asked}, [])
    for row, cell in enumerate(cells):
        if isinstance(cell, str):
            _see(seen, row, cell.strip().translate(MINUS))
    if len(seen.words) != 1 or len(seen.decimals) > 1:
        return None
    words, decimal = next(iter(seen.words)), next(iter(seen.decimals), ".")
    if words == "a comma" and decimal == ",":
        return None
    why = "" if seen.is_sure or (words == "a comma" and asked) else point() if words == "a comma" else ""
    if not (seen.is_sure or why or (words == "a comma" and asked) or (words == "a blank" and seen.has_small)):
        return None
    cleared = list(cells)
    for row in seen.rows:
        body, sign, rest = cleared[row].strip().translate(MINUS).partition(decimal)
        cleared[row] = body.translate(_REMOVED) + sign + rest
    shown = f"{words} stands before thousands in {len(seen.rows):,} cells such as {str(cells[seen.rows[0]]).strip()!r}"
    return cleared, decimal, f"{shown}{': ' if why else ''}{why}"


def _see(seen: _Seen, row: int, text: str) -> None:
    for words, pattern in _GROUPED.items():
        found = pattern.fullmatch(text)
        if found is None:
            continue
        seen.words.add(words)
        seen.rows.append(row)
        if found["sign"]:
            seen.decimals.add(found["sign"])
        groups = found["groups"]
        seen.is_sure |= bool(found["sign"]) or len(groups) > 4 or groups[0] not in ", "
        return
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        sign = plain["sign"] or plain["first"]
        if sign:
            seen.decimals.add(sign)
        elif abs(float(text)) <= LARGEST_ALONE:
            seen.has_small = True
