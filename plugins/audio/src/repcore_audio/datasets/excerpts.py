"""Columns that cut a row out of a recording: begin, end or duration, and channel, under the names of the field.

Times are seconds, another unit if the column says so, or clock times (``1:02.5``). Times are checked against the file
when it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.cells import Decimal, decimal_sign, is_missing
from repcore.data.groups import plain_name
from repcore.data.item_columns import ItemColumn, item_columns
from repcore.errors import DataError
from repcore_audio.datasets.counted_times import CHANGE as COUNT_CHANGE
from repcore_audio.datasets.counted_times import (
    Counting,
    Rates,
    as_asked,
    counted_seconds,
    rates_of,
    refuse_unknown,
    with_hop,
)
from repcore_audio.datasets.recordings import Excerpt, Note
from repcore_audio.datasets.time_columns import (
    COUNTS,
    FRAMES,
    UNITS,
    WEAK,
    TimeColumn,
    are_times,
    seconds,
    time_columns,
    words_of_time,
)

CHANGE = "excerpts=ignore"
SECONDS = Counting()
_SIDES = {"l": 1, "left": 1, "links": 1, "r": 2, "right": 2, "rechts": 2}


@dataclass(frozen=True)
class Cut:
    """Which columns cut, and how.

    Args:
        start / end / channel: columns; ``end`` may hold durations, ``start`` centres.
        end_is_duration / start_is_centre: they do.
        file_offset: begin in the row's own file, where ``start`` counts on over several files.
        counting: how counted times become seconds.
    """

    start: TimeColumn | None = None
    end: TimeColumn | None = None
    channel: ItemColumn | None = None
    end_is_duration: bool = False
    start_is_centre: bool = False
    file_offset: TimeColumn | None = None
    counting: Counting = SECONDS

    @property
    def names(self) -> tuple[str, ...]:
        columns = (self.start, self.end, self.file_offset, self.channel)
        return tuple(one.name for one in columns if one is not None)


def find_cut(
    columns: Mapping[str, Sequence[Any]],
    account: Accounting,
    labels: Sequence[str] = (),
    counting: Counting = SECONDS,
) -> Cut:
    """The columns of a table that cut recordings, announced.

    Args:
        columns: cells by name.
        labels: columns that the user calls labels; they cut nothing.
        counting: how counted times become seconds.

    Raises:
        DataError: their unit is none that times are given in, or one tells where rows begin and none where they end.
    """
    asked = {one.lower() for one in labels}
    free = {name: cells for name, cells in columns.items() if name.lower() not in asked}
    cut = _pair(free)
    if cut.start is None or cut.end is None:
        _say_unused(free, account)
        return Cut()
    cut = _with_unit_column(cut, free)
    assert cut.start is not None
    assert cut.end is not None
    counting = with_hop(counting, columns)
    start, end = as_asked(cut.start, counting), as_asked(cut.end, counting)
    cut = replace(cut, start=start, end=end, counting=counting)
    for one in (start, end):
        refuse_unknown(one, counting)
    found = item_columns(list(columns))
    channel = next((one for one in found if one.role == "channel" and plain_name(one.name) != "channels"), None)
    cut = replace(cut, channel=channel, file_offset=_file_offset(free))
    names = ", ".join(map(repr, cut.names))
    account.guess("a row", f"the stretch of a recording that {names} give", "columns of times", CHANGE)
    blank = sum(is_missing(one) and is_missing(two) for one, two in zip(free[start.name], free[end.name], strict=True))
    if blank:
        account.guess(f"{blank:,} rows without times", "whole recordings, where no other row cuts theirs",
                      f"{start.name!r} and {end.name!r} are blank", CHANGE)  # fmt: skip
    if channel is not None:
        first, why = first_channel(columns[channel.name])
        account.guess(f"channels of {channel.name!r}", f"counted from {first}", why, CHANGE)
    for one in (start, end):
        if one.is_count:
            hop = f"of {counting.hop_seconds:g} s" if counting.hop is None else f"of column {counting.hop[0]!r}"
            what = "samples at each file's own rate" if one.unit not in FRAMES else f"frames {hop}"
            why = "as asked" if counting.unit != "auto" else "its name says so"
            account.guess(f"times of {one.name!r}", what, why, COUNT_CHANGE)
    return cut


def has_times(columns: Mapping[str, Sequence[Any]]) -> bool:
    """Whether columns cut recordings, or would if their unit were known."""
    try:
        return find_cut(columns, Accounting()).start is not None
    except DataError:
        return True


def _pair(columns: Mapping[str, Sequence[Any]]) -> Cut:
    """Columns of begin and end, begin and duration, or centre and duration; of several the one in units of time."""
    is_box = any(plain_name(name) in ("ymin", "ymax", "y_min", "y_max") for name in columns)
    by_role: dict[str, TimeColumn] = {}
    filled = [name for name, cells in columns.items() if not all(map(is_missing, cells))]
    for one in sorted(time_columns(filled), key=lambda one: (one.is_count, one.word in WEAK)):
        fits = one.word not in WEAK or are_times(columns[one.name])
        if fits and not (is_box and one.word in ("xmin", "xmax")):
            by_role.setdefault(one.role, one)
    start, end, offset = by_role.get("start"), by_role.get("end"), by_role.get("offset")
    duration, centre = by_role.get("duration"), by_role.get("centre")
    if start is None:
        start = offset  # as NeMo writes it
    else:
        end = end or offset
    if start is not None:
        return Cut(start, end or duration, end_is_duration=end is None)
    if centre is not None and end is None and duration is not None and _is_time(centre, columns[centre.name]):
        return Cut(centre, duration, end_is_duration=True, start_is_centre=True)
    return Cut(None, end)


def _is_time(centre: TimeColumn, cells: Sequence[Any]) -> bool:
    """Whether a centre is one of times; whole numbers without unit may as well name hospitals."""
    if centre.unit or "time" in plain_name(centre.name):
        return True
    return any(isinstance(one, float) and one != round(one) for one in seconds(cells, 1.0))


def _say_unused(columns: Mapping[str, Sequence[Any]], account: Accounting) -> None:
    """Refuse a begin without an end, or an end without a begin, and say other columns that speak of time.

    Raises:
        DataError: rows may be stretches, and nothing says which.
    """
    known = {one.name: one for one in time_columns(list(columns))}
    speaks = {one.role for one in known.values()} >= {"centre", "duration"}
    for name, cells in columns.items():
        one = known.get(name)
        about_centre = speaks and one is not None and one.role == "centre"
        if not (words_of_time(name) or about_centre) or not are_times(cells):
            continue
        values = {value for value in seconds(cells, 1.0) if value is not None}
        if one is not None and one.role != "centre" and one.word not in WEAK and not values <= {0.0, 1.0}:
            told, missing = ("ends", "begins") if one.role == "end" else ("begins", "ends")
            raise DataError(
                f"column {name!r} says where a row {told} in its recording, and none says where it {missing}",
                expected="columns start and end, or start and duration, in seconds (or _ms, _us, _min)",
                hint=f"add the other column; labels={name} if it is a label; {CHANGE} to mean whole recordings",
            )
        if values - {0.0}:
            account.guess(f"column {name!r}", "not applied: rows are whole recordings", "its name speaks of time",
                          "columns start and end, or start and duration, in seconds", is_loss=True)  # fmt: skip


def _with_unit_column(cut: Cut, columns: Mapping[str, Sequence[Any]]) -> Cut:
    """Times in the unit that a column of units gives, where their own names give none.

    Raises:
        DataError: it gives several.
    """
    named = next((name for name in columns if plain_name(name) in ("unit", "units", "time_unit", "time_units")), None)
    if named is None or cut.start is None or cut.end is None or cut.start.unit or cut.end.unit:
        return cut
    units = {str(cell).strip().lower() for cell in columns[named] if not is_missing(cell)}
    if not units & {*UNITS, *COUNTS}:
        return cut
    if len(units) > 1:
        shown = ", ".join(map(repr, sorted(units)[:4]))
        raise DataError(f"column {named!r} gives several units: {shown}", hint="write all times in seconds")
    unit = units.pop()
    return replace(cut, start=replace(cut.start, unit=unit), end=replace(cut.end, unit=unit))


def _file_offset(columns: Mapping[str, Sequence[Any]]) -> TimeColumn | None:
    """Raven's begin of a selection in its own file; its Begin Time counts on over the files of a list."""
    plain = {"_".join(word for word in plain_name(name).split("_") if word not in UNITS): name for name in columns}
    if "file_offset" not in plain or not {"begin_file", "begin_path", "path"} & set(plain):
        return None
    name = plain["file_offset"]
    unit = plain_name(name).split("_")[-1]
    return TimeColumn(name, "start", unit if unit in UNITS else "") if are_times(columns[name]) else None


