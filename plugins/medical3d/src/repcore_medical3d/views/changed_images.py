"""Views ``image-pair``, ``image-weak-strong``, ``volume-pair`` and ``volume-weak-strong`` of films and volumes.

A cut at a random place and size, brought back to the number of voxels of the item; intensities changed as a scanner or
an exposure would; mirrored only along directions that are asked for. Values stay within 0 to 1. The film or cube is
decoded and scaled once for both views.

Symbols: C channels, S the two or three axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.data.views import Change, ChangedPair, ChangedViews, ChangedWeakStrong
from repcore.errors import ConfigError
from repcore.interfaces import Item
from repcore_medical3d.configs.changed_images import Direction, ImageChange
from repcore_medical3d.preprocessors.images import ImagePreprocessor
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

FILM_AXES: Mapping[str, int] = {"head-feet": 0, "left-right": 1}
ENDS: Mapping[str, str] = {"left-right": "LR", "front-back": "AP", "head-feet": "SI"}
PLACES = ("first", "scale", "affine", "start")  # facts of an item that a cut makes wrong


class ImageViews(ChangedViews):
    """Views of one film or cube, float32 (C, *S).

    Raises:
        ConfigError: a direction to mirror that the data does not have.
    """

    preprocessor: ImagePreprocessor | VolumePreprocessor

    def change(self, settings: ImageChange) -> Change:
        return partial(changed_image, change=settings, axes=mirrored_axes(settings.flip, self.preprocessor))


class ImagePair(ImageViews, ChangedPair):
    """Settings: :class:`ImagePairConfig`."""


class ImageWeakStrong(ImageViews, ChangedWeakStrong):
    """Settings: :class:`ImageWeakStrongConfig`."""


def mirrored_axes(flip: Sequence[Direction], preprocessor: ImagePreprocessor | VolumePreprocessor) -> tuple[int, ...]:
    """Axes of S along which directions of the body run.

    Raises:
        ConfigError: films have no front and back.
    """
    if isinstance(preprocessor, VolumePreprocessor):
        orientation = preprocessor.config.orientation
        return tuple(next(axis for axis, end in enumerate(orientation) if end in ENDS[one]) for one in flip)
    unknown = [one for one in flip if one not in FILM_AXES]
    if unknown:
        raise ConfigError(
            f"flip={list(flip)}: a film has no {unknown[0]} axis", field="views", expected=", ".join(FILM_AXES)
        )
    return tuple(FILM_AXES[one] for one in flip)


def changed_image(item: Item, generator: np.random.Generator, *, change: ImageChange, axes: Sequence[int] = ()) -> Item:
    """A cut of (C, *S) at the size of the whole, mirrored by chance along ``axes``, with other intensities."""
    values = _cut(item.values, change.kept_share, generator)
    chosen = [axis + 1 for axis in axes if generator.random() < 0.5]
    if chosen:
        values = values.flip(chosen)
    power = (1.0 + change.gamma) ** generator.uniform(-1.0, 1.0)
    if power != 1.0:
        values = values.clamp(0.0, 1.0) ** power
    mean = values.mean()
    values = mean + (values - mean) * (1.0 + change.contrast * generator.uniform(-1.0, 1.0))
    values = values + change.brightness * generator.uniform(-1.0, 1.0)
    if change.noise:
        shake = torch.from_numpy(generator.standard_normal(tuple(values.shape), dtype=np.float32))
        values = values + change.noise * generator.random() * shake
    meta: dict[str, Any] = {name: value for name, value in item.meta.items() if name not in PLACES}
    return replace(item, values=values.clamp(0.0, 1.0), meta=meta)


def _cut(values: Tensor, share: tuple[float, float], generator: np.random.Generator) -> Tensor:
    """A block with one random share of every edge at a random place, interpolated to the size of the whole."""
    size = values.shape[1:]
    one = generator.uniform(*share)
    kept = [max(1, round(edge * one)) for edge in size]
    start = [int(generator.integers(edge - part + 1)) for edge, part in zip(size, kept, strict=True)]
    part = values[(slice(None), *(slice(a, a + b) for a, b in zip(start, kept, strict=True)))]
    if kept == list(size):
        return values
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(part[None], size=tuple(size), mode=mode, align_corners=False)[0]
