"""Reader ``timeseries/table``: CSV, TSV and parquet with time stamps, wide or long, whole series or windows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.catalogue import Catalogue, CatalogueReader, Row, existing
from repcore.data.cells import is_missing, numbers_as_written
from repcore.data.groups import plain_name
from repcore.data.identity import file_identity
from repcore.data.labels import LEAST_NUMBERS, LabelColumn, LabelKind, read_labels
from repcore.data.misfits import HARDLY
from repcore.data.split_columns import parts_of
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError
from repcore_timeseries.configs.series import SeriesTableConfig
from repcore_timeseries.datasets.described import described
from repcore_timeseries.formats.lines import Lines
from repcore_timeseries.formats.parts import PARTS, borders
from repcore_timeseries.formats.roles import TIME_NAMES, Roles, find_roles, find_time, is_called_time, is_panel, rises
from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.tables import Found, remarks, series_of, words_of_series
from repcore_timeseries.formats.time_units import unit_in_name
from repcore_timeseries.formats.times import looks_like_times, read_times
from repcore_timeseries.formats.wide import columns_of_steps, series_of_rows

SNIFFED_ROWS = 50


class SeriesTable(CatalogueReader[Series, Series]):
    """Series of a table. With ``window``, rows are windows of ``window`` steps, and each lies within one part of time.

    Args:
        config: see :class:`SeriesTableConfig`.

    Raises:
        DataError: no table, a column that is not there, times that cannot be read, or nothing that can be used.
    """

    noun = "row"
    lengths = ("channels",)

    def __init__(self, config: SeriesTableConfig) -> None:
        path = existing(config.path, "series")
        table, account = Table(path), Accounting(path.parent)
        table.tell(account)
        lines = Lines(table, account, config.time)
        found = series_of_rows(lines, config, account)
        roles = Roles("", tuple(columns_of_steps(lines.columns)[0]), "", "")
        if found is None:
            roles, found = series_over_lines(lines, config, account)
        for text in remarks({one.name: one.series for one in found if one.series is not None}):
            account.note(text)
        if len(found) == 1 and found[0].series is not None and not config.window:
            steps = len(found[0].series)
            account.note(
                f"one series of {steps:,} steps is one row: window=N (and stride=N) makes rows of N steps of it"
            )
        labels = _labels(table, roles, found, config, account)
        whose = [cells_of(lines, name, found) for name in (roles.group, roles.split)]
        rows, splits = _rows(found, labels, whose[0], parts_of(whose[1]), config, path)
        targets = [one.target for one in labels if one.target is not None]
        catalogue = Catalogue(rows, targets, splits, account=account)
        super().__init__(catalogue, path, expected="a table with a column of times and columns of numbers")

    @property
    def costs(self) -> list[int]:
        """Steps of every row."""
        return [len(row.source) for row in self.rows]

    def read(self, row: Row[Series]) -> Series:
        """The series, which was read with the table."""
        return row.source

    def size_of(self, content: Series) -> int:
        return int(content.values.nbytes)

    def facts(self, content: Series) -> Mapping[str, Any]:
        return described(content)

    def describe(self, sample: Any) -> Mapping[str, Any]:
        """For ``inspect``."""
        return described(sample.inputs)


def series_over_lines(lines: Lines, config: SeriesTableConfig, account: Accounting) -> tuple[Roles, list[Found]]:
    """Series whose steps are lines."""
    time, why = find_time(lines, config)
    when = None
    if time:
        if why:
            account.guess(f"time of {lines.path.name}", f"column {time!r}", why, "time=COLUMN or none")
        unit = f"{time} [{lines.units[time]}]" if time in lines.units else time
        when = read_times(lines.cells(time), unit if unit_in_name(unit) else time, config.time_form)
        if when.said:
            account.guess(f"times of {lines.path.name}", when.said, when.why, "time_form=...")
    roles = find_roles(lines, time, when, config, account)
    return roles, series_of(lines, roles, when, config, account)


def sniff(path: Path) -> float:
    """A table with times and numbers, by its first rows; hardly any other table of numbers, to say what is wrong."""
    if not path.is_file() or not table_suffix(path):
        return 0.0
    try:
        table = Table(path)
    except DataError:
        return 0.0
    lines = Lines(table, Accounting(), rows=SNIFFED_ROWS)
    if len(lines) < 2:
        return 0.0
    if not any(are_numbers(lines, one) for one in lines.columns):
        return 0.2 if lines.joined or any(looks_like_times(lines.some(one)) for one in lines.columns) else 0.0
    if lines.joined or any(looks_like_times(lines.some(one)) for one in lines.columns):
        return 0.7
    steps, texts = columns_of_steps(lines.columns)
    if steps:
        return (
            0.72 if texts is not None else 0.3 if not all(are_numbers(lines, one) for one in lines.columns) else HARDLY
        )
    if len(lines.columns) < 2:
        return HARDLY
    named = [one for one in lines.columns if plain_name(one) in TIME_NAMES]
    if is_panel(lines):
        return 0.65
    if any(rises(lines, one) for one in named):
        return 0.5
    called = [one for one in lines.columns if one in named or is_called_time(one)]
    return 0.3 if any(rises(lines, one) or not are_numbers(lines, one) for one in called) else HARDLY


def are_numbers(lines: Lines, name: str) -> bool:
    """Whether the first cells of a column are numbers."""
    return numbers_as_written(name, lines.some(name))[0].number_share >= LEAST_NUMBERS


def cells_of(lines: Lines, column: str, found: Sequence[Found]) -> list[str | None]:
    """What a column says of each series; None where it says several things, or there is no such column."""
    if not column:
        return [None] * len(found)
    cells = dict(zip(lines.rows.tolist(), lines.cells(column), strict=True))
    words = [{str(cells[line]) for line in one.lines.tolist() if not is_missing(cells[line])} for one in found]
    return [next(iter(one)) if len(one) == 1 else None for one in words]


def _rows(
    found: Sequence[Found],
    labels: Sequence[LabelColumn],
    groups: Sequence[str | None],
    parts: Sequence[str | None],
    config: SeriesTableConfig,
    path: Path,
) -> tuple[list[Row[Series]], dict[str, list[int]]]:
    """A row a series, or a window, which says in which part of time it lies.

    Windows of one of several series are a group. Where series have labels, or parts that the table declares, no part of
    time is a split: the label of a series would stand on both sides.
    """
    rows: list[Row[Series]] = []
    splits: dict[str, list[int]] = {}
    settings = repr(replace(config, path=""))  # data are the same wherever they lie
    by_time = not (any(parts) or (len(found) > 1 and any(one.target is not None for one in labels)))
    for number, one in enumerate(found):
        targets = {label.name: label.value(number) for label in labels if label.target is not None}
        group = groups[number] or (one.name if config.window and len(found) > 1 else None)
        declared = parts[number]
        if one.series is None:
            gone = Series.of(np.full((1, 1), np.nan))
            stamp = f"{file_identity(path)}|{settings}"
            rows.append(Row(one.name, gone, targets, group, problem=one.problem, stamp=stamp))
            continue
        if not config.window:
            splits.setdefault(declared or "", []).append(len(rows))
            rows.append(Row(one.name, one.series, targets, group, files=(path,), stamp=settings))
            continue
        for part, first in windows(len(one.series), config, by_time):
            splits.setdefault(part if by_time else declared or "", []).append(len(rows))
            series = one.series.part(first, first + config.window)
            name = f"{one.name}@{first}" if len(found) > 1 else f"step-{first:07d}"
            rows.append(Row(name, series, targets, group, files=(path,), stamp=f"{first}|{settings}"))
    if config.window and not rows:
        longest = max(len(one.series) for one in found if one.series is not None) if found else 0
        raise DataError(
            f"window={config.window} is longer than every part of time", longest=f"{longest} steps", parts=config.parts
        )
    return rows, {name: splits[name] for name in PARTS if name in splits}


def windows(length: int, config: SeriesTableConfig, by_time: bool = True) -> list[tuple[str, int]]:
    """Part and first step of every window; none straddles the border of two parts, if there are ``by_time``."""
    found = []
    stride = config.stride or config.window
    parts = borders(length, config.parts, config.gap) if by_time else [(0, length)]
    for part, (start, stop) in zip(PARTS, parts, strict=by_time):
        found += [(part, first) for first in range(start, stop - config.window + 1, stride)]
    return found


def tell_unused(lengths: Iterable[int], config: SeriesTableConfig, by_time: bool, account: Accounting) -> None:
    """Steps that lie in no window: at the end of a series, or of a part of time that is shorter than one."""
    total = unused = 0
    for length in lengths if config.window else ():
        is_used = np.zeros(length, bool)
        for _, first in windows(length, config, by_time):
            is_used[first : first + config.window] = True
        total, unused = total + length, unused + int((~is_used).sum())
    if unused:
        where = f"no window of {config.window} steps"
        why = ", whose parts of time have borders of their own" if by_time else ""
        account.note(f"{unused:,} of {total:,} steps lie in {where}{why}: window=N, stride=N and parts say otherwise")


def _labels(
    table: Table, roles: Roles, found: Sequence[Found], config: SeriesTableConfig, account: Accounting
) -> list[LabelColumn]:
    """Columns that the user calls labels, and those that are one word or number a series and no channel.

    Raises:
        DataError: a label changes within a series.
    """
    cells = {}
    channels = {name for one in found if one.series is not None for name in one.series.names}
    taken = {*roles.taken, *channels}
    for name in [table.require(one) for one in config.labels] or [one for one in table.columns if one not in taken]:
        words, is_one = words_of_series(table, name, found)
        if config.labels and not is_one:
            raise DataError(f"labels={name}: the column changes within a series", hint="series=COLUMN, or leave it out")
        looks = [one for one in words if one is not None]
        if config.labels or (is_one and len(found) > 1 and looks):
            cells[name] = words
    kinds: dict[str, LabelKind] = {name: "class" for name in config.labels if not all(map(_is_number, cells[name]))}
    change = "labels=COLUMN"
    return read_labels(cells, kinds=kinds, change=change, account=account) if cells else []


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True
