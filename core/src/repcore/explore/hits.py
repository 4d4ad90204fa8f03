"""Results of a search: a table, JSON, or a page with the items drawn beside the query."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import ConfigError
from repcore.explore.drawing import Album, Sources, write_page
from repcore.explore.index import VectorIndex
from repcore.explore.queries import Query
from repcore.files import storable, write_text
from repcore.interfaces import ReportGroup, ReportSection
from repcore.registry import Registry

SUFFIXES = (".html", ".csv", ".json")
CAPTION_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """One row that was found.

    Args:
        rank: from 1. row: of the index. similarity: cosine. columns: what the index knows of it.
    """

    rank: int
    row: int
    id: str
    similarity: float
    columns: Mapping[str, Any]


def hits_of(index: VectorIndex, rows: np.ndarray, similar: np.ndarray) -> list[Hit]:
    """Rows with their names and columns."""
    return [
        Hit(rank, int(row), index.ids[row], float(value), {name: cells[row] for name, cells in index.columns.items()})
        for rank, (row, value) in enumerate(zip(rows, similar, strict=True), 1)
    ]


def check_output(path: Path) -> None:
    """Refuse a suffix that is none of ours.

    Raises:
        ConfigError: names those there are.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"-o {path.name}: no format {path.suffix or 'without suffix'!r}", expected=", ".join(SUFFIXES)
        )


def plain(query: Query, hits: Sequence[Hit]) -> dict[str, Any]:
    """For programs."""
    return {
        "query": query.title,
        "hits": [{"rank": one.rank, "id": one.id, "similarity": one.similarity, **one.columns} for one in hits],
    }


def csv_text(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A csv file; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([storable(str(one)) for one in headers])
    for row in rows:
        writer.writerow(["" if one is None else storable(one) if isinstance(one, str) else one for one in row])
    return out.getvalue()


def write_hits(
    path: Path, index: VectorIndex, query: Query, hits: Sequence[Hit], registry: Registry, tell: Callable[[str], None]
) -> None:
    """Write hits by the suffix of the path.

    Args:
        tell: is told why items are not drawn.

    Raises:
        ConfigError: another suffix.
    """
    check_output(path)
    if path.suffix.lower() == ".json":
        write_text(path, json.dumps(plain(query, hits), indent=1) + "\n")
    elif path.suffix.lower() == ".csv":
        headers = ["rank", "id", "similarity", *index.columns]
        rows = [[one.rank, one.id, f"{one.similarity:.6f}", *one.columns.values()] for one in hits]
        write_text(path, csv_text(headers, rows))
    else:
        _write_html(path, index, query, hits, registry, tell)


def caption(hit: Hit) -> str:
    """Rank, id, similarity and the first columns."""
    known = [f"{name} {_word(value)}" for name, value in hit.columns.items() if value is not None]
    return ", ".join([f"{hit.rank}. {hit.id}", f"similarity {hit.similarity:.3f}", *known[:CAPTION_COLUMNS]])


def _word(value: Any) -> str:  # a cell
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_html(
    path: Path, index: VectorIndex, query: Query, hits: Sequence[Hit], registry: Registry, tell: Callable[[str], None]
) -> None:
    sources, album = Sources(registry, tell), Album()
    if query.row is None:
        asked = album.item(query.reader, query.place, query.title)
    else:
        origin, place = index.source(query.row)
        asked = album.item(sources.reader(origin), place, query.title)
    found = []
    for one in hits:
        origin, place = index.source(one.row)
        found.append(album.item(sources.reader(origin), place, caption(one)))
    shown = (("Query", [asked]), ("Hits", found))
    sections = [ReportSection(title, groups=[ReportGroup("", items)]) for title, items in shown]
    facts = [
        ("index", str(index.folder)),
        ("rows", f"{len(index):,}"),
        ("model", index.origin.model or index.origin.encoder or "unknown"),
    ]
    write_page(path, f"What is like {query.title}?", facts, sections, album, sources.render(index.origin))
