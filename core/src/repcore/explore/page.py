"""The page of ``repcore explore``: a map of vectors, coloured, filtered, selected and searched, with the items drawn.

One self-contained file that asks no network. Points, ids, columns and neighbours lie in it as data, never as markup;
pictures are packed as those of a report are. Its script and styles carry the page's nonce, nothing else runs.

Symbols: N rows, D width.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from repcore.errors import DataError
from repcore.explore.oddities import neighbours
from repcore.explore.rows import Gathered, unit
from repcore.files import write_text
from repcore.interfaces import Sample
from repcore.report.build import page_nonce
from repcore.report.held_out import HeldOut
from repcore.report.map import layouts
from repcore.report.pictures import Artist, PackedPictures, pack_pictures
from repcore.report.styles import Styles
from repcore.untrusted import page_text

NEIGHBOURS_BELOW = 20_000  # rows up to which neighbours are part of the page; above, `repcore search` finds them
MOST_CLASSES = 40  # of a column that points are coloured by
PICTURE_BYTES = 12_000_000
PICTURE_SECONDS = 120.0


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
    picture_bytes: int = PICTURE_BYTES,
    picture_seconds: float = PICTURE_SECONDS,
) -> Written:
    """Write the page.

    Args:
        title: shown at the top.
        render: the domain's renderer; None = items are named only.
        seed: of t-SNE, and of which items are drawn where not all fit.
        picture_bytes / picture_seconds: bounds of all pictures, packed.

    Raises:
        DataError: fewer than three rows have a vector.
    """
    good = rows.usable
    kept = rows.some(good)
    if len(kept.ids) < 3:
        raise DataError(f"{len(kept.ids)} of {len(good)} rows have a vector; a map needs 3")
    lost = np.flatnonzero(~good)
    styles = Styles(page_nonce())
    pictures, problem = _pictures(kept, render, styles, seed, picture_bytes, picture_seconds)
    maps = layouts(kept.vectors, seed)
    data = {
        "ids": list(kept.ids),
        "maps": [
            {"name": one.name, "note": one.note, "axes": one.axes, "points": _packed(one.points.T, "<f4")}
            for one in maps
        ],
        "columns": [_column(name, cells) for name, cells in kept.columns.items()],
        "near": _near(kept.vectors),
    }
    notes = _notes(kept, pictures, problem, render)
    nonce = page_nonce()
    page = _templates().get_template("explore.html.j2").render(
        title=title, count=len(kept.ids), notes=notes, nonce=nonce, data=_inert(data), pictures=pictures.text,
        picture_styles=Markup(styles.sheet),
    )  # fmt: skip
    write_text(path, page_text(page))
    return Written(len(kept.ids), pictures.count, len(lost), rows.reason[lost[0]] if len(lost) else "", notes)


def _pictures(
    rows: Gathered, render: Callable[[Sample], object] | None, styles: Styles, seed: int, most: int, seconds: float
) -> tuple[PackedPictures, str]:
    """Items from all over the data until size or time is used up, and why the first could not be drawn."""
    reader = None if rows.labelled is None else rows.labelled.reader
    found = HeldOut(
        ids=list(rows.ids), rows=rows.places, vectors=rows.vectors, reader=reader,
        render=render if reader is not None else None,
    )  # fmt: skip
    artist = Artist(found, styles=styles)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(rows.places >= 0))
    packed = pack_pictures(artist, [int(one) for one in order], most_bytes=most, seconds=seconds)
    return packed, artist.problem


def _notes(rows: Gathered, pictures: PackedPictures, problem: str, render: object) -> list[str]:
    notes = []
    if rows.labelled is None:
        notes.append("Items are named only: name their data beside the embeddings to see them.")
    elif render is None:
        notes.append("This reader comes without a renderer, so items are named only.")
    elif pictures.count < len(rows.ids):
        notes.append(f"{pictures.count:,} of {len(rows.ids):,} points carry a picture.")
    if problem:
        notes.append(f"Some items could not be drawn: {problem}")
    if len(rows.ids) > NEIGHBOURS_BELOW:
        notes.append(f"Above {NEIGHBOURS_BELOW:,} points neighbours are not in the page; repcore search finds them.")
    return notes


def _near(vectors: np.ndarray) -> Mapping[str, Any] | None:
    """Nearest neighbours by cosine, as ``repcore search`` ranks them."""
    if len(vectors) > NEIGHBOURS_BELOW:
        return None
    places, similar = neighbours(unit(vectors))
    return {"count": places.shape[1], "places": _packed(places, "<i4"), "similar": _packed(similar, "<f4")}


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


def _inert(data: Mapping[str, Any]) -> Markup:
    """JSON in which no text can end the element that holds it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("repcore.explore"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
