"""Pictures of volumes for reports: three slices through a point as PNG, labels as colours, matches as crosses."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from repcore.interfaces import Picture, Sample
from repcore.report.legend import legend

if TYPE_CHECKING:
    import numpy as np

    from repcore_medical3d.formats.volumes import Grid, Volume

SEGMENTATION = "segmentation"  # the dense label of volumes
PICTURE_HEIGHT = 160
COLOURS = (
    (230, 75, 60), (60, 160, 230), (90, 190, 90), (240, 180, 50), (160, 100, 210), (60, 200, 190), (240, 130, 180),
    (150, 130, 90),
)  # fmt: skip
CROSS = (255, 230, 0)
PLANES = ("sagittal", "coronal", "axial")  # the plane normal to axis 0, 1, 2 of a scan in RAS


def render(sample: Sample) -> Picture:
    """Three slices through the middle, or through the largest label.

    Args:
        sample: with a :class:`repcore_medical3d.formats.volumes.Volume`.
    """
    import numpy as np

    from repcore_medical3d.preprocessors.volume_resampling import oriented_grid, resample

    volume: Volume = sample.inputs
    grid = oriented_grid(volume.grid, "RAS")
    classes = _on_grid(sample, grid)
    alt = f"Slices of {_facts(sample)}"
    values = resample(volume, grid)
    centre = _centre(np.zeros(grid.shape) if classes is None else classes)
    return Picture(html=_figure(slices(values, grid.spacing_mm, centre, classes=classes), alt), alt=alt)


def overlay(sample: Sample, labellings: Mapping[str, np.ndarray]) -> Picture:
    """The scan without and with each labelling, below each other: three slices through the middle of the first.

    Args:
        labellings: name -> ids (X, Y, Z) at the scan's own voxels; those below 1 are not drawn.
    """
    import dataclasses

    import numpy as np

    from repcore_medical3d.preprocessors.volume_resampling import oriented_grid, resample

    volume: Volume = sample.inputs
    grid = oriented_grid(volume.grid, "RAS")
    values = resample(volume, grid)
    drawn = {
        name: _on_grid(dataclasses.replace(sample, targets={SEGMENTATION: np.asarray(one)}), grid)
        for name, one in labellings.items()
    }
    first = next((one for one in drawn.values() if one is not None), np.zeros(grid.shape))
    rows = [slices(values, grid.spacing_mm, _centre(first), classes=one) for one in (None, *drawn.values())]
    pixels = np.concatenate([np.pad(one, ((0, 6), (0, 0), (0, 0))) for one in rows])
    alt = f"Slices of {_facts(sample)}; from above: the scan, {', '.join(drawn)}"
    shown = {int(number) for one in labellings.values() for number in np.unique(one) if number > 0}
    key = legend({str(one): COLOURS[(one - 1) % len(COLOURS)] for one in sorted(shown)})
    return Picture(html=_figure(pixels, alt) + key, alt=alt)


def _on_grid(sample: Sample, grid: Grid) -> np.ndarray | None:
    """The dense label of a sample int64 on a grid, 0 outside; None if it has none."""
    import numpy as np

    from repcore_medical3d.preprocessors.volume_dense import label_volumes
    from repcore_medical3d.preprocessors.volume_resampling import resample

    labels = label_volumes(sample).get(SEGMENTATION)
    return None if labels is None else resample(labels, grid, order=0).astype(np.int64)


def _centre(classes: np.ndarray) -> np.ndarray:
    """Middle of what is labelled, else of the grid."""
    import numpy as np

    if (classes > 0).any():
        return np.argwhere(classes > 0).mean(axis=0).round().astype(int)
    return np.asarray(classes.shape) // 2


def _facts(sample: Sample) -> str:
    volume: Volume = sample.inputs
    sides = " x ".join(map(str, volume.shape))
    spacing = " x ".join(f"{length:.3g}" for length in volume.spacing_mm)
    return f"{sample.id}: {sides} voxels of {spacing} mm, {volume.orientation}"


def pair_picture(
    first: tuple[np.ndarray, Sequence[float], np.ndarray],
    second: tuple[np.ndarray, Sequence[float], np.ndarray],
    caption: str,
) -> Picture:
    """A point and its match: two rows of three slices with crosses.

    Args:
        first / second: values (D, H, W) in RAS, spacing in mm, and the point as voxel.
        caption: what is shown.
    """
    import numpy as np

    rows = [slices(values, spacing, point, is_marked=True) for values, spacing, point in (first, second)]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return Picture(html=_figure(np.concatenate(padded), caption), alt=caption)


def rows_picture(rows: Sequence[tuple[str, np.ndarray]], caption: str) -> Picture:
    """Cubes below each other in the grey values of the first, three slices through the middle of each.

    Args:
        rows: name and values (S, S, S) in RAS, of one size.
        caption: what is shown.
    """
    import numpy as np

    first = rows[0][1]
    bounds = (float(first.min()), float(first.max()))
    centre = np.asarray(first.shape) // 2
    drawn = [slices(values, (1.0, 1.0, 1.0), centre, bounds=bounds) for _, values in rows]
    pixels = np.concatenate([np.pad(one, ((0, 6), (0, 0), (0, 0))) for one in drawn])
    return Picture(html=_figure(pixels, f"{caption}. From above: {', '.join(name for name, _ in rows)}"), alt=caption)


def slices(
    values: np.ndarray,
    spacing_mm: Sequence[float],
    centre: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    is_marked: bool = False,
    bounds: tuple[float, float] | None = None,
) -> np.ndarray:
    """Sagittal, coronal and axial slice beside each other, uint8 (height, width, 3), head up.

    ``bounds`` become black and white; without them, the lowest and the highest percentile do.
    """
    import numpy as np

    finite = np.nan_to_num(values.astype(np.float32))
    low, high = np.percentile(finite, (1, 99)) if bounds is None else bounds
    grey = (np.clip((finite - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    place = np.clip(np.round(centre).astype(int), 0, np.asarray(values.shape) - 1)
    panels = []
    for axis in range(3):
        rest = [one for one in range(3) if one != axis]
        plane = np.repeat(np.take(grey, place[axis], axis)[..., None], 3, axis=-1)
        if classes is not None:
            plane = _tinted(plane, np.take(classes, place[axis], axis))
        if is_marked:
            plane = plane.copy()
            plane[place[rest[0]], :] = CROSS
            plane[:, place[rest[1]]] = CROSS
        picture = plane.transpose(1, 0, 2)[::-1]  # second remaining axis upwards
        panels.append(_sized(picture, spacing_mm[rest[1]], spacing_mm[rest[0]]))
    return np.concatenate([np.pad(one, ((0, 0), (0, 4), (0, 0))) for one in panels], axis=1)


def _tinted(plane: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Half grey, half the colour of the class."""
    import numpy as np

    table = np.array(COLOURS, np.uint8)
    colour = table[(classes - 1) % len(COLOURS)]
    return np.where((classes > 0)[..., None], plane // 2 + colour // 2, plane)


def _sized(picture: np.ndarray, up_mm: float, across_mm: float) -> np.ndarray:
    """Scaled to a fixed height with true proportions."""
    import numpy as np
    from PIL import Image

    height, width = picture.shape[:2]
    across = max(1, round(PICTURE_HEIGHT * (width * across_mm) / (height * up_mm)))
    image = Image.fromarray(np.ascontiguousarray(picture)).resize((min(across, 480), PICTURE_HEIGHT))
    return np.asarray(image)


def _figure(pixels: np.ndarray, caption: str) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    text = html.escape(caption, quote=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure class="volume"><img alt="{text}" title="{text}" style="width:100%" '
        f'src="data:image/png;base64,{data}"></figure>'
    )
