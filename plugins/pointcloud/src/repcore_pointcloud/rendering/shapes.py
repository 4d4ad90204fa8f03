"""Pictures of clouds: a turning 3-D view as one animated PNG, which needs no script and nothing from outside the page.

Points are drawn as small squares, nearer ones over farther ones, shaded by depth. Several clouds side by side share one
scale, which is how masked, visible and redrawn tokens are compared.

Symbols: n points, S pixels a side.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from repcore.errors import ItemError
from repcore.interfaces import Picture, Sample
from repcore_pointcloud.rendering.animation import animated_png

if TYPE_CHECKING:
    import numpy as np

    from repcore_pointcloud.formats.points import PointCloud

SIZE, FRAMES = 128, 16
MOST_POINTS = 900
SHADES = 6  # per hue, from near to far
TILT = 0.35  # radians that the view looks down
BACKGROUND = (255, 255, 255)
HUES = ((34, 92, 158), (201, 92, 26), (60, 140, 70), (140, 80, 160), (120, 120, 120), (180, 150, 30))


def render(sample: Sample) -> Picture:
    """A turning view of one cloud.

    Args:
        sample: with a :class:`repcore_pointcloud.formats.points.PointCloud`.
    """
    cloud: PointCloud = sample.inputs
    return turntable(cloud.points, alt=f"{sample.id}: {len(cloud.points)} points, turning", hue=cloud.labels, size=SIZE)


def render_heat(sample: Sample, heat: np.ndarray, position: np.ndarray | None) -> Picture:
    """A turning view of one cloud in which each point has the colour of the nearest token.

    Args:
        heat: (T,), any scale.
        position: centre of each token, (T, 3), in the unit of the points or of clouds moved to the origin and scaled to
            radius 1.

    Raises:
        ItemError: ``other_tokens``: tokens without a centre.
    """
    import numpy as np
    from scipy.spatial import cKDTree

    from repcore_pointcloud.rendering.scenes import map_colours
    from repcore_pointcloud.rendering.turning import turning

    if position is None or np.shape(position) != (len(heat), 3) or not len(heat):
        raise ItemError("other_tokens", f"{len(heat)} values have no place in a cloud")
    cloud: PointCloud = sample.inputs
    points = np.asarray(cloud.points, np.float64)
    points = points[np.isfinite(points).all(1)]
    centres = np.asarray(position, np.float64)
    if np.linalg.norm(centres, axis=1).max() <= 1.0 + 1e-3:  # a normalised cloud
        points = points - points.mean(0)
        points = points / max(float(np.linalg.norm(points, axis=1).max()), 1e-12)
    nearest = cKDTree(centres).query(points)[1]
    alt = f"{sample.id}: values of {len(heat)} tokens from {np.min(heat):.3g} (dark) to {np.max(heat):.3g} (yellow)"
    upright = points[:, [0, 2, 1]]  # turning() turns about z, shapes stand along y
    return Picture(turning(upright, map_colours(np.asarray(heat)[nearest]), alt), alt)


def turntable(
    points: np.ndarray, *, alt: str, hue: np.ndarray | None = None, size: int = SIZE, radius: float | None = None
) -> Picture:
    """A cloud that turns about the vertical (y) axis.

    Args:
        points: (n, 3); those that are not finite are left out.
        alt: text alternative.
        hue: int (n,), colour number of each point; all the first when left out.
        size: pixels a side.
        radius: half of what the picture spans, in units of the points; from the cloud when left out.
    """
    import numpy as np

    colour = np.zeros(len(points), np.int64) if hue is None else np.asarray(hue).astype(np.int64) % len(HUES)
    finite = np.isfinite(points).all(axis=1)
    points, colour = np.asarray(points, np.float64)[finite], colour[finite]
    if len(points) > MOST_POINTS:
        chosen = np.random.default_rng(0).choice(len(points), MOST_POINTS, replace=False)
        points, colour = points[chosen], colour[chosen]
    if radius is None and len(points):
        points = points - (points.max(axis=0) + points.min(axis=0)) / 2
        radius = float(np.linalg.norm(points, axis=1).max())
    frames = [_frame(points, colour, 2 * math.pi * number / FRAMES, radius or 1.0, size) for number in range(FRAMES)]
    data = base64.b64encode(animated_png(frames, palette())).decode()
    text = html.escape(alt, quote=True)
    return Picture(
        html=f'<img alt="{text}" title="{text}" width="{size}" height="{size}" src="data:image/png;base64,{data}">',
        alt=alt,
    )


def side_by_side(pictures: Sequence[tuple[str, Picture]]) -> Picture:
    """Pictures in a row, each with its title."""
    cells = "".join(
        f'<figure style="display:inline-block;margin:4px;text-align:center">{one.html}'
        f"<figcaption>{html.escape(title)}</figcaption></figure>"
        for title, one in pictures
    )
    return Picture(html=f"<div>{cells}</div>", alt="; ".join(f"{title}: {one.alt}" for title, one in pictures))


def palette() -> list[tuple[int, int, int]]:
    """Background first, then the shades of each hue from near (full) to far (pale)."""
    colours = [BACKGROUND]
    for hue in HUES:
        for shade in range(SHADES):
            share = 0.75 * shade / (SHADES - 1)
            red, green, blue = (round(c + share * (b - c)) for c, b in zip(hue, BACKGROUND, strict=True))
            colours.append((red, green, blue))
    return colours


def _frame(points: np.ndarray, colour: np.ndarray, angle: float, radius: float, size: int) -> np.ndarray:
    """Palette numbers of one view, uint8 (S, S)."""
    import numpy as np

    image = np.zeros((size, size), np.uint8)
    if not len(points):
        return image
    x = points[:, 0] * math.cos(angle) + points[:, 2] * math.sin(angle)
    z = points[:, 2] * math.cos(angle) - points[:, 0] * math.sin(angle)
    y, depth = points[:, 1] * math.cos(TILT) - z * math.sin(TILT), z * math.cos(TILT) + points[:, 1] * math.sin(TILT)
    scale = 0.46 * size / radius
    column = np.round(size / 2 + scale * x).astype(np.int64)
    row = np.round(size / 2 - scale * y).astype(np.int64)
    shade = np.clip((1 - depth / radius) / 2 * SHADES, 0, SHADES - 1).astype(np.int64)  # near ones look at us
    number = (1 + colour * SHADES + shade).astype(np.uint8)
    order = np.argsort(depth, kind="stable")  # far ones first, so that near ones lie over them
    for down in (0, 1):
        for right in (0, 1):
            rows, columns = row[order] + down, column[order] + right
            inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
            image[rows[inside], columns[inside]] = number[order][inside]
    return image
