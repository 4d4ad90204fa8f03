"""Lines of a table of series: those that hold something, with one column of times where the file has several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import Columns, is_missing
from repcore.data.groups import plain_name
from repcore.data.tables import Table
from repcore.errors import DataError
from repcore_timeseries.formats import text_times
from repcore_timeseries.formats.number_times import as_numbers
from repcore_timeseries.formats.times import looks_like_times

PARTS: Mapping[str, tuple[str, ...]] = {
    "year": ("year", "yyyy", "yr", "jahr"),
    "month": ("month", "mo", "mon", "mm", "monat"),
    "day": ("day", "dy", "dd", "dom", "tag", "mday"),
    "yearday": ("doy", "yday", "dayofyear", "day_of_year", "julian_day", "jday"),
    "hour": ("hour", "hr", "hh", "hours", "stunde"),
    "minute": ("minute", "min", "mi", "mn"),
    "second": ("second", "sec", "ss"),
}
DATE_NAMES = ("date", "datum", "day", "dteday", "fecha", "tag")
CLOCK_NAMES = ("time", "zeit", "clock", "uhrzeit", "hora", "time_of_day", *PARTS["hour"])
JOINED = "date and time"
LOOKED_AT = 200
MOST_UNIT_LINES = 3


class Lines:
    """A view of a table.

    Args:
        table: the file.
        account: takes what is left out or joined.
        time: column that the user names; nothing is joined then.
        rows: lines to look at, from the first; all when None.

    Attributes:
        columns: without those that were joined.
        rows: int64 (N,), lines of the table that are kept.
        joined: the column of times that was made of several; empty without.
        units: column -> what a line of units below the header says of it.
    """

    def __init__(self, table: Table, account: Accounting, time: str = "", rows: int | None = None) -> None:
        self._most = len(table) if rows is None else min(rows, len(table))
        self.path: Path = table.path
        self._table = table
        self.columns = list(table.columns)
        self._made: dict[str, list[Any]] = {}
        self.units: dict[str, str] = {}
        self.rows = self._filled(account)
        self._without_units(account)
        self.joined = "" if time else self._join(account)

    def __len__(self) -> int:
        return len(self.rows)

    def cells(self, column: str) -> list[Any]:
        """All kept cells of a column."""
        if column in self._made:
            return self._made[column]
        found = self._table.slice(0, self._most, column)
        return found if len(found) == len(self.rows) else [found[row] for row in self.rows]

    @property
    def by_column(self) -> Columns:
        """Cells by column."""
        return Columns(self.columns, self.cells)

    def some(self, column: str, count: int = LOOKED_AT) -> list[Any]:
        """The first cells of a column."""
        if column in self._made:
            return self._made[column][:count]
        rows = self.rows[:count]
        if not len(rows):
            return []
        found = self._table.slice(int(rows[0]), int(rows[-1]) + 1, column)
        return [found[row - rows[0]] for row in rows]

    def require(self, name: str) -> str:
        """A column that exists; see :meth:`repcore.data.tables.Table.require`."""
        return name if name in self._made else self._table.require(name)

    def _filled(self, account: Accounting) -> np.ndarray:
        """Lines in which a cell is filled."""
        empty = [row for row, cell in enumerate(self._table.slice(0, self._most, self.columns[0])) if is_missing(cell)]
        for column in self.columns[1:]:
            if not empty:
                break
            cells = self._table.slice(0, self._most, column)
            empty = [row for row in empty if is_missing(cells[row])]
        if empty:
            account.note(f"{self.path.name}: {len(empty):,} lines without any value are left out")
        return np.setdiff1d(np.arange(self._most), np.asarray(empty, np.int64))

    def _without_units(self, account: Accounting) -> None:
        """Lines of units or kinds below the header, as loggers write them: no cell of theirs is a number or a time."""
        count = 0
        heads = {name: self.some(name, 20) for name in self.columns}
        most = min(MOST_UNIT_LINES, len(self.rows) - 1)
        while count < most and not any(_is_value(cells[count]) for cells in heads.values()):
            count += 1
        if not count:
            return
        above = [cells[0] for cells in heads.values() if not is_missing(cells[0]) and _are_values(cells[count:])]
        if not above:
            return
        shown = ", ".join(repr(str(cell)) for cell in above[:3])
        account.guess(
            f"{count} lines below the header of {self.path.name}",
            "units",
            f"{shown} stand above numbers",
            "",
            is_loss=True,
        )
        self.units = {name: str(cells[0]) for name, cells in heads.items() if not is_missing(cells[0])}
        self.rows = self.rows[count:]

    # ------------------------------------------------------------------------------------------- times

    def _join(self, account: Accounting) -> str:
        """One column of times made of the columns that hold its parts; its name, empty where nothing was joined."""
        plain = {plain_name(one): one for one in reversed(self.columns)}
        for build in (self._of_date_and_clock, self._of_numbers):
            taken, cells = build(plain)
            if cells is None:
                continue
            account.guess(
                f"times of {self.path.name}",
                f"columns {', '.join(map(repr, taken))} together",
                "their names and what they hold",
                "time=COLUMN",
            )
            self._made[JOINED] = cells
            place = self.columns.index(taken[0])
            self.columns = [one for one in self.columns if one not in taken]
            self.columns.insert(min(place, len(self.columns)), JOINED)
            return JOINED
        return ""

    def _of_date_and_clock(self, plain: Mapping[str, str]) -> tuple[list[str], list[str] | None]:
        date = next((plain[one] for one in DATE_NAMES if one in plain), "")
        clock = next((plain[one] for one in CLOCK_NAMES if one in plain and plain[one] != date), "")
        if not date or not clock:
            return [], None
        days, hours = self.some(date), self.some(clock)
        compact = all(str(one).strip().isdigit() and len(str(one).strip()) == 8 for one in days)
        if not compact and not (looks_like_times(days) and not any(":" in _day_text(one) for one in days)):
            return [], None
        texts = [str(one).strip() for one in hours]
        build = _clock_writer(texts, plain_name(clock) in PARTS["hour"])
        if build is None:
            return [], None
        joined = []
        for day, hour in zip(self.cells(date), self.cells(clock), strict=True):
            is_gone = is_missing(day) or is_missing(hour)
            joined.append("" if is_gone else f"{_day_text(day)} {build(str(hour).strip())}")
        return [date, clock], joined

    def _of_numbers(self, plain: Mapping[str, str]) -> tuple[list[str], list[str] | None]:
        """``YEAR, MO, DY, HR``; ``year, doy``: whole numbers of their ranges."""
        at = {part: plain[one] for part, names in PARTS.items() for one in reversed(names) if one in plain}
        by_day = "yearday" in at and "month" not in at
        needed = ["year", "yearday"] if by_day else ["year", "month"]
        if any(part not in at for part in needed):
            return [], None
        order = [*needed]
        for part in ("day", "hour", "minute", "second") if not by_day else ("hour", "minute", "second"):
            if part not in at:
                break
            order.append(part)
        columns = [as_numbers(self.cells(at[part])) for part in order]
        if any(one is None or (one != np.rint(one)).any() for one in columns):
            return [], None
        values = dict(zip(order, [one.astype(np.int64) for one in columns if one is not None], strict=True))
        if not _in_ranges(values):
            return [], None
        size = len(self)
        get = lambda part, else_: values.get(part, np.full(size, else_)).tolist()  # noqa: E731
        clocks = [
            f"{h:02d}:{m:02d}:{s:02d}"
            for h, m, s in zip(get("hour", 0), get("minute", 0), get("second", 0), strict=True)
        ]
        if by_day:
            days = [f"{year:04d}-{day:03d}" for year, day in zip(get("year", 0), get("yearday", 1), strict=True)]
        else:
            days = [
                f"{y:04d}-{m:02d}-{d:02d}"
                for y, m, d in zip(get("year", 0), get("month", 1), get("day", 1), strict=True)
            ]
        return [at[part] for part in order], [f"{day} {clock}" for day, clock in zip(days, clocks, strict=True)]


def _in_ranges(values: Mapping[str, np.ndarray]) -> bool:
    ranges = {
        "year": (1678, 2261), "month": (1, 12), "day": (1, 31), "yearday": (1, 366), "hour": (0, 24), "minute": (0, 59),
        "second": (0, 60),
    }  # fmt: skip
    return all(ranges[part][0] <= one.min() and one.max() <= ranges[part][1] for part, one in values.items())


def _is_value(cell: Any) -> bool:
    if is_missing(cell):
        return False
    return not isinstance(cell, str) or as_numbers([cell.replace(",", ".")]) is not None or looks_like_times([cell])


def _are_values(cells: Sequence[Any]) -> bool:
    filled = [one for one in cells if not is_missing(one)]
    return bool(filled) and all(map(_is_value, filled))


def _day_text(day: Any) -> str:
    text = str(day).strip()
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if text.isdigit() and len(text) == 8 else text.partition(" 00:00:00")[0]


def _clock_writer(texts: Sequence[str], are_hours: bool) -> Callable[[str], str] | None:
    """How to write the clock of a second column; None where it holds none."""
    if text_times.are_clocks(texts):
        return lambda text: text
    numbers = as_numbers(texts)
    if numbers is None or (numbers != np.rint(numbers)).any() or numbers.min() < 0:
        return None
    if are_hours and numbers.max() <= 24:
        return lambda text: f"{int(float(text)):02d}:00"
    if not are_hours and 100 <= numbers.max() <= 2400 and (numbers % 100 < 60).all():  # 30 is 00:30, 1830 is 18:30
        return lambda text: f"{int(float(text)) // 100:02d}:{int(float(text)) % 100:02d}"
    return None


def column_of(lines: Lines, name: str) -> str:
    """A column that the user names.

    Raises:
        DataError: there is none.
    """
    if name in lines.columns:
        return name
    found = lines.require(name)
    if found not in lines.columns:
        raise DataError(f"column {name!r} is part of the times", hint=f"time={name} reads it alone")
    return found
