"""Numbers with a sign before thousands: ``3,990.00``, ``3 990,00``, ``3'990.00``.

``1,234`` alone may be a decimal, and ``1 234`` two numbers: a column is read so only where one of its cells, or another
column of the table, shows what is meant. Files of bare numbers ask :func:`comma_meaning` instead, all columns at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MINUS = str.maketrans({"\u2212": "-", "\ufe63": "-", "\uff0d": "-"})  # as word processors set it
BLANKS = " \u00a0\u2009\u202f"
_SIGNS = {"a comma": (",", r"\."), "a blank": (BLANKS, ".,"), "an apostrophe": ("'\u2019", ".,")}
_GROUPED = {
    words: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?P<groups>(?:[{signs}]\d{{3}})+)(?:(?P<sign>[{decimals}])\d*)?")
    for words, (signs, decimals) in _SIGNS.items()
}
_PLAIN = re.compile(r"[+-]?(?:\d+(?:(?P<sign>[.,])\d*)?|(?P<first>[.,])\d+)(?:[eE][+-]?\d+)?")
_REMOVED = str.maketrans(dict.fromkeys(f",'\u2019{BLANKS}"))
LEAST_ROUND = 3  # amounts that all end with 0, before they are round
LARGEST_ALONE = 999  # a whole number up to here has no sign before thousands
Meaning = Literal["decimal", "thousands", "unclear", ""]
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d*|[1-9]\d{0,2}(?:\.\d{3})+),\d+(?:[eE][+-]?\d+)?")
_POINT_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+")
_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")
_BETWEEN_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


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
    if words == "a comma" and not (seen.is_sure or why or asked) and goes_on_at_thousand(cells, seen.rows):
        why = "the column's whole numbers without one stay below 1000"
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


def may_go_on_at_thousand(cells: Sequence[Any], rows: Sequence[int], sign: str) -> bool:
    """Whether ``1.111`` beside ``963`` may mean 1111: whole numbers go on to 999, and decimals would be written in two
    ways (``1.110`` and ``963``, not ``963.000``) or would all be smaller than every whole number.

    Args:
        rows: those with the sign, each before three digits.
        sign: a comma or a point.
    """
    whole = _whole_beside(cells, rows)
    texts = [str(cells[row]).strip().translate(MINUS) for row in rows]
    return bool(whole) and (
        any(text.endswith("0") for text in texts)
        or all(abs(float(text.replace(sign, "."))) < min(whole) for text in texts if text.count(sign) == 1)
    )


def point_meaning(cells: Sequence[Any], rows: Sequence[int]) -> Meaning:
    """What a point before three digits is in a column of a table whose decimals have a comma: ``46.069``.

    Several groups (``1.234.567``), whole numbers that go on to 999 beside it, or nothing but round amounts (``1.100``,
    ``2.300``) make it a sign before thousands; whole numbers of four digits and more without one make it a decimal
    point. Nothing else in a column tells.

    Args:
        rows: those with a point; none of their cells can be a decimal only.
    """
    texts = [str(cells[row]).strip().translate(MINUS) for row in rows]
    whole = _whole_numbers(cells, rows)
    if any(text.count(".") > 1 for text in texts):
        return "thousands"
    if whole:
        return "thousands" if max(whole) <= LARGEST_ALONE else "decimal"
    return "thousands" if len(texts) >= LEAST_ROUND and all(text.endswith("0") for text in texts) else "unclear"


def goes_on_at_thousand(cells: Sequence[Any], rows: Sequence[int]) -> bool:
    """Whether ``1,110`` beside ``963`` is 1110: nobody writes decimals with zeros at their end and without."""
    return any(str(cells[row]).strip().endswith("0") for row in rows) and bool(_whole_beside(cells, rows))


def _whole_beside(cells: Sequence[Any], rows: Sequence[int]) -> list[int]:
    """Sizes of the whole numbers in all other rows where the largest has three digits, else none."""
    whole = _whole_numbers(cells, rows)
    return whole if whole and 100 <= max(whole) <= LARGEST_ALONE else []


def _whole_numbers(cells: Sequence[Any], rows: Sequence[int]) -> list[int]:
    """Sizes of the whole numbers in all other rows."""
    signed = set(rows)
    rest = [str(cell).strip().translate(MINUS) for row, cell in enumerate(cells) if row not in signed]
    return [abs(int(text)) for text in rest if re.fullmatch(r"[+-]?\d+", text)]


def comma_meaning(columns: Iterable[Sequence[str]]) -> tuple[Meaning, str]:
    """What a comma inside the cells of a file is whose cells another sign separates, and a cell that shows it.

    ``9,993`` is 9.993 or 9993: a cell with another number of digits behind its comma, one with a point, or whole
    numbers that go on to 999 beside it, tell. ``unclear`` where nothing does; empty where no cell has a comma, or where
    one contradicts another.

    Args:
        columns: cells by column, of as many lines as are looked at.
    """
    decimal = groups = either = goes_on = ""
    has_point = False
    for cells in columns:
        rows = []
        for row, cell in enumerate(cells):
            text = cell.translate(MINUS)
            if _EITHER.fullmatch(text):
                rows.append(row)
                either = either or text
            elif _DECIMAL_COMMA.fullmatch(text):
                decimal = decimal or text
            elif _COMMA_GROUPS.fullmatch(text) and "," in text:
                groups = groups or text
            elif "." in text and not _POINT_GROUPS.fullmatch(text):
                has_point |= _PLAIN.fullmatch(text) is not None
        if rows and not goes_on and goes_on_at_thousand(cells, rows):
            goes_on = cells[rows[0]]
    if decimal:
        return ("", decimal) if groups or has_point else ("decimal", decimal)
    if groups or goes_on or (either and has_point):
        return "thousands", groups or goes_on or either
    return ("unclear", either) if either else ("", "")


def without_commas(text: str) -> str:
    """A text without the commas that stand before three digits."""
    return _BETWEEN_GROUPS.sub("", text)
