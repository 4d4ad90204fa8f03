"""Time stamps as whole nanoseconds since 1970 (UTC), and the steps between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from repcore.data.cells import is_missing
from repcore.data.grouped import comma_meaning
from repcore.errors import DataError
from repcore_timeseries.formats import number_times, text_times
from repcore_timeseries.formats.time_units import NS, UNITS, Reading

__all__ = ["NS", "UNITS", "Reading", "looks_like_times", "read_times", "step_of", "step_words"]

_COMMA_NUMBER = re.compile(r"[+-]?\d+(,\d+)?")
FORMS = (
    "a pattern such as %d/%m/%Y %H:%M, day-first, month-first, year-first, s, ms, us, ns, min, h, d, year, excel, "
    "matlab, filetime or compact"
)


def step_of(text: str) -> int:
    """Nanoseconds of a step such as ``15min``, ``1h`` or ``0.5 s``.

    Raises:
        DataError: it is no step of time.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)?\s*([a-zA-Z]+)\s*", text)
    word = found[2].lower() if found else ""
    unit = UNITS.get(word) or UNITS.get(word.rstrip("s"))
    step = round(float(found[1] or 1) * unit) if found and unit else 0
    if step <= 0:
        raise DataError(
            f"{text!r} is no step of time", expected="a number and ns, us, ms, s, min, h, d or w", hint="15min"
        )
    return step


def step_words(step: float) -> str:
    """``15 min`` for 9e11."""
    for unit, name in ((86_400 * NS, "d"), (3600 * NS, "h"), (60 * NS, "min"), (NS, "s"), (10**6, "ms")):
        if step >= unit:
            return f"{step / unit:.6g} {name}"
    return f"{step:.6g} ns"


def read_times(cells: Sequence[Any], column: str, form: str = "") -> Reading:
    """Times of a column, and what was guessed about their form (nothing for ISO 8601).

    Local times with an offset become UTC; those without one are taken as UTC.

    Args:
        cells: of the column.
        column: its name, which may hold a unit (``time [ms]``) or an offset (``Date Time, GMT+01:00``).
        form: as the user says, one of :data:`FORMS`; empty = found.

    Raises:
        DataError: a cell is no time, or not of the form of the others; names the row. Several readings fit.
    """
    filled = [cell for cell in cells if not is_missing(cell)]
    if not filled:
        raise DataError(f"column {column!r} holds no time")
    empty = next((row for row, cell in enumerate(cells) if is_missing(cell)), None)
    if empty is not None:
        raise DataError(
            f"column {column!r}, row {empty}: {str(cells[empty])!r} is empty", hint="a time in every line with values"
        )
    if isinstance(filled[0], date):
        return Reading(np.asarray([_of_date(cell, row, column) for row, cell in enumerate(cells)], np.int64))
    if "%" in form:
        return Reading(np.asarray([_of_pattern(cell, form, row, column) for row, cell in enumerate(cells)], np.int64))
    if form and form not in (*text_times.ORDERS, *number_times.FORMS):
        raise DataError(f"time_form={form!r} is unknown", expected=FORMS)
    cells = with_points(cells)
    numbers = number_times.as_numbers(cells)
    if numbers is None or form in text_times.ORDERS:
        if form in number_times.FORMS:
            bad = next(row for row, cell in enumerate(cells) if number_times.as_numbers([cell]) is None)
            raise DataError(f"column {column!r}, row {bad}: {str(cells[bad])!r} is no number", time_form=form)
        return text_times.read(cells, column, form)
    return number_times.read(cells, numbers, column, form)


def with_points(cells: Sequence[Any]) -> Sequence[Any]:
    """Cells with a point before decimals, where all are numbers and a comma stands there (``0,02``)."""
    if not any(isinstance(cell, str) and "," in cell for cell in cells):
        return cells
    texts = [str(cell).strip() for cell in cells]
    if not all(map(_COMMA_NUMBER.fullmatch, texts)) or comma_meaning([texts])[0] != "decimal":
        return cells
    return [text.replace(",", ".") for text in texts]


def looks_like_times(cells: Sequence[Any]) -> bool:
    """Whether all of these cells are dates with or without a time of day; numbers alone are not."""
    filled = [cell for cell in cells if not is_missing(cell)]
    if not filled:
        return False
    if all(isinstance(one, date) for one in filled):
        return True
    if any(isinstance(one, bool | int | float) for one in filled):
        return False
    return text_times.are_dates([str(one) for one in filled])


def _of_date(value: Any, row: int, column: str) -> int:
    if not isinstance(value, date):
        raise DataError(f"column {column!r}, row {row}: {str(value)!r} is no time like the first ones")
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    local = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    apart = local - datetime(1970, 1, 1, tzinfo=UTC)
    below = int(getattr(value, "nanosecond", 0))  # of pandas
    return (apart.days * 86_400 + apart.seconds) * NS + apart.microseconds * 1000 + below


def _of_pattern(cell: Any, form: str, row: int, column: str) -> int:
    try:
        return _of_date(datetime.strptime(str(cell).strip(), form), row, column)
    except ValueError as error:
        raise DataError(f"column {column!r}, row {row}: {str(cell)!r} is not of time_form={form}: {error}") from None
