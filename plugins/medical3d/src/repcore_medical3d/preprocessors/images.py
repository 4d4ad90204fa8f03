"""Preprocessor ``medical3d/image``: images of any size, depth and colour to one grid in the range 0 to 1.

Source: the published loader opens everything as RGB and squeezes it to a square. Differs: deep files keep their depth
and are windowed by percentiles; grey images may stay one channel; the aspect can be kept.

Symbols: B images, C channels, E edge.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.data.guard import prepare_sample, read_sample
from repcore.errors import ConfigError, DataError, ItemError
from repcore.files import read_object
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_medical3d.configs.adam_v2 import IMAGENET_DEVIATION, IMAGENET_MEAN
from repcore_medical3d.configs.images import ImageConfig
from repcore_medical3d.formats.images import Radiograph
from repcore_medical3d.layers.gradients import gradients
from repcore_medical3d.layers.intensity import GREY
from repcore_medical3d.preprocessors.given import radiograph_from
from repcore_medical3d.preprocessors.image_dense import labels_on_grid, restored
from repcore_medical3d.preprocessors.image_pixels import resized_pixels

STATISTICS_FILE = "image_statistics.json"
THUMBNAIL, LEVELS = 16, 32  # edge and grey levels of the raw-input baselines
DIRECTIONS, GRADIENT_CELLS = 8, 7  # of gradients, and cells along each axis in which they are counted


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image lies on the grid: pixel p is at ``(p + 0.5 - first) * scale - 0.5``, by axis (y, x)."""

    first: tuple[float, float]
    scale: tuple[float, float]