def excerpts(
    cut: Cut,
    columns: Mapping[str, Sequence[Any]],
    paths: Sequence[Path],
    whole_if_short: bool = False,
    decimal: Decimal | None = None,
) -> tuple[list[Excerpt], list[Note | None]]:
    """The excerpt of each row, and why it cannot be used.

    Args:
        whole_if_short: see :class:`repcore_audio.datasets.recordings.Excerpt`.
        decimal: sign of decimals; found in all times together when None.
    """
    if cut.start is None or cut.end is None:
        return [Excerpt(path) for path in paths], [None] * len(paths)
    cells = columns.__getitem__
    if decimal is None:
        found_sign = decimal_sign([*cells(cut.start.name), *cells(cut.end.name)])
        decimal = None if found_sign is None else found_sign[0]
    rates = rates_of(columns, paths)
    starts, bad = _seconds(cut.start, cells, decimal, paths, cut.counting, rates)
    ends, bad_ends = _seconds(cut.end, cells, decimal, paths, cut.counting, rates)
    offsets: Sequence[float | str | None] = [None] * len(paths)
    if cut.file_offset is not None:
        offsets, _ = _seconds(cut.file_offset, cells, decimal, paths, cut.counting, rates)
    own = {path for path, offset in zip(paths, offsets, strict=True) if offset is not None}  # not of other tables
    channels = [None] * len(paths) if cut.channel is None else channel_numbers(cells(cut.channel.name))
    are_cut = {path for path, *times in zip(paths, starts, ends, strict=True) if times != [None, None]}
    found: list[Excerpt] = []
    problems: list[Note | None] = []
    for row, (path, start, end, offset, channel) in enumerate(zip(paths, starts, ends, offsets, channels, strict=True)):
        text = next((one for one in (start, end, offset) if isinstance(one, str)), None)
        problem = bad[row] or bad_ends[row] or _half_told(cut, row, cells, starts, ends, path in are_cut)
        if text is not None:
            problem = ("bad_time", f"{text!r} is no time in seconds")
        first, last = _stretch(cut, start, end)
        if isinstance(offset, float) and first is not None and last is not None:
            first, last = offset, offset + last - first
        elif cut.file_offset is not None and path in own and problem is None:
            problem = ("bad_time", f"the row has no begin, end or {cut.file_offset.name!r}")
        problems.append(problem)
        found.append(Excerpt(path, first, last, channel, whole_if_short and first is not None))
    return found, problems


