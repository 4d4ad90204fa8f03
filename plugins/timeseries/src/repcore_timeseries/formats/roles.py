"""Which column of a table of series is what: times, series, names and values of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import is_missing, numbers_as_written
from repcore.data.groups import group_column, plain_name
from repcore.data.labels import LEAST_NUMBERS
from repcore.data.split_columns import SPLIT_NAMES, split_column
from repcore.errors import DataError
from repcore_timeseries.configs.series import SeriesTableConfig
from repcore_timeseries.formats.lines import Lines, column_of
from repcore_timeseries.formats.number_times import as_numbers
from repcore_timeseries.formats.time_units import DATE_WORDS, Reading, unit_in_name, words_in
from repcore_timeseries.formats.times import looks_like_times, with_points

TIME_NAMES = ("time", "date", "datetime", "timestamp", "date_time", "time_stamp", "ds", "ts", "t")
TIME_WORDS = frozenset(
    {"time", "times", "timestamp", "elapsed", "seconds", "zeit", "cycle", "filetime", "epoch", "unix", "jd", "mjd"}
)
VARIABLE_NAMES = ("variable", "channel", "sensor", "parameter", "metric", "signal", "tag")
VALUE_NAMES = ("value", "val", "reading", "measurement", "y")
SERIES_NAMES = ("series", "series_id", "unique_id", "id", "item_id", "ts_id")
KEY_NAMES = frozenset({
    "station", "site", "sensor", "device", "location", "store", "shop", "item", "product", "country", "region", "city",
    "symbol", "ticker", "stock", "machine", "unit", "engine", "meter", "household", "house", "trial", "run", "cycle",
    "subject", "session", "patient", "animal", "recording", "segment", "sequence", "episode", "experiment", "bearing",
    "turbine", "plant", "well", "buoy", "node", "mote", "moteid", "vehicle", "trip", "trajectory", "asset", "battery",
    "family", "category", "room", "person", "user", "series", "id", "zone", "stationsid", "stations",
})  # fmt: skip
LABEL_WORDS = frozenset({"label", "class", "target", "activity", "state", "status", "y"})
COUNT_NAMES = frozenset({"", "no", "nr", "record", "index", "row", "line", "unnamed_0", "column0", "rownum"})
NONE = "none"
MOSTLY_RISES = 0.9
MANY = 0.5  # share of times that come more than once before a key is looked for
MOST_KEYS = 12  # columns that are tried


@dataclass(frozen=True, slots=True)
class Roles:
    """Columns by what they hold; empty = there is none; a series may be named by several columns.

    ``group`` says whom a series comes from (a patient), ``split`` in which part of a split it lies.
    """

    time: str
    series: tuple[str, ...]
    variable: str
    value: str
    group: str = ""
    split: str = ""

    @property
    def taken(self) -> frozenset[str]:
        """Columns that are neither channels nor labels."""
        return frozenset({self.time, *self.series, self.variable, self.value, self.group, self.split})


def find_time(lines: Lines, config: SeriesTableConfig) -> tuple[str, str]:
    """The column of times, as the user says, else by name, else by content; and the reason.

    Raises:
        DataError: there is none, and nobody said that there is none.
    """
    if config.time:
        return ("", "") if config.time == NONE else (column_of(lines, config.time), "")
    if lines.joined:
        return lines.joined, ""
    plain = {plain_name(one): one for one in reversed(lines.columns)}
    named = next((plain[word] for word in TIME_NAMES if word in plain), "")
    if named:
        return named, "its name"
    by_content = next((one for one in lines.columns if looks_like_times(lines.some(one))), "")
    if by_content:
        return by_content, "what it holds"
    by_words = next((one for one in lines.columns if is_called_time(one) and rises(lines, one)), "")
    if by_words:
        return by_words, "its name, and it rises"
    raise DataError(
        f"{lines.path.name} has no column of times",
        columns=", ".join(lines.columns[:20]),
        hint="time=COLUMN, or time=none where each line is a step and each column a channel",
    )


def is_called_time(name: str) -> bool:
    """Whether a name speaks of times, or is a unit of time alone."""
    words = set(words_in(name))
    return bool(words & (TIME_WORDS | DATE_WORDS)) or (unit_in_name(name) is not None and len(words) == 1)


def rises(lines: Lines, column: str) -> bool:
    """Numbers that hardly ever fall: seconds, counts since 1970, dates without signs."""
    values = as_numbers(with_points(lines.some(column)))
    if values is None or len(values) < 2:
        return False
    return bool((np.diff(values) >= 0).mean() >= MOSTLY_RISES and values[0] != values[-1])


def find_roles(lines: Lines, time: str, when: Reading | None, config: SeriesTableConfig, account: Accounting) -> Roles:
    """What the user says, else what names and contents say; tells what was found.

    Raises:
        DataError: a column that was named does not exist.
    """

    def named(asked: str, words: Sequence[str]) -> str:
        if asked == NONE:
            return ""
        if asked:
            return column_of(lines, asked)
        plain = {plain_name(one): one for one in reversed(lines.columns)}
        return next((plain[word] for word in words if word in plain), "")

    variable, value = named(config.variable, VARIABLE_NAMES), named(config.value, VALUE_NAMES)
    if not (variable and value) or (not config.variable and _is_number(lines, variable)):
        variable = value = ""
    for role, name in (("variable", variable), ("value", value)):
        if name and getattr(config, role) != name:
            account.guess(f"{role} of {lines.path.name}", f"column {name!r}", "its name", f"{role}=COLUMN or none")
    series = _find_series(lines, (time, variable, value), when, config, account)
    others = [one for one in lines.columns if one not in (time, variable, value, *config.channels, *config.labels)]
    group = group_column(others) or ""
    if group and group not in series:
        account.guess(f"group of {lines.path.name}", f"column {group!r}", "its name", "channels=... or labels=...")
    called = [one for one in others if one not in series and plain_name(one) in SPLIT_NAMES]
    split = (split_column(called, lines.cells) or "") if called else ""
    if split:
        account.guess(f"declared split of {lines.path.name}", f"column {split!r}", "its words are parts of a split")
    return Roles(time, series, variable, value, group, split)


def _find_series(
    lines: Lines, taken: tuple[str, str, str], when: Reading | None, config: SeriesTableConfig, account: Accounting
) -> tuple[str, ...]:
    if config.series == NONE:
        return ()
    if config.series:
        whole = config.series in lines.columns
        return tuple(column_of(lines, one.strip()) for one in ([config.series] if whole else config.series.split(",")))
    others = [one for one in lines.columns if one not in taken]
    plain = {plain_name(one): one for one in reversed(others)}
    by_name = next((plain[word] for word in SERIES_NAMES if word in plain), "") or group_column(others) or ""
    keys: tuple[str, ...] = (by_name,) if by_name and _repeats(lines, by_name) else ()
    why = "its name"
    if when is not None:
        keys, why = _told_apart(lines, others, taken[1], when, keys)
    if keys:
        said = f"column {keys[0]!r}" if len(keys) == 1 else f"columns {', '.join(map(repr, keys))} together"
        account.guess(f"series of {lines.path.name}", said, why, "series=COLUMN or none")
    return keys


def _told_apart(
    lines: Lines, others: Sequence[str], variable: str, when: Reading, keys: tuple[str, ...]
) -> tuple[tuple[str, ...], str]:
    """The columns without which times come several times or start again, beside those that a name tells."""
    channel = codes(lines, variable) if variable else np.zeros(len(lines), np.int64)
    known = _paired(channel, *(codes(lines, one) for one in keys))
    many = _share_twice(known, when.times) >= MANY
    candidates = _candidates(lines, [one for one in others if one not in keys])
    if not many:
        if keys:
            return keys, "its name"
        for name in candidates:
            if _is_key_name(name) and _are_blocks(codes(lines, name), when.times):
                return (name,), "its name, and each of its values is one block of lines"
        return (), ""
    for size in (1, 2):
        for more in combinations(candidates[:MOST_KEYS], size):
            found = _paired(known, *(codes(lines, one) for one in more))
            if _share_twice(found, when.times) == 0:
                return (*keys, *more), "with it no time comes twice" if size == 1 and not keys else (
                    "with them no time comes twice"
                )
    return keys, "its name"


def _candidates(lines: Lines, names: Sequence[str]) -> list[str]:
    """Columns that may name series, the likeliest first: few values, words or whole numbers."""
    found = []
    for place, name in enumerate(names):
        cells = lines.some(name)
        values = as_numbers([one for one in cells if not is_missing(one)])
        if values is not None and (not len(values) or (values != np.rint(values)).any()):
            continue
        kinds = int(codes(lines, name).max()) + 1
        if not 2 <= kinds <= max(2, len(lines) // 2):
            continue
        is_number = values is not None
        if is_number and not _is_key_name(name):
            continue
        is_label = bool(LABEL_WORDS & set(words_in(name)))
        found.append((is_label, not _is_key_name(name), is_number, kinds, place, name))
    return [one[-1] for one in sorted(found)]


def _is_key_name(name: str) -> bool:
    words = words_in(name)
    return words[-1] in ("id", "ids", "nr", "no", "number", "key", "code", "uid", "name") or bool(
        KEY_NAMES & set(words)
    )


def codes(lines: Lines, column: str) -> np.ndarray:
    """int64 (N,): a number for each distinct cell."""
    known: dict[str, int] = {}
    return np.asarray([known.setdefault(str(one), len(known)) for one in lines.cells(column)], np.int64)


def joined_keys(lines: Lines, columns: Sequence[str]) -> np.ndarray:
    """Names of series (N,), those of several columns joined by ``/``."""
    cells = [[str(one) for one in lines.cells(column)] for column in columns]
    return np.asarray(["/".join(one) for one in zip(*cells, strict=True)])


def _paired(*numbers: np.ndarray) -> np.ndarray:
    """int64 (N,): a number for each distinct tuple."""
    found = numbers[0]
    for more in numbers[1:]:
        found = np.unique(found * (int(more.max()) + 1) + more, return_inverse=True)[1]
    return found


def _share_twice(keys: np.ndarray, times: np.ndarray) -> float:
    """Share of the (series, time) that come more than once."""
    _, counts = np.unique(_paired(keys, np.unique(times, return_inverse=True)[1]), return_counts=True)
    return float((counts > 1).mean())


def _are_blocks(keys: np.ndarray, times: np.ndarray) -> bool:
    """Each value one run of at least two lines on average, in which times rise."""
    return _in_blocks(keys, times) or _in_blocks(keys, -times)


def is_panel(lines: Lines) -> bool:
    """Blocks of lines of a machine, a subject, ... in which a column that is called a time rises: no list of edges."""
    for time in lines.columns:
        values = as_numbers(lines.cells(time)) if plain_name(time) in TIME_NAMES or is_called_time(time) else None
        if values is None:
            continue
        keys = [one for one in lines.columns if one != time and _is_key_name(one)]
        if any(_in_blocks(codes(lines, one), values) for one in keys) and len(lines.columns) > 2:
            return True
    return False


def _in_blocks(keys: np.ndarray, values: np.ndarray) -> bool:
    """Each key in one run of lines, at least two on average, in which values rise."""
    turns = np.flatnonzero(np.diff(keys)) + 1
    inside = np.delete(np.diff(values), turns - 1)
    kinds = len(np.unique(keys))
    return len(turns) + 1 == kinds and len(keys) >= 2 * kinds and bool((inside > 0).all())


def is_count(name: str, values: np.ndarray) -> bool:
    """Whether a column numbers the lines."""
    apart = np.diff(values)
    return plain_name(name) in COUNT_NAMES and len(apart) > 0 and bool((apart == 1).all())


def _is_number(lines: Lines, column: str) -> bool:
    return numbers_as_written(column, lines.some(column))[0].number_share >= LEAST_NUMBERS


def _repeats(lines: Lines, column: str) -> bool:
    cells = lines.cells(column)
    return len(set(map(str, cells))) < len(cells)
