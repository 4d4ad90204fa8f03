"""Series as lines in an SVG: one strip a channel, gaps left open, hidden or kept steps shaded.

Symbols: T steps, C channels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from repcore.errors import ItemError
from repcore.interfaces import Picture, Sample

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

WIDTH, HEIGHT = 600, 44
MOST_CHANNELS = 8
MOST_POINTS = 400  # of a line; longer series are thinned
LINE, SHADE, HOT = "#31688e", "#f2c14e", "#e6781e"
CLASS_COLOURS = ("#31688e", "#e6781e", "#5ea062", "#cc79a7", "#7850be", "#d53c28", "#b4a01e", "#888888")
STYLE = "width:100%;background:#fff;color:#111;color-scheme:light;font-size:.75rem;line-height:1.3"


def render(sample: Sample) -> Picture:
    """Every channel of a series over its time."""
    series = sample.inputs
    missing = _share_missing(series.values)
    words = f"{sample.id}: {len(series)} steps of {', '.join(series.names[:MOST_CHANNELS])}{_span(series.times)}"
    if missing:
        words += f", {missing:.1%} missing"
    return Picture(_figure(strips(series.values, series.names), words), words)


def render_heat(sample: Sample, heat: np.ndarray, position: np.ndarray | None) -> Picture:
    """The same with a bar of values over the steps; ``position`` (T, 1) is the step of each token.

    Raises:
        ItemError: ``other_tokens``: more or fewer tokens than steps, without positions.
    """
    import numpy as np

    series = sample.inputs
    places = np.arange(len(heat)) if position is None else np.asarray(position)[:, 0].astype(np.int64)
    if len(heat) == 0 or places.max() >= len(series) or (position is None and len(heat) != len(series)):
        raise ItemError("other_tokens", f"{len(heat)} values have no place in a series of {len(series)} steps")
    full = np.full(len(series), float(np.min(heat)))
    full[places] = heat
    low, high = float(np.min(heat)), float(np.max(heat))
    shades = [(step, step + 1, 0.8 * (full[step] - low) / max(high - low, 1e-12)) for step in range(len(full))]
    words = f"{sample.id}: values of {len(heat)} steps from {low:.3g} (pale) to {high:.3g} (orange)"
    return Picture(_figure(strips(series.values, series.names, shades, HOT), words), words)


def overlay(sample: Sample, labellings: Mapping[str, np.ndarray]) -> Picture:
    """The series above a strip of colours for each labelling of its steps; -1 = none."""
    series = sample.inputs
    rows = []
    for name, numbers in labellings.items():
        bars = [
            f'<rect x="{first}" y="0" width="{stop - first}" height="8" '
            f'fill="{CLASS_COLOURS[number % len(CLASS_COLOURS)]}"/>'
            for first, stop, number in stretches(numbers)
            if number >= 0
        ]
        rows.append(f"<div>{html.escape(name)}{_svg(''.join(bars), len(series), 8)}</div>")
    words = f"{sample.id}: {len(series)} steps; below: {', '.join(labellings)}"
    return Picture(_figure(strips(series.values, series.names) + "".join(rows), words), words)


def crops_picture(values: Tensor, crops: Mapping[str, tuple[Tensor, Tensor]]) -> Picture:
    """A series (T, C) with the visible steps of two crops shaded.

    Args:
        crops: name -> steps int64 (L,), visible bool (L,).
    """
    series = values.detach().float().cpu().numpy()
    names = tuple(f"channel {number}" for number in range(series.shape[1]))
    panels = []
    for name, (steps, visible) in crops.items():
        shown = [(int(step), int(step) + 1, 0.7) for step, seen in zip(steps, visible, strict=True) if bool(seen)]
        title = f"{name} crop: steps {int(steps[0])} to {int(steps[-1])}, {len(shown)} of {len(steps)} visible"
        panels.append(f"<div>{title}{strips(series, names, shown, SHADE)}</div>")
    words = "two overlapping crops of a series, the steps that the encoder sees shaded"
    return Picture(_figure("".join(panels), words), words)


def view_picture(values: Tensor, view: Tensor, gate: Tensor) -> Picture:
    """A series (T, C), its learned view, and the steps that the gate (T, C) keeps, shaded where all channels are."""
    names = tuple(f"channel {number}" for number in range(values.shape[1]))
    kept = [(start, stop, 0.6) for start, stop, one in stretches(gate.bool().all(-1).cpu().numpy()) if one]
    share = float(gate.float().mean())
    first = strips(values.detach().float().cpu().numpy(), names, kept, SHADE)
    second = strips(view.detach().float().cpu().numpy(), names, kept, SHADE)
    words = f"a series and its learned view; {share:.0%} of the values are kept"
    return Picture(_figure(f"<div>series{first}</div><div>view{second}</div>", words), words)


def strips(
    values: np.ndarray,
    names: Sequence[str],
    shades: Sequence[tuple[int, int, float]] = (),
    colour: str = SHADE,
) -> str:
    """One SVG a channel; ``shades`` are stretches [first, stop) with their opacity."""
    length = len(values)
    rects = "".join(
        f'<rect x="{first}" y="0" width="{stop - first}" height="{HEIGHT}" fill="{colour}" '
        f'fill-opacity="{strength:.2f}"/>'
        for first, stop, strength in shades
        if strength > 0
    )
    drawn = [
        f"<div>{html.escape(name)}{_svg(rects + _line(values[:, number]), length, HEIGHT)}</div>"
        for number, name in enumerate(names[:MOST_CHANNELS])
    ]
    more = len(names) - MOST_CHANNELS
    return "".join(drawn) + (f"<div>and {more} further channels</div>" if more > 0 else "")


def stretches(numbers: np.ndarray) -> list[tuple[int, int, int]]:
    """First step, step behind the last, and number of each stretch of equal numbers."""
    import numpy as np

    if not len(numbers):
        return []
    starts = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
    stops = [*starts[1:].tolist(), len(numbers)]
    return [(first, stop, int(numbers[first])) for first, stop in zip(starts.tolist(), stops, strict=True)]


def _line(values: np.ndarray) -> str:
    """Polylines over the stretches without gaps; a single step is a dot."""
    import numpy as np

    known = np.isfinite(values)
    if not known.any():
        return ""
    low, high = float(values[known].min()), float(values[known].max())
    scaled = (HEIGHT - 4) * (1 - (np.where(known, values, low) - low) / max(high - low, 1e-12)) + 2
    thin = max(1, len(values) // MOST_POINTS)
    parts = []
    for first, stop, is_known in stretches(known):
        if is_known:
            steps = [*range(first, stop, thin)]
            points = " ".join(f"{step + 0.5:.1f},{scaled[step]:.1f}" for step in steps)
            if len(steps) == 1:
                points += f" {steps[0] + 0.9:.1f},{scaled[steps[0]]:.1f}"
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="1.5" '
                'vector-effect="non-scaling-stroke"/>'
            )
    return "".join(parts)


def _svg(content: str, length: int, height: int) -> str:
    return (
        f'<svg width="100%" height="{height}" viewBox="0 0 {max(1, length)} {height}" '
        f'preserveAspectRatio="none">{content}</svg>'
    )


def _figure(content: str, words: str) -> str:
    return f'<figure class="series" style="{STYLE}" title="{html.escape(words, quote=True)}">{content}</figure>'


def _share_missing(values: np.ndarray) -> float:
    import numpy as np

    return float(np.isnan(values).mean()) if values.size else 0.0


def _span(times: np.ndarray | None) -> str:
    if times is None or not len(times):
        return ""
    import numpy as np

    first, last = (str(np.datetime64(int(one), "ns").astype("datetime64[m]")) for one in (times[0], times[-1]))
    return f", {first} to {last}"