def _half_told(
    cut: Cut,
    row: int,
    cells: Callable[[str], Sequence[Any]],
    starts: Sequence[Any],
    ends: Sequence[Any],
    is_cut: bool,
) -> Note | None:
    """Why a row with a blank begin or end is no stretch; without both it may be a whole recording that none cuts."""
    assert cut.start is not None
    assert cut.end is not None
    blank = [one.name for one, told in ((cut.start, starts), (cut.end, ends)) if told[row] is None]
    from_begin = cut.end_is_duration and cut.start.role == "offset"  # no offset is 0, as in NeMo's manifests
    if not blank or (len(blank) == 2 and not is_cut) or (from_begin and blank == [cut.start.name]):
        return None
    written = ", ".join(f"{name!r} is {'' if (cell := cells(name)[row]) is None else str(cell)!r}" for name in blank)
    return "bad_time", f"{written}, which is no time; other rows of this table have one"


def _stretch(cut: Cut, start: float | str | None, end: float | str | None) -> tuple[float | None, float | None]:
    first = start if isinstance(start, float) else None
    last = end if isinstance(end, float) else None
    if cut.start_is_centre and first is not None and last is not None:
        first -= last / 2
    if cut.end_is_duration and last is not None:
        last += first or 0.0
    return first, last


def _seconds(
    column: TimeColumn,
    cells: Callable[[str], Sequence[Any]],
    decimal: Decimal | None,
    paths: Sequence[Path],
    counting: Counting,
    rates: Rates,
) -> tuple[list[float | str | None], Sequence[Note | None]]:
    if column.is_count:
        return counted_seconds(column, cells, paths, counting, rates)
    return seconds(list(cells(column.name)), UNITS.get(column.unit, 1.0), decimal), [None] * len(paths)


