"""Times that are counted, in samples of the row's own file or in frames of a known hop, as seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from repcore.data.cells import is_missing
from repcore.data.groups import plain_name
from repcore.errors import DataError, ItemError
from repcore_audio.datasets.recordings import Note
from repcore_audio.datasets.time_columns import FRAMES, SAMPLES, UNITS, TimeColumn, seconds
from repcore_audio.formats.sound_files import sound_facts

TimesUnit = Literal["auto", "s", "ms", "us", "min", "samples", "frames"]
CHANGE = "times_unit=samples|frames|s|ms, hop_seconds=NUMBER"
RATE_NAMES = ("sample_rate", "sampling_rate", "samplerate", "sr", "fs", "sample_rate_hz", "sampling_rate_hz")
HOP_WORDS = ("hop", "hop_length", "hop_size", "frame_shift", "frame_step", "hop_samples")
MOST_HOP_SECONDS = 1.0  # a larger hop without a unit counts samples
Rates = Callable[[Path], int]


@dataclass(frozen=True, slots=True)
class Counting:
    """How counted times become seconds.

    Args:
        unit: of times whose columns name none, or name a count.
        hop_seconds: between frames; 0 = not known.
        hop: column with the hop of each row, and the seconds of its unit (0 = samples).
    """

    unit: TimesUnit = "auto"
    hop_seconds: float = 0.0
    hop: tuple[str, float] | None = None


def as_asked(column: TimeColumn, counting: Counting) -> TimeColumn:
    """A column of times in the unit that the user gives.

    Raises:
        DataError: its name gives another one.
    """
    if counting.unit == "auto" or column.unit == counting.unit:
        return column
    if column.unit in UNITS and UNITS[column.unit] != UNITS.get(counting.unit, 0.0):
        raise DataError(
            f"times_unit={counting.unit} contradicts column {column.name!r}, whose name gives {column.unit!r}",
            hint="rename the column, or leave times_unit out",
        )
    return replace(column, unit=counting.unit)


def with_hop(counting: Counting, columns: Mapping[str, Sequence[Any]]) -> Counting:
    """The hop that a column of the table states, unless the user gives one."""
    for name in columns if not counting.hop_seconds else ():
        *stem, last = plain_name(name).split("_")
        unit = UNITS.get(last, 0.0)
        if plain_name(name) in HOP_WORDS or (unit and "_".join(stem) in HOP_WORDS):
            values = [one for one in seconds(columns[name], 1.0, is_count=True) if isinstance(one, float)]
            if values and min(values) > 0:
                is_short = not unit and max(values) < MOST_HOP_SECONDS
                return replace(counting, hop=(name, 1.0 if is_short else unit))
    return counting


def refuse_unknown(column: TimeColumn, counting: Counting) -> None:
    """Raises DataError for a count whose length nothing tells: frames without a hop, indices."""
    if column.unit not in (*SAMPLES, *UNITS, "") and not (
        column.unit in FRAMES and (counting.hop_seconds or counting.hop)
    ):
        raise DataError(
            f"column {column.name!r} counts {column.unit}, not seconds",
            meaning="nothing says how long one is",
            hint="times_unit=samples where one is a sample of the file; hop_seconds=0.01 with frames; excerpts=ignore",
        )


def counted_seconds(
    column: TimeColumn,
    columns: Callable[[str], Sequence[Any]],
    paths: Sequence[Path],
    counting: Counting,
    rates: Rates,
) -> tuple[list[float | str | None], list[Note | None]]:
    """Seconds of each row of a column of counts, and why a row has none."""
    counts = seconds(list(columns(column.name)), 1.0, is_count=True)
    hops: Sequence[Any] = [None] * len(counts)
    if counting.hop is not None:
        hops = seconds(list(columns(counting.hop[0])), 1.0)
    found: list[float | str | None] = []
    problems: list[Note | None] = []
    for count, path, hop in zip(counts, paths, hops, strict=True):
        problem: Note | None = None
        value = count
        if isinstance(count, float):
            try:
                value = count * _length(column.unit, path, hop, counting, rates)
            except ItemError as error:
                problem = (error.status, error.reason)
        found.append(value)
        problems.append(problem)
    return found, problems


def _length(unit: str, path: Path, hop: Any, counting: Counting, rates: Rates) -> float:
    """Seconds of one count in a file.

    Raises:
        ItemError: the file cannot be read, or the row states no hop.
    """
    if unit not in FRAMES:
        return 1.0 / rates(path)
    if counting.hop is None:
        return counting.hop_seconds
    if not isinstance(hop, float) or hop <= 0:
        raise ItemError("bad_time", f"{hop!r} in column {counting.hop[0]!r} is no hop")
    return hop * counting.hop[1] if counting.hop[1] else hop / rates(path)


def rates_of(columns: Mapping[str, Sequence[Any]], paths: Sequence[Path]) -> Rates:
    """Sampling rate of a file, from its header; refused where the table says that its counts mean another one.

    The header of a file is read once, when the first of its rows asks.
    """
    name = next((one for one in columns if plain_name(one) in RATE_NAMES), None)
    told: dict[Path, set[float]] = {}
    if name is not None:
        for path, value in zip(paths, seconds(columns[name], 1.0, is_count=True), strict=True):
            if isinstance(value, float) and not is_missing(value):
                told.setdefault(path, set()).add(value)
    known: dict[Path, int | ItemError] = {}

    def rate(path: Path) -> int:
        if path not in known:
            try:
                known[path] = sound_facts(path).sample_rate_hz
            except ItemError as error:
                known[path] = error
        found = known[path]
        if isinstance(found, ItemError):
            raise found
        others = {one for one in told.get(path, ()) if one not in (found, found / 1000)}
        if others:
            raise ItemError(
                "bad_time", f"{name!r} says {min(others):g} Hz, {path.name} has {found:,} Hz: which of them counts?"
            )
        return found

    return rate
