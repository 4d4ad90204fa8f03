"""Columns that define what an item is: a piece of a recording, a channel, a frame, a box.

A table with such columns does not describe whole files. A domain that can cut applies them; one that cannot refuses
(:func:`refuse_item_columns`), because ten rows of one file would otherwise be ten times the same item.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from repcore.data.groups import plain_name
from repcore.errors import DataError

Role = Literal["start", "end", "duration", "channel", "frame", "box"]
_NAMES: Mapping[Role, tuple[str, ...]] = {
    "start": ("start", "onset", "begin", "begin_time", "start_time", "start_seconds", "segment_start", "tmin",
              "t_start", "t0", "offset_start", "start_sec", "clip_start", "from", "beginn", "startzeit", "inicio",
              "inizio"),
    "end": ("end", "offset", "stop", "end_time", "stop_time", "end_seconds", "segment_end", "tmax", "t_end", "t1",
            "end_sec", "clip_end", "to", "ende", "endzeit", "fin", "fine"),
    "duration": ("segment_duration", "segment_length", "clip_duration"),
    "channel": ("channel", "channels", "chan", "channel_index"),
    "frame": ("frame", "frame_index", "frame_no", "frame_number", "slice", "slice_index", "slice_no", "slice_number"),
    "box": ("xmin", "ymin", "xmax", "ymax", "zmin", "zmax", "x_min", "y_min", "x_max", "y_max", "bbox", "bounding_box",
            "bbox_x", "bbox_y", "bbox_w", "bbox_h"),
}  # fmt: skip
_BOXES = (
    ("x", "y", "width", "height"), ("x", "y", "w", "h"), ("x1", "y1", "x2", "y2"), ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"), ("left", "top", "width", "height"),
)  # fmt: skip
"""Names that mean a box only together."""
_UNITS = ("s", "sec", "secs", "second", "seconds", "ms", "hz", "sample", "samples", "frame", "frames")
_CUTTING = ("start", "end", "duration", "channel", "frame", "box")


@dataclass(frozen=True, slots=True)
class ItemColumn:
    """A column that takes part in defining an item, and the unit that its name gives (``"s"``, ``"ms"``, ``""``)."""

    name: str
    role: Role
    unit: str = ""


def item_columns(columns: Sequence[str]) -> list[ItemColumn]:
    """Columns that define an item, by the names of the field: onset, offset, ``Begin Time (s)``, xmin, ``slice``, ...

    ``end`` and ``offset`` count only beside a start; ``from`` and ``to`` only together.
    """
    found = [one for name in columns if (one := _of_name(name)) is not None]
    plain = {plain_name(name): name for name in columns}
    box = next((names for names in _BOXES if all(one in plain for one in names)), ())
    found += [ItemColumn(plain[one], "box") for one in box]
    roles = {one.role for one in found}
    if "start" not in roles:
        found = [one for one in found if one.role not in ("end", "duration")]
    if roles >= {"start"} and not roles & {"end", "duration"}:
        found = [one for one in found if one.role != "start" or plain_name(one.name).split("_")[0] != "from"]
    if sum(one.role == "box" for one in found) == 1 and "bbox" not in plain_name(found[0].name):
        found = [one for one in found if one.role != "box"]
    return found


def varying(found: Sequence[ItemColumn], cells: Callable[[str], Sequence[Any]]) -> list[ItemColumn]:
    """Those whose cells are not the same everywhere: a channel that is always 1 defines nothing."""
    return [one for one in found if len({str(cell).strip() for cell in cells(one.name)}) > 1]


def refuse_item_columns(
    found: Sequence[ItemColumn], table: str, noun: str, *, shared: int, rows: int, applied: Sequence[Role] = ()
) -> None:
    """Refuse a table whose rows share sources and are told apart only by columns that nobody applies.

    Args:
        found: columns of :func:`item_columns`.
        table / noun: for the message: name of the table, what a source is (``"image"``).
        shared: rows whose source another row has, too.
        rows: of the table.
        applied: roles that the reader applies.

    Raises:
        DataError: rows share sources and a defining column is not applied.
    """
    left = [one for one in found if one.role not in applied]
    if not left or not shared:
        return
    names = ", ".join(repr(one.name) for one in left)
    raise DataError(
        f"{shared} of {rows} rows of {table} name a {noun} that another row names, too; {names} tell them apart",
        meaning=f"a row is a part of a {noun}, which this reader cannot cut: all would get the same vector",
        hint=f"cut the {noun}s into files of their own, or remove {names} to mean whole {noun}s",
    )


def _of_name(name: str) -> ItemColumn | None:
    match = re.search(r"[(\[]\s*([A-Za-z]+)\s*[)\]]\s*$", name)
    unit = match[1].lower() if match and match[1].lower() in _UNITS else ""
    plain = plain_name(name[: match.start()] if match and unit else name)
    words = plain.split("_")
    if not unit and len(words) > 1 and words[-1] in _UNITS:
        unit, plain = words[-1], "_".join(words[:-1])
    for role in _CUTTING:
        if plain in _NAMES[role]:  # type: ignore[index]
            return ItemColumn(name, role, "s" if unit.startswith("sec") else unit)  # type: ignore[arg-type]
    return None