def excerpt_ids(names: Sequence[str], places: Sequence[Excerpt], problems: Sequence[Note | None] = ()) -> list[str]:
    """Unique ids: the name of the recording with the stretch, as media fragments are written.

    Args:
        problems: why rows cannot be used; those among others that can are told apart, too.
    """
    lost = {row for row, one in enumerate(problems) if one is not None}
    lost = lost if len(lost) < len(places) else set()
    ids = []
    for name, place in zip(names, places, strict=True):
        if place.is_cut:
            end = "" if place.end is None else f",{place.end:.10g}"
            name = f"{name}#t={place.start or 0.0:.10g}{end}"
            name += f"&channel={place.channel}" if place.channel not in (None, 1) else ""
        elif place.channel is not None:
            name = f"{name}#channel={place.channel}"
        ids.append(name)
    seen: Counter[str] = Counter()
    for row, name in enumerate(ids):
        seen[name] += 1
        if seen[name] > 1 and (places[row].is_cut or row in lost):
            ids[row] = f"{name}~{seen[name]}"  # the same stretch once more, for example with another label
    return ids


def joined_groups(groups: Sequence[str | None], places: Sequence[Excerpt]) -> list[str | None]:
    """Groups in which all excerpts of a file stay together: rows that share a group or a file share the result."""
    if not any(place.is_cut or place.channel is not None for place in places):
        return list(groups)
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    keys = []
    for group, place in zip(groups, places, strict=True):
        own = f"f{place.path}"
        keys.append(own)
        if group is not None:
            parent[root(own)] = root(f"g{group}")
    return [Path(found[1:]).name if (found := root(key))[0] == "f" else found[1:] for key in keys]


def channel_numbers(cells: Sequence[Any]) -> list[int | None]:
    """Numbers from 1 of the channels that cells name; None where they name none. Left and right are 1 and 2 beside
    numbers that count from 0, too."""
    shift = 1 - first_channel(cells)[0]
    numbers = [channel_number(cell) for cell in cells]
    return [
        None if number is None else number + shift * (_plain_channel(cell) not in _SIDES)
        for number, cell in zip(numbers, cells, strict=True)
    ]


def first_channel(cells: Sequence[Any]) -> tuple[int, str]:
    """From which number cells count channels, and why."""
    numbers = {channel_number(cell) for cell in cells}
    return (0, "a cell is 0") if 0 in numbers else (1, "no cell is 0")


def channel_number(cell: Any) -> int | None:
    """The channel that a cell names: 1, 2, ... (``1.0``, too), left or right; None where it names none."""
    text = _plain_channel(cell)
    if text in _SIDES:
        return _SIDES[text]
    return int(text) if text.isdecimal() else None


def _plain_channel(cell: Any) -> str:
    return str(cell).strip().lower().removesuffix(".0")
