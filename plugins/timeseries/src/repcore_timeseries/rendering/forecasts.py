"""A forecast as a picture: what was known, what came, what was said with its interval, and yesterday's values.

Symbols: P known steps, H steps ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WIDTH, HEIGHT = 720, 240
COLOURS = {"known": "#888888", "came": "#111111", "forecast": "#e6781e", "day before": "#31688e"}


@dataclass(frozen=True, slots=True)
class Forecast:
    """One channel: ``known`` (P,), all others (H,)."""

    known: np.ndarray
    came: np.ndarray
    guess: np.ndarray
    low: np.ndarray
    high: np.ndarray
    day: np.ndarray


def forecast_svg(one: Forecast) -> str:
    """A self-contained SVG."""
    import numpy as np

    every = np.concatenate([one.known, one.came, one.guess, one.low, one.high, one.day])
    every = every[np.isfinite(every)]
    bottom, top = float(every.min()), float(every.max())
    count = len(one.known) + len(one.came)

    def place(step: int, value: float) -> str:
        x = WIDTH * (step + 0.5) / count
        return f"{x:.1f},{(HEIGHT - 30) * (1 - (value - bottom) / max(top - bottom, 1e-12)) + 5:.1f}"

    def line(values: np.ndarray, first: int, name: str, dashes: str = "") -> str:
        points = " ".join(place(first + step, float(value)) for step, value in enumerate(values) if np.isfinite(value))
        return f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="1.6"{dashes}/>'

    ahead = len(one.known)
    band = [place(ahead + step, float(value)) for step, value in enumerate(one.high)]
    band += [place(ahead + step, float(one.low[step])) for step in reversed(range(len(one.low)))]
    words = "".join(
        f'<text x="{8 + 120 * number}" y="{HEIGHT - 8}" fill="{colour}">{name}</text>'
        for number, (name, colour) in enumerate(COLOURS.items())
    )
    lines = (
        line(one.known, 0, "known"),
        line(one.came, ahead, "came"),
        line(one.day, ahead, "day before", ' stroke-dasharray="4 3"'),
        line(one.guess, ahead, "forecast"),
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        f'<polygon points="{" ".join(band)}" fill="{COLOURS["forecast"]}" fill-opacity="0.2"/>'
        f"{''.join(lines)}{words}</svg>"
    )
