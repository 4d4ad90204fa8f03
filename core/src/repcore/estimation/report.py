"""One page about what an estimator found: histogram, drawn items, tables; opens without a network.

Plain HTML with inline SVG, no script of ours. Texts of data are escaped; items are drawn by the domain's renderer.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from repcore.data.guard import draw_sample, read_sample
from repcore.errors import RepcoreError
from repcore.files import write_text
from repcore.interfaces import DatasetReader, Picture, ReportSection, Sample
from repcore.untrusted import page_text

BINS = 40
WIDTH, HEIGHT, FOOT = 720, 200, 26  # of a histogram, in pixels
MOST_BYTES = 6_000_000  # of all pictures
STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1b2430; --soft: #54606f; --line: #d9dde3; --bar: #1f5fa8;
  --mark: #b3261e; --heat: 194, 87, 26; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --text: #e6eaf0; --soft: #a7b2c0; --line: #36404d;
  --bar: #7db4f0; --mark: #ff8d84; --heat: 242, 160, 101; } }
body { margin: 0 auto; max-width: 1100px; padding: 2rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; } p { max-width: 80ch; margin: .4rem 0; }
.soft, figcaption { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.items { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; width: 190px; }
.picture { border: 1px solid var(--line); padding: 4px; overflow: hidden; background: #fff; color: #1b2430; }
.picture svg, .picture img, .picture canvas { max-width: 100%; height: auto; } .picture audio { width: 100%; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem .8rem .2rem 0;
  border-bottom: 1px solid var(--line); } svg.bars { max-width: 100%; height: auto; }
.heat { display: flex; height: 12px; margin-top: 3px; } .heat span { flex: 1; }
"""


@dataclass(frozen=True, slots=True)
class HeatDrawing:
    """The domain's way to draw values of tokens on an item.

    Args:
        render: ``DatasetSpec.render_heat``.
        places: row -> what the encoder says of its tokens' places, (T, P), or None.
    """

    render: Callable[[Sample, np.ndarray, np.ndarray | None], object]
    places: Callable[[int], np.ndarray | None]


def write_estimator_report(
    path: Path,
    title: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[ReportSection],
    reader: DatasetReader,
    render: Callable[[Sample], object] | None,
    heat: HeatDrawing | None = None,
) -> int:
    """Write the page; returns the number of drawn items.

    Args:
        facts: name and value, shown at the top.
        sections: as the estimator gives them; rows are those of ``reader``.
        render: the domain's renderer; None = items are named only.
        heat: how values of tokens are drawn on an item; None = as a strip below it.
    """
    nonce = secrets.token_urlsafe(16)
    artist = _Artist(reader, render, nonce, heat)
    body = "".join(_section(one, artist) for one in sections)
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; img-src data:; media-src data:"
    )
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{policy}"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f"{_table(facts)}{body}{artist.note()}</main></body></html>\n"
    )
    write_text(path, page_text(page))
    return artist.count


class _Artist:
    """Draws rows within a bound of bytes."""

    def __init__(
        self, reader: DatasetReader, render: Callable[[Sample], object] | None, nonce: str, heat: HeatDrawing | None
    ) -> None:
        self._reader, self._render, self.nonce, self._heat = reader, render, nonce, heat
        self._left = MOST_BYTES
        self.count = self._left_out = 0
        self._problem = ""

    def figure(self, row: int, caption: str, heat: np.ndarray | None) -> str:
        """One item with its caption, and values of its tokens on it, or as a strip below it."""
        picture = None if heat is None else self._heated(row, heat)
        if picture is not None:
            heat = None  # it is drawn
        else:
            picture = self._picture(row)
        drawn = ""
        if picture is not None:
            drawn = _drawing(picture, self.nonce)
        return f"<figure>{drawn}{_heat(heat)}<figcaption>{escape(caption)}</figcaption></figure>"

    def _heated(self, row: int, heat: np.ndarray) -> Picture | None:
        """The item with its tokens' values on it; None where the domain cannot draw them."""
        drawing = self._heat
        if drawing is None:
            return None

        def render(sample: Sample) -> object:
            return drawing.render(sample, np.asarray(heat, np.float64), drawing.places(row))

        try:
            return self._counted(draw_sample(render, read_sample(self._reader, row)))
        except RepcoreError:  # the strip says the same
            return None

    def _picture(self, row: int) -> Picture | None:
        if self._render is None:
            return None
        try:
            picture = draw_sample(self._render, read_sample(self._reader, row))
        except RepcoreError as error:  # one item's drawing must not cost the page
            self._problem = self._problem or error.summary
            return None
        return self._counted(picture)

    def _counted(self, picture: Picture) -> Picture | None:
        """The picture, if the page has room for it."""
        if len(picture.html) > self._left:
            self._left_out += 1
            return None
        self._left -= len(picture.html)
        self.count += 1
        return picture

    def note(self) -> str:
        """What was not drawn, and why."""
        words = []
        if self._render is None:
            words.append("This reader comes without a renderer, so items are named only.")
        if self._problem:
            words.append(f"Some items could not be drawn: {self._problem}")
        if self._left_out:
            words.append(f"{self._left_out} pictures were left out to keep this file small.")
        return "".join(f'<p class="soft">{escape(one)}</p>' for one in words)


