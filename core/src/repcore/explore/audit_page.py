"""The page of ``repcore audit``: the first findings of each kind with their items drawn."""

from __future__ import annotations

from pathlib import Path

from repcore.explore.audit import KINDS, Audit, Finding
from repcore.explore.drawing import Album, Render, write_page
from repcore.explore.rows import Gathered
from repcore.interfaces import ReportGroup, ReportItem, ReportSection

SHOWN = 24  # findings of a kind


def write_audit(path: Path, found: Audit, rows: Gathered, data: str, render: Render | None) -> None:
    """One self-contained page; the whole list is in the table."""
    album = Album()
    sections = []
    usable = rows.some(rows.usable)
    for kind, title in KINDS.items():
        listed = found.of(kind)
        text = f"{len(listed):,} found" + (f", the first {SHOWN} shown." if len(listed) > SHOWN else ".")
        groups = [_group(one, usable, album) for one in listed[:SHOWN]]
        if kind in ("outlier", "label", "thin"):
            groups = [ReportGroup("", [item for one in groups for item in one.items])] if groups else []
        sections.append(ReportSection(title, text, groups=groups))
    facts = [("data", data), ("rows with a vector", f"{found.rows:,}"), *(("note", one) for one in found.notes)]
    write_page(path, f"Audit of {Path(data).name}", facts, sections, album, render)


def _group(one: Finding, rows: Gathered, album: Album) -> ReportGroup:
    words = f"{one.id}. {one.detail}"
    words += f"; given {one.label}, likelier {one.suggestion}" if one.suggestion else ""
    items = [_item(one.row, words, rows, album)]
    if one.partner >= 0:
        items.append(_item(one.partner, one.partner_id, rows, album))
    return ReportGroup("", items)


def _item(row: int, words: str, rows: Gathered, album: Album) -> ReportItem:
    reader = None if rows.labelled is None else rows.labelled.reader
    return album.item(reader, int(rows.places[row]), words)
