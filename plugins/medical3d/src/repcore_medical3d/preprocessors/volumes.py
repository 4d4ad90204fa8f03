"""Preprocessor ``medical3d/volumes``: scans to one orientation, spacing and scale; whole, or as cubes.

What the training split decides (spacing, window or percentiles) is kept in ``volume_grid.json`` beside the model. A
cube reads only the block of the file that it needs, unless the whole prepared scan is in memory already.

Differs from Alice's published loader (`alibaba-damo-academy/alice`): spacing is made equal (``spacing="native"`` is the
published way), MR is scaled by percentiles, and every cube carries its affine, so that places are known in the world.

Symbols: C channels, (D, H, W) voxels along the three axes of ``orientation``.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from repcore.data.guard import read_sample
from repcore.errors import ConfigError, DataError, ItemError
from repcore.files import read_object
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_medical3d.configs.volumes import VolumeConfig
from repcore_medical3d.formats.volumes import LABELS_LEFT_OUT, Grid, Volume
from repcore_medical3d.preprocessors.given import volume_from
from repcore_medical3d.preprocessors.volume_dense import label_block, labels_on_grid, restored
from repcore_medical3d.preprocessors.volume_intensity import HU_BELOW, IntensityRange, intensity_range
from repcore_medical3d.preprocessors.volume_resampling import check_orientation, oriented_grid, resample

STATE_FILE = "volume_grid.json"
COUNTED_VOLUMES = 3  # scans that tell the number of channels where nothing else is wanted of them
FITTED_VOLUMES = 64  # headers and coarse values of so many scans decide spacing and scaling
BASELINE_CELLS = 4
KNOWN_RANGES = 4096  # scans whose intensity range is remembered


@dataclass(frozen=True, slots=True)
class PreparedVolume:
    """A scan on the model's grid: ``values`` float32 (C, D, H, W), about 0 to 1; ``grid`` says where it lies."""

    values: Tensor
    grid: Grid


