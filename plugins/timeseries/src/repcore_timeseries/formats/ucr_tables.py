"""Tables of the UCR archive, old and new: the class, then the values; missing ones at the end make a series shorter.

The form of 2018 has tabs (``.tsv``), older ones commas or blanks (``.txt``, ``.csv``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repcore.errors import DataError
from repcore_timeseries.formats.archives import Archive, Case, guarded, numbers, text_lines
from repcore_timeseries.formats.series import Series

LEAST_COLUMNS = 5


def read_ucr(path: Path) -> Archive:
    """All cases.

    Raises:
        DataError: nothing in it.
    """
    lines = [(number, line) for number, line in enumerate(text_lines(path)) if line.strip()]
    cases = [guarded(number, lambda line=line: _case(line)) for number, line in lines]  # type: ignore[misc]
    if not cases:
        raise DataError(f"{str(path)!r} has no case")
    return Archive(path, cases)


def looks_like_ucr(line: str) -> bool:
    """Whether a first line is a class and values, all of them numbers."""
    words = _words(line)
    if len(words) < LEAST_COLUMNS:
        return False
    try:
        numbers("\t".join(words), "\t")
        return words[0].lower() not in ("nan", "?", "") and float(words[0]).is_integer()
    except ValueError:
        return False


def _words(line: str) -> list[str]:
    """Cells between tabs, else commas, else blanks."""
    text = line.strip()
    sign = "\t" if "\t" in text else "," if "," in text else None
    return text.split(sign)


def _case(line: str) -> Case:
    first, *rest = _words(line)
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
