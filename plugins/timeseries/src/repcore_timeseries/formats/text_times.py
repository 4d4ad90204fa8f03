"""Times that are written as text: a date, a clock, an offset, each in one of the forms that people use.

A column has one form of date; clocks may be shorter in some lines, because programs leave out midnight. Whether the day
or the month comes first is judged from the whole column: what is no date, falls less, has the more even steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from repcore.errors import DataError
from repcore_timeseries.formats.time_units import DAY, NS, Reading, days_of, evenness, in_words

ORDERS: Mapping[str, str] = {"day-first": "dmy", "month-first": "mdy", "year-first": "ymd"}
MONTHS: Mapping[str, int] = {
    **{
        word: number
        for number, words in enumerate(
            (
                "jan january januar jän jänner janv janvier ene enero", "feb february februar févr février febrero",
                "mar march mär märz mrz mars marzo", "apr april avr avril abr abril", "may mai mayo",
                "jun june juni juin junio",
                "jul july juli juil juillet julio", "aug august août ago agosto",
                "sep sept september septembre septiembre",
                "oct october okt oktober octobre octubre", "nov november novembre noviembre",
                "dec december dez dezember déc décembre dic diciembre",
            ),
            1,
        )
        for word in words.split()
    }
}  # fmt: skip
OFFSETS: Mapping[str, int] = {  # hours; the American ones as RFC 2822 defines them
    "z": 0, "utc": 0, "gmt": 0, "cet": 1, "cest": 2, "mez": 1, "mesz": 2, "eet": 2, "eest": 3, "wet": 0, "west": 1,
    "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
}  # fmt: skip
PIVOT = 40  # two digits from here on are of the last century: few series lie in the future
_WORD = r"[^\W\d_]{3,10}\.?"
_DATES: tuple[tuple[str, tuple[str, ...]], ...] = (  # pattern -> orders; j = day of the year
    (r"\d{4}([-/._ ])\d{1,2}\1\d{1,2}", ("ymd",)),
    (r"\d{1,2}([-/._ ])\d{1,2}\1\d{4}", ("dmy", "mdy")),
    (r"\d{1,2}([-/._])\d{1,2}\1\d{2}", ("dmy", "mdy", "ymd")),
    (rf"\d{{1,2}}[-/. ]?\s?{_WORD}[-/, ]?\s?(\d{{4}}|\d{{2}})", ("dmy",)),
    (rf"{_WORD}[- ]\d{{1,2}}(,\s?|[- ])\d{{4}}", ("mdy",)),
    (rf"\d{{4}}[-/. ]?{_WORD}[-/. ]?\d{{1,2}}", ("ymd",)),
    (rf"{_WORD}[-/, ]?\s?(\d{{4}}|(?<=-)\d{{2}})", ("my",)),
    (rf"\d{{4}}[-/. ]?({_WORD}|[Mm]\d{{1,2}})", ("ym",)),
    (r"\d{4}[-/.]\d{1,2}", ("ym",)),
    (r"\d{1,2}[-/]\d{4}", ("my",)),
    (r"\d{4}[-/.]?\d{3}", ("yj",)),
    (r"\d{4}-?W\d{2}(-?[1-7])?", ("week",)),
    (r"\d{4}[- ]?[Qq][1-4]", ("yq",)),
    (r"[Qq][1-4][-/ ]\d{4}", ("qy",)),
    (r"\d{8}", ("compact",)),
)  # fmt: skip
_DATE_PATTERNS = tuple((re.compile(pattern), orders) for pattern, orders in _DATES)
_CLOCK = r"\d{1,4}(?P<sign>[:.h-])\d{2}(?:(?P=sign)\d{2}(?:[.,:]\d{1,9})?)?|\d{6}(?:[.,]\d+)?|\d{4}|\d{1,2}"
_SHAPE = re.compile(
    rf"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?(?P<date>.+?)(?:(?:[T,:_]|\s-)?\s*(?<![\d.])"
    rf"(?P<clock>{_CLOCK})\s*(?P<half>[ap]\.?\s?m\.?)?(?:\s*\(?(?P<zone>z|[a-z]{{3,4}}|(?:utc|gmt)?\s?[+-]\d{{1,2}}:?"
    r"(?:\d{2})?)\)?)?)?",
    re.IGNORECASE,
)
_LOGGED = re.compile(  # of web servers: 29/Nov/2026:17:02:33 +0000
    r"\[?(?P<date>\d{1,2}/[A-Za-z]{3}/\d{4}):(?P<clock>\d\d:\d\d:\d\d)(?P<half>)(?: (?P<zone>[+-]\d{4}))?\]?"
)
_ALONE = re.compile(
    r"(?P<clock>\d{1,4}([:.])\d{2}(?:\2\d{2}(?:[.,:]\d{1,9})?)?|\d{1,4}:\d{2}[.,]\d{1,9})"
    r"\s*(?P<half>[ap]\.?\s?m\.?)?",
    re.IGNORECASE,
)
_CTIME = re.compile(r"[A-Za-z]{3} ([A-Za-z]{3}) +(\d{1,2}) (\d\d:\d\d:\d\d) (?:([A-Z]{3,4}|[+-]\d{4}) )?(\d{4})")
_OFFSET = re.compile(r"(?:utc|gmt)?\s?([+-])(\d{1,2}):?(\d{2})?", re.IGNORECASE)
_DIGITS = str.maketrans("023456789", "111111111")
_Split = tuple[str, str, str, str]  # date, clock, half, zone


def read(cells: Sequence[Any], column: str, order: str = "") -> Reading:
    """Times of texts.

    Raises:
        DataError: a cell is no time, or not of the form of the others; names the row. Several readings fit.
    """
    texts = [str(cell).strip() for cell in cells]
    plain = _plain(texts)
    if plain is not None:
        named, said = _named_offset(column) if plain.is_local else (0, "")
        local = plain.is_local and not said
        return Reading(plain.times - named, said, "the column's name", is_local=local, had_offset=not local)
    if all(_ALONE.fullmatch(one) for one in texts):
        return _clocks_alone(texts, column)
    orders: tuple[str, ...] = ()
    split: list[_Split] = []
    for row, text in enumerate(texts):
        parts = _split(text)
        fitting = () if parts is None else _orders(parts[0].translate(_DIGITS))
        orders = orders or fitting
        if parts is None or not fitting or fitting != orders:
            raise _no_time(column, row, texts)
        split.append(parts)
    if order and ORDERS[order] in orders:
        orders = (ORDERS[order],)
    times, said, why = _ordered(split, orders, column, texts)
    clock, odd = _clocks(split, column, texts)
    offset, zone_said = _offsets([one[3] for one in split], column, texts)
    local = offset is None
    stamp = times + clock - (0 if offset is None else offset)
    words = [one for one in (said, odd, zone_said) if one]
    return Reading(stamp, "; ".join(words), why, False, local, not local)


def _plain(texts: Sequence[str]) -> Reading | None:
    """ISO 8601 at Arrow's speed, offsets in all cells or in none; None for anything else."""
    for kind in (pa.timestamp("ns"), pa.timestamp("ns", tz="UTC")):
        try:
            found = pc.cast(pa.array(texts), kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
        return Reading(found.cast(pa.int64()).to_numpy(zero_copy_only=False), is_local=kind.tz is None)
    return None


def are_dates(texts: Sequence[str]) -> bool:
    """Whether all of these are dates of one form, with or without a clock."""
    orders: tuple[str, ...] = ()
    for text in texts:
        parts = _split(text.strip())
        fitting = () if parts is None or text.strip().isdigit() else _orders(parts[0].translate(_DIGITS))
        orders = orders or fitting
        if parts is None or not fitting or fitting != orders:
            return False
        if not any(_days([parts[0]], one)[1].all() for one in fitting):
            return False
    return bool(texts)


def are_clocks(texts: Sequence[str]) -> bool:
    """Whether all of these are times of day alone."""
    return all(_ALONE.fullmatch(one.strip()) for one in texts)


def _no_time(column: str, row: int, texts: Sequence[str]) -> DataError:
    return DataError(
        f"column {column!r}, row {row}: {texts[row]!r} is no time like {texts[0]!r}" if row else
        f"column {column!r}, row 0: {texts[0]!r} is no time",
        hint="one form of time in the whole column, or time_form=%d/%m/%Y... says it",
    )  # fmt: skip


def _split(text: str) -> _Split | None:
    """Date, clock, half of the day and offset."""
    spans = _spans(text.translate(_DIGITS))
    if spans is None:
        unix = _CTIME.fullmatch(text)
        return (f"{unix[1]} {int(unix[2])} {unix[5]}", unix[3], "", unix[4] or "") if unix else None
    date_, clock, half, zone = (text[start:stop] for start, stop in spans)
    return date_, clock, half, zone


@lru_cache(maxsize=4096)
def _spans(shape: str) -> tuple[tuple[int, int], ...] | None:
    """Where the parts of a text lie whose digits are all ``1``; a date alone is tried first: ``2021-02`` is no hour."""
    nothing = (0, 0)
    if _orders(shape):
        return ((0, len(shape)), nothing, nothing, nothing)
    found = _LOGGED.fullmatch(shape) or (None if _CTIME.fullmatch(shape) else _SHAPE.fullmatch(shape))
    if found is None or (found["zone"] and not _known_zone(found["zone"])):
        return None
    return tuple(found.span(one) if found[one] else nothing for one in ("date", "clock", "half", "zone"))


@lru_cache(maxsize=4096)
def _orders(text: str) -> tuple[str, ...]:
    for pattern, orders in _DATE_PATTERNS:
        if pattern.fullmatch(text):
            words = re.findall(r"[^\W\d_]{3,}", text)
            return orders if all(one.lower() in MONTHS for one in words) else ()
    return ()


# -------------------------------------------------------------------------------------------------- dates


def _ordered(
    split: Sequence[_Split], orders: Sequence[str], column: str, texts: Sequence[str]
) -> tuple[np.ndarray, str, str]:
    """Nanoseconds of the dates in the reading that fits, what it is, and why.

    Raises:
        DataError: a date does not exist, or two readings fit equally.
    """
    dates = [one[0] for one in split]
    readings = {order: _days(dates, order) for order in orders}
    valid = {order: days * DAY for order, (days, exist) in readings.items() if exist.all()}
    if not valid:
        best = max(orders, key=lambda one: int(readings[one][1].sum()))
        row = int(np.flatnonzero(~readings[best][1])[0])
        raise DataError(
            f"column {column!r}, row {row}: {texts[row]!r} is no date of the calendar",
            hint="time_form=%d/%m/%Y... where it means something else",
        )
    two_digits = bool(re.search(r"(?<!\d)\d{2}$", dates[0])) and not re.search(r"\d{4}", dates[0])
    if len(orders) == 1:
        order = next(iter(valid))
        first = f"first {in_words(int(valid[order][0]))[:10]}" if two_digits else ""
        return valid[order], ", ".join(one for one in (_said(order, dates[0]), first) if one), "their form"
    order, why = _best(valid, [_clock_of(one) for one in split], column, texts[0])
    return valid[order], f"{_said(order, dates[0])}{f', first {in_words(int(valid[order][0]))[:10]}'}", why


def _said(order: str, example: str) -> str:
    names = {"dmy": "day first", "mdy": "month first", "my": "month and year", "ym": "", "ymd": "", "compact": ""}
    if order == "ymd" and not re.match(r"\d{4}", example):
        return "year first"
    if order in ("dmy", "mdy") and re.search(r"[^\W\d_]", example):
        return ""
    return names.get(
        order, {"yj": "year and day of the year", "week": "weeks, from their Monday"}.get(order, "quarters")
    )


def _best(valid: Mapping[str, np.ndarray], clock: Sequence[int], column: str, first: str) -> tuple[str, str]:
    """The reading of several; what is equal in all of them is no question."""
    readings = {order: days + np.asarray(clock, np.int64) for order, days in valid.items()}
    if len(readings) == 1:
        return next(iter(readings)), "no other reading gives dates of the calendar"
    if len({times.tobytes() for times in readings.values()}) == 1:
        return next(iter(readings)), "both readings are the same"
    falls = {
        order: min(int((np.diff(one) < 0).sum()), int((np.diff(one) > 0).sum())) for order, one in readings.items()
    }
    least = [order for order in readings if falls[order] == min(falls.values())]
    if len(least) == 1:
        return least[0], "lines are in order of time so"
    even = {order: evenness(readings[order]) for order in least}
    best = max(even, key=lambda one: even[one])
    if all(even[best] > even[other] for other in least if other != best):
        return best, "the steps are the more even so"
    if "." in first and "dmy" in least:
        return "dmy", "the custom of dates with points"
    fitting = [name for name, order in ORDERS.items() if order in least]
    raise DataError(
        f"column {column!r}: {first!r} may be {' or '.join(fitting)}, and nothing in the column tells",
        hint=" or ".join(f"time_form={name}" for name in fitting),
    )


def _days(dates: Sequence[str], order: str) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970, and which dates exist."""
    words = list(dict.fromkeys(dates))
    found = np.asarray([_tokens(one, order) for one in words], np.int64)
    place = {word: number for number, word in enumerate(words)}
    rows = found[[place[one] for one in dates]]
    if order == "week":
        return _weeks(rows)
    if order == "yj":
        ones = np.ones(len(rows), np.int64)
        start, exist = days_of(rows[:, 0], ones, ones)
        length = days_of(rows[:, 0] + 1, ones, ones)[0] - start
        return start + rows[:, 1] - 1, exist & (rows[:, 1] >= 1) & (rows[:, 1] <= length)
    return days_of(rows[:, 0], rows[:, 1], rows[:, 2])


def _weeks(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    days, exist = np.zeros(len(rows), np.int64), np.ones(len(rows), bool)
    for number, (year, week, day) in enumerate(rows.tolist()):
        try:
            days[number] = date.fromisocalendar(year, week, day).toordinal() - date(1970, 1, 1).toordinal()
        except ValueError:
            exist[number] = False
    return days, exist


def _tokens(text: str, order: str) -> tuple[int, int, int]:
    """Year, month and day; year and day of the year; year, week and weekday."""
    if order == "compact":
        return int(text[:4]), int(text[4:6]), int(text[6:])
    if order == "yj":
        return int(text[:4]), int(text[-3:]), 0
    parts = [
        MONTHS[one.lower()] if one.lower() in MONTHS else int(one) for one in re.findall(r"[^\W\d_]{3,}|\d+", text)
    ]
    if order == "week":
        week = re.fullmatch(r"(\d{4})-?W(\d{2})-?(\d)?", text)
        assert week is not None
        return int(week[1]), int(week[2]), int(week[3] or 1)
    if order in ("yq", "qy"):
        year, quarter = parts if order == "yq" else parts[::-1]
        return year, 3 * quarter - 2, 1
    at = {sign: parts[place] for place, sign in enumerate(order)}
    year = at["y"]
    if year < 100 and not re.search(r"\d{4}", text):
        year += 2000 if year < PIVOT else 1900
    return year, at["m"], at.get("d", 1)


# ------------------------------------------------------------------------------------------------- clocks


def _clock_of(parts: _Split) -> int:
    return _since_midnight(parts[1], parts[2])


@lru_cache(maxsize=100_000)
def _since_midnight(clock: str, half: str) -> int:
    """Nanoseconds; -1 = no such time."""
    if not clock:
        return 0
    if re.fullmatch(r"\d{4}|\d{6}(?:[.,]\d+)?", clock):
        clock = re.sub(r"^(\d\d)(\d\d)(\d\d)?", lambda one: ":".join(part for part in one.groups() if part), clock)
    words = re.split(r"[:.,h-]", clock)
    hour, minute, second, fraction = (*words, *["0"] * 4)[:4]
    of_day = int(hour)
    if half:
        if not 1 <= of_day <= 12:
            return -1
        of_day = of_day % 12 + (12 if half.lower().startswith("p") else 0)
    if of_day > 24 or int(minute) > 59 or int(second) > 60 or (of_day == 24 and (int(minute) or int(second))):
        return -1
    return ((of_day * 60 + int(minute)) * 60 + int(second)) * NS + int(fraction.ljust(9, "0")[:9])


def _clocks(split: Sequence[_Split], column: str, texts: Sequence[str]) -> tuple[np.ndarray, str]:
    found = np.asarray([_clock_of(one) for one in split], np.int64)
    if (found < 0).any():
        row = int(np.flatnonzero(found < 0)[0])
        raise DataError(f"column {column!r}, row {row}: {texts[row]!r} has no such time of day")
    return found, "24:00 is the midnight after" if (found == DAY).any() else ""


def _clocks_alone(texts: Sequence[str], column: str) -> Reading:
    """Times of day, or durations that may have more hours than a day; ``12:30.5`` is minutes and seconds."""
    first = re.split(r"[:.]", texts[0])
    with_fraction = bool(re.fullmatch(r"\d+:\d{2}[.,]\d+", texts[0]))
    found = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        shape = _ALONE.fullmatch(text)
        assert shape is not None
        words = re.split(r"[:.,]", shape["clock"])
        if bool(re.fullmatch(r"\d+:\d{2}[.,]\d+", text)) != with_fraction:
            raise _no_time(column, row, texts)
        if with_fraction:
            words = ["0", *words]
        hour, minute, second, fraction = (*words, *["0"] * 4)[:4]
        hours = int(hour)
        if shape["half"]:
            hours = hours % 12 + (12 if shape["half"].lower().startswith("p") else 0)
        if int(second) > 60 or (int(minute) > 59 and not with_fraction):
            raise _no_time(column, row, texts)
        found[row] = ((hours * 60 + int(minute)) * 60 + int(second)) * NS + int(fraction.ljust(9, "0")[:9])
    said = "minutes and seconds" if with_fraction else "hours and minutes" if len(first) == 2 else "times of day"
    return Reading(found, f"{said}, without a date", "their form", True, False)


# ------------------------------------------------------------------------------------------------ offsets


def _known_zone(text: str) -> bool:
    return text.lower() in OFFSETS or _OFFSET.fullmatch(text) is not None


def offset_of(text: str) -> int:
    """Nanoseconds that a local time is before UTC's: ``+02:00``, ``GMT-5``, ``CET``, ``Z``."""
    if text.lower() in OFFSETS:
        return OFFSETS[text.lower()] * 3600 * NS
    found = _OFFSET.fullmatch(text)
    assert found is not None
    size = (int(found[2]) * 3600 + int(found[3] or 0) * 60) * NS
    return -size if found[1] == "-" else size


def _named_offset(column: str) -> tuple[int, str]:
    """Nanoseconds and the words of an offset in a name such as ``Date Time, GMT+01:00``; 0 and nothing without."""
    found = re.search(
        r"(?:utc|gmt)\s?[+-]\d{1,2}:?(?:\d{2})?|(?<![a-z])(?:utc|gmt|cest?)(?![a-z])", column, re.IGNORECASE
    )
    return (offset_of(found[0]), found[0]) if found else (0, "")


def _offsets(zones: Sequence[str], column: str, texts: Sequence[str]) -> tuple[np.ndarray | None, str]:
    """Nanoseconds (N,), and what was guessed; from the column's name where no cell has one; None without any.

    Raises:
        DataError: some cells have an offset and others none.
    """
    has = [bool(one) for one in zones]
    if not any(has):
        offset, said = _named_offset(column)
        return (np.full(len(zones), offset, np.int64), f"{said}, as the column's name says") if said else (None, "")
    if not all(has):
        row = has.index(not has[0])
        raise DataError(
            f"column {column!r}, row {row}: {texts[row]!r} has {'no' if has[0] else 'an'} offset, and "
            f"{texts[0]!r} has {'one' if has[0] else 'none'}",
            hint="offsets in all lines or in none",
        )
    sizes = {one: offset_of(one) for one in set(zones)}
    words = sorted({one for one in zones if one.isalpha() and one.lower() not in ("z", "utc", "gmt")})
    said = ", ".join(f"{one} is UTC{sizes[one] / (3600 * NS):+g}" for one in words)
    return np.asarray([sizes[one] for one in zones], np.int64), said
