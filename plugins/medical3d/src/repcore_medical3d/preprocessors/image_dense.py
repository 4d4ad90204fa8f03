"""Between an image's own pixels and the grid of its item: labels for the grid, outputs of the grid back to the pixels.

Symbols: H x W own pixels, E edge of the grid, K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from repcore.data.label_numbers import as_floating
from repcore.errors import ItemError, PluginError
from repcore.interfaces import Item, Sample
from repcore_medical3d.preprocessors.volume_slabs import room_for

ROWS_AT_ONCE = 64
SMOOTHED = (1.0, 2.0, 4.0)  # standard deviations in pixels of the grid


def labels_on_grid(sample: Sample, meta: Mapping[str, Any], edge: int) -> dict[str, np.ndarray]:
    """Label images of a sample on the grid of its item: (E, E), the nearest; NaN beyond the image.

    Args:
        meta: of the item, with ``first`` and ``scale``.

    Raises:
        ItemError: ``mask_size``: labels that are not one a pixel.
    """
    shape = tuple(int(one) for one in sample.inputs.pixels.shape[:2])
    found = {}
    for name, labels in sample.targets.items():
        if np.ndim(labels) != 2:
            continue
        if np.shape(labels) != shape:
            raise ItemError("mask_size", f"labels {name!r} have shape {np.shape(labels)}, the image {shape}")
        lines, inside = [], []
        for axis in range(2):
            place = (np.arange(edge) + 0.5) / meta["scale"][axis] + meta["first"][axis]
            lines.append(np.clip(np.floor(place).astype(np.int64), 0, shape[axis] - 1))
            inside.append((place >= 0) & (place < shape[axis]))
        values = as_floating(labels)[np.ix_(*lines)]
        values[~(inside[0][:, None] & inside[1])] = np.nan
        found[name] = values
    return found


def restored(sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Outputs at the pixels of the image as it is stored, float32 (H, W, K), linear between places of the grid, the
    mean where several items show a pixel; NaN at pixels that none shows.

    Args:
        outputs: of each item, (E * E, K).

    Raises:
        PluginError: outputs that are not one a place of the grid.
    """
    if len(items) == 1:
        return _of_item(sample, items[0], outputs[0])
    total = number = np.zeros(0)
    for place, item in enumerate(items):
        found = _of_item(sample, item, outputs[place])
        shown = np.isfinite(found).all(-1, keepdims=True)
        found = np.where(shown, found, 0.0)
        total, number = (found, 1.0 * shown) if not place else (total + found, number + shown)
    means: np.ndarray = np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)
    return means


def _of_item(sample: Sample, item: Item, values: np.ndarray) -> np.ndarray:
    """The same of one item."""
    edge = int(item.values.shape[-1])
    if len(values) != edge * edge:
        raise PluginError(
            f"{len(values)} outputs for a grid of {edge} x {edge}",
            expected="one a place: tokens whose source says which token each place has",
        )
    grid = np.asarray(values, np.float32).reshape(edge, edge, -1)
    shape = sample.inputs.pixels.shape[:2]
    places = [
        (np.arange(size) + 0.5 - item.meta["first"][axis]) * item.meta["scale"][axis] - 0.5
        for axis, size in enumerate(shape)
    ]
    found = room_for((*shape, grid.shape[2]))
    for begin in range(0, shape[0], ROWS_AT_ONCE):
        rows = slice(begin, begin + ROWS_AT_ONCE)
        found[rows] = _between(_between(grid, places[0][rows], 0), places[1], 1)
    for axis, line in enumerate(places):
        hidden = (line < -0.5) | (line > edge - 0.5)
        if hidden.any():
            found[(slice(None),) * axis + (hidden,)] = np.nan
    return found


def _between(values: np.ndarray, line: np.ndarray, axis: int) -> np.ndarray:
    """Values at coordinates along one axis, linear, at the ends constant."""
    places = np.clip(line, 0, values.shape[axis] - 1)
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = (places - low).astype(np.float32).reshape([-1 if one == axis else 1 for one in range(3)])
    below = np.take(values, low, axis)
    return below + share * (np.take(values, high, axis) - below)


# ------------------------------------------------------------------------------------------------ baselines


def intensities(preprocessor: object, sample: Sample, items: Sequence[Item], level: str) -> np.ndarray:
    """Each channel and three smoothed copies of it, (H, W, 4 C)."""
    return _at_pixels(sample, items, _intensities(items[0].values))


def place(preprocessor: object, sample: Sample, items: Sequence[Item], level: str) -> np.ndarray:
    """Relative coordinates in the grid, their squares and product, (H, W, 5)."""
    return _at_pixels(sample, items, _place(int(items[0].values.shape[-1])))


def intensities_and_place(preprocessor: object, sample: Sample, items: Sequence[Item], level: str) -> np.ndarray:
    """Both together, (H, W, 4 C + 5)."""
    values: Tensor = items[0].values
    return _at_pixels(sample, items, [*_intensities(values), *_place(int(values.shape[-1]))])


def _intensities(values: Tensor) -> list[np.ndarray]:
    return [
        one
        for channel in values.numpy()
        for one in (channel, *(ndimage.gaussian_filter(channel, sigma) for sigma in SMOOTHED))
    ]


def _place(edge: int) -> list[np.ndarray]:
    y, x = (one.numpy() for one in torch.meshgrid(*[torch.linspace(-1, 1, edge)] * 2, indexing="ij"))
    return [x, y, x * x, y * y, x * y]


def _at_pixels(sample: Sample, items: Sequence[Item], maps: Sequence[np.ndarray]) -> np.ndarray:
    stacked = np.stack(maps, axis=-1)
    return restored(sample, items, [stacked.reshape(math.prod(stacked.shape[:2]), -1)])
