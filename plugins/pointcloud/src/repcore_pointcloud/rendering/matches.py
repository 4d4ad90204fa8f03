"""Pictures of matches between two clouds: both ends side by side, a line for every match that is shown.

Symbols: N matches, n points.
"""

from __future__ import annotations

import html

import numpy as np

from repcore.interfaces import Picture, Sample
from repcore.report.legend import legend
from repcore_pointcloud.formats.match_set import MatchSet
from repcore_pointcloud.rendering.turning import turning

WIDTH, HEIGHT, MARGIN = 520, 240, 12
TURN, TILT = 0.6, 0.5  # radians about the vertical, and looking down
MOST_LINES, MOST_DOTS = 160, 800
AGREEING, OTHER, POINT, BEHIND = (
    (38, 110, 142),
    (230, 140, 60),
    (110, 110, 110),
    (200, 200, 200),
)  # told apart without red and green
SOURCE, TARGET = (230, 140, 60), (38, 110, 142)
BELIEVED = 0.25  # share of matches that a picture of beliefs shows at most


def render(sample: Sample) -> Picture:
    """A pair's matches; those that are right under the known motion in a colour of their own."""
    pair: MatchSet = sample.inputs
    distance = pair.distances()
    if pair.motion is None:
        return matches_picture(pair.source, pair.target, None, sample.id)
    # without an inlier distance of its own, a match is taken as right within a fortieth of the cloud's size
    finite = np.asarray(pair.source)[np.isfinite(pair.source).all(1)]
    near = float(np.ptp(finite, axis=0).max()) / 40 if len(finite) else 0.0
    return matches_picture(pair.source, pair.target, np.nan_to_num(distance, nan=np.inf) < near, sample.id)


def matches_picture(
    source: np.ndarray,
    target: np.ndarray,
    agreeing: np.ndarray | None,
    title: str = "",
    clouds: tuple[np.ndarray, np.ndarray] | None = None,
) -> Picture:
    """Lines between both ends, agreeing ones over the others.

    Args:
        source / target: (N, 3).
        agreeing: bool (N,), or None where nothing is known.
        title: for the text alternative.
        clouds: finite points (n, 3) of both clouds, to be drawn behind; the ends alone where None.
    """
    ends = np.concatenate([source, target], axis=1)
    rows = np.flatnonzero(np.isfinite(ends).all(1))
    marked = np.zeros(len(ends), bool) if agreeing is None else np.asarray(agreeing, bool)
    kept = [np.asarray(one, np.float64)[rows] for one in (source, target)]
    behind = [one[:: max(1, len(one) // MOST_DOTS)] for one in clouds] if clouds is not None else kept
    left, right = (_placed(one, whole) for one, whole in zip(kept, behind, strict=True))
    right[:, 0] += WIDTH / 2
    shown = _thinned(marked[rows])
    lines = [_line(left[row], right[row], AGREEING if marked[rows[row]] else OTHER) for row in shown]
    dots = _dots(np.concatenate([left[shown], right[shown]]), 1.2, POINT)
    if clouds is not None:
        places = [_placed(one, one) for one in behind]
        places[1][:, 0] += WIDTH / 2
        lines.insert(0, _dots(np.concatenate(places), 0.6, BEHIND))
    count = int(marked[rows].sum())
    words = (
        f"{title}: {len(rows):,} matches, {count:,} agree"
        if agreeing is not None
        else f"{title}: {len(rows):,} matches"
    )
    alt = f"{words}; first cloud left, second right, {len(shown)} matches drawn".lstrip(": ")
    text = html.escape(alt, quote=True)
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text}" style="width:100%;max-width:{WIDTH}px">'
        f"<title>{text}</title>{''.join(lines)}{dots}</svg>"
    )
    key = legend({"agrees": AGREEING, "does not": OTHER}) if agreeing is not None else ""
    return Picture(svg + key, alt)


def judged_picture(source: np.ndarray, target: np.ndarray, score: np.ndarray, right: np.ndarray) -> Picture:
    """The matches that a network believes most; right ones in a colour of their own.

    Args:
        score: (N,), larger = believed more.
        right: (N,) 1 or 0; NaN = not known.
    """
    known = np.isfinite(right)
    number = int((right[known] > 0.5).sum()) if known.any() else 0
    number = min(max(number, 1), max(1, int(BELIEVED * len(score)))) if not known.any() else max(number, 1)
    best = np.argsort(-score, kind="stable")[:number]
    agreeing = right[best] > 0.5 if known.any() else None
    return matches_picture(source[best], target[best], agreeing, f"the {number} matches believed most")


def overlaid_picture(first: np.ndarray, second: np.ndarray, title: str) -> Picture:
    """Two clouds in one place, each in its colour, turning.

    Args:
        first / second: (n, 3), the first where it was moved to.
    """
    points = np.concatenate([first, second])
    colours = np.repeat(np.array([SOURCE, TARGET], np.uint8), [len(first), len(second)], axis=0)
    order = np.random.default_rng(0).permutation(len(points))  # thinning takes evenly of both
    alt = f"{title}: {len(first):,} points over {len(second):,} points; turning"
    picture = turning(points[order], colours[order], alt)
    return Picture(picture + legend({"first, moved": SOURCE, "second": TARGET}), alt)


def _seen(points: np.ndarray) -> np.ndarray:
    """Across and down of every point as the picture looks at it, (n, 2)."""
    across = points[:, 0] * np.cos(TURN) - points[:, 1] * np.sin(TURN)
    away = points[:, 0] * np.sin(TURN) + points[:, 1] * np.cos(TURN)
    return np.stack([across, -(points[:, 2] * np.cos(TILT) + away * np.sin(TILT))], axis=1)


def _placed(points: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Places in the left half of the picture, (n, 2), in which ``around`` is seen as a whole."""
    if not len(points) or not len(around):
        return np.zeros((len(points), 2))
    with np.errstate(over="ignore", invalid="ignore"):
        whole = _seen(around)
        middle = (whole.max(0) + whole.min(0)) / 2
        room = np.array([WIDTH / 4 - MARGIN, HEIGHT / 2 - MARGIN])
        largest = float(np.max(np.abs(whole - middle) / room))
        found = (_seen(points) - middle) / (largest if largest > 0 else 1.0)
        return np.nan_to_num(found, posinf=0.0, neginf=0.0) + np.array([WIDTH / 4, HEIGHT / 2])


def _dots(places: np.ndarray, radius: float, colour: tuple[int, int, int]) -> str:
    return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="rgb{colour}"/>' for x, y in places)


def _thinned(marked: np.ndarray) -> np.ndarray:
    """Rows to draw: evenly chosen, those that agree last, over the others."""
    parts = []
    for kind in (False, True):
        rows = np.flatnonzero(marked == kind)
        parts.append(
            rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_LINES // 2)).astype(int))]
            if len(rows)
            else rows
        )
    return np.concatenate(parts)


def _line(one: np.ndarray, other: np.ndarray, colour: tuple[int, int, int]) -> str:
    return (
        f'<line x1="{one[0]:.1f}" y1="{one[1]:.1f}" x2="{other[0]:.1f}" y2="{other[1]:.1f}" '
        f'stroke="rgb{colour}" stroke-width="0.8" stroke-opacity="0.6"/>'
    )
