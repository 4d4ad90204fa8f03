"""Series of a table: from lines to an even grid of time.

Symbols: N lines, T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import DECIMAL_SIGNS, NumberColumn, TableNumbers, is_missing
from repcore.data.companion_words import are_units, calls_units
from repcore.data.groups import plain_name
from repcore.data.labels import LEAST_NUMBERS
from repcore.data.tables import Table
from repcore.errors import DataError, ItemError, closest
from repcore_timeseries.configs.series import SeriesTableConfig
from repcore_timeseries.formats.lines import Lines, column_of
from repcore_timeseries.formats.roles import Roles, is_count, joined_keys
from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.steps import binned, skips_an_hour, usual_step
from repcore_timeseries.formats.times import Reading, step_of, step_words
from repcore_timeseries.formats.zones import in_utc

HOUR = 3600 * 10**9
LABEL_NAMES = ("label", "labels", "class", "activity", "activity_id", "class_label")
MANY = 0.5  # share of times that come more than once from which on there are several series

JITTER = 0.01  # of the step, within which times count as even
MOST_GAPS = 10  # times as many steps as lines at most, when gaps become missing steps


@dataclass(frozen=True, slots=True)
class Found:
    """One series of a table, or the reason why there is none; ``lines`` are those of the table (N,)."""

    name: str
    series: Series | None
    lines: np.ndarray
    problem: tuple[str, str] | None = None


def series_of(
    lines: Lines, roles: Roles, when: Reading | None, config: SeriesTableConfig, account: Accounting
) -> list[Found]:
    """Every series on its even grid.

    Raises:
        DataError: there is no channel.
    """
    keys = joined_keys(lines, roles.series) if roles.series else None
    names, values, channel = _channels(lines, roles, keys, config, account)
    words = list(dict.fromkeys(keys.tolist())) if keys is not None else [lines.path.stem]
    found, put_in, skips = [], 0, False
    if when is not None and (when.had_offset or (when.is_local and config.zone)):
        account.note("times stand in UTC, also in what embed and predict write")
    for word in words:
        rows = np.arange(len(lines)) if keys is None else np.flatnonzero(keys == word)
        try:
            own = None if when is None else placed(when, rows, None if channel is None else channel[rows], config)
            if channel is not None:
                dense, own = _spread(values[rows, 0], channel[rows], own, names, config)
            else:
                dense = values[rows]
            series = on_grid(dense, own, names, config, account)
            put_in += max(0, len(series) - len(dense))
            skips |= own is not None and when is not None and when.is_local and not config.zone and skips_an_hour(own)
            found.append(Found(word, series, lines.rows[rows]))
        except ItemError as error:
            found.append(Found(word, None, lines.rows[rows], (error.status, error.reason)))
    if put_in:
        hint = " (an hour of a Sunday night: local time where summer time begins? zone=Europe/Berlin, for example)"
        account.note(f"{put_in:,} steps of time that no line gives stand as missing steps" + (hint if skips else ""))
    return found


def placed(when: Reading, rows: np.ndarray, channel: np.ndarray | None, config: SeriesTableConfig) -> np.ndarray:
    """Times of one series in UTC.

    Raises:
        ItemError: times of day fall, or a time that the zone has twice or not at all.
    """
    own = when.times[rows]
    if when.is_clock and (np.diff(own) < 0).any():
        row = int(np.flatnonzero(np.diff(own) < 0)[0]) + 1
        raise ItemError(
            "no_date",
            f"times of day without a date fall in line {row} of the series: a column of dates tells the days apart, "
            "and time=none numbers the lines",
        )
    return in_utc(own, channel, config.zone) if config.zone and when.is_local else own


def _channels(
    table: Lines, roles: Roles, keys: np.ndarray | None, config: SeriesTableConfig, account: Accounting
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray | None]:
    """Names, values (N, C) of a wide table or (N, 1) of a long one, and the channel of each line of a long one."""
    as_numbers = TableNumbers(table.by_column, DECIMAL_SIGNS[config.decimal])
    if roles.variable:
        words = [str(one) for one in table.cells(roles.variable)]
        names = tuple(config.channels or sorted(set(words)))
        _refuse_unknown(config.channels, sorted(set(words)))
        place = {name: number for number, name in enumerate(names)}
        numbers, said = as_numbers.read(roles.value)
        tell_numbers(numbers, said, account)
        _tell_beside(table, roles, words, config, account)
        return names, numbers.values[:, None], np.asarray([place.get(word, -1) for word in words])
    taken = {*roles.taken, *config.labels}
    if config.channels:
        _refuse_unknown(config.channels, table.columns)
    names_found, columns, odd, unread = [], [], [], []
    chosen = [column_of(table, one) for one in config.channels] or [one for one in table.columns if one not in taken]
    for name in chosen:
        numbers, said = as_numbers.read(name)
        if numbers.number_share < LEAST_NUMBERS and not config.channels:
            odd += numbers.sentences()
            unread += [one for looks in ("thousands", "decimal comma") for one in numbers.examples.get(looks, ())[:1]]
            if numbers.filled:
                _tell_no_channel(numbers, account)
            continue
        if not config.channels and is_count(name, numbers.values):
            account.guess(f"column {name!r}", "no channel", "it numbers the lines", "channels=...")
            continue
        why = "" if config.channels else _why_label(name, numbers.values, keys)
        if why:
            account.guess(f"column {name!r}", "no channel", why, "channels=...")
            continue
        tell_numbers(numbers, said, account)
        names_found.append(name)
        columns.append(numbers.values)
    if not columns:
        raise DataError(
            f"{table.path.name} has no column of numbers" + (f": {unread[0]!r} may mean two" if unread else ""),
            columns=", ".join(table.columns[:20]),
            cells="; ".join(odd[:3]),
            hint="decimal=comma or decimal=point says what the comma is"
            if unread
            else "cells that are numbers alone: without units and percent signs",
        )
    return tuple(names_found), np.stack(columns, 1), None


def _tell_beside(
    table: Lines, roles: Roles, words: Sequence[str], config: SeriesTableConfig, account: Accounting
) -> None:
    """Columns of a long table beside its times, names and values: they are left out, and units may differ."""
    for name in table.columns:
        if name in roles.taken or name in config.labels or not any(not is_missing(one) for one in table.cells(name)):
            continue
        units: dict[str, set[str]] = {}
        for word, cell in zip(words, table.cells(name), strict=True):
            if not is_missing(cell):
                units.setdefault(word, set()).add(str(cell).strip())
        mixed = next((word for word, found in units.items() if len(found) > 1), None)
        if mixed is not None and calls_units(name) and are_units(set().union(*units.values())):
            shown = ", ".join(map(repr, sorted(units[mixed])[:3]))
            why = (
                f"it gives {mixed!r} several units ({shown}), and its values are read as they stand: write them in one"
            )
            account.guess(f"column {name!r}", "not applied", why, f"labels=[{name}]", is_loss=True)
        else:
            why = f"the values of a long table stand in {roles.value!r}"
            account.guess(f"column {name!r}", "no channel", why, f"labels=[{name}]")


def _tell_no_channel(numbers: NumberColumn, account: Accounting) -> None:
    """A column of words is none; one of numbers that are not understood is lost, which must not pass unseen."""
    name, words = numbers.name, len(numbers.odd.get("text", ()))
    is_lost = 2 * words < numbers.filled and not set(numbers.odd) <= {"text", "date"}
    why = "its cells are no numbers that are understood" if is_lost else "it holds no numbers"
    change = "decimal=point|comma" if is_lost else f"labels=[{name}] or series={name}"
    account.guess(f"column {name!r}", "no channel", why, change, is_loss=is_lost)
    if is_lost:
        account.odd_cells += numbers.sentences()


def _why_label(name: str, values: np.ndarray, keys: np.ndarray | None) -> str:
    """Why a column of numbers is no channel but a label of its series; empty where it is a channel."""
    if plain_name(name) in LABEL_NAMES:
        return "its name says that it is a label"
    known = np.isfinite(values)
    if keys is None or not known.any():
        return ""
    series = np.unique(keys[known], return_inverse=True)[1]
    pairs = np.unique(np.stack([series, values[known]]), axis=1)
    count = int(series.max()) + 1
    is_one = count > 1 and pairs.shape[1] == count and len(series) >= 2 * count
    return "one number a series, others in other series" if is_one and len(np.unique(pairs[1])) > 1 else ""


def tell_numbers(numbers: NumberColumn, said: str, account: Accounting) -> None:
    """Cells that are no numbers, and the decimal sign, into the account."""
    account.odd_cells += numbers.sentences()
    if said:
        chosen, _, why = said.partition(": ")
        account.guess(f"numbers of column {numbers.name!r}", chosen, why, "decimal=point|comma")


def _refuse_unknown(asked: Sequence[str], known: Sequence[str]) -> None:
    missing = [one for one in asked if one not in known]
    if missing:
        raise DataError(
            f"there is no channel {missing[0]!r}",
            did_you_mean=closest(missing[0], known),
            channels=", ".join(known[:20]),
        )


def _spread(
    values: np.ndarray, channel: np.ndarray, times: np.ndarray | None, names: tuple[str, ...], config: SeriesTableConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Lines of a long table as (T, C), one step a time.

    Raises:
        ItemError: no times, or a time twice for a channel.
    """
    if times is None:
        raise ItemError("no_times", "a long table needs a column of times, which says which lines belong together")
    keep = channel >= 0
    steps, place = np.unique(times[keep], return_inverse=True)
    cells = place * len(names) + channel[keep]
    counts = np.bincount(cells, minlength=len(steps) * len(names))
    if counts.max(initial=0) > 1 and config.duplicates == "error":
        first = int(np.flatnonzero(counts > 1)[0])
        raise _twice(int(steps[first // len(names)]), f" for channel {names[first % len(names)]!r}")
    dense = np.full(len(steps) * len(names), np.nan)
    if config.duplicates == "mean":
        known = np.isfinite(values[keep])
        sums = np.bincount(cells[known], values[keep][known], minlength=len(dense))
        many = np.bincount(cells[known], minlength=len(dense))
        dense = np.where(many > 0, sums / np.maximum(many, 1), np.nan)
    else:
        dense[cells] = values[keep]
    return dense.reshape(len(steps), len(names)), steps


def on_grid(
    values: np.ndarray,
    times: np.ndarray | None,
    names: tuple[str, ...],
    config: SeriesTableConfig,
    account: Accounting,
) -> Series:
    """A series in order of time, without gaps in its times: missing steps are steps without values.

    The rule: even times stay; times that are whole steps apart get missing steps in between; others need ``resample``,
    which takes means (:func:`repcore_timeseries.formats.steps.binned`) and leaves empty steps missing.

    Raises:
        ItemError: ``duplicate_time``, ``irregular``.
    """
    if times is None:
        return Series.of(values, names)
    if (np.diff(times) < 0).any():
        account.note("lines are put in order of time")
        order = np.argsort(times, kind="stable")
        values, times = values[order], times[order]
    if config.resample:
        bins = binned(times, step_of(config.resample), account)
        return Series.of(means(values, bins.place, len(bins.grid)), names, bins.grid)
    values, times = _without_duplicates(values, times, config)
    if len(times) < 3:
        return Series.of(values, names, times)
    apart = np.diff(times)
    step = float(np.median(apart))
    whole = np.rint(apart / step)
    if (np.abs(apart - whole * step) > JITTER * step * np.maximum(1, whole)).any() or (whole < 1).any():
        if _are_months(times):
            return Series.of(values, names, times)
        raise ItemError(
            "irregular",
            f"times are {step_words(float(apart.min()))} to {step_words(float(apart.max()))} apart, {step_words(step)} "
            f"by median: resample={step_words(usual_step(step)).replace(' ', '')} takes the mean of each such step",
        )
    place = np.concatenate([[0], whole.astype(np.int64).cumsum()])
    if place[-1] + 1 > MOST_GAPS * len(times):
        raise ItemError(
            "irregular", f"{place[-1] + 1} steps of {step_words(step)} for {len(times)} lines: resample=STEP"
        )
    full = np.full((int(place[-1]) + 1, values.shape[1]), np.nan)
    full[place] = values
    grid = times[0] + np.rint(np.arange(len(full)) * step).astype(np.int64)
    grid[place] = times
    return Series.of(full, names, grid)


def _are_months(times: np.ndarray) -> bool:
    """Monthly, quarterly or yearly data, whose steps are uneven in days and even in the calendar."""
    months = times.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    apart = np.diff(months)
    return bool((apart == apart[0]).all() and apart[0] > 0)


def _without_duplicates(
    values: np.ndarray, times: np.ndarray, config: SeriesTableConfig
) -> tuple[np.ndarray, np.ndarray]:
    same = np.flatnonzero(np.diff(times) == 0)
    if not len(same):
        return values, times
    if config.duplicates == "error":
        raise _twice(int(times[same[0]]), _reason(times))
    steps, place = np.unique(times, return_inverse=True)
    if config.duplicates == "last":
        last = np.zeros(len(steps), np.int64)
        np.maximum.at(last, place, np.arange(len(times)))
        return values[last], steps
    return means(values, place, len(steps)), steps


def means(values: np.ndarray, place: np.ndarray, count: int) -> np.ndarray:
    """Means of the known values that fall on each of ``count`` places, (count, C)."""
    found = np.full((count, values.shape[1]), np.nan)
    for number, channel in enumerate(values.T):
        known = np.isfinite(channel)
        sums = np.bincount(place[known], channel[known], minlength=count)
        many = np.bincount(place[known], minlength=count)
        found[:, number] = np.where(many > 0, sums / np.maximum(many, 1), np.nan)
    return found


def _reason(times: np.ndarray) -> str:
    """What times that come more than once look like."""
    steps, counts = np.unique(times, return_counts=True)
    if counts.max() > 1 and (counts > 1).mean() >= MANY:
        return (
            f" (each about {int(np.median(counts[counts > 1]))} times: several series? series=COLUMN tells them apart)"
        )
    twice = steps[counts == 2]
    hours = np.unique(twice // HOUR)
    days = {1 + int(one) // 24 for one in hours}
    if (
        counts.max() == 2
        and len(hours) == len(days) <= 1 + (times[-1] - times[0]) // (300 * 24 * HOUR)
        and (((steps // HOUR) == hours[0]) <= (counts == 2)).all()
    ):
        return " (one hour twice: local time where summer time ends? zone=Europe/Berlin, for example)"
    return ""


def _twice(time: int, more: str = "") -> ItemError:
    words = str(np.datetime64(time, "ns").astype("datetime64[s]"))
    return ItemError("duplicate_time", f"{words} comes twice{more}: duplicates=mean or duplicates=last")


def words_of_series(table: Table, column: str, found: Sequence[Found]) -> tuple[list[Any], bool]:
    """The cell of every series, and whether it is the same in all its lines; missing cells do not count."""
    cells = table.cells(column)
    words, is_one = [], True
    for one in found:
        own = {str(cells[line]): cells[line] for line in one.lines if not is_missing(cells[line])}
        is_one &= len(own) <= 1
        words.append(next(iter(own.values()), None))
    return words, is_one


SENTINELS = (-999.0, -9999.0, 9999.0, 99999.0, -1e30, 1e30)


def remarks(series: Mapping[str, Series]) -> list[str]:
    """Constant channels, and numbers that often stand for a missing value."""
    found = []
    for name, one in series.items():
        for channel, values in zip(one.names, one.values.T, strict=True):
            known = values[np.isfinite(values)]
            if len(known) > 1 and np.ptp(known) == 0:
                found.append(f"{name}: channel {channel!r} is constant ({known[0]:g})")
            for mark in SENTINELS:
                share = float((known == np.float32(mark)).mean()) if len(known) else 0.0
                if share > 0:
                    found.append(f"{name}: {share:.2%} of channel {channel!r} are {mark:g}, which may mean missing")
    return found[:8]
