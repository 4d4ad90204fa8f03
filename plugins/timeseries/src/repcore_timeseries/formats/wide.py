"""Tables with a row a series: a column a date (``1/22/20``, ``1960``) or a numbered step (``V2``, ``d_1``)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import DECIMAL_SIGNS, TableNumbers, is_missing, numbers_as_written
from repcore_timeseries.configs.series import SeriesTableConfig
from repcore_timeseries.formats import text_times
from repcore_timeseries.formats.lines import Lines
from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.tables import Found, on_grid, tell_numbers
from repcore_timeseries.formats.times import looks_like_times, read_times

LEAST_DATES, LEAST_STEPS = 3, 8
NUMBERED = re.compile(r"([A-Za-z]+[ _-]?)0*(\d+)")
YEAR = re.compile(r"(1[6-9]|20|21)\d{2}( \[YR\d{4}\])?")


def columns_of_steps(names: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Columns that are steps of a series a row, and their times as texts; None = numbered steps.

    Dates must be at least half of the columns. Empty where the table has no such columns.
    """
    for texts in ({one: one for one in names}, {one: one[:4] for one in names if YEAR.fullmatch(one)}):
        dates = [
            one
            for one, text in texts.items()
            if text_times.are_dates([text]) or YEAR.fullmatch(one) or _is_compact(text)
        ]
        if len(dates) >= LEAST_DATES and 2 * len(dates) >= len(names):
            return dates, [texts[one] for one in dates]
    numbered = [found for found in map(NUMBERED.fullmatch, names) if found]
    for prefix in dict.fromkeys(one[1] for one in numbered):
        own = [(int(one[2]), one[0]) for one in numbered if one[1] == prefix]
        numbers = [one for one, _ in own]
        if (
            len(own) >= LEAST_STEPS
            and 2 * len(own) >= len(names)
            and numbers == list(range(numbers[0], numbers[0] + len(own)))
        ):
            return [name for _, name in own], None
    return [], None


def _is_compact(text: str) -> bool:
    return re.fullmatch(r"(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])", text) is not None


def series_of_rows(lines: Lines, config: SeriesTableConfig, account: Accounting) -> list[Found] | None:
    """A series of each row; None where the table has no columns of steps, or a column of times.

    Raises:
        DataError: dates in two forms.
    """
    if config.time or config.variable or config.channels or lines.joined:
        return None
    steps, texts = columns_of_steps(lines.columns)
    taken = frozenset(steps)
    others = [one for one in lines.columns if one not in taken]
    if texts is None:  # a table of numbered features, unless words name its rows
        names = [one for one in others if not _are_numbers(lines, one)]
        first = steps[0] if steps and not _are_numbers(lines, steps[0]) else ""
        steps = [one for one in steps if one != first]
        others = [*([first] if first else []), *others]
        if not (names or first):
            return None
    if not steps or any(looks_like_times(lines.some(one)) for one in others):
        return None
    when = None if texts is None else read_times(texts, "dates of the columns", config.time_form)
    kinds = "a step" if when is None else "a time" + (f", {when.said}" if when.said else "")
    account.guess(
        f"columns {steps[0]!r} to {steps[-1]!r}",
        f"{kinds} each, a row is a series",
        "their names",
        "time=COLUMN or none",
    )
    as_numbers = TableNumbers(lines.by_column, DECIMAL_SIGNS[config.decimal])
    values = np.stack([_numbers(as_numbers, one, account) for one in steps], 1)
    found = []
    for row, name in enumerate(_names(lines, others, config, account)):
        known = np.flatnonzero(np.isfinite(values[row]))
        at = lines.rows[row : row + 1]
        if not len(known):
            found.append(Found(name, None, at, ("no_value", "every value is missing")))
        elif when is None:
            found.append(Found(name, Series.of(values[row, : known[-1] + 1]), at))
        else:
            found.append(Found(name, on_grid(values[row][:, None], when.times, ("value",), config, account), at))
    return found


def _are_numbers(lines: Lines, name: str) -> bool:
    return numbers_as_written(name, lines.some(name))[0].number_share > 0.5


def _numbers(table: TableNumbers, name: str, account: Accounting) -> np.ndarray:
    numbers, said = table.read(name)
    tell_numbers(numbers, said, account)
    return numbers.values


def _names(lines: Lines, others: Sequence[str], config: SeriesTableConfig, account: Accounting) -> list[str]:
    """Names of the rows: the columns of words that are filled, joined; numbered where they do not tell rows apart."""
    words = [one for one in others if not _are_numbers(lines, one)]
    chosen = [one.strip() for one in config.series.split(",")] if config.series else words
    for one in others:
        if one not in words and one not in chosen:
            account.guess(f"column {one!r}", "no channel", "one number a series", f"labels={one}")
    cells = [lines.cells(lines.require(one)) for one in chosen]
    single = next(
        (column for column in cells if not any(map(is_missing, column)) and len(set(column)) == len(column)), None
    )
    names = [
        "/".join(str(one).strip() for one in parts if not is_missing(one)) or f"row-{row:06d}"
        for row, parts in enumerate(zip(*([single] if single else cells), strict=True))
    ] if cells else [f"row-{row:06d}" for row in range(len(lines))]  # fmt: skip
    if len(set(names)) < len(names):
        names = [f"{name}-{row:06d}" for row, name in enumerate(names)]
    return names
