"""The reader that all layouts of volumes share: an image, and class numbers on its grid where there are any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.catalogue import Catalogue, CatalogueReader, Row
from repcore.data.guard import item_guard
from repcore.errors import ConfigError, ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.volume_labels import NOT_LABELLED, LabelRules, labels_on, masks_on
from repcore_medical3d.formats.dicom_stacks import Stack
from repcore_medical3d.formats.nifti import ReadingRules
from repcore_medical3d.formats.volume_files import VOLUME_SUFFIXES, chosen_channel, joined, parts_beside, read_volume
from repcore_medical3d.formats.volumes import LABELS_LEFT_OUT, Volume, file_size

SEGMENTATION = "segmentation"  # the dense label, a Volume of class numbers beside each image
MOST_IDS = 12  # that are written out
LOOKED_AT = 500_000  # voxels, evenly spread, that tell the range of a scan for people


@dataclass(frozen=True, slots=True)
class VolumeFiles:
    """Where a scan lies.

    Args:
        images: one file a channel, or the files of a DICOM stack.
        labels: a file of class numbers, if any.
        masks: instead of it the class number and the mask of each class, in files of their own.
        channels: names of the channels, one a file, where there are several.
        stack: slices of a DICOM series.
    """

    images: tuple[Path, ...]
    labels: Path | None = None
    channels: tuple[str, ...] = ()
    stack: Stack | None = None
    masks: tuple[tuple[int, Path], ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan that was read: the image, class numbers on its grid, if any, remarks on how they were read, and why a
    label map was left out."""

    image: Volume
    labels: Volume | None = None
    remarks: tuple[str, ...] = ()
    left_out: str = ""


VolumeRow = Row[VolumeFiles]
VolumeCatalogue = Catalogue[VolumeFiles]


def volume_row(
    name: str,
    images: tuple[Path, ...],
    labels: Path | None = None,
    *,
    targets: Mapping[str, Any] | None = None,
    group: str | None = None,
    meta: Mapping[str, Any] | None = None,
    channels: tuple[str, ...] = (),
    stack: Stack | None = None,
    problem: tuple[str, str] | None = None,
    masks: tuple[tuple[int, Path], ...] = (),
) -> VolumeRow:
    """A row of one scan.

    Args:
        images / labels / channels / stack / masks: as in :class:`VolumeFiles`.
        targets: labels of the whole scan.
        group: patient.
        meta: modality and the like.
        problem: status and reason of a scan that is known to be unusable.
    """
    maps = [*([labels] if labels else []), *(path for _, path in masks)]
    beside = [part for one in (*images, *maps) if stack is None for part in parts_beside(one)]
    files = tuple(dict.fromkeys((*images, *maps, *beside)))
    source = VolumeFiles(images, labels, channels, stack, masks)
    return Row(name, source, targets or {}, group, problem, files=files, meta=meta or {})


def reading_rules(config: VolumeFilesConfig) -> ReadingRules:
    """How headers are read under these settings."""
    return ReadingRules(config.missing_affine == "assume-ras", config.unit, config.largest_mib, config.spacing_mm)


def label_rules(config: VolumeFilesConfig) -> LabelRules:
    """How label maps are read under these settings.

    Raises:
        ConfigError: a threshold or share outside 0 to 1.
    """
    if not 0 <= config.label_cover <= 1:
        raise ConfigError(f"label_cover={config.label_cover} is no share", field="dataset.label_cover", hint="0.5")
    if config.soft_labels is not None and not 0 < config.soft_labels <= 1:
        raise ConfigError(f"soft_labels={config.soft_labels} is no threshold", field="dataset.soft_labels", hint="0.5")
    return LabelRules(config.label_grid == "world", config.label_cover, config.soft_labels, config.label_overlap)


def open_files(files: VolumeFiles, config: VolumeFilesConfig) -> Volume:
    """The image of a row that is one file, or one file a channel."""
    rules = reading_rules(config)
    volumes = [read_volume(path, rules) for path in files.images]
    return joined(volumes, files.channels) if len(volumes) > 1 else volumes[0]