class VolumePreprocessor:
    """Scans in, cubes (or whole scans) out.

    Args:
        config: grid, scale and coverage; see :class:`VolumeConfig`.

    Raises:
        ConfigError: settings outside their range or that do not fit together.
    """

    restores_one_by_one = True  # outputs of cubes are joined as they come

    def __init__(self, config: VolumeConfig) -> None:
        _check(config)
        self.config = config
        self.spacing_mm: tuple[float, float, float] | None = config.spacing_mm if config.spacing == "fixed" else None
        self.intensity = None if config.intensity == "auto" else config.intensity
        self.channels: int | None = None
        self._prepared: OrderedDict[str, PreparedVolume] = OrderedDict()
        self._ranges: OrderedDict[str, tuple[IntensityRange, ...]] = OrderedDict()

    @classmethod
    def load(cls, config: VolumeConfig, folder: Path) -> VolumePreprocessor:
        """The fitted preprocessor of a saved model.

        Raises:
            CheckpointError: its file is missing or damaged.
        """
        loaded = cls(config)
        state = read_object(folder / STATE_FILE, ("spacing_mm", "intensity"))
        loaded.spacing_mm = None if state["spacing_mm"] is None else tuple(state["spacing_mm"])
        loaded.intensity = state["intensity"]
        loaded.channels = int(state.get("channels", 1))
        return loaded

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Median spacing, number of channels, and whether the scans are in Hounsfield units, from up to 64 scans of the
        training split; a scan with another number of channels is a reported row.

        Raises:
            DataError: none of them can be read.
        """
        needs_spacing = self.config.spacing == "median" and self.spacing_mm is None
        is_known = not needs_spacing and self.intensity is not None
        most = min(len(indices), COUNTED_VOLUMES if is_known else FITTED_VOLUMES)
        chosen = np.asarray(indices)[np.linspace(0, len(indices) - 1, most).astype(int)]
        spacings, lowest = [], []
        counts: Counter[int] = Counter()
        why = ""
        for row in np.unique(chosen):
            try:
                volume: Volume = read_sample(reader, int(row)).inputs
                spacings.append(oriented_grid(volume.grid, self.config.orientation).spacing_mm)
                counts[len(volume.channels)] += 1
                if self.intensity is None:
                    lowest.append(intensity_range(volume, self.config, "percentile").lowest)
            except ItemError as error:
                why = why or f"row {row}: {error.status}: {error.reason}"
        if is_known and not counts:
            return
        if not spacings or (self.intensity is None and not lowest):
            raise DataError(
                "none of the training volumes can be used", first=why, hint="repcore inspect PATH tells of all rows"
            )
        self.channels = counts.most_common(1)[0][0]
        if needs_spacing:
            median = np.median(np.asarray(spacings), axis=0).round(4)
            self.spacing_mm = float(median[0]), float(median[1]), float(median[2])
        if self.intensity is None:
            self.intensity = "hu-window" if float(np.median(lowest)) < HU_BELOW else "percentile"

    def facts(self) -> Mapping[str, Any]:
        return {"crop_edge": self.config.crop_edge, "input_channels": self.channels or 1}

    # ------------------------------------------------------------------------------------------ scans

    def grid(self, volume: Volume) -> Grid:
        """The model's grid over a scan.

        Raises:
            ConfigError: neither fitted nor fixed.
        """
        if self.config.spacing != "native" and self.spacing_mm is None:
            raise ConfigError("the spacing is not known", hint="fit the preprocessor, or set spacing_mm")
        return oriented_grid(volume.grid, self.config.orientation, self.spacing_mm)

    def inputs_from(self, value: Any) -> Any:
        """A nibabel image, a pair (array (I, J, K), affine (4, 4)), a MONAI tensor, or the name of one file."""
        return volume_from(value)

    def prepared(self, sample: Sample) -> PreparedVolume:
        """The whole scan; the last ones are kept in memory.

        Raises:
            ItemError: values that are not finite, or all the same.
        """
        key = scan_key(sample)
        if key in self._prepared:
            self._prepared.move_to_end(key)
            return self._prepared[key]
        volume: Volume = sample.inputs
        grid = self.grid(volume)
        found = PreparedVolume(self._values(sample, grid), grid)
        self._prepared[key] = found
        room = self.config.cache_mib * 2**20
        while sum(one.values.nbytes for one in self._prepared.values()) > room:
            self._prepared.popitem(last=False)
        return found

    def crop(self, sample: Sample, start: Sequence[int], shape: tuple[int, int, int]) -> PreparedVolume:
        """A block of the prepared scan, padded with 0 where it reaches beyond; reads no more than it needs.

        Args:
            start: first voxel on the model's grid, may be negative.
            shape: size of the block.
        """
        volume: Volume = sample.inputs
        grid = self.grid(volume)
        part = grid.moved(start, shape)
        is_small = np.prod(grid.shape) * 4 * len(volume.channels) <= self.config.cache_mib * 2**20 / 8
        if is_small or scan_key(sample) in self._prepared:
            return PreparedVolume(block(self.prepared(sample).values, start, shape), part)
        return PreparedVolume(self._values(sample, part), part)

    def labels(self, labels: Volume, grid: Grid) -> Tensor:
        """Class numbers int64 (D, H, W) of a dense label on any grid, 0 outside."""
        return torch.from_numpy(resample(labels, grid, order=0, fill=0.0).round().astype(np.int64))

    def _values(self, sample: Sample, grid: Grid) -> Tensor:
        """Scaled values of a scan on a grid, (C, D, H, W); 0 is the lowest and also lies outside."""
        volume: Volume = sample.inputs
        ranges = self._ranges_of(sample)
        found = np.empty((len(ranges), *grid.shape), np.float32)
        for number, (channel, known) in enumerate(zip(volume.channels, ranges, strict=True)):
            values = resample(channel, grid, fill=known.low)
            bad = ~np.isfinite(values)
            if bad.any():
                if self.config.not_finite == "error":
                    raise ItemError("not_finite", f"{sample.id} has voxels that are NaN or infinite")
                values[bad] = known.low
            values -= known.low  # in place: a whole scan is large
            values /= known.high - known.low
            np.clip(values, 0.0, 1.0, out=found[number])
        return torch.from_numpy(found)

    def _ranges_of(self, sample: Sample) -> tuple[IntensityRange, ...]:
        """The range of every channel of a scan, remembered.

        Raises:
            ItemError: another number of channels than the model has.
        """
        key, volume = scan_key(sample), cast(Volume, sample.inputs)
        if key not in self._ranges:
            if self.intensity is None:
                raise ConfigError("the kind of scaling is not known", hint="fit the preprocessor, or set intensity")
            if self.channels is not None and len(volume.channels) != self.channels:
                names = ", ".join(one.channel for one in volume.channels if one.channel)
                raise ItemError(
                    "channels",
                    f"{sample.id} has {len(volume.channels)} channels{f' ({names})' if names else ''}, the model takes "
                    f"{self.channels} (dataset.channel=NAME or NUMBER chooses one)",
                )
            found = tuple(intensity_range(one, self.config, self.intensity) for one in volume.channels)
            self._ranges[key] = found
            if len(self._ranges) > KNOWN_RANGES:
                self._ranges.popitem(last=False)
        return self._ranges[key]

    # ------------------------------------------------------------------------------------------ items

    def prepare(self, sample: Sample) -> list[Item]:
        """Cubes that cover the scan (parts of one tensor: memory is that of the scan), the cube at its centre, or the
        scan as one item; label maps come along as their targets, ids as stored.

        Raises:
            ItemError: values that are not finite, or all the same.
        """
        items = self._pieces(sample)
        why = str(sample.meta.get(LABELS_LEFT_OUT, ""))
        if not why:
            return items
        return [
            dataclasses.replace(one, status=LABELS_LEFT_OUT, reason="; ".join(filter(None, (why, one.reason))))
            for one in items
        ]

    def covering(self) -> VolumePreprocessor:
        """The same with cubes that cover the scan where only the one at its centre is prepared."""
        if self.config.coverage != "centre":
            return self
        found = copy.copy(self)  # prepared scans are shared
        found.config = dataclasses.replace(self.config, coverage="sliding")
        return found

    def _pieces(self, sample: Sample) -> list[Item]:
        grid, edge = self.grid(sample.inputs), self.config.crop_edge
        starts = self._starts(grid.shape)
        if len(starts) == 1 and self.config.coverage != "whole":
            return [self.cube(sample, starts[0])]
        found, labels = self.prepared(sample), labels_on_grid(sample, grid)
        if self.config.coverage == "whole":
            return [self.item(found, grid.shape, targets=labels)]
        shape = (edge, edge, edge)
        return [
            self.item(
                PreparedVolume(block(found.values, start, shape), grid.moved(start, shape)), grid.shape, start,
                targets={name: label_block(one, start, shape) for name, one in labels.items()},
            )
            for start in starts
        ]  # fmt: skip  # parts of one tensor, however many they are

    def draw(self, sample: Sample, generator: np.random.Generator) -> Item:
        """One item of :meth:`prepare` at random; only its block is read."""
        if self.config.coverage == "whole":
            return self.prepare(sample)[0]
        starts = self._starts(self.grid(sample.inputs).shape)
        return self.cube(sample, starts[int(generator.integers(len(starts))) if len(starts) > 1 else 0])

    def _starts(self, shape: tuple[int, int, int]) -> list[tuple[int, ...]]:
        """First voxels of the cubes of a scan."""
        edge = self.config.crop_edge
        if self.config.coverage == "sliding":
            return sliding_starts(shape, edge, self.config.overlap)
        return [tuple((size - edge) // 2 for size in shape)]

    def cube(self, sample: Sample, start: Sequence[int]) -> Item:
        edge, grid = self.config.crop_edge, self.grid(sample.inputs)
        part = self.crop(sample, start, (edge, edge, edge))
        return self.item(part, grid.shape, start, targets=labels_on_grid(sample, part.grid))

    def restore(self, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
        """Outputs at the voxels of the scan as it is stored, (X, Y, Z, K); NaN where no cube lies.

        Raises:
            ItemError: ``other_level``: a scan has voxels.
        """
        if level != "voxel":
            raise ItemError("other_level", f"a scan has voxels, no level {level!r}")
        return restored(self.grid(sample.inputs), sample.inputs.grid, items, outputs)

    def item(
        self,
        block: PreparedVolume,
        scan: Sequence[int],
        start: Sequence[int] = (0, 0, 0),
        reason: str = "",
        targets: Mapping[str, np.ndarray] | None = None,
    ) -> Item:
        """A block as an item: ``values`` (1, D, H, W); ``meta`` has voxels, spacing_mm, affine, scan_shape, start."""
        shape = block.values.shape[1:]
        inside = [
            max(0, min(first + size, whole) - max(first, 0))
            for first, size, whole in zip(start, shape, scan, strict=True)
        ]
        share = float(np.prod(inside)) / float(np.prod(shape))
        is_small = any(size > whole for size, whole in zip(shape, scan, strict=True))
        meta = {
            "voxels": int(np.prod(shape)),
            "spacing_mm": list(block.grid.spacing_mm),
            "affine": block.grid.affine.tolist(),
            "scan_shape": list(scan),
            "start": list(start),
        }
        words = " x ".join(map(str, scan))
        reason = reason or (f"the scan has {words} voxels, fewer than a cube of {shape[0]}" if is_small else "")
        return Item(block.values, meta, "padded" if is_small else "ok", reason, max(share, 1e-6), targets or {})

    def collate(self, items: Sequence[Item]) -> Batch:
        """Input ``volume`` float32 (B, 1, D, H, W); scans of different size are padded with 0 at their ends.

        Numbers that views measured (``meta["measured"]``), one of an item or one of each axis, come along as
        ``measured``: name -> (B,) or (B, 3).
        """
        blocks = [cast(Tensor, item.values) for item in items]
        largest = [max(block.shape[axis] for block in blocks) for axis in (1, 2, 3)]
        joined = blocks[0].new_zeros(len(blocks), blocks[0].shape[0], *largest)
        for row, block in enumerate(blocks):
            joined[row, :, : block.shape[1], : block.shape[2], : block.shape[3]] = block
        inputs: dict[str, Any] = {"volume": joined}
        measured = items[0].meta.get("measured")
        if measured:
            inputs["measured"] = {
                name: torch.tensor([item.meta["measured"][name] for item in items]) for name in measured
            }
        return Batch(inputs=inputs, size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Voxels of the item."""
        return int(meta["voxels"])

    def save(self, folder: Path) -> Mapping[str, Any]:
        state = {
            "orientation": self.config.orientation,
            "spacing_mm": None if self.spacing_mm is None else list(self.spacing_mm),
            "intensity": self.intensity,
            "window_hu": list(self.config.window_hu),
            "percentiles": list(self.config.percentiles),
            "channels": self.channels or 1,
        }
        (folder / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
        return state


def sliding_starts(shape: Sequence[int], edge: int, overlap: float) -> list[tuple[int, ...]]:
    """First voxels of cubes that cover a scan, evenly spread; an axis shorter than a cube has one, centred."""
    sides = []
    for size in shape:
        if size <= edge:
            sides.append([(size - edge) // 2])
            continue
        step = max(1, round(edge * (1.0 - overlap)))
        count = -(-(size - edge) // step) + 1
        sides.append([round(place) for place in np.linspace(0, size - edge, count)])
    return [(first, second, third) for first in sides[0] for second in sides[1] for third in sides[2]]


def scan_key(sample: Sample) -> str:
    """Key of a scan in a cache: its id and the identity of its content, since ids repeat from folder to folder."""
    volume: Volume = sample.inputs
    return f"{sample.id}|{volume.identity}"


def centred_start(voxel: Sequence[int], edge: int) -> tuple[int, int, int]:
    """First voxel of the cube around a voxel, which lies at ``edge // 2`` of it."""
    return voxel[0] - edge // 2, voxel[1] - edge // 2, voxel[2] - edge // 2


def block(values: Tensor, start: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """A block of (C, D, H, W): a view where it lies inside, with zeros where it reaches beyond."""
    if all(
        first >= 0 and first + size <= whole for first, size, whole in zip(start, shape, values.shape[1:], strict=True)
    ):
        a, b, c = (slice(first, first + size) for first, size in zip(start, shape, strict=True))
        return values[:, a, b, c]
    result = values.new_zeros(values.shape[0], *shape)
    source, target = [slice(None)], [slice(None)]
    for first, size, whole in zip(start, shape, values.shape[1:], strict=True):
        low, high = max(0, first), min(whole, first + size)
        if low >= high:
            return result
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    result[tuple(target)] = values[tuple(source)]
    return result


def _check(config: VolumeConfig) -> None:
    """Ranges and combinations of settings."""
    check_orientation(config.orientation)
    if config.spacing == "fixed" and (config.spacing_mm is None or min(config.spacing_mm) <= 0):
        raise ConfigError(
            f"spacing_mm={config.spacing_mm} gives no spacing", field="preprocessor.spacing_mm", hint="[1.5, 1.5, 1.5]"
        )
    if config.spacing != "fixed" and config.spacing_mm is not None:
        raise ConfigError(
            f"spacing_mm={config.spacing_mm} has no effect with spacing={config.spacing}", hint="spacing: fixed"
        )
    if not config.window_hu[0] < config.window_hu[1]:
        raise ConfigError(f"window_hu={config.window_hu} does not rise", field="preprocessor.window_hu")
    if not 0 <= config.percentiles[0] < config.percentiles[1] <= 100:
        raise ConfigError(
            f"percentiles={config.percentiles} are not two rising numbers in 0 to 100", field="preprocessor.percentiles"
        )
    if config.crop_edge < 1:
        raise ConfigError(f"crop_edge={config.crop_edge} is below 1", field="preprocessor.crop_edge")
    if not 0 <= config.overlap < 1:
        raise ConfigError(f"overlap={config.overlap} is outside 0 <= overlap < 1", field="preprocessor.overlap")


# ------------------------------------------------------------------------------------------------ baselines


def intensity_statistics(preprocessor: VolumePreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: mean, standard deviation and nine quantiles of the prepared values, (N, 11)."""
    rows = []
    for sample in samples:
        values = preprocessor.prepared(sample).values.numpy()
        quantiles = np.quantile(values, np.linspace(0.1, 0.9, 9))
        rows.append(np.concatenate([[values.mean(), values.std()], quantiles]))
    return np.stack(rows)


def coarse_voxels(preprocessor: VolumePreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: means over 4 x 4 x 4 cells of the prepared scan, (N, 64)."""
    cells = (BASELINE_CELLS,) * 3
    pooled = [torch.nn.functional.adaptive_avg_pool3d(preprocessor.prepared(one).values, cells) for one in samples]
    return torch.stack(pooled).flatten(1).numpy()
