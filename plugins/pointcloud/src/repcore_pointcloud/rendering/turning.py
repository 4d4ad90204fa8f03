"""A scene in its own colours as one turning picture (animated PNG): reports hold it without a script.

Symbols: n points.
"""

from __future__ import annotations

import base64
import html
import math

import numpy as np

from repcore_pointcloud.rendering.animation import animated_png

WIDTH, HEIGHT, FRAMES = 240, 168, 8
MOST_POINTS = 6_000
TILT = 0.55  # radians that the view looks down
STEPS = 6  # of each colour: 216 colours and the background


def turning(points: np.ndarray, colours: np.ndarray, alt: str, most: int = MOST_POINTS) -> str:
    """HTML of a cloud that turns about the vertical (z) axis.

    Args:
        points: (n, 3); those that are not finite are left out, and all but ``most`` evenly chosen ones.
        colours: uint8 (n, 3).
        alt: text alternative.
    """
    finite = np.isfinite(points).all(1)
    points, colours = np.asarray(points, np.float64)[finite], colours[finite]
    if len(points) > most:
        rows = np.linspace(0, len(points) - 1, most).astype(int)
        points, colours = points[rows], colours[rows]
    centred = points - (points.max(0) + points.min(0)) / 2 if len(points) else points
    numbers = 1 + (np.round(colours / 255 * (STEPS - 1)).astype(np.int64) @ [STEPS * STEPS, STEPS, 1])
    frames = [_frame(centred, numbers, 2 * math.pi * one / FRAMES) for one in range(FRAMES)]
    data = base64.b64encode(animated_png(frames, _palette())).decode("ascii")
    text = html.escape(alt, quote=True)
    return (
        f'<img alt="{text}" title="{text}" style="width:100%;max-width:{2 * WIDTH}px" '
        f'src="data:image/png;base64,{data}">'
    )


def _frame(points: np.ndarray, numbers: np.ndarray, angle: float) -> np.ndarray:
    """Palette numbers of one view, uint8 (HEIGHT, WIDTH)."""
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    if not len(points):
        return image
    across = points[:, 0] * math.cos(angle) - points[:, 1] * math.sin(angle)
    away = points[:, 0] * math.sin(angle) + points[:, 1] * math.cos(angle)
    up = points[:, 2] * math.cos(TILT) + away * math.sin(TILT)
    depth = away * math.cos(TILT) - points[:, 2] * math.sin(TILT)
    scale = 0.48 * min(WIDTH, HEIGHT) / max(float(np.linalg.norm(points, axis=1).max()), 1e-9)
    order = np.argsort(-depth, kind="stable")  # far ones first, so that near ones lie over them
    columns = np.round(WIDTH / 2 + scale * across[order]).astype(np.int64)
    rows = np.round(HEIGHT / 2 - scale * up[order]).astype(np.int64)
    for down in (0, 1):
        for right in (0, 1):
            inside = (rows + down < HEIGHT) & (columns + right < WIDTH) & (rows >= 0) & (columns >= 0)
            image[rows[inside] + down, columns[inside] + right] = numbers[order][inside]
    return image


def _palette() -> list[tuple[int, int, int]]:
    levels = [round(255 * one / (STEPS - 1)) for one in range(STEPS)]
    return [(255, 255, 255), *((red, green, blue) for red in levels for green in levels for blue in levels)]
