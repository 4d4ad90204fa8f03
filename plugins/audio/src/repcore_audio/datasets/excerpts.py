"""Columns that cut a row out of a recording: begin, end or duration, and channel, under the names of the field.

Times are seconds, milliseconds if the column says so, or clock times (``1:02.5``). Times are checked against the file
when it is read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.cells import decimal_sign, is_missing, number
from repcore.data.groups import plain_name
from repcore.data.item_columns import ItemColumn, item_columns
from repcore.errors import DataError
from repcore_audio.datasets.recordings import Excerpt, Note

FACTORS = {"": 1.0, "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 0.001}
CHANGE = "excerpts=ignore"
_SIDES = {"l": 1, "left": 1, "links": 1, "r": 2, "right": 2, "rechts": 2}


@dataclass(frozen=True)
class Cut:
    """Which columns cut, and how.

    Args:
        start / end / channel: columns; ``end`` may hold durations.
        end_is_duration: it does.
    """

    start: ItemColumn | None = None
    end: ItemColumn | None = None
    channel: ItemColumn | None = None
    end_is_duration: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in (self.start, self.end, self.channel) if one is not None)


def find_cut(columns: Sequence[str], account: Accounting) -> Cut:
    """The columns of a table that cut recordings, announced.

    Raises:
        DataError: their unit is none that times are given in.
    """
    found = item_columns(columns)
    by_role = {one.role: one for one in reversed(found)}
    start, end = by_role.get("start"), by_role.get("end")
    duration = by_role.get("duration")
    plain = {plain_name(name): name for name in columns}
    if start is not None and end is None and duration is None and "duration" in plain:
        duration = ItemColumn(plain["duration"], "duration")
    if start is None and {"offset", "duration"} <= set(plain):  # as NeMo writes it
        start, duration = ItemColumn(plain["offset"], "start"), ItemColumn(plain["duration"], "duration")
    if start is None or (end is None and duration is None):
        return Cut()
    for one in (start, end or duration):
        if one is not None and one.unit not in FACTORS:
            raise DataError(
                f"column {one.name!r} counts {one.unit}, not seconds",
                hint=f"write seconds, or set {CHANGE}",
            )
    channel = next((one for one in found if one.role == "channel" and plain_name(one.name) != "channels"), None)
    cut = Cut(start, end or duration, channel, end is None)
    names = ", ".join(map(repr, cut.names))
    account.guess("a row", f"the stretch of a recording that {names} give", "columns of times", CHANGE)
    return cut


def excerpts(
    cut: Cut, cells: Callable[[str], Sequence[Any]], paths: Sequence[Path], whole_if_short: bool = False
) -> tuple[list[Excerpt], list[Note | None]]:
    """The excerpt of each row, and why it cannot be used."""
    if cut.start is None or cut.end is None:
        return [Excerpt(path) for path in paths], [None] * len(paths)
    starts, ends = _seconds(cut.start, cells), _seconds(cut.end, cells)
    channels = (
        [None] * len(paths) if cut.channel is None else [channel_number(cell) for cell in cells(cut.channel.name)]
    )
    if cut.channel is not None and any(one == 0 for one in channels):
        channels = [None if one is None else one + 1 for one in channels]
    found: list[Excerpt] = []
    problems: list[Note | None] = []
    for path, start, end, channel in zip(paths, starts, ends, channels, strict=True):
        bad = next((one for one in (start, end) if isinstance(one, str)), None)
        problems.append(None if bad is None else ("bad_time", f"{bad!r} is no time in seconds"))
        first = start if isinstance(start, float) else None
        last = end if isinstance(end, float) else None
        if cut.end_is_duration and last is not None:
            last += first or 0.0
        found.append(Excerpt(path, first, last, channel, whole_if_short and first is not None))
    return found, problems


def excerpt_ids(names: Sequence[str], places: Sequence[Excerpt]) -> list[str]:
    """Unique ids: the name of the recording with the stretch, as media fragments are written."""
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
        if seen[name] > 1 and places[row].is_cut:
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


def _seconds(column: ItemColumn, cells: Callable[[str], Sequence[Any]]) -> list[float | str | None]:
    """Seconds, None where a cell is empty, the cell itself where it is no time."""
    held = list(cells(column.name))
    sign = decimal_sign(held)
    found: list[float | str | None] = []
    for cell in held:
        if is_missing(cell):
            found.append(None)
            continue
        try:
            value = _clock(cell) if ":" in str(cell) else number(cell, "." if sign is None else sign[0])
        except ValueError:
            value = math.nan
        found.append(str(cell) if value is None or not math.isfinite(value) else value * FACTORS[column.unit])
    return found


def _clock(cell: Any) -> float:
    """``1:02.5`` is 62.5 s."""
    seconds = 0.0
    for part in str(cell).strip().split(":"):
        seconds = seconds * 60 + float(part.replace(",", "."))
    return seconds


def channel_number(cell: Any) -> int | None:
    """The channel that a cell names: 1, 2, ... (``1.0``, too), left or right; None where it names none."""
    text = str(cell).strip().lower().removesuffix(".0")
    if text in _SIDES:
        return _SIDES[text]
    return int(text) if text.isdecimal() else None
