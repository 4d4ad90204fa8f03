"""Reader ``timeseries/recordings``: a folder of tables with one header, each of them a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.catalogue import Catalogue, CatalogueReader, Row, class_target, existing, files_below, rows_by
from repcore.data.first_files import first_files
from repcore.data.folder_classes import folder_meaning
from repcore.data.groups import groups_in_paths, plain_name
from repcore.data.labels import LabelColumn, read_labels
from repcore.data.misfits import HARDLY
from repcore.data.splits import folder_part, part_of
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError
from repcore_timeseries.configs.series import SeriesTableConfig
from repcore_timeseries.datasets import tables
from repcore_timeseries.datasets.described import described
from repcore_timeseries.formats.lines import Lines
from repcore_timeseries.formats.roles import NONE, TIME_NAMES, find_time
from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.tables import Found, words_of_series

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".dat", ".parquet")
ENDINGS = (*SUFFIXES, *(f"{one}.gz" for one in SUFFIXES))
LOOKED_AT = 400
OPENED = 4
FEW_LINES = 16
PLACES = frozenset({"x", "y", "z"})  # without times: points of a cloud rather than an accelerometer


@dataclass(slots=True)
class Recording:
    """A file: its series, or why there is none; words that are the same in all its lines, by column."""

    file: Path
    id: str
    found: list[Found] = field(default_factory=list)
    words: dict[str, Any] = field(default_factory=dict)


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
        recordings = _read(path, config, account)
        rows, targets, splits = _rows(recordings, config, path, account)
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


def _score(path: Path, table: Table) -> float:
    if not table.has_header:
        return HARDLY if tables.sniff(path) else 0.0
    if tables.sniff(path) >= 0.5:
        return 0.72
    lines = Lines(table, Accounting(), rows=tables.SNIFFED_ROWS)
    numbers = len(lines) >= FEW_LINES and all(tables.are_numbers(lines, one) for one in lines.columns)
    return 0.45 if numbers and not {plain_name(one) for one in table.columns} >= PLACES else 0.0


def _read(path: Path, config: SeriesTableConfig, account: Accounting) -> list[Recording]:
    """All files, those of another header left out and named."""
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
    found, first = [], None
    for file, columns in opened:
        name = file.relative_to(path).as_posix()
        name = name[: len(name) - len("".join(file.suffixes[-2:] if file.suffix == ".gz" else file.suffixes[-1:]))]
        if isinstance(columns, str):
            gone = Found(name, None, np.zeros(0, np.int64), ("unreadable", columns))
            found.append(Recording(file, name, [gone]))
        elif columns != usual:
            account.ignore(file, "its columns are not those of the other tables")
        else:
            own = Accounting(path)
            found.append(_recording(file, name, config, own))
            first = _told(account, own, first)
    return found


def _told(account: Accounting, own: Accounting, first: set[tuple[str, str]] | None) -> set[tuple[str, str]]:
    """What was guessed of the first file is told, of others what differs from it."""
    said = {(one.chosen, one.reason) for one in own.guesses}
    if first is not None:
        own.guesses = [one for one in own.guesses if (one.chosen, one.reason) not in first]
        own.tables = own.tables if any(one.malformed for one in own.tables) else []
    account.add(own)
    return said if first is None else first | said


def _recording(file: Path, name: str, config: SeriesTableConfig, account: Accounting) -> Recording:
    table = Table(file)
    table.tell(account)
    try:
        lines = Lines(table, account, config.time)
        if not config.time and not lines.joined:
            config = _without_times(lines, config, account)
        roles, found = tables.series_over_lines(lines, config, account)
    except DataError as error:
        gone = Found(name, None, np.zeros(0, np.int64), ("no_series", error.summary))
        return Recording(file, name, [gone])
    words: dict[str, Any] = {}
    if len(found) == 1 and found[0].series is not None:
        taken = {*roles.taken, *found[0].series.names}
        for column in config.labels or [one for one in table.columns if one not in taken]:
            cells, is_one = words_of_series(table, table.require(column), found)
            if is_one:
                words[column] = cells[0]
    return Recording(file, name, found, words)


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
    recordings: Sequence[Recording], config: SeriesTableConfig, path: Path, account: Accounting
) -> tuple[list[Row[Series]], list[Any], dict[str, list[int]]]:
    labels = _labels(recordings, account)
    parts, classes, groups = _folders(recordings, path, account)
    targets = [one.target for one in labels if one.target is not None]
    place: dict[str, int] = {}
    if classes:
        target, place = class_target("class", classes)
        targets.append(target)
    rows: list[Row[Series]] = []
    in_part: list[str | None] = []
    by_time = not (any(parts) or targets)
    lengths = (len(found.series) for one in recordings for found in one.found if found.series is not None)
    tables.tell_unused(lengths, config, by_time, account)
    for number, one in enumerate(recordings):
        values: dict[str, Any] = {label.name: label.value(number) for label in labels if label.target is not None}
        if classes:
            values["class"] = place[classes[number]]
        for found in one.found:
            name = one.id if len(one.found) == 1 else f"{one.id}/{found.name}"
            group = groups[number] or (one.id if len(one.found) > 1 or config.window else None)
            for part, id_, series in _cut(name, found, config, by_time):
                stamp = f"{id_}|{config!r}"
                rows.append(Row(id_, series, values, group, found.problem, files=(one.file,), stamp=stamp))
                in_part.append(parts[number] if not by_time else part)
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


def _labels(recordings: Sequence[Recording], account: Accounting) -> list[LabelColumn]:
    """Columns that are one word or number in every file."""
    usable = [one for one in recordings if one.words or any(found.series is not None for found in one.found)]
    names = dict.fromkeys(name for one in usable for name in one.words)
    cells = {
        name: [one.words.get(name) for one in recordings] for name in names if all(name in one.words for one in usable)
    }
    return read_labels(cells, change="labels=COLUMN", account=account) if cells else []


def _folders(
    recordings: Sequence[Recording], path: Path, account: Accounting
) -> tuple[list[str | None], list[str], list[str | None]]:
    """The part of a split, the class (empty where folders are none) and the group of every file."""
    above = [list(one.file.relative_to(path).parts[:-1]) for one in recordings]
    parts = [next((part for part in map(folder_part, one) if part), None) for one in above]
    parts = parts if all(parts) else [None] * len(parts)
    if any(parts):
        account.guess("folders", "parts of a split", f"they are called {', '.join(sorted({str(p) for p in parts}))}")
        above = [[folder for folder in one if folder_part(folder) is None] for one in above]
    folders = [one[-1] if one else "" for one in above]
    meaning = folder_meaning(folders, [path.name])
    groups, said = groups_in_paths([one.file for one in recordings], path)
    if meaning.kind == "group":
        return parts, [], list(folders)
    if said:
        account.note(said)
    if meaning.kind != "class":
        return parts, [], groups
    account.guess("classes", f"{len(set(folders))} folders", meaning.reason)
    return parts, folders, groups
