"""Time stamps as whole nanoseconds since 1970 (UTC), and the steps between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

from repcore.data.cells import is_missing
from repcore.errors import DataError

NS = 10**9
UNITS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": NS, "sec": NS, "min": 60 * NS, "t": 60 * NS, "h": 3600 * NS,
    "hour": 3600 * NS, "d": 86_400 * NS, "day": 86_400 * NS, "w": 7 * 86_400 * NS,
}  # fmt: skip
FORMATS = (
    "%Y-%m-%d %H-%M-%S", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
    "%d.%m.%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y",
    "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y", "%Y%m%d%H%M%S", "%Y%m%d",
)  # fmt: skip
SINCE_1970 = ((1e17, 1), (1e14, 10**3), (1e11, 10**6), (1e8, NS))  # smallest number -> nanoseconds of a unit


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


def read_times(cells: Sequence[Any], column: str) -> tuple[np.ndarray, str]:
    """int64 (N,), and what was guessed about their form (empty for ISO 8601).

    Local times with an offset become UTC; those without one are taken as UTC.

    Raises:
        DataError: a cell is no time, or not of the form of the others; names the row.
    """
    filled = next((cell for cell in cells if not is_missing(cell)), None)
    if filled is None:
        raise DataError(f"column {column!r} holds no time")
    reader, words = _reader(filled, cells)
    found = np.empty(len(cells), np.int64)
    for row, cell in enumerate(cells):
        try:
            found[row] = reader(cell)
        except (ValueError, TypeError, OverflowError):
            empty = "is empty" if is_missing(cell) else f"is no time like {str(filled)!r}"
            raise DataError(
                f"column {column!r}, row {row}: {str(cell)!r} {empty}", hint="one form of time in the whole column"
            ) from None
    return found, words


def looks_like_times(cells: Sequence[Any]) -> bool:
    """Whether all of these cells are dates with or without a time of day; numbers alone are not."""
    filled = [cell for cell in cells if not is_missing(cell)]
    if not filled or any(isinstance(one, bool | int | float) or _is_number(one) for one in filled):
        return False
    try:
        read_times(filled, "")
    except DataError:
        return False
    return True


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _reader(first: Any, cells: Sequence[Any]) -> tuple[Callable[[Any], int], str]:
    if isinstance(first, datetime | date):
        return _of_datetime, ""
    try:
        number = float(first)
    except (TypeError, ValueError):
        number = None
    if number is not None and not re.fullmatch(r"\d{8}|\d{14}", str(first)):
        unit = next((unit for least, unit in SINCE_1970 if abs(number) >= least), NS)
        name = next((word for word, size in UNITS.items() if size == unit), "s")
        return partial(_of_number, unit=unit), f"numbers of {name}"
    if _fits(_of_iso, cells[:200]) and number is None:
        return _of_iso, ""
    fitting = [one for one in FORMATS if _fits(_of_format(one), cells)]
    if not fitting:
        return _of_iso, ""  # whose first failing row is told
    words = f"read as {fitting[0]}"
    return _of_format(fitting[0]), words + (f" ({fitting[1]} would fit, too)" if len(fitting) > 1 else "")


def _fits(reader: Callable[[Any], int], cells: Sequence[Any]) -> bool:
    try:
        for cell in cells:
            reader(cell)
    except (ValueError, TypeError):
        return False
    return True


def _of_number(cell: Any, unit: int) -> int:
    """Exactly: binary fractions of 1.6e12 ms are off by hundreds of nanoseconds."""
    try:
        return int((Decimal(str(cell).strip()) * unit).to_integral_value())
    except ArithmeticError as error:
        raise ValueError(str(cell)) from error


def _of_iso(cell: Any) -> int:
    return _of_datetime(datetime.fromisoformat(str(cell).strip()))


def _of_format(form: str) -> Callable[[Any], int]:
    return lambda cell: _of_datetime(datetime.strptime(str(cell).strip(), form))


def _of_datetime(value: Any) -> int:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    apart = value - datetime(1970, 1, 1, tzinfo=UTC)
    return int((apart.days * 86_400 + apart.seconds) * NS + apart.microseconds * 1000)
