"""Segments of recordings as labels of their frames: one row a recording instead of one a segment.

A frame belongs to a segment if its middle lies in it. Where segments of different classes overlap, where a segment has
no class, and (with ``elsewhere=missing``) outside of all segments, the label is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.catalogue import Catalogue, Row, class_target
from repcore.data.labels import LabelColumn
from repcore.errors import DataError
from repcore.specs import TargetSpec
from repcore_audio.datasets.manifest_tables import Cells
from repcore_audio.datasets.recordings import (
    FRAMES_PER_SECOND,
    Excerpt,
    LongRecording,
    Recording,
    frame_count,
    recording_row,
)

BACKGROUND = "background"
Event = tuple[float, float, float]
"""Begin and end in seconds (NaN = to the end), and a value (NaN = unknown)."""


def frame_values(recording: Recording | LongRecording, events: Sequence[Event], outside: float) -> np.ndarray:
    """Label of every frame, float64 (N,), NaN = missing.

    Args:
        outside: of frames in no event.
    """
    middles = (np.arange(frame_count(recording)) + 0.5) / FRAMES_PER_SECOND + recording.offset
    found = np.full(len(middles), outside, np.float64)
    taken = np.zeros(len(middles), bool)
    for start, end, value in events:
        inside = (middles >= start) & (np.isnan(end) | (middles < end))
        clash = inside & taken & (found != value)
        found[inside] = value
        found[clash] = np.nan
        taken |= inside
    return found


def frame_catalogue(
    rows: Sequence[Row[Excerpt]],
    names: Sequence[str | None],
    cells: Cells,
    labels: Sequence[LabelColumn],
    words: Sequence[str | None],
    elsewhere: str,
    account: Accounting,
) -> Catalogue[Excerpt]:
    """Rows of segments joined to rows of recordings, whose targets are :data:`Event` tuples with the value outside.

    Raises:
        DataError: no column holds a class or a number for each segment, or a recording lies in two splits.
    """
    columns = {one.name: _values(one, cells, elsewhere) for one in labels if _kind(one) in ("class", "regression")}
    if not columns:
        raise DataError("no column gives segments a class or a number", hint="--read labels=COLUMN")
    of_file: dict[Path, list[int]] = {}
    for number, row in enumerate(rows):
        of_file.setdefault(row.source.path, []).append(number)
    joined: list[Row[Excerpt]] = []
    splits: dict[str, list[int]] = {}
    for path, numbers in of_file.items():
        problem = next((rows[one].problem for one in numbers if rows[one].problem), None)
        channels = {rows[one].source.channel for one in numbers}
        place = Excerpt(path, channel=channels.pop() if len(channels) == 1 else None)
        targets = {
            target.name: (outside, *(_event(rows[one].source, values[one]) for one in numbers))
            for target, values, outside in columns.values()
        }
        for word in {words[one] for one in numbers} - {None} if words else ():
            splits.setdefault(str(word), []).append(len(joined))
        name = names[numbers[0]] or path.name
        joined.append(recording_row(_short(name), place, targets, rows[numbers[0]].group, problem))
    both = [one for one in range(len(joined)) if sum(one in part for part in splits.values()) > 1]
    if both:
        raise DataError(f"segments of {joined[both[0]].id} lie in several splits", hint="--read split_column=NAME")
    where = f"class {BACKGROUND!r}" if elsewhere == BACKGROUND else "not labelled"
    account.guess("frames outside of all segments", where, "setting elsewhere", "elsewhere=background|missing")
    return Catalogue(joined, [target for target, _, _ in columns.values()], splits, (), account)


def _kind(one: LabelColumn) -> str:
    """Kind of a label; words of one class alone, which are no label of segments, are one of frames."""
    if one.target is None:
        return "" if one.by_name else "class"
    return one.target.kind


def _values(one: LabelColumn, cells: Cells, elsewhere: str) -> tuple[TargetSpec, list[float], float]:
    """Target of the frames, the value of every segment, and that of frames outside."""
    if _kind(one) == "regression":
        assert one.target is not None
        numbers = [float(value) for value in np.asarray(one.values, np.float64).reshape(len(cells), -1)[:, 0]]
        return TargetSpec(one.name, "regression", "token", unit=one.target.unit), numbers, float("nan")
    texts = cells.texts(one.name)
    known = {text for text in texts if text is not None}
    target, place = class_target(one.name, known | ({BACKGROUND} if elsewhere == BACKGROUND else set()))
    target = TargetSpec(target.name, "class", "token", names=target.names)
    numbers = [float("nan") if text is None else float(place[text]) for text in texts]
    return target, numbers, float(place[BACKGROUND]) if elsewhere == BACKGROUND else float("nan")


def _event(place: Excerpt, value: float) -> Event:
    return (place.start or 0.0, float("nan") if place.end is None else place.end, value)


def _short(name: str) -> str:
    return Path(name).name if Path(name).is_absolute() else name


def with_frame_labels(
    recording: Recording | LongRecording, targets: Mapping[str, Sequence[Any]], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Labels of the frames of a recording that was read, by name."""
    return {name: frame_values(recording, targets[name][1:], targets[name][0]) for name in names}