class ImagePreprocessor:
    """Windows, resizes and collates images.

    Args:
        config: see :class:`ImageConfig`.

    Raises:
        ConfigError: settings outside their range.
    """

    def __init__(self, config: ImageConfig) -> None:
        if config.input_channels not in (1, 3):
            raise ConfigError(
                f"input_channels={config.input_channels} is neither 1 nor 3", field="preprocessor.input_channels"
            )
        if config.edge < 8:
            raise ConfigError(f"edge={config.edge} leaves nothing to see", field="preprocessor.edge", hint="edge=224")
        low, high = config.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(f"percentiles={config.percentiles} are not a range", field="preprocessor.percentiles")
        self.config, self.covers = config, False
        channels = config.input_channels
        self.mean: tuple[float, ...] | None = (0.0,) * channels
        self.deviation: tuple[float, ...] | None = (1.0,) * channels
        if config.normalisation == "imagenet":
            self.mean, self.deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
            if channels == 1:
                grey = sum(share * value for share, value in zip(GREY, IMAGENET_MEAN, strict=True))
                self.mean, self.deviation = (grey,), (sum(IMAGENET_DEVIATION) / 3,)
        elif config.normalisation == "fitted":
            self.mean = self.deviation = None

    @classmethod
    def load(cls, config: ImageConfig, folder: Path) -> ImagePreprocessor:
        """The fitted preprocessor of a saved model.

        Raises:
            CheckpointError: its file is missing or damaged.
        """
        loaded = cls(config)
        if loaded.mean is None:
            saved = read_object(folder / STATISTICS_FILE, ("mean", "deviation"))
            loaded.mean, loaded.deviation = tuple(saved["mean"]), tuple(saved["deviation"])
        return loaded

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Channel mean and standard deviation over the training split, unless the config gives them."""
        if self.config.normalisation != "fitted":
            return
        rows = np.asarray(indices)
        chosen = rows[
            np.unique(np.linspace(0, len(rows) - 1, min(len(rows), self.config.statistics_images)).astype(int))
        ]
        found, reasons = [], []
        for row in chosen:
            try:
                found.append(prepare_sample(self, read_sample(reader, int(row)))[0].values.flatten(1))
            except ItemError as error:
                reasons.append(error.reason)
        if not found:
            raise DataError(
                f"none of {len(chosen)} training images can be used to take statistics from", first=reasons[0]
            )
        first = torch.stack([one.mean(1) for one in found]).mean(0)
        second = torch.stack([one.square().mean(1) for one in found]).mean(0)
        deviation = (second - first.square()).clamp_min(1e-8).sqrt()
        self.mean = tuple(round(float(one), 6) for one in first)
        self.deviation = tuple(round(float(one), 6) for one in deviation)

    def inputs_from(self, value: Any) -> Any:
        """An array (H, W) or (H, W, 3) of pixels, a Pillow image, or the name of one file."""
        return radiograph_from(value)

    def facts(self) -> Mapping[str, Any]:
        if self.mean is None or self.deviation is None:
            raise ConfigError("the image statistics are not known", hint="fit the preprocessor first")
        return {"input_channels": self.config.input_channels, "mean": self.mean, "deviation": self.deviation}

    def covering(self) -> ImagePreprocessor:
        """The same with several squares along the longer side where only the one in the middle is prepared."""
        if self.config.aspect != "crop":
            return self
        found = copy.copy(self)
        found.covers = True
        return found

    def prepare(self, sample: Sample) -> list[Item]:
        """One item: float32 (C, E, E) in 0 to 1, with its :class:`Placement` in ``meta`` and label images as targets.

        Raises:
            ItemError: too small, not finite, the same value everywhere, or labels of another size.
        """
        radiograph: Radiograph = sample.inputs
        pixels = radiograph.pixels
        if min(pixels.shape[:2]) < self.config.smallest_edge:
            size = " x ".join(str(edge) for edge in pixels.shape[:2])
            raise ItemError("too_small", f"{size} pixels; the smallest allowed edge is {self.config.smallest_edge}")
        scaled = self._windowed(pixels)
        if self.config.input_channels == 1 and scaled.ndim == 3:
            scaled = scaled @ np.asarray(GREY, np.float32)
        image = torch.from_numpy(np.ascontiguousarray(scaled))
        items = []
        for corner in self._corners(pixels.shape[0], pixels.shape[1]):
            values, placement = self._on_grid(image, corner)
            if self.config.input_channels == 3 and len(values) == 1:
                values = values.expand(3, -1, -1).contiguous()
            meta = {
                "pixels": int(pixels.shape[0] * pixels.shape[1]), "first": placement.first, "scale": placement.scale,
            }  # fmt: skip
            items.append(Item(values, meta, targets=labels_on_grid(sample, meta, self.config.edge)))
        return items

    def _corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """First row and column of each square of ``crop``; the corner of the image for all others."""
        if self.config.aspect != "crop":
            return [(0, 0)]
        side, rest = min(height, width), abs(height - width)
        places = [rest // 2]
        if self.covers and rest:
            places = [round(one) for one in np.linspace(0, rest, -(-rest // side) + 1)]
        return [(one, 0) if height > width else (0, one) for one in places]

    def _windowed(self, pixels: np.ndarray) -> np.ndarray:
        """float32 in 0 to 1."""
        values = pixels.astype(np.float32)
        if not np.isfinite(values).all():
            raise ItemError("not_finite", f"{int((~np.isfinite(values)).sum())} pixels are NaN or infinite")
        if values.min() == values.max():
            raise ItemError("constant", f"every pixel has the value {float(values.min()):g}")
        is_deep = pixels.dtype != np.uint8
        if self.config.window == "full" or (self.config.window == "auto" and not is_deep):
            full = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else None
            low, high = (0.0, full) if full else (float(values.min()), float(values.max()))
        else:
            low, high = (float(one) for one in np.percentile(values, self.config.percentiles))
            if low == high:  # nearly all pixels alike
                low, high = float(values.min()), float(values.max())
        scaled: np.ndarray = np.clip((values - low) / (high - low), 0, 1)
        return scaled

    def _on_grid(self, image: Tensor, corner: tuple[int, int]) -> tuple[Tensor, Placement]:
        """(H, W) or (H, W, 3) to (C, E, E); of ``crop`` the square that begins at the corner."""
        edge = self.config.edge
        height, width = image.shape[:2]
        first = (0.0, 0.0)
        if self.config.aspect == "crop":
            side, (top, left) = min(height, width), corner
            image, first = image[top : top + side, left : left + side], (float(top), float(left))
        size = (edge, edge)
        if self.config.aspect == "pad":
            scale = edge / max(height, width)
            size = (max(1, round(height * scale)), max(1, round(width * scale)))
        scale_by_axis = (size[0] / image.shape[0], size[1] / image.shape[1])
        planes = [image] if image.ndim == 2 else list(image.unbind(-1))
        small = torch.stack([resized_pixels(plane, size) for plane in planes]).clamp(0, 1)
        if size == (edge, edge):
            return small, Placement(first, scale_by_axis)
        above, before = (edge - size[0]) // 2, (edge - size[1]) // 2
        canvas = small.new_zeros(len(planes), edge, edge)
        canvas[:, above : above + size[0], before : before + size[1]] = small
        return canvas, Placement((-above / scale_by_axis[0], -before / scale_by_axis[1]), scale_by_axis)

    def restore(self, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
        """Outputs at the pixels of the image as it is stored, (H, W, K); NaN where the grid does not show it.

        Raises:
            ItemError: ``other_level``: an image has pixels, which are called voxels everywhere.
        """
        if level != "voxel":
            raise ItemError("other_level", f"an image has pixels (level voxel), no level {level!r}")
        return restored(sample, items, outputs)

    def collate(self, items: Sequence[Item]) -> Batch:
        """Inputs ``image`` float32 (B, C, E, E)."""
        return Batch(inputs={"image": torch.stack([item.values for item in items])}, size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Pixels of the grid: the same for all."""
        return self.config.edge**2

    def save(self, folder: Path) -> Mapping[str, Any]:
        state = {"mean": self.mean, "deviation": self.deviation}
        (folder / STATISTICS_FILE).write_text(json.dumps(state), encoding="utf-8")
        return state


def thumbnails(preprocessor: ImagePreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: the image at 16 x 16 pixels, (N, 256 C); NaN for images that cannot be used."""
    return _summaries(preprocessor, samples, lambda values: F.adaptive_avg_pool2d(values, THUMBNAIL).flatten())


def grey_levels(preprocessor: ImagePreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: share of pixels in each of 32 grey levels, (N, 32); NaN for images that cannot be used."""
    return _summaries(preprocessor, samples, lambda values: torch.histc(values, LEVELS, 0.0, 1.0) / values.numel())


def edges(preprocessor: ImagePreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: square roots of mean gradients by 8 directions in 7 x 7 cells, (N, 392); NaN as above."""

    def summary(values: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(gradients(values[None], DIRECTIONS), GRADIENT_CELLS).sqrt().flatten()

    return _summaries(preprocessor, samples, summary)


def _summaries(
    preprocessor: ImagePreprocessor, samples: Iterable[Sample], summary: Callable[[Tensor], Tensor]
) -> np.ndarray:
    rows: list[np.ndarray | None] = []
    for sample in samples:
        try:
            rows.append(summary(preprocessor.prepare(sample)[0].values).numpy())
        except ItemError:
            rows.append(None)
    width = max((len(row) for row in rows if row is not None), default=1)
    return np.stack([np.full(width, np.nan) if row is None else row for row in rows])
