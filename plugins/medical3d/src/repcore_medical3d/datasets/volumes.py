"""The reader that all layouts of volumes share: an image, and class numbers on its grid where there are any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.catalogue import Catalogue, CatalogueReader, Row
from repcore.errors import ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.formats.volumes import Volume, read_nifti

SEGMENTATION = "segmentation"  # the dense label, a Volume of class numbers beside each image


@dataclass(frozen=True, slots=True)
class VolumeFiles:
    """Where a scan lies: one NIfTI file or the slices of a DICOM series, and a NIfTI file of class numbers, if any."""

    images: tuple[Path, ...]
    labels: Path | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan that was read: the image, and class numbers on its grid, if any."""

    image: Volume
    labels: Volume | None = None


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
) -> VolumeRow:
    """A row of one scan.

    Args:
        images / labels: as in :class:`VolumeFiles`.
        targets: labels of the whole scan.
        group: patient.
        meta: modality and the like.
    """
    files = (*images, *([labels] if labels else []))
    return Row(name, VolumeFiles(images, labels), targets or {}, group, files=files, meta=meta or {})


def open_nifti(files: VolumeFiles, config: VolumeFilesConfig) -> Volume:
    """The image of a row that is one NIfTI file."""
    return read_nifti(files.images[0], assume_ras=config.missing_affine == "assume-ras")


class VolumeReader(CatalogueReader[VolumeFiles, Scan]):
    """Random access to the volumes of a catalogue.

    Args:
        catalogue: rows, labels and splits.
        source: what the user pointed at, for messages.
        config: memory, and what to do without an affine.
        open_image: files -> volume.

    Raises:
        DataError: no volume at all, or ids that are not unique.
    """

    noun = "volume"

    def __init__(
        self,
        catalogue: VolumeCatalogue,
        source: Path,
        config: VolumeFilesConfig,
        open_image: Callable[[VolumeFiles, VolumeFilesConfig], Volume] = open_nifti,
    ) -> None:
        super().__init__(catalogue, source, cache_mib=config.cache_mib, expected="NIfTI files or DICOM series")
        self.config, self._open_image = config, open_image

    def read(self, row: VolumeRow) -> Scan:
        image = self._open_image(row.source, self.config)
        if row.source.labels is None:
            return Scan(image)
        labels = read_nifti(row.source.labels, assume_ras=self.config.missing_affine == "assume-ras")
        if labels.shape != image.shape:
            raise ItemError(
                "labels_do_not_fit", f"{row.source.labels.name} has shape {labels.shape}, its image {image.shape}"
            )
        return Scan(image, labels)

    def size_of(self, content: Scan) -> int:
        volumes = (content.image, content.labels)
        return sum(one.source.nbytes for one in volumes if one and isinstance(one.source, np.ndarray))

    def facts(self, content: Scan) -> Mapping[str, Any]:
        image = content.image
        return {
            "shape": list(image.shape),
            "spacing_mm": [round(length, 4) for length in image.spacing_mm],
            "orientation": image.orientation,
        }

    def sample(self, row: VolumeRow, content: Scan) -> Sample:
        """The image as inputs, its class numbers among the targets."""
        sample = super().sample(row, content)
        dense = {} if content.labels is None else {SEGMENTATION: content.labels}
        return dataclasses.replace(sample, inputs=content.image, targets={**sample.targets, **dense})


def segmentation_target(names: Sequence[str] = ()) -> TargetSpec:
    """The dense label of a reader; ``names[0]`` is the background."""
    return TargetSpec(SEGMENTATION, "class", level="voxel", names=tuple(names))
