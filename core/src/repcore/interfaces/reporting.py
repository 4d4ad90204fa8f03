"""What a page shows: pictures, and what an estimator has to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class ReportItem:
    """A row of the data as a report shows it: drawn by the domain's renderer, with a caption.

    ``heat``, where given, holds one value >= 0 a token, in order.
    """

    row: int
    caption: str
    heat: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class ReportGroup:
    """Items side by side."""

    title: str
    items: Sequence[ReportItem]


@dataclass(frozen=True, slots=True)
class ReportSection:
    """Part of the page of ``repcore apply --report``.

    Args:
        values: shown as a histogram, with a line at ``mark``.
        table: rows of cells.
        groups: items to draw.
        figure: a drawing of its own, above the table.
    """

    title: str
    text: str = ""
    values: np.ndarray | None = None
    mark: float | None = None
    table: Sequence[Sequence[str]] = ()
    groups: Sequence[ReportGroup] = ()
    figure: Picture | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """One drawn sample: self-contained HTML (SVG, ``<img src="data:...">``) and its text alternative.

    One sample may be drawn several times on a page: the HTML must not rely on fixed element ids.
    """

    html: str
    alt: str
