"""Reader ``timeseries/recordings``: a folder of tables with one header, each of them a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.catalogue import Catalogue, CatalogueReader, Row, class_target, existing, files_below, rows_by
from repcore.data.first_files import first_files
from repcore.data.groups import plain_name
from repcore.data.misfits import HARDLY
from repcore.data.split_columns import parts_of
from repcore.data.splits import part_of, parts_in_names
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError
from repcore_timeseries.configs.series import SeriesTableConfig
from repcore_timeseries.datasets import tables
from repcore_timeseries.datasets.described import described
from repcore_timeseries.datasets.recording_labels import (
    Recording,
    in_usual_order,
    known_of,
    tell_steps,
    without_constants,
)
from repcore_timeseries.datasets.tables import cells_of, tell_unused
from repcore_timeseries.formats.lines import Lines
from repcore_timeseries.formats.parts import PARTS
from repcore_timeseries.formats.roles import NONE, TIME_NAMES, find_time
from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.tables import Found, words_of_series
from repcore_timeseries.formats.wide import columns_of_steps, series_of_rows

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".dat", ".parquet")
ENDINGS = (*SUFFIXES, *(f"{one}.gz" for one in SUFFIXES))
LOOKED_AT = 400
OPENED = 4
FEW_LINES = 16
PLACES = frozenset({"x", "y", "z"})  # without times: points of a cloud rather than an accelerometer


class Recordings(CatalogueReader[Series, Series]):
    """Series of many tables. The file is the id, its folder a class, a group or a part of a split.

    Args:
        config: see :class:`SeriesTableConfig`; what it says of columns holds for every file.

    Raises:
        DataError: no folder, no tables, or nothing in them that can be used.
    """

    noun = "recording"
    lengths = ("channels",)

    def __init__(self, config: SeriesTableConfig) -> None:
        path = existing(config.path, "series")
        account = Accounting(path if path.is_dir() else path.parent)
        recordings, others = _read(path, config, account)
        rows, targets, splits = _rows(recordings, others, config, path, account)
        catalogue = Catalogue(rows, targets, splits, account=account)
        super().__init__(catalogue, path, expected=f"tables of recordings ({', '.join(SUFFIXES)})")

    @property
    def costs(self) -> list[int]:
        """Steps of every row."""
        return [len(row.source) for row in self.rows]

    def read(self, row: Row[Series]) -> Series:
        """The series, which was read with its file."""
        return row.source

    def size_of(self, content: Series) -> int:
        return int(content.values.nbytes)

    def facts(self, content: Series) -> Mapping[str, Any]:
        return described(content)

    def describe(self, sample: Any) -> Mapping[str, Any]:
        """For ``inspect``."""
        return described(sample.inputs)


def sniff(path: Path) -> float:
    """A folder whose first tables have one header, and times or nothing but numbers below it."""
    if not path.is_dir():
        return 0.0
    found = first_files(path, LOOKED_AT)
    if _are_parts(found):
        score = min(tables.sniff(one) for one in found)
        return score if score > HARDLY else 0.0
    held = [one for one in found if table_suffix(one) in SUFFIXES and part_of(one.name.split(".")[0]) is None]
    if len(held) < 2 or 2 * len(held) <= len(found):
        return 0.0
    headers: Counter[tuple[str, ...]] = Counter()
    scores = []
    for one in held[:OPENED]:
        try:
            table = Table(one)
        except DataError:
            continue
        headers[tuple(table.columns)] += 1
        scores.append(_score(one, table))
    if not headers or max(headers.values()) < min(2, len(held)) or 2 * max(headers.values()) <= sum(headers.values()):
        return 0.0
    return sorted(scores)[len(scores) // 2]


def _are_parts(files: Sequence[Path]) -> bool:
    """Whether all files are tables of a series a row and called after parts of a split: ``Yearly-train.csv``."""
    if len(files) < 2 or not all(table_suffix(one) in SUFFIXES for one in files):
        return False
    if not all(parts_in_names([one.name.split(".")[0] for one in files])):
        return False
    try:
        return all(columns_of_steps(Table(one).columns)[0] for one in files)
    except DataError:
        return False


def _score(path: Path, table: Table) -> float:
    if not table.has_header:
        return HARDLY if tables.sniff(path) else 0.0
    if tables.sniff(path) >= 0.5:
        return 0.72
    lines = Lines(table, Accounting(), rows=tables.SNIFFED_ROWS)
    numbers = len(lines) >= FEW_LINES and all(tables.are_numbers(lines, one) for one in lines.columns)
    return 0.45 if numbers and not {plain_name(one) for one in table.columns} >= PLACES else 0.0


def _read(path: Path, config: SeriesTableConfig, account: Accounting) -> tuple[list[Recording], list[Path]]:
    """All files with one set of columns, whatever their order; and the tables with others, which may describe them."""
    if not path.is_dir():
        raise DataError(f"{str(path)!r} is one file", hint="--reader timeseries/table")
    files = [one for one in files_below(path, ENDINGS, account=account) if table_suffix(one) in SUFFIXES]
    opened: list[tuple[Path, tuple[str, ...] | str]] = []
    for file in files:
        try:
            opened.append((file, tuple(Table(file).columns)))
        except DataError as error:
            opened.append((file, error.summary))
    headers = Counter(one for _, one in opened if isinstance(one, tuple))
    if not headers:
        raise DataError(f"{str(path)!r} holds no table of a recording", expected=f"files of {', '.join(SUFFIXES)}")
    usual = headers.most_common(1)[0][0]
    found, others, first, are_parts = [], [], None, _are_parts(files)
    for file, columns in opened:
        name = file.relative_to(path).as_posix()
        name = name[: len(name) - len("".join(file.suffixes[-2:] if file.suffix == ".gz" else file.suffixes[-1:]))]
        if isinstance(columns, str):
            gone = Found(name, None, np.zeros(0, np.int64), ("unreadable", columns))
            found.append(Recording(file, name, [gone]))
        elif not are_parts and columns != usual and sorted(columns) != sorted(usual):
            others.append(file)
        else:
            own = Accounting(path)
            if columns != usual and not are_parts:
                account.guess(f"columns of {file.name}", "read by name", "they stand in another order")
            found.append(_recording(file, name, config, own, are_parts))
            first = _told(account, own, first)
    if are_parts:
        _refuse_doubled(found)
    elif len(found) > 1:
        account.note(
            f"{len(found):,} files with the same columns are one recording each, called after the file; parts of one "
            f"table are recognised by numbered names (part-00000{found[0].file.suffix}, ...)"
        )
    in_usual_order(found)
    if not config.channels:
        without_constants(found, account)
    tell_steps(found, account)
    return found, others


def _refuse_doubled(recordings: Sequence[Recording]) -> None:
    """Series of one name in several files may go on from file to file, or be others: nobody knows.

    Raises:
        DataError: two files hold series of the same names.
    """
    owner: dict[str, Recording] = {}
    parts = parts_in_names([Path(one.id).name for one in recordings])
    in_time = sorted(zip(parts, recordings, strict=True), key=lambda pair: PARTS.index(str(pair[0])))
    for _, one in in_time:
        twice = [each.name for each in one.found if len(one.found) > 1 and owner.setdefault(each.name, one) is not one]
        if twice:
            earlier, own = owner[twice[0]].file.name, one.file.name
            raise DataError(
                f"{len(twice)} series stand in {earlier} and in {own}: {', '.join(map(repr, twice[:3]))}",
                meaning=f"where {own} goes on with them, their steps belong behind those of {earlier}; where they are "
                "others, they need other names",
                hint=f"--data {one.file.parent / earlier} reads one file; parts=... and window=... cut it by time",
            )


def _told(account: Accounting, own: Accounting, first: set[tuple[str, str]] | None) -> set[tuple[str, str]]:
    """What was guessed of the first file is told, of others what differs from it."""
    said = {(one.chosen, one.reason) for one in own.guesses}
    if first is not None:
        own.guesses = [one for one in own.guesses if (one.chosen, one.reason) not in first]
        own.tables = own.tables if any(one.malformed for one in own.tables) else []
    account.add(own)
    return said if first is None else first | said


def _recording(file: Path, name: str, config: SeriesTableConfig, account: Accounting, may_be_wide: bool) -> Recording:
    table = Table(file)
    table.tell(account)
    try:
        lines = Lines(table, account, config.time)
        wide = series_of_rows(lines, config, account) if may_be_wide else None
        if wide is not None:
            return Recording(file, name, wide)
        if not config.time and not lines.joined:
            config = _without_times(lines, config, account)
        roles, found = tables.series_over_lines(lines, config, account)
    except DataError as error:
        gone = Found(name, None, np.zeros(0, np.int64), ("no_series", error.summary))
        return Recording(file, name, [gone])
    groups = cells_of(lines, roles.group, found)
    if any(groups) and roles.group in roles.series:
        account.guess(f"group of {file.name}", f"column {roles.group!r}", "its name", "channels=... or labels=...")
    parts = parts_of(cells_of(lines, roles.split, found))
    words: dict[str, Any] = {}
    if len(found) == 1 and found[0].series is not None:
        taken = {*roles.taken, *found[0].series.names}
        for column in config.labels or [one for one in table.columns if one not in taken]:
            cells, is_one = words_of_series(table, table.require(column), found)
            if is_one:
                words[column] = cells[0]
    return Recording(file, name, found, words, groups, parts)


def _without_times(lines: Lines, config: SeriesTableConfig, account: Accounting) -> SeriesTableConfig:
    """Steps are numbered where no column is one of times; whether a file says so is the same in all of them."""
    try:
        find_time(lines, config)
    except DataError:
        chosen, named = "steps are numbered", ", ".join(TIME_NAMES[:4])
        account.guess(f"time of {lines.path.name}", chosen, f"no column is called {named}, ...", "time=COLUMN")
        return replace(config, time=NONE)
    return config


def _rows(
    recordings: Sequence[Recording], tables: Sequence[Path], config: SeriesTableConfig, path: Path, account: Accounting
) -> tuple[list[Row[Series]], list[Any], dict[str, list[int]]]:
    known, labels = known_of(recordings, tables, path, account)
    targets = [one.target for one in labels if one.target is not None]
    place: dict[str, int] = {}
    if known.classes:
        target, place = class_target("class", known.classes)
        targets.append(target)
    rows: list[Row[Series]] = []
    in_part: list[str | None] = []
    by_time = not (any(known.parts) or targets or any(part for one in recordings for part in one.parts))
    lengths = (len(found.series) for one in recordings for found in one.found if found.series is not None)
    tell_unused(lengths, config, by_time, account)
    for number, one in enumerate(recordings):
        values: dict[str, Any] = {label.name: label.value(number) for label in labels if label.target is not None}
        if known.classes:
            values["class"] = place[known.classes[number]]
        own = [*one.groups, *[None] * (len(one.found) - len(one.groups))]
        declared = [*one.parts, *[None] * (len(one.found) - len(one.parts))]
        for found, group, in_file in zip(one.found, own, declared, strict=True):
            name = one.id if len(one.found) == 1 else f"{one.id}/{found.name}"
            whose = group or known.groups[number] or (one.id if len(one.found) > 1 or config.window else None)
            for part, id_, series in _cut(name, found, config, by_time):
                stamp = f"{id_}|{replace(config, path='')!r}"
                rows.append(Row(id_, series, values, whose, found.problem, files=(one.file,), stamp=stamp))
                in_part.append(part if by_time else in_file or known.parts[number])
    splits = rows_by(in_part)
    return rows, targets, splits if len(set(in_part)) > 1 else {}


def _cut(name: str, found: Found, config: SeriesTableConfig, by_time: bool) -> list[tuple[str | None, str, Series]]:
    """The series whole, or its windows with the part of time in which they lie."""
    if found.series is None:
        return [(None, name, Series.of(np.full((1, 1), np.nan)))]
    if not config.window:
        return [(None, name, found.series)]
    series = found.series
    return [
        (part if by_time else None, f"{name}@{first}", series.part(first, first + config.window))
        for part, first in tables.windows(len(series), config, by_time)
    ]
