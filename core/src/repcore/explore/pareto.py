"""Quality against time as an SVG drawing: models that no other beats in both are joined."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from repcore.interfaces import Picture

WIDTH, HEIGHT, EDGE = 640, 320, 48


def undominated(points: Mapping[str, tuple[float, float]], higher_is_better: bool) -> list[str]:
    """Names that no other beats: at most the same cost and at least the same quality, one of them truly.

    Args:
        points: name -> (cost, quality).
    """
    sign = 1.0 if higher_is_better else -1.0

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        cost, quality = one[0] <= other[0], sign * one[1] >= sign * other[1]
        return cost and quality and one != other

    return [name for name, own in points.items() if not any(beats(one, own) for one in points.values())]


def pareto(points: Mapping[str, tuple[float, float]], titles: tuple[str, str], higher_is_better: bool) -> Picture:
    """A drawing with a name beside each point.

    Args:
        points: name -> (cost > 0, quality). titles: of the axes; cost is drawn by its logarithm.
    """
    costs = [math.log10(max(cost, 1e-9)) for cost, _ in points.values()]
    values = [value for _, value in points.values()]
    spots = {
        name: (_on(math.log10(max(cost, 1e-9)), costs, WIDTH), HEIGHT - _on(value, values, HEIGHT))
        for name, (cost, value) in points.items()
    }
    best = undominated(points, higher_is_better)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in sorted(spots[name] for name in best))
    marks = "".join(_mark(name, spots[name], points[name], name in best) for name in points)
    words = "; ".join(
        f"{name}: {titles[0]} {cost:.3g}, {titles[1]} {value:.3g}" for name, (cost, value) in points.items()
    )
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" xmlns="http://www.w3.org/2000/svg">'
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-dasharray="4 3"></polyline>{marks}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" font-size="13" text-anchor="middle" fill="#1b2430">{escape(titles[0])}'
        f'</text><text x="8" y="16" font-size="13" fill="#1b2430">{escape(titles[1])}</text></svg>'
    )
    return Picture(svg, words)


def _on(value: float, among: Sequence[float], size: int) -> float:
    low, high = min(among), max(among)
    share = 0.5 if high <= low else (value - low) / (high - low)
    return EDGE + share * (size - 3 * EDGE)


def _mark(name: str, spot: tuple[float, float], point: tuple[float, float], best: bool) -> str:
    x, y = spot
    fill = "#1f5fa8" if best else "#ffffff"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{fill}" stroke="#1f5fa8"></circle>'
        f'<text x="{x + 10:.1f}" y="{y + 4:.1f}" font-size="12" fill="#1b2430">{escape(name)} '
        f"({point[1]:.3g}, {point[0]:.3g})</text>"
    )
