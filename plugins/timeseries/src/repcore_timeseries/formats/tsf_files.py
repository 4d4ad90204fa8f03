"""``.tsf`` files of the Monash archive: attributes of a series, then its values, parted by ``:``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from repcore.errors import DataError
from repcore_timeseries.formats.archives import Archive, Case, guarded, header_value, numbers, text_lines
from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.times import NS, read_times

DAY = 86_400 * NS
STEPS = {
    "secondly": NS, "minutely": 60 * NS, "10_minutes": 600 * NS, "15_minutes": 900 * NS, "half_hourly": 1800 * NS,
    "hourly": 3600 * NS, "daily": DAY, "weekly": 7 * DAY,
}  # fmt: skip
MONTHS = {"monthly": 1, "quarterly": 3, "yearly": 12}


def read_tsf(path: Path) -> Archive:
    """All series with their names, groups and times.

    Raises:
        DataError: there is no ``@data`` line, or nothing behind it.
    """
    facts: dict[str, str] = {}
    attributes: list[tuple[str, str]] = []
    cases: list[Case] = []
    is_data = False
    for number, raw in enumerate(text_lines(path)):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if is_data:
            cases.append(guarded(number, lambda line=line: _case(line, attributes, facts.get("frequency", ""))))  # type: ignore[misc]
            continue
        key, value = header_value(line)
        if key == "attribute":
            name, _, kind = value.partition(" ")
            attributes.append((name, kind.strip()))
        facts[key] = value
        is_data = key == "data"
    if not cases:
        raise DataError(f"{str(path)!r} has no series" if is_data else f"{str(path)!r} has no line @data")
    return Archive(path, cases, facts=facts)


def _case(line: str, attributes: Sequence[tuple[str, str]], frequency: str) -> Case:
    parts = line.split(":")
    if len(parts) != len(attributes) + 1:
        raise ValueError(f"it has {len(parts) - 1} attributes, the header says {len(attributes)}")
    found = {name: part.strip() for (name, _), part in zip(attributes, parts, strict=False)}
    series = Series.of(numbers(parts[-1]))
    start = next((found[name] for name, kind in attributes if kind == "date"), "")
    times = _times(start, frequency, len(series)) if start else None
    own = [found[name] for name, kind in attributes if kind != "date"]
    group = found.get("series_group") or found.get("hierarchy")
    return Case(Series(series.values, series.names, times), name="-".join(own), group=group)


def _times(start: str, frequency: str, count: int) -> np.ndarray | None:
    first = int(read_times([start], "start_timestamp").times[0])
    if frequency in STEPS:
        return first + STEPS[frequency] * np.arange(count, dtype=np.int64)
    if frequency in MONTHS:
        month = np.datetime64(first, "ns").astype("datetime64[M]")
        into = np.datetime64(first, "ns") - month.astype("datetime64[ns]")
        months = month + np.timedelta64(1, "M") * MONTHS[frequency] * np.arange(count)
        starts, nexts = (one.astype("datetime64[ns]").astype(np.int64) for one in (months, months + 1))
        days, hour = divmod(int(into.astype(np.int64)), DAY)
        times: np.ndarray = starts + np.minimum(days, (nexts - starts) // DAY - 1) * DAY + hour  # no 31 February
        return times
    return None
