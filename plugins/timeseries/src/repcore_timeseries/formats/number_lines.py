"""Lines that hold nothing but numbers: what separates them, and what a comma inside of one means."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from repcore.data.cells import is_missing
from repcore.data.cells import number as core_number
from repcore.data.grouped import comma_meaning, without_commas
from repcore.errors import DataError

LOOKED_AT = 200


def words_of(line: str) -> list[str]:
    """Cells between tabs or semicolons, else between commas, else between blanks.

    A comma with digits on both sides, where blanks cut the line, is part of a number.
    """
    text = line.strip()
    for sign in "\t;":
        if sign in text:
            return [word.strip() for word in text.split(sign)]
    words = text.split()
    if "," in text and (len(words) == 1 or any(word[0] == "," or word[-1] == "," for word in words)):
        return [word.strip() for word in text.split(",")]
    return words


def plain_numbers(rows: Sequence[Sequence[str]], source: str) -> list[list[str]]:
    """Cells as Python reads them: with a point before decimals, and no sign before thousands.

    Raises:
        DataError: no cell tells which of both a comma is.
    """
    meaning, shown = comma_meaning(zip_longest(*rows[:LOOKED_AT], fillvalue=""))
    if meaning == "unclear":
        raise DataError(
            f"{source}: {shown!r} may be {shown.replace(',', '.')} or {shown.replace(',', '')}, and no cell tells",
            hint="numbers with a point before decimals, and no sign before thousands",
        )
    if meaning == "thousands":
        return [[without_commas(word) for word in row] for row in rows]
    return [[_with_point(word) for word in row] for row in rows] if meaning == "decimal" else [[*row] for row in rows]


def _with_point(word: str) -> str:
    if is_missing(word):
        return word
    try:
        return repr(core_number(word, ","))
    except ValueError:
        return word
