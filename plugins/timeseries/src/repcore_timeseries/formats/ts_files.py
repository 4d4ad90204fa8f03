"""``.ts`` files: ``@key value`` lines, then a case a line, channels parted by ``:``, the label last."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from repcore.errors import DataError
from repcore_timeseries.formats.archives import Archive, Case, guarded, header_value, numbers, stacked, text_lines
from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.times import read_times

COMMENTS = ("#", "%")
PAIR = re.compile(r"\(([^()]*),([^(),]*)\)")


def read_ts(path: Path) -> Archive:
    """All cases; one that is malformed keeps its place with the reason.

    Raises:
        DataError: there is no ``@data`` line, or nothing behind it.
    """
    facts: dict[str, str] = {}
    cases: list[Case] = []
    is_data = False
    for number, raw in enumerate(text_lines(path)):
        line = raw.strip()
        if not line or line.startswith(COMMENTS):
            continue
        if not is_data:
            if not line.startswith("@"):
                raise DataError(
                    f"{path.name}, line {number + 1}: {line[:40]!r} stands before @data",
                    expected="@key value lines, then @data",
                )
            key, value = header_value(line)
            facts[key] = value
            is_data = key == "data"
        else:
            cases.append(guarded(number, lambda line=line: _case(line, facts)))  # type: ignore[misc]
    if not cases:
        raise DataError(f"{str(path)!r} has no case" if is_data else f"{str(path)!r} has no line @data")
    words = facts.get("classlabel", "").split()
    return Archive(path, cases, tuple(words[1:]), _is_true(facts, "targetlabel"), facts)


def _is_true(facts: Mapping[str, str], key: str) -> bool:
    return facts.get(key, "").split(" ")[0].lower() == "true"


def _case(line: str, facts: Mapping[str, str]) -> Case:
    has_label = _is_true(facts, "classlabel") or _is_true(facts, "targetlabel")
    if "(" in line:
        return _timed(line, has_label)
    parts = [part.strip() for part in line.split(":")]
    label = parts.pop() if has_label else None
    series = stacked([numbers(part) for part in parts])
    wanted = facts.get("dimensions") or facts.get("dimension")
    if wanted and int(wanted) != len(parts):
        raise ValueError(f"it has {len(parts)} channels, the header says {wanted}")
    if (
        label is not None
        and _is_true(facts, "classlabel")
        and label not in facts["classlabel"].split()[1:]
        and label != "?"
    ):
        raise ValueError(f"its class {label!r} is not among those of the header")
    return Case(series, None if label == "?" else label)


def _timed(line: str, has_label: bool) -> Case:
    """Channels of ``(time,value)`` pairs; all channels of a case have the same times."""
    body, _, label = line.rpartition(")")
    channels = [PAIR.findall(part) for part in _channels(body + ")")]
    times = read_times([time.strip() for time, _ in channels[0]], "time").times
    for number, one in enumerate(channels[1:], 1):
        if [time for time, _ in one] != [time for time, _ in channels[0]]:
            raise ValueError(f"channel {number} has other times than channel 0")
    series = stacked([numbers(",".join(value for _, value in one)) for one in channels])
    order = np.argsort(times, kind="stable")
    if (np.diff(times[order]) == 0).any():
        raise ValueError("a time comes twice")
    word = label.strip().lstrip(":").strip()
    return Case(Series(series.values[order], series.names, times[order]), word if has_label and word != "?" else None)


def _channels(text: str) -> Sequence[str]:
    """Parts between ``):(``; colons inside pairs belong to times."""
    return re.split(r"(?<=\))\s*:\s*(?=\()", text)
