"""Pictures for reports: a radiograph as an inline PNG with its mask and landmarks, and rows of such pictures.

Volumes are drawn by ``data/volumes_render``.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from repcore.errors import ItemError
from repcore.interfaces import Picture, Sample
from repcore.report.legend import legend

if TYPE_CHECKING:
    import numpy as np

    from repcore_medical3d.formats.images import Radiograph

LARGEST_EDGE = 256
# Distinct at equal lightness, readable on grey for most colour-blind people (Okabe and Ito 2008).
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178))
MASK_SHARE = 0.35
MARK_RADIUS = 0.012  # of the edge


def render(sample: Sample) -> Picture:
    """Picture of one image.

    Args:
        sample: with a :class:`repcore_medical3d.formats.images.Radiograph`.
    """
    radiograph: Radiograph = sample.inputs
    height, width = radiograph.pixels.shape[:2]
    alt = f"{sample.id}: {height} x {width} pixels"
    if radiograph.mask is not None:
        alt += ", label image drawn in colour"
    return Picture(figure(drawn(radiograph), alt), alt)


def render_heat(sample: Sample, heat: np.ndarray, position: np.ndarray | None) -> Picture:
    """The image with the value of each place of the encoder's map laid over it in orange.

    The map is taken to cover the whole image, as it does unless the preprocessor crops or pads (``aspect``).

    Args:
        heat: (T,), any scale.
        position: row and column of each token on its grid, (T, 2).

    Raises:
        ItemError: ``other_tokens``: tokens without a place on a grid.
    """
    import numpy as np

    if position is None or np.shape(position) != (len(heat), 2) or not len(heat):
        raise ItemError("other_tokens", f"{len(heat)} values have no place on an image")
    rows, columns = np.asarray(position).astype(np.int64).T
    low, high = float(np.min(heat)), float(np.max(heat))
    grid = np.full((rows.max() + 1, columns.max() + 1), low)
    grid[rows, columns] = heat
    under = drawn(sample.inputs).astype(np.float64)
    height, width = under.shape[:2]
    shown = grid[np.arange(height) * grid.shape[0] // height][:, np.arange(width) * grid.shape[1] // width]
    share = (0.6 * (shown - low) / max(high - low, 1e-12))[..., None]
    alt = f"{sample.id} with values of {len(heat)} places from {low:.3g} to {high:.3g} (orange)"
    return Picture(figure(((1 - share) * under + share * np.asarray(COLOURS[5])).round().astype(np.uint8), alt), alt)


def overlay(sample: Sample, labellings: Mapping[str, np.ndarray]) -> Picture:
    """The image without and with each labelling, side by side.

    Args:
        labellings: name -> ids (H, W); those below 1 are not drawn.
    """
    import numpy as np

    radiograph: Radiograph = sample.inputs
    plain, step = _reduced(radiograph.pixels)
    pictures = [plain, *(with_mask(plain, np.asarray(one)[::step, ::step]) for one in labellings.values())]
    height, width = radiograph.pixels.shape[:2]
    alt = f"{sample.id}: {height} x {width} pixels; from the left: the image, {', '.join(labellings)}"
    shown = {int(number) for one in labellings.values() for number in np.unique(one) if number > 0}
    key = legend({str(one): COLOURS[(one - 1) % len(COLOURS)] for one in sorted(shown)})
    return Picture(figure(side_by_side(pictures), alt) + key, alt)


def figure(pixels: np.ndarray, alt: str) -> str:
    """An image, uint8 (H, W, 3), as an HTML figure."""
    from repcore_medical3d.formats.images import write_png

    text = html.escape(alt, quote=True)
    data = base64.b64encode(write_png(pixels)).decode()
    return (
        f'<figure class="radiograph"><img alt="{text}" title="{text}" style="width:100%" '
        f'src="data:image/png;base64,{data}"></figure>'
    )


def drawn(radiograph: Radiograph) -> np.ndarray:
    """uint8 (h, w, 3): the image reduced to a bounded size, label image and landmarks in colour."""
    colour, step = _reduced(radiograph.pixels)
    if radiograph.mask is not None:
        colour = with_mask(colour, radiograph.mask[::step, ::step])
    if radiograph.landmarks is not None:
        colour = with_points(colour, radiograph.landmarks / step)
    return colour


def _reduced(values: np.ndarray) -> tuple[np.ndarray, int]:
    """uint8 (h, w, 3) of a bounded size, and every how many pixels are shown."""
    import numpy as np

    pixels = as_grey_levels(values)
    step = -(-max(pixels.shape[:2]) // LARGEST_EDGE)
    small = pixels[::step, ::step]
    return np.repeat(small[..., None], 3, axis=2) if small.ndim == 2 else small.copy(), step


def as_grey_levels(pixels: np.ndarray) -> np.ndarray:
    """uint8 of the same shape; deep images between their 0.5 and 99.5 percentile."""
    import numpy as np

    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels, (0.5, 99.5))
    scaled = (pixels.astype(np.float32) - low) / max(float(high - low), 1e-6)
    return np.asarray((np.clip(scaled, 0, 1) * 255).round(), np.uint8)


def with_mask(colour: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A label image laid over a colour image."""
    import numpy as np

    table = np.asarray(COLOURS, np.float32)
    tint = table[(np.maximum(mask.astype(int), 1) - 1) % len(COLOURS)]
    mixed = (1 - MASK_SHARE) * colour + MASK_SHARE * tint
    return np.where(mask[..., None] > 0, mixed, colour).round().astype(np.uint8)


def with_points(colour: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Dots at (row, column), one colour a point; points that are NaN or outside are left out."""
    import numpy as np

    rows, columns = np.mgrid[0 : colour.shape[0], 0 : colour.shape[1]]
    radius = max(1.5, MARK_RADIUS * max(colour.shape[:2]))
    result = colour.copy()
    for number, (row, column) in enumerate(points):
        if np.isfinite(row) and np.isfinite(column):
            result[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = COLOURS[number % len(COLOURS)]
    return result


def side_by_side(pictures: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Colour images of equal height in a row."""
    import numpy as np

    space = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    joined = [part for one in pictures for part in (one, space)]
    return np.concatenate(joined[:-1], axis=1)