def _drawing(picture: Picture, nonce: str) -> str:
    html = picture.html.replace("<script>", f'<script nonce="{nonce}">')
    return f'<div class="picture" role="img" aria-label="{escape(picture.alt)}">{html}</div>'


def _section(section: ReportSection, artist: _Artist) -> str:
    parts = [f"<section><h2>{escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    if section.values is not None:
        parts.append(histogram(section.values, section.mark, section.title))
    if section.figure is not None:
        parts.append(_drawing(section.figure, artist.nonce))
    parts.append(_table(section.table))
    for group in section.groups:
        figures = "".join(artist.figure(one.row, one.caption, one.heat) for one in group.items)
        heading = f"<h3>{escape(group.title)}</h3>" if group.title else ""
        parts.append(f'{heading}<div class="items">{figures}</div>')
    return "".join([*parts, "</section>"])


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{lines}</table>" if rows else ""


def _heat(values: np.ndarray | None) -> str:
    """A strip of one cell a token, in the order of the tokens."""
    if values is None or not len(values):
        return ""
    top = float(np.max(values)) or 1.0
    cells = "".join(f'<span style="background: rgba(var(--heat), {max(0.0, one / top):.2f})"></span>' for one in values)
    return f'<div class="heat" role="img" aria-label="values of {len(values)} tokens in order">{cells}</div>'


def histogram(values: np.ndarray, mark: float | None, title: str) -> str:
    """Bars as SVG; a line at ``mark``. Values that are not finite are left out."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return '<p class="soft">no values</p>'
    low, high = float(known.min()), float(known.max())
    if mark is not None and np.isfinite(mark):
        low, high = min(low, mark), max(high, mark)
    high = high if high > low else low + 1.0
    counts = np.histogram(known, BINS, (low, high))[0]
    step = WIDTH / BINS
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{HEIGHT * (1 - count / counts.max()):.1f}" width="{step - 1:.1f}" '
        f'height="{HEIGHT * count / counts.max():.1f}" fill="var(--bar)"/>'
        for place, count in enumerate(counts)
        if count
    )
    words = f"{title}: {len(known)} values from {low:.4g} to {high:.4g}"
    labels = f'<text x="0" y="{HEIGHT + 18}" fill="var(--soft)" font-size="13">{low:.4g}</text>'
    labels += (
        f'<text x="{WIDTH}" y="{HEIGHT + 18}" fill="var(--soft)" font-size="13" text-anchor="end">{high:.4g}</text>'
    )
    if mark is not None and np.isfinite(mark):
        at = WIDTH * (mark - low) / (high - low)
        words += f", a line at {mark:.4g}"
        side = "end" if at > WIDTH / 2 else "start"
        labels += f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{HEIGHT}" stroke="var(--mark)" stroke-width="2"/>'
        labels += f'<text x="{at:.1f}" y="14" dx="{-6 if side == "end" else 6}" fill="var(--mark)" font-size="13" '
        labels += f'text-anchor="{side}">{mark:.4g}</text>'
    return (
        f'<svg class="bars" viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(words)}">{bars}{labels}</svg>'
    )
