"""Tables of the UCR archive, old and new: the class, then the values; missing ones at the end make a series shorter.

The form of 2018 has tabs (``.tsv``), older ones commas or blanks (``.txt``, ``.csv``). Where only the last column can
be the class, it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from repcore.errors import DataError
from repcore_timeseries.formats.archives import Archive, Case, guarded, numbers, text_lines
from repcore_timeseries.formats.number_lines import plain_numbers, words_of
from repcore_timeseries.formats.series import Series

LEAST_COLUMNS = 5
LAST = "the last column: it alone holds whole numbers"
"""What :attr:`Archive.facts` say under ``class`` where it does not stand first."""


def read_ucr(path: Path) -> Archive:
    """All cases.

    Raises:
        DataError: nothing in it, or numbers whose commas may be either.
    """
    lines = [(number, line) for number, line in enumerate(text_lines(path)) if line.strip()]
    rows = plain_numbers([words_of(line) for _, line in lines], path.name)
    is_last = class_is_last(rows)
    cases = [
        guarded(number, lambda row=row: _case(row, is_last))  # type: ignore[misc]
        for (number, _), row in zip(lines, rows, strict=True)
    ]
    if not cases:
        raise DataError(f"{str(path)!r} has no case")
    return Archive(path, cases, facts={"class": LAST} if is_last else {})


def looks_like_ucr(lines: Sequence[str]) -> bool:
    """Whether the first lines are a class and values each, all of them numbers."""
    try:
        rows = plain_numbers([words_of(line) for line in lines], "")
        if any(len(row) < LEAST_COLUMNS for row in rows):
            return False
        for row in rows:
            numbers("\t".join(row), "\t")
    except (ValueError, DataError):
        return False
    return all(_is_whole(row[0]) for row in rows) or class_is_last(rows)


def class_is_last(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the last cells are whole numbers and no cells of another column are."""
    width = min(map(len, rows), default=0)
    if width < LEAST_COLUMNS or any(len(row) != width for row in rows):
        return False
    are_whole = [all(_is_whole(row[place]) for row in rows) for place in range(width)]
    return are_whole[-1] and not any(are_whole[:-1])


def _is_whole(word: str) -> bool:
    try:
        return float(word).is_integer()
    except ValueError:
        return False


def _case(words: Sequence[str], is_last: bool) -> Case:
    first, *rest = [words[-1], *words[:-1]] if is_last else words
    values = numbers("\t".join(rest), "\t")
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return Case(None, first, ("no_value", "every value is missing"))
    return Case(Series.of(values[: known[-1] + 1]), _class_text(first))


def _class_text(text: str) -> str | None:
    """``1`` for ``1.0``: one class in this form."""
    value = float(text)
    if np.isnan(value):
        return None
    return str(int(value)) if value.is_integer() else text
