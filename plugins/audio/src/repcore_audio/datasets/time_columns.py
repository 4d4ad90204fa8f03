"""Names of columns that say when in a recording something is: one table of words, one of units.

A name is taken apart into words (``Start Time [ms]``, ``startTimeMs`` and ``t_start_ms`` are alike): a unit, words that
add nothing (time, segment, event), and the word that tells begin, end, duration or centre.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from repcore.data.cells import Decimal, decimal_sign, is_missing, number
from repcore.data.grouped import comma_meaning, without_commas
from repcore.data.groups import plain_name

Role = Literal["start", "end", "duration", "centre", "offset"]
UNITS: Mapping[str, float] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sek", "sekunden"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "usecs", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), 3600.0),
}
"""Seconds of one unit."""
SAMPLES = ("sample", "samples", "samp")
FRAMES = ("frame", "frames")
COUNTS = (*SAMPLES, *FRAMES, "idx", "index", "tick", "ticks")
"""Units whose length no name tells: a file's own rate tells that of samples."""
_WORDS: Mapping[Role, tuple[str, ...]] = {
    "start": ("start", "starts", "starting", "onset", "begin", "begins", "beginning", "beginn", "from", "t0", "tmin",
              "xmin", "seek", "startzeit", "starttime", "begintime", "timestart", "anfang", "debut", "inicio",
              "inizio"),
    "end": ("end", "ends", "ending", "stop", "finish", "until", "to", "t1", "tmax", "xmax", "ende", "endzeit",
            "endtime", "stoptime", "timeend", "fin", "fine"),
    "duration": ("duration", "durations", "dur", "length", "len", "dauer", "duree", "duracion", "durata"),
    "centre": ("center", "centre", "middle", "midpoint", "mid", "mitte"),
    "offset": ("offset",),
}  # fmt: skip
_PAIRS = {("t", "min"): "tmin", ("t", "max"): "tmax", ("x", "min"): "xmin", ("x", "max"): "xmax",
          ("min", "time"): "tmin", ("max", "time"): "tmax", ("time", "min"): "tmin", ("time", "max"): "tmax",
          ("start", "offset"): "start", ("offset", "start"): "start", ("end", "offset"): "end",
          ("offset", "end"): "end"}  # fmt: skip
_ADD_NOTHING = frozenset({
    "time", "times", "timestamp", "zeit", "t", "in", "segment", "seg", "clip", "event", "excerpt", "crop", "cut",
    "window", "interval", "sound", "audio", "word", "phone", "label", "annotation", "selection",
})  # fmt: skip
_OF_FILES = frozenset({"audio", "sound", "time", "times"})  # with a duration: of the whole recording
_LENGTHS_OF_COUNTS = frozenset({"n", "num", "nb", "number", "of"})  # n_samples, num_frames
WEAK = frozenset({"from", "to", "fin", "fine", "center", "centre", "mid", "middle", "until", "finish", "debut",
                  "t0", "t1"})  # fmt: skip
"""Words that mean much else and count only beside their partner."""


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A column of times: what it tells, the unit of its name (``""`` = none), and its word."""

    name: str
    role: Role
    unit: str = ""
    word: str = ""

    @property
    def is_count(self) -> bool:
        """Counted in samples or frames."""
        return self.unit in COUNTS


def time_columns(columns: Sequence[str]) -> list[TimeColumn]:
    """Columns whose names are those of times, in the order of the table."""
    return [one for name in columns if (one := _of_name(name)) is not None]


def words_of_time(name: str) -> set[str]:
    """Words for begin and end in a name that may hold others, too."""
    certain = {*_WORDS["start"], *_WORDS["end"], *_WORDS["offset"]} - WEAK
    return certain & set(_words(name))


def seconds(
    cells: Sequence[Any], factor: float, decimal: Decimal | None = None, *, is_count: bool = False
) -> list[float | str | None]:
    """Seconds, None where a cell is empty, the cell itself where it is no time.

    Args:
        factor: seconds of one unit; clock times have their own.
        decimal: sign of decimals; found in the cells when None.
        is_count: whole numbers, in which a comma stands before thousands.
    """
    sign = (decimal, "") if decimal is not None else decimal_sign(cells)
    if sign is None and comma_meaning([[str(one).strip() for one in cells]])[0] in (
        ("thousands", "unclear") if is_count else ("thousands",)
    ):
        cells = [without_commas(one) if isinstance(one, str) else one for one in cells]
    found: list[float | str | None] = []
    for cell in cells:
        if is_missing(cell):
            found.append(None)
            continue
        try:
            plain = None if ":" in str(cell) else number(cell, "." if sign is None else sign[0])
            value = _clock(cell) if plain is None else plain * factor
        except ValueError:
            value = math.nan
        found.append(str(cell) if not math.isfinite(value) else value)
    return found


def are_times(cells: Sequence[Any]) -> bool:
    """Whether at least half of the filled cells are numbers or clock times."""
    filled = [one for one in seconds(cells, 1.0) if one is not None]
    return bool(filled) and sum(isinstance(one, float) for one in filled) >= 0.5 * len(filled)


def _words(name: str) -> list[str]:
    words = plain_name(re.sub("[\u00b5\u03bc]", "u", name)).split("_")
    joined = _PAIRS.get((words[0], words[1])) if len(words) > 1 else None
    return [joined, *words[2:]] if joined else words


def _of_name(name: str) -> TimeColumn | None:
    words = _words(name)
    unit = next((word for word in reversed(words) if word in UNITS or word in COUNTS), "")
    if unit in COUNTS and set(words) - {unit} <= _LENGTHS_OF_COUNTS and len(words) > 1:
        return TimeColumn(name, "duration", unit, unit)
    left = list(words)
    if unit:
        left.remove(unit)
    told = [word for word in left if word not in _ADD_NOTHING]
    if len(told) != 1:
        return None
    role = next((role for role, known in _WORDS.items() if told[0] in known), None)
    if role is None or (role == "duration" and set(left) & _OF_FILES):
        return None
    return TimeColumn(name, role, unit, told[0])


def _clock(cell: Any) -> float:
    """``1:02.5`` is 62.5 s."""
    found = 0.0
    for part in str(cell).strip().split(":"):
        found = found * 60 + float(part.replace(",", "."))
    return found
