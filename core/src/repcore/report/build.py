"""``report.html`` of a run: one file that opens without a network, today and in ten years.

Everything is inside (styles, script, plotly.js once, pictures), and a content security policy forbids the page to load
anything else and lets only scripts and style sheets with the page's own nonce work. Every text from data or settings
is escaped by the templates; ``Picture.html`` of an installed renderer is taken as it is (its scripts get the nonce, its
styles become rules of the page), what a run folder brings along (``pictures.jsonl``) is cut down to an allow-list
first.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from repcore import registry as registry_module
from repcore.data.seeds import generator
from repcore.files import write_text
from repcore.interfaces import Picture
from repcore.markup import safe_markup
from repcore.plugins import core_version
from repcore.registry import Registry
from repcore.report import findings
from repcore.report.advice import advice
from repcore.report.collect import RunRecord, collect, exported_parameters
from repcore.report.figures import Figure, curves, diagnostic_figures, similarity_figure
from repcore.report.finetuned import asked_for, finetuned
from repcore.report.held_out import HeldOut, held_out
from repcore.report.map import Colouring, Layout, colourings, layouts, raw_layouts
from repcore.report.neighbours import Neighbourhood, neighbourhood
from repcore.report.pictures import Artist, PackedPictures, pack_pictures
from repcore.report.probes import probe_results
from repcore.report.settings import environment, flat, next_commands, settings
from repcore.report.styles import Styles
from repcore.training.assembly import OpenData
from repcore.untrusted import page_text

NAME = "report.html"
SHOWN_REJECTED = 20
OUTSIDE_HOST = re.compile(r"https://[\w.-]*(?:cdn|cloud\.plotly)[\w.-]*/")


@dataclass(frozen=True, slots=True)
class Drawn:
    """An item as the page shows it: id, labels as text, and its picture if there is one."""

    id: str
    labels: Sequence[str]
    picture: Markup | None
    alt: str
    similarity: str = ""
    closer_than: str = ""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Everything the page shows about held-out vectors."""

    found: HeldOut
    layouts: Sequence[Layout]
    colourings: Sequence[Colouring]
    near: Neighbourhood | None
    queries: Sequence[tuple[Drawn, Sequence[Drawn]]]
    pictures: PackedPictures
    notes: Sequence[str]


def build_report(run_folder: Path, registry: Registry | None = None, data: OpenData | None = None) -> Path:
    """Write ``report.html`` into a run folder, replacing an earlier one.

    Args:
        run_folder: a run, finished or not.
        registry: where the run's parts are looked up; the installed plugins when None.
        data: of the run that has just ended, which are open already; None = open what its settings name.

    Returns:
        path of the page.

    Raises:
        RunError: the folder is not a run folder.
    """
    record = collect(run_folder)
    text = render_page(record, registry or registry_module.default(), data)
    path = record.path / NAME
    write_text(path, page_text(text))  # file names may hold lone surrogates
    return path


def render_page(record: RunRecord, registry: Registry, data: OpenData | None = None) -> str:
    """The whole page as text; ``data`` as :func:`build_report` takes them."""
    styles = Styles(page_nonce())
    embedded = embeddings(record, registry, styles, data)
    drawings = curves(record)
    health = diagnostic_figures(record, findings.diagnostic_names(record))
    similar = similarity_figure(embedded.near) if embedded.near else None
    figures = [*drawings, *health, *([similar] if similar else [])]
    script = plotly_script()
    return str(
        _templates()
        .get_template("report.html.j2")
        .render(
            record=record,
            title=f"{record.recipe} ({record.config.get('preset', '-')})",
            verdict=findings.verdict_sentence(record),
            warnings=[*findings.warnings(record, registry), *embedded.found.warnings],
            advice=advice(record),
            cards=findings.cards(record, exported_parameters(record)),
            curves=drawings,
            validation=_validation_table(record),
            diagnostics=health,
            without_diagnostics=findings.why_no_diagnostics(record),
            diagnostic_rows=findings.diagnostic_rows(record),
            drawn=_drawn_lines(record.pictures, styles),
            answered=_drawn_lines(record.answered, styles),
            embedded=embedded,
            similar=similar,
            probes=probe_results(record.probes),
            finetune=finetuned(record),
            asked=flat(asked_for(record)),
            rejected=_rejected_by_reason(record),
            shown_rejected=record.rejected[:SHOWN_REJECTED],
            settings=settings(record),
            environment=environment(record),
            commands=next_commands(record),
            data=page_data(figures, embedded),
            plotly=Markup(script),
            plotly_megabytes=len(script) / 1e6,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=core_version(),
            nonce=page_nonce(),
            picture_styles=Markup(styles.sheet),
        )
    )