class VolumeReader(CatalogueReader[VolumeFiles, Scan]):
    """Random access to the volumes of a catalogue.

    Args:
        catalogue: rows, labels and splits.
        source: what the user pointed at, for messages.
        config: memory, channels, and what to do with doubtful headers and label maps.
        open_image: files -> volume.

    Raises:
        DataError: no volume at all, or ids that are not unique.
    """

    noun = "volume"
    plain_facts = frozenset({"modality"})

    def __init__(
        self,
        catalogue: VolumeCatalogue,
        source: Path,
        config: VolumeFilesConfig,
        open_image: Callable[[VolumeFiles, VolumeFilesConfig], Volume] = open_files,
    ) -> None:
        self.label_rules = label_rules(config)
        super().__init__(
            catalogue,
            source,
            cache_mib=config.cache_mib,
            expected=", ".join(VOLUME_SUFFIXES),
            pseudonymise=config.pseudonymise,
        )
        self.config, self._open_image = config, open_image

    def read(self, row: VolumeRow) -> Scan:
        image = chosen_channel(self._open_image(row.source, self.config), self.config.channel)
        remarks = [str(image.facts[key]) for key in ("remark", "unit") if key in image.facts]
        if any(not part.grid.is_same(image.grid) for part in image.further):
            remarks.append("channels lie on different grids: brought together in the world")
        if row.source.labels is None and not row.source.masks:
            return Scan(image, None, tuple(remarks))
        try:
            with item_guard(self, "reading the label map"):
                labels, remark = self._labels(row.source, image)
        except ItemError as error:  # the image is good for everything that needs no label
            return Scan(image, None, tuple(remarks), f"{error.status}: {error.reason}")
        return Scan(image, labels, (*remarks, *([remark] if remark else [])))

    def _labels(self, files: VolumeFiles, image: Volume) -> tuple[Volume, str]:
        """The label map on the image's grid, and how it came there."""
        rules = reading_rules(self.config)
        if files.labels is not None:
            return labels_on(read_volume(files.labels, rules, labels=True), image.grid, self.label_rules)
        masks = [(number, read_volume(path, rules, labels=True)) for number, path in files.masks]
        return masks_on(masks, image.grid, self.label_rules)

    def size_of(self, content: Scan) -> int:
        volumes = (*content.image.channels, *([content.labels] if content.labels else []))
        return sum(one.source.nbytes for one in volumes if isinstance(one.source, np.ndarray))

    def facts(self, content: Scan) -> Mapping[str, Any]:
        image = content.image
        facts: dict[str, Any] = {
            "shape": list(image.shape),
            "spacing_mm": [round(length, 4) for length in image.spacing_mm],
            "orientation": image.orientation,
        }
        if image.further:
            facts["channels"] = [one.channel for one in image.channels]
        if content.left_out:
            facts[LABELS_LEFT_OUT] = content.left_out
        if content.remarks:
            facts["remark"] = "; ".join(content.remarks)
        return facts

    def sample(self, row: VolumeRow, content: Scan) -> Sample:
        """The image as inputs, its class numbers among the targets."""
        sample = super().sample(row, content)
        dense = {} if content.labels is None else {SEGMENTATION: content.labels}
        return dataclasses.replace(sample, inputs=content.image, targets={**sample.targets, **dense})

    def describe(self, sample: Sample) -> Mapping[str, Any]:
        """Geometry in words, and what costs a look at the values: range of each channel, ids of labels."""
        image: Volume = sample.inputs
        facts: dict[str, Any] = {
            "shape": " x ".join(map(str, image.shape)),
            "spacing_mm": " x ".join(f"{length:.3g}" for length in image.spacing_mm),
        }
        for channel in image.channels:
            low, high = intensity_facts(channel)
            name = f" of {channel.channel}" if channel.channel else ""
            facts.update({f"lowest value{name}": low, f"highest value{name}": high})
        labels: Volume | None = sample.targets.get(SEGMENTATION)
        if labels is not None:
            ids = np.unique(labels.read(exact=True)).astype(np.int64).tolist()
            facts["label ids"] = ", ".join(map(str, ids[:MOST_IDS])) + (", ..." if len(ids) > MOST_IDS else "")
        return facts

    def bytes_of(self, index: int) -> int:
        """About how many bytes a row becomes: four for each voxel, which files hold in two, packed ones in less."""
        paths = self.rows[index].source.images
        return sum((6 if path.suffix.lower() == ".gz" else 2) * file_size(path) for path in paths)


def segmentation_target(names: Sequence[str] | Mapping[int, str] = ()) -> TargetSpec:
    """The dense label of a reader; names by id, 0 is the background. Ids may have gaps."""
    by_id = dict(names) if isinstance(names, Mapping) else dict(enumerate(names))
    ids = () if list(by_id) == list(range(len(by_id))) else tuple(by_id)
    return TargetSpec(SEGMENTATION, "class", "voxel", tuple(by_id.values()), ignore=NOT_LABELLED, ids=ids)


def intensity_facts(volume: Volume) -> tuple[float, float]:
    """Lowest and highest finite value of a scan, from an even choice of its voxels; NaN where there is none."""
    step = max(1, int(np.ceil((np.prod(volume.shape) / LOOKED_AT) ** (1 / 3))))
    values = volume.read((slice(None, None, step),) * 3)
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (float("nan"), float("nan"))
