"""Surface Dice of voxel answers: what share of two surfaces lies within a tolerance in mm of the other one.

Source: Nikolov et al. 2018 (arXiv 1809.04430), counted in surface voxels instead of surface area.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from repcore.errors import ConfigError
from repcore.interfaces import Sample

TOLERANCE_MM = 1.0


class SurfaceDice:
    """Metric ``surface-dice``: one number a class that the labels of the scan have; 0 where the answer has none of it.

    Classes that the labels of a scan lack have no number (NaN), answered or not; voxels without a label count for
    nothing.

    Args:
        value: tolerance in mm, 1 when None.

    Raises:
        ConfigError: a negative tolerance.
    """

    def __init__(self, value: float | None) -> None:
        self.tolerance_mm = TOLERANCE_MM if value is None else value
        if not 0 <= self.tolerance_mm < float("inf"):
            raise ConfigError(f"surface-dice:{value:g} is no tolerance in mm", hint="surface-dice:1")
        self.name = f"surface-dice-{self.tolerance_mm:g}mm"

    def __call__(self, sample: Sample, truth: np.ndarray, answered: np.ndarray, classes: int) -> np.ndarray:
        spacing, known = sample.inputs.spacing_mm, truth >= 0
        found = np.full(classes, np.nan)
        for number in range(classes):
            own = truth == number
            if own.any():
                found[number] = surface_dice((answered == number) & known, own, spacing, self.tolerance_mm)
        return found


def surface_dice(one: np.ndarray, other: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float) -> float:
    """Share of both surfaces (voxels with a neighbour outside) that lies within the tolerance of the other one."""
    box = _box_of(one | other)  # distances to surfaces need nothing beyond them
    edges = [mask[box] & ~ndimage.binary_erosion(mask)[box] for mask in (one, other)]
    if not edges[0].any() or not edges[1].any():
        return float(edges[0].any() == edges[1].any())
    away = [ndimage.distance_transform_edt(~edge, sampling=spacing_mm) for edge in edges]
    near = (away[1][edges[0]] <= tolerance_mm).sum() + (away[0][edges[1]] <= tolerance_mm).sum()
    return float(near / (edges[0].sum() + edges[1].sum()))


def _box_of(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around True."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    return found[0] if found else tuple(slice(0, 0) for _ in mask.shape)