def embeddings(record: RunRecord, registry: Registry, styles: Styles, data: OpenData | None = None) -> Embeddings:
    """Held-out vectors with their maps, neighbours and pictures."""
    found = held_out(record, registry, data)
    colours = colourings(found)
    draw = generator(record.seed, "report-neighbours")
    near = neighbourhood(found.vectors, colours, draw) if len(found) else None
    artist = Artist(found, styles=styles)
    queries = _drawn_queries(near, found, colours, artist)
    order = [int(place) for place in draw.permutation(len(found))]
    pictures = pack_pictures(artist, order)
    notes = [note for note in found.notes if note]
    if artist.problem:
        notes.append(f"{artist.undrawn} items could not be drawn, the first: {artist.problem}")
    if artist.left_out:
        notes.append(f"{artist.left_out} pictures beside neighbours were left out to keep this file small.")
    if pictures.count and pictures.count < pictures.total:
        notes.append(
            f"{pictures.count} of {pictures.total} points of the map carry a picture, to keep this file small."
        )
    maps = [*layouts(found.vectors, record.seed), *raw_layouts(found.raw, record.seed)]
    return Embeddings(found, maps, colours, near, queries, pictures, notes)


def _drawn_queries(
    near: Neighbourhood | None, found: HeldOut, colours: Sequence[Colouring], artist: Artist
) -> list[tuple[Drawn, Sequence[Drawn]]]:
    rows: list[tuple[Drawn, Sequence[Drawn]]] = []
    for query in near.queries if near else ():
        first, *pictures = artist.inline([query.place, *(one.place for one in query.nearest)])
        others = [
            _drawn(one.place, found, colours, picture, f"{one.similarity:.3f}", f"{one.closer_than:.1%}")
            for one, picture in zip(query.nearest, pictures, strict=True)
        ]
        rows.append((_drawn(query.place, found, colours, first), others))
    return rows


def _drawn(
    place: int,
    found: HeldOut,
    colours: Sequence[Colouring],
    picture: Picture | None,
    similarity: str = "",
    closer_than: str = "",
) -> Drawn:
    labels = [f"{one.name} {one.text(place)}" for one in colours[: len(found.labels)] if one.text(place)]
    html = None if picture is None else Markup(with_nonce(picture.html))
    return Drawn(found.ids[place], labels[:4], html, picture.alt if picture else "", similarity, closer_than)


@lru_cache(maxsize=1)
def page_nonce() -> str:
    """What scripts of the page carry; drawn after all data were written, so that no data can carry it."""
    return secrets.token_urlsafe(16)


def with_nonce(markup: str) -> str:
    """A renderer's HTML whose scripts may run in the page."""
    return markup.replace("<script>", f'<script nonce="{page_nonce()}">')


def _drawn_lines(lines: Sequence[Mapping[str, Any]], styles: Styles) -> list[Drawn]:
    """Pictures that lie in a file of the run: what the objective drew, and test items with their answers."""
    drawn = []
    for line in lines:
        if "html" in line:
            picture = Markup(styles.classed(safe_markup(str(line["html"]))))
            words = {"predicted": "predicted", "label": "true", "why": "chosen by"}
            labels = [f"{word}: {line[key]}" for key, word in words.items() if key in line]
            drawn.append(Drawn(str(line.get("id", "-")), labels, picture, str(line.get("alt", ""))))
    return drawn


def page_data(figures: Sequence[Figure], embedded: Embeddings) -> dict[str, Any]:
    """What the page's script reads; strict JSON."""
    return {
        "figures": {figure.name: {**figure.spec, "loss": figure.is_loss} for figure in figures},
        "map": {
            "ids": embedded.found.ids,
            "layouts": [
                {"name": one.name, "axes": one.axes, "note": one.note, "points": _rounded(one.points)}
                for one in embedded.layouts
            ],
            "colourings": [one.plain() for one in embedded.colourings],
        },
    }


def _rounded(points: np.ndarray) -> list[list[float | None]]:
    """Both columns with four significant digits of the map's extent; None where an item has no point."""
    extent = float(np.nanmax(np.abs(points), initial=0.0))
    digits = 4 - int(np.floor(np.log10(max(extent, 1e-12))))
    return [[round(float(value), digits) if np.isfinite(value) else None for value in column] for column in points.T]


def _validation_table(record: RunRecord) -> Mapping[str, Sequence[str]]:
    """Column title -> cells of every validation, for reading without the drawing."""
    names = [name for name in record.measured() if record.series("validation", name)[0]]
    cells = {name: [_cell(line.get(name)) for line in record.validation] for name in names}
    return {"step": [str(line.get("step", "-")) for line in record.validation], **cells} if names else {}


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def _rejected_by_reason(record: RunRecord) -> list[tuple[str, int]]:
    """Status of rejected rows with counts, most frequent first."""
    counts: dict[str, int] = {}
    for line in record.rejected:
        status = str(line.get("status", "-"))
        counts[status] = counts.get(status, 0) + 1
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


@lru_cache(maxsize=1)
def plotly_script() -> str:
    """plotly.js as the plotly package ships it, without the addresses it may load map outlines from or send
    charts to."""
    from plotly.offline import get_plotlyjs

    return OUTSIDE_HOST.sub("about:invalid/", get_plotlyjs())


@lru_cache(maxsize=1)
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("repcore.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment
