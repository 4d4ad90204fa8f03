"""What a row looks like in reports: self-contained SVG."""

from __future__ import annotations

from html import escape

import numpy as np
from repcore.interfaces import Picture, Sample

WIDTH, HEIGHT, BAR = 240, 60, 8  # pixels
MOST_BARS = WIDTH // (BAR + 2)


def draw(sample: Sample) -> Picture:
    """A bar for each number, above or below the line; cells that are not finite have none."""
    values = np.ravel(np.asarray(sample.inputs, np.float64))[:MOST_BARS]
    finite = np.isfinite(values)
    largest = float(np.abs(values[finite]).max(initial=0.0)) or 1.0
    bars = []
    for place in np.flatnonzero(finite):
        height = abs(values[place]) / largest * HEIGHT / 2
        top = HEIGHT / 2 - (height if values[place] > 0 else 0.0)
        bars.append(f'<rect x="{place * (BAR + 2)}" y="{top:.1f}" width="{BAR}" height="{height:.1f}"/>')
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return Picture(f"<svg {box}>{''.join(bars)}</svg>", f"{len(values)} numbers of {escape(sample.id)}")
