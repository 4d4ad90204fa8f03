"""The page of ``repcore explore``: a map of vectors, coloured, filtered, selected and searched, with the items drawn.

It is written twice: at once with PCA, so that somebody can look, and again with what takes longer: a map that keeps
neighbours together, the nearest rows of every row, and the items drawn.

Symbols: N rows, D width.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import DataError
from repcore.explore.destinations import Destination, OneFile, Site
from repcore.explore.nearest import EXACT_BELOW
from repcore.explore.neighbour_maps import method_for, neighbour_map
from repcore.explore.oddities import neighbours
from repcore.explore.rows import Gathered, unit
from repcore.interfaces import Sample
from repcore.report.held_out import HeldOut
from repcore.report.map import Layout, layouts

NEIGHBOURS_BELOW = EXACT_BELOW  # rows up to which neighbours are part of the page; above, `repcore search` finds them
MOST_CLASSES = 40  # of a column that points are coloured by
NAMES = {"tsne": "t-SNE", "umap": "UMAP"}


@dataclass(frozen=True, slots=True)
class Written:
    """What the page holds: points, points with a picture, rows without a vector, and why the first has none."""

    points: int
    pictures: int
    left_out: int
    reason: str
    notes: Sequence[str]


def write_explorer(
    path: Path,
    rows: Gathered,
    title: str,
    render: Callable[[Sample], object] | None,
    *,
    seed: int = 0,
    layout: str = "auto",
    site: bool = False,
    picture_bytes: int | None = None,
    picture_seconds: float | None = None,
    begun: Callable[[str], None] = lambda what: None,
) -> Written:
    """Write the page.

    Args:
        path: a file; of a site, its folder.
        title: shown at the top.
        render: the domain's renderer; None = items are named only.
        seed: of the map, and of which items are drawn where not all fit.
        layout: one of :data:`repcore.explore.LAYOUTS`.
        site: a folder whose pictures are loaded when an item is looked at, instead of one file.
        picture_bytes / picture_seconds: bounds of all pictures, packed; None = those of the file or the site.
        begun: called when the first page is there, with what follows.

    Raises:
        DataError: fewer than three rows have a vector. PluginError: UMAP is asked for and not installed.
    """
    good = rows.usable
    kept = rows.some(good)
    if len(kept.ids) < 3:
        raise DataError(f"{len(kept.ids)} of {len(good)} rows have a vector; a map needs 3")
    lost = np.flatnonzero(~good)
    method, advice = method_for(layout, len(kept.ids))
    (first,) = layouts(kept.vectors, seed, plain=True)
    columns = [_column(name, cells) for name, cells in kept.columns.items()]
    data = {"ids": list(kept.ids), "maps": [_map(first)], "columns": columns}
    place: Destination = (Site if site else OneFile)(path, title, data)
    near_too = len(kept.ids) <= NEIGHBOURS_BELOW
    pending = [*([NAMES[method]] if method in NAMES else []), *(["nearest rows"] if near_too else [])]
    pending += ["pictures"] if kept.labelled is not None and render is not None else []
    place.begin(", ".join(pending))
    begun(", ".join(pending))
    second = neighbour_map(kept.vectors, method, seed)
    near = _near(kept.vectors) if near_too else None
    count, problem = place.draw(_found(kept, render), kept.places, seed, picture_bytes, picture_seconds)
    notes = [*_notes(kept, count, problem, render), *([advice] if advice else [])]
    place.finish({"maps": [] if second is None else [_map(second)], "near": near, "notes": notes})
    return Written(len(kept.ids), count, len(lost), rows.reason[lost[0]] if len(lost) else "", notes)


def _found(rows: Gathered, render: Callable[[Sample], object] | None) -> HeldOut:
    reader = None if rows.labelled is None else rows.labelled.reader
    return HeldOut(
        ids=list(rows.ids), rows=rows.places, vectors=rows.vectors, reader=reader,
        render=render if reader is not None else None,
    )  # fmt: skip


def _map(one: Layout) -> dict[str, Any]:
    return {"name": one.name, "note": one.note, "axes": one.axes, "points": _packed(one.points.T, "<f4")}


def _notes(rows: Gathered, pictures: int, problem: str, render: object) -> list[str]:
    notes = []
    if rows.labelled is None:
        notes.append("Items are named only: name their data beside the embeddings to see them.")
    elif render is None:
        notes.append("This reader comes without a renderer, so items are named only.")
    elif pictures < len(rows.ids):
        notes.append(f"{pictures:,} of {len(rows.ids):,} points carry a picture.")
    if problem:
        notes.append(f"Some items could not be drawn: {problem}")
    if len(rows.ids) > NEIGHBOURS_BELOW:
        notes.append(f"Above {NEIGHBOURS_BELOW:,} points neighbours are not in the page; repcore search finds them.")
    return notes


def _near(vectors: np.ndarray) -> Mapping[str, Any]:
    """Nearest neighbours by cosine, as ``repcore search`` ranks them; similarities in steps of 1/32767."""
    places, similar = neighbours(unit(vectors))
    steps = np.rint(np.clip(similar, -1.0, 1.0) * 32767)
    return {"count": places.shape[1], "places": _packed(places, "<i4"), "similar": _packed(steps, "<i2")}


def _column(name: str, cells: Sequence[Any]) -> dict[str, Any]:
    """A column as numbers (missing: null), or as classes: the most frequent ones by number, all others together."""
    known = [one for one in cells if one is not None]
    if known and all(isinstance(one, int | float) and not isinstance(one, bool) for one in known):
        values = np.asarray([np.nan if one is None else float(one) for one in cells])
        return {"name": name, "names": None, "values": [None if not np.isfinite(one) else float(one) for one in values]}
    names = list(dict.fromkeys(str(one) for one in known))
    place = {one: number for number, one in enumerate(names)}
    return {
        "name": name, "names": names, "coloured": len(names) <= MOST_CLASSES,
        "values": [None if one is None else place[str(one)] for one in cells],
    }  # fmt: skip


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode()
