"""Tables of guesses beside drawn graphs, and the box around both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repcore_graphs.rendering.graphs import RIGHT, SIZE, WRONG

MOST_ROWS = 16  # numbered elements; more of them are a crowd, and are counted only
SHOWN_GUESSES = 3
SHOWN_FEATURES = 4
BOX_STYLE = (
    "box-sizing:border-box;width:100%;padding:.6rem .8rem;background:#fff;color:#111;color-scheme:light;"
    "font-size:.78rem;line-height:1.5;text-align:left;overflow-x:auto"
)
CELL_STYLE = "padding:.1rem .3rem;border-bottom:1px solid #ddd;white-space:nowrap"
BAR = "#cfe2f8"


def box(html: str) -> str:
    """The frame of a picture: dark on white, on dark pages too."""
    return f'<div style="{BOX_STYLE}">{html}</div>'


def side_by_side(panels: Sequence[tuple[str, str]]) -> str:
    """Named drawings in one row, or below each other on a narrow page."""
    drawn = "".join(f'<div style="width:{SIZE}px"><div>{name}</div>{html}</div>' for name, html in panels)
    return f'<div style="display:flex;flex-wrap:wrap;align-items:end;gap:.5rem 1rem">{drawn}</div>'


def note(words: str) -> str:
    """A line in a softer colour; nothing for no words."""
    return f'<p style="margin:.3rem 0;color:#555">{words}</p>' if words else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of :func:`cell` under their heads."""
    lines = ["".join(f'<th style="{CELL_STYLE}">{head}</th>' for head in heads), *("".join(row) for row in rows)]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="width:auto;border-collapse:collapse;font-size:1em">{body}</table>'


def cell(content: str, style: str = "") -> str:
    """One cell."""
    return f'<td style="{CELL_STYLE};{style}">{content}</td>'


def guess_heads(types: int) -> list[str]:
    """Heads of :func:`guess_cells` for this many types."""
    return ["true type", "", *(f"guess {rank}" for rank in range(1, 1 + min(SHOWN_GUESSES, types)))]


def guess_cells(true: int, scores: np.ndarray, *, are_chances: bool) -> list[str]:
    """The true type, whether it is the best guess, and the best guesses with bars.

    Args:
        true: number of the true type.
        scores: (C,) of all types, at most 1.
        are_chances: written as percents; else as they are.
    """
    order = np.argsort(-scores, kind="stable")[:SHOWN_GUESSES]
    is_right = order[0] == true and scores.any()  # scores that are all 0 are no guess
    verdict, colour = ("✓ right", RIGHT) if is_right else ("✗ wrong", WRONG)
    cells = [cell(f"<b>type {true}</b> {_score(scores[true], are_chances)}"), cell(verdict, f"color:{colour}")]
    for kind in order:
        name = f"<b>type {kind}</b>" if kind == true else f"type {kind}"
        bar = f"background:linear-gradient(90deg,{BAR} {max(scores[kind], 0.0):.0%},transparent 0)"
        cells.append(cell(f"{name} {_score(scores[kind], are_chances)}", bar))
    return cells


def _score(value: float, is_chance: bool) -> str:
    if not is_chance:
        return f"{value:.2f}"
    return "&lt;1%" if value < 0.005 else f"{value:.0%}"


def feature_cell(values: np.ndarray) -> str:
    """The first of some features."""
    more = ", ..." if len(values) > SHOWN_FEATURES else ""
    return cell(", ".join(f"{value:.2f}" for value in values[:SHOWN_FEATURES]) + more)
