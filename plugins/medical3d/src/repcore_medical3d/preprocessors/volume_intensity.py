"""Which values of a scan become 0 and 1: a window for CT, percentiles of the scan for MR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repcore.errors import ItemError
from repcore_medical3d.configs.volumes import VolumeConfig
from repcore_medical3d.formats.volumes import Volume

HU_BELOW = -500.0  # no MR scan reaches below, every CT that shows air does
LOOKED_AT = 2_000_000  # voxels, evenly spread, that tell the percentiles of a large scan


@dataclass(frozen=True, slots=True)
class IntensityRange:
    """``low`` becomes 0 and ``high`` becomes 1; ``lowest`` is the smallest finite value that was looked at."""

    low: float
    high: float
    lowest: float


def intensity_range(volume: Volume, config: VolumeConfig, kind: str) -> IntensityRange:
    """Range of one scan, from an even choice of its voxels.

    Args:
        volume: read coarsely.
        config: window and percentiles.
        kind: hu-window or percentile.

    Raises:
        ItemError: no finite value, or all values are the same.
    """
    step = max(1, int(np.ceil((np.prod(volume.shape) / LOOKED_AT) ** (1 / 3))))
    values = volume.read((slice(None, None, step), slice(None, None, step), slice(None, None, step)))
    finite = values[np.isfinite(values)]
    name = volume.path.name if volume.path else "the volume"
    if finite.size < values.size and config.not_finite == "error":
        count = values.size - finite.size
        raise ItemError(
            "not_finite",
            f"{name}: {count} of {values.size} voxels are NaN or infinite (preprocessor.not_finite=fill sets them)",
        )
    if finite.size == 0:
        raise ItemError("not_finite", f"{name} has no finite voxel")
    lowest, highest = float(finite.min()), float(finite.max())
    if lowest == highest:
        raise ItemError("constant", f"{name}: every voxel is {lowest:g}")
    if kind == "hu-window":
        return IntensityRange(config.window_hu[0], config.window_hu[1], lowest)
    low, high = (float(one) for one in np.percentile(finite, config.percentiles))
    if low == high:  # nearly everything is background: the whole range tells more than nothing
        low, high = lowest, highest
    return IntensityRange(low, high, lowest)
