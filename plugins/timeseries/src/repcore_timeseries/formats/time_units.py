"""Units of time, what a column's name says of its times, and a column that was read."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from repcore.data.groups import plain_name

NS = 10**9
DAY = 86_400 * NS
UNITS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": NS, "sec": NS, "min": 60 * NS, "t": 60 * NS, "h": 3600 * NS,
    "hour": 3600 * NS, "d": DAY, "day": DAY, "w": 7 * DAY,
}  # fmt: skip
_IN_NAMES = {
    **{word: UNITS[word] for word in ("ns", "us", "ms", "s", "sec", "min", "h", "d", "hour", "day")},
    "nanosec": 1, "nano": 1, "nanosecond": 1, "microsec": 10**3, "micro": 10**3, "microsecond": 10**3, "usec": 10**3,
    "msec": 10**6, "milli": 10**6, "millisec": 10**6, "millisecond": 10**6, "second": NS, "minute": 60 * NS,
    "hr": 3600 * NS,
}  # fmt: skip
DATE_WORDS = frozenset({
    "date", "dates", "datum", "day", "tag", "fecha", "month", "monat", "mes", "mois", "year", "jahr", "yr", "period",
    "quarter", "dt", "ds", "datetime", "yyyymmdd", "yyyymm", "ymd", "ym", "yyyyddd", "dteday",
})  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A column of times.

    Args:
        times: int64 (N,), nanoseconds since 1970 (UTC), or since midnight.
        said: what their form was taken for; empty where nothing had to be guessed.
        why: the reason.
        is_clock: times of day without a date, which cannot be put in order over midnight.
        is_local: without an offset, so that a time zone may be given.
        had_offset: texts with an offset, which stand in UTC now.
    """

    times: np.ndarray
    said: str = ""
    why: str = "their form"
    is_clock: bool = False
    is_local: bool = False
    had_offset: bool = False


def words_in(column: str) -> list[str]:
    """Words of a column's name; the micro sign is ``u``."""
    return plain_name(re.sub("[µμ]", "u", column)).split("_")


def unit_in_name(column: str) -> int | None:
    """Nanoseconds of the unit that a name ends in: ``time_ms``, ``Time [s]``, ``elapsed seconds``."""
    last = words_in(column)[-1]
    return _IN_NAMES.get(last) or (_IN_NAMES.get(last.rstrip("s")) if len(last) > 3 else None)


def is_date_name(column: str) -> bool:
    """Whether a name calls its column dates."""
    return bool(DATE_WORDS & set(words_in(column)))


def in_words(time: int) -> str:
    """``2004-03-10T18:00:00`` of nanoseconds since 1970."""
    return str(np.datetime64(int(time), "ns").astype("datetime64[s]"))


def days_of(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970 of calendar dates, all (N,), and which of them exist."""
    fits = (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1678) & (year <= 2261)
    months = (np.where(fits, year, 1970) - 1970) * 12 + np.where(fits, month, 1) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - first
    return first + np.where(fits, day, 1) - 1, fits & (day <= length)


def evenness(times: np.ndarray) -> float:
    """Share of steps that are the usual one; 1 too where they are even in months."""
    apart = np.diff(np.unique(times))
    if not len(apart):
        return 1.0
    months = np.diff(np.unique(times).astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64))
    if months[0] > 0 and (months == months[0]).all():
        return 1.0
    return float((np.abs(apart - np.median(apart)) <= 0.001 * np.median(apart)).mean())
