"""Times that are written as numbers: since 1970, since the start, calendar dates without signs, spreadsheet days."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from repcore.errors import DataError
from repcore_timeseries.formats.time_units import (
    DAY,
    NS,
    UNITS,
    Reading,
    days_of,
    evenness,
    in_words,
    is_date_name,
    unit_in_name,
    words_in,
)  # fmt: skip

SINCE_1970 = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"))  # smallest number -> unit
PARTS = {  # digits -> lengths of year, month, day, hour, minute, second, millisecond
    8: (4, 2, 2), 10: (4, 2, 2, 2), 12: (4, 2, 2, 2, 2), 14: (4, 2, 2, 2, 2, 2), 17: (4, 2, 2, 2, 2, 2, 3),
}  # fmt: skip
NAMES = ("YYYY", "MM", "DD", "HH", "MM", "SS", "mmm")
EXCEL_ZERO, MATLAB_ZERO, JULIAN_ZERO = 25_569, 719_529, 2_440_587.5  # 1970-01-01 in days of each
FILETIME_ZERO = 116_444_736_000_000_000  # 1970 in steps of 100 ns since 1601
UNIT_FORMS = ("s", "ms", "us", "ns", "min", "h", "d")
FORMS = (*UNIT_FORMS, "year", "excel", "matlab", "filetime", "compact")
SECONDS_OF_DAY = 86_400
LEAST_DECIMALS = 4


def as_numbers(cells: Sequence[Any]) -> np.ndarray | None:
    """float64 (N,); None where one is no finite number."""
    try:
        found = np.asarray([float(cell) for cell in cells], np.float64)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found).all() else None


def read(cells: Sequence[Any], values: np.ndarray, column: str, form: str) -> Reading:
    """Times of numbers; the unit in the column's name counts, then what the numbers can be.

    Raises:
        DataError: two readings fit and nothing tells which; says the setting.
    """
    if form:
        return _asked(cells, values, column, form)
    unit = unit_in_name(column)
    compact = _compact(cells, column)
    if compact is not None:
        return compact
    if unit is not None and np.abs(values).max() * unit < 2**63 and not _is_year(values, column):
        name = next(word for word, size in UNITS.items() if size == unit)
        return Reading(_scaled(cells, column, unit), f"numbers of {name}", "the column's name")
    years = _years(cells, values, column)
    if years is not None:
        return years
    days = _days(cells, values, column)
    if days is not None:
        return days
    return _since(cells, values, column)


def _asked(cells: Sequence[Any], values: np.ndarray, column: str, form: str) -> Reading:
    if form in UNIT_FORMS:
        return Reading(_scaled(cells, column, UNITS[form]))
    if form == "compact":
        found = _compact(cells, column, is_asked=True)
        if found is None:
            raise DataError(
                f"column {column!r}: {str(cells[0])!r} is no compact time", expected="YYYYMMDD[HH[MM[SS[mmm]]]]"
            )
        return found
    if form == "filetime":
        return Reading(_filetimes(cells))
    times = _of_years(values) if form == "year" else _of_days(values, EXCEL_ZERO if form == "excel" else MATLAB_ZERO)
    return Reading(times)


def _scaled(cells: Sequence[Any], column: str, unit: int) -> np.ndarray:
    """Exactly: binary fractions of 1.6e12 ms are off by hundreds of nanoseconds."""
    found = np.empty(len(cells), np.int64)
    for row, cell in enumerate(cells):
        try:
            found[row] = int((Decimal(str(cell).strip()) * unit).to_integral_value())
        except (ArithmeticError, OverflowError):
            raise DataError(
                f"column {column!r}, row {row}: {str(cell)!r} is beyond the year 2262", hint="time_form=UNIT"
            ) from None
    return found


# ------------------------------------------------------------------------------------ dates without signs


def _compact(cells: Sequence[Any], column: str, is_asked: bool = False) -> Reading | None:
    """``20040310``, ``200403101800``, ...; with a name that says so ``200403`` and ``2004070``, too."""
    texts = [re.sub(r"\.0*$", "", str(cell).strip()) for cell in cells]
    size = len(texts[0])
    if any(len(one) != size or not one.isdigit() for one in texts):
        return None
    named = is_asked or is_date_name(column)
    if size in PARTS:
        if size == 10 and not named and len(texts) < 3:  # seconds since 1970 may look so
            return None
        return _of_parts(texts, PARTS[size])
    return _months_or_days(texts, size) if named and size in (6, 7) else None


def _columns(texts: Sequence[str], sizes: Sequence[int]) -> list[np.ndarray]:
    stops = np.cumsum(sizes)
    return [
        np.asarray([int(one[stop - size : stop]) for one in texts], np.int64)
        for stop, size in zip(stops, sizes, strict=True)
    ]


def _of_parts(texts: Sequence[str], sizes: Sequence[int]) -> Reading | None:
    parts = _columns(texts, sizes)
    days, exist = days_of(*parts[:3])
    clock = [*parts[3:], *[np.zeros(len(texts), np.int64)] * 4][:4]
    fits = exist & (parts[0] >= 1800) & (parts[0] <= 2200) & (clock[0] <= 24) & (clock[1] < 60) & (clock[2] < 60)
    if not fits.all():
        return None
    times = days * DAY + (clock[0] * 3600 + clock[1] * 60 + clock[2]) * NS + clock[3] * 10**6
    word = "".join(NAMES[: len(sizes)])
    return Reading(times, f"calendar times {word}, first {in_words(times[0])}", f"all are valid as {word}", False, True)


def _months_or_days(texts: Sequence[str], size: int) -> Reading | None:
    if size == 7:
        year, day = _columns(texts, (4, 3))
        if (day < 1).any() or (day > 366).any() or (year < 1800).any() or (year > 2200).any():
            return None
        times = (days_of(year, np.ones_like(year), np.ones_like(year))[0] + day - 1) * DAY
        return Reading(times, f"year and day of the year, first {in_words(times[0])}", "the column's name")
    fitting: list[tuple[np.ndarray, str]] = []
    year, month = _columns(texts, (4, 2))
    days, exist = days_of(year, month, np.ones_like(year))
    if exist.all() and (year >= 1800).all() and (year <= 2200).all():
        fitting.append((days * DAY, "year and month YYYYMM"))
    year, month, day = _columns(texts, (2, 2, 2))
    days, exist = days_of(year + np.where(year < 40, 2000, 1900), month, day)
    if exist.all():
        fitting.append((days * DAY, "dates YYMMDD"))
    if not fitting:
        return None
    times, said = max(fitting, key=lambda one: evenness(one[0]))
    return Reading(times, f"{said}, first {in_words(times[0])}", "the column's name, and the more even steps")


# ------------------------------------------------------------------------------------ years and days


def _is_year(values: np.ndarray, column: str) -> bool:
    return bool({"year", "jahr", "yr", "years"} & set(words_in(column))) and values.min() >= 1000


def _years(cells: Sequence[Any], values: np.ndarray, column: str) -> Reading | None:
    """``1950``, ``1950.25``, ``1949.08333``: by the name, or since nothing else has such fractions."""
    if values.min() < 1678 or values.max() > 2261:
        return None
    whole = bool((values == np.rint(values)).all())
    twelfths = np.abs(values * 12 - np.rint(values * 12)).max() < 0.02
    long = np.mean([len(str(cell).partition(".")[2]) >= 2 for cell in cells]) > 0.5
    rises = len(values) > 1 and bool((np.diff(values) > 0).all())
    if whole and is_date_name(column):
        why = "the column's name"
    elif whole and rises and len(values) > 2 and (np.diff(values) == 1).all() and values.max() <= 2100:
        why = "whole numbers of a calendar, one a line"
    elif not whole and _is_year(values, column):
        why = "the column's name"
    elif not whole and twelfths and long and (is_date_name(column) or np.abs(np.diff(values)).max() < 1.1):
        why = "twelfths of years"
    else:
        return None
    times = _of_years(values)
    return Reading(times, f"years, first {in_words(times[0])[:10]}", why)


def _of_years(values: np.ndarray) -> np.ndarray:
    """Twelfths are the first days of months."""
    if np.abs(values * 12 - np.rint(values * 12)).max() < 0.02:
        months = np.rint(values * 12).astype(np.int64) - 1970 * 12
        return months.astype("datetime64[M]").astype("datetime64[ns]").astype(np.int64)
    year = np.floor(values).astype(np.int64)
    starts, stops = (days_of(one, np.ones_like(one), np.ones_like(one))[0] for one in (year, year + 1))
    seconds = np.rint((starts + (values - year) * (stops - starts)) * SECONDS_OF_DAY)
    return seconds.astype(np.int64) * NS


def _of_days(values: np.ndarray, zero: float) -> np.ndarray:
    """To the millisecond, which is what a double holds of such days."""
    return np.asarray(np.rint((values - zero) * SECONDS_OF_DAY * 1000).astype(np.int64) * 10**6)


def _days(cells: Sequence[Any], values: np.ndarray, column: str) -> Reading | None:
    """Days of spreadsheets (since 1899-12-30), of MATLAB (since the year 0), Julian days.

    Raises:
        DataError: they may be seconds as well.
    """
    words = set(words_in(column))
    low, high = values.min(), values.max()
    if words & {"jd", "bjd", "hjd", "julian"} and low > 2_000_000 and high < 3_000_000:
        return _told(_of_days(values, JULIAN_ZERO), "Julian days", "the column's name")
    if "mjd" in words and low > 15_000 and high < 90_000:
        return _told(_of_days(values, 40_587), "modified Julian days", "the column's name")
    ranges = (
        ("Excel days since 1899-12-30", 20_000, 80_000, EXCEL_ZERO),
        ("MATLAB days", 690_000, 750_000, MATLAB_ZERO),
    )
    for said, least, most, zero in ranges:
        if low < least or high > most:
            continue
        seconds = (values - zero) * SECONDS_OF_DAY
        on_seconds = np.abs(seconds - np.rint(seconds)).max() < 0.1
        decimals = np.mean([len(str(cell).partition(".")[2]) >= LEAST_DECIMALS for cell in cells])
        if "datenum" in words or (is_date_name(column) and on_seconds):
            return _told(_of_days(values, zero), said, "the column's name")
        if on_seconds and decimals >= 0.3:
            return _told(_of_days(values, zero), said, "their fractions are whole seconds of a day")
        if zero == EXCEL_ZERO and on_seconds:
            raise DataError(
                f"column {column!r}: {cells[0]} may be a day of a spreadsheet "
                f"({in_words(_of_days(values[:1], zero)[0])}) or a number of seconds",
                hint="time_form=excel or time_form=s",
            )
    return None


def _told(times: np.ndarray, said: str, why: str) -> Reading:
    return Reading(times, f"{said}, first {in_words(times[0])}", why, False, True)


# ------------------------------------------------------------------------------------ since 1970


def _since(cells: Sequence[Any], values: np.ndarray, column: str) -> Reading:
    first = abs(values[0])
    if (np.abs(values - 1.3e17) < 1e16).all():
        return _told(_filetimes(cells), "Windows FILETIME, steps of 100 ns since 1601", "their size")
    if (np.abs(values - 6.4e17) < 2e16).all() and "ticks" in words_in(column):
        return _told(
            _filetimes(cells, 621_355_968_000_000_000), "ticks of 100 ns since the year 1", "the column's name"
        )
    unit = next((unit for least, unit in SINCE_1970 if first >= least), None)
    if unit is None:
        return Reading(
            _scaled(cells, column, NS), "numbers of s", "no unit is written; time_form=ms, us, ... says another"
        )
    times = _scaled(cells, column, UNITS[unit])
    return Reading(times, f"numbers of {unit} since 1970, first {in_words(times[0])}", "their size")


def _filetimes(cells: Sequence[Any], zero: int = FILETIME_ZERO) -> np.ndarray:
    return np.asarray([(int(Decimal(str(cell).strip())) - zero) * 100 for cell in cells], np.int64)
