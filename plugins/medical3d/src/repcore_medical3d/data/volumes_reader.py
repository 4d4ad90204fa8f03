"""The reader that all layouts of volumes share: rows, labels, splits, and a bounded memory of decoded scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.data.volumes import Volume, read_nifti

SEGMENTATION = "segmentation"  # the dense label, a Volume of class numbers beside each image


@dataclass(frozen=True, slots=True)
class VolumeEntry:
    """One row before it is read.

    Args:
        id: unique in the data set.
        files: the image: one NIfTI file, or the slices of a DICOM series.
        labels: NIfTI file of class numbers on the image's grid, if any.
        targets: labels of the whole scan.
        group: leakage key (patient).
        meta: modality and the like.
    """

    id: str
    files: tuple[Path, ...]
    labels: Path | None = None
    targets: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeCatalogue:
    """What a layout found."""

    entries: Sequence[VolumeEntry]
    targets: Sequence[TargetSpec] = ()
    splits: Mapping[str, Sequence[int]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def open_nifti_entry(entry: VolumeEntry, config: VolumeFilesConfig) -> Volume:
    """The image of a row that is one NIfTI file."""
    return read_nifti(entry.files[0], assume_ras=config.missing_affine == "assume-ras")


class VolumeReader:
    """Random access to the volumes of a catalogue.

    Args:
        catalogue: rows, labels and splits.
        source: what the user pointed at, for messages.
        config: memory, and what to do without an affine.
        open_image: row -> volume.

    Raises:
        DataError: no volume at all, or ids that are not unique.
    """

    def __init__(
        self,
        catalogue: VolumeCatalogue,
        source: Path,
        config: VolumeFilesConfig,
        open_image: Callable[[VolumeEntry, VolumeFilesConfig], Volume] = open_nifti_entry,
    ) -> None:
        if not catalogue.entries:
            raise DataError(f"{str(source)!r} holds no volume", expected="NIfTI files or DICOM series")
        self.source, self.config, self.notes = source, config, tuple(catalogue.notes)
        self._entries, self._open_image = tuple(catalogue.entries), open_image
        self._targets, self._splits = tuple(catalogue.targets), dict(catalogue.splits)
        self._row_of = {entry.id: row for row, entry in enumerate(self._entries)}
        if len(self._row_of) != len(self._entries):
            twice = len(self._entries) - len(self._row_of)
            raise DataError(f"{twice} ids of {str(source)!r} stand twice", hint="give every scan its own name")
        self._cache: dict[tuple[int, str], Volume] = {}
        self._room = config.cache_mib * 2**20

    @property
    def fingerprint(self) -> str:
        """Hash of ids, sizes, times and labels."""
        digest = sha256()
        for entry in self._entries:
            files = [*entry.files, *([entry.labels] if entry.labels else [])]
            facts = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()]
            digest.update(f"{entry.id}|{facts}|{sorted(entry.targets.items())}\n".encode())
        return digest.hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return self._targets

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return self._splits

    @property
    def groups(self) -> Sequence[str | None] | None:
        """Patients; None where the layout does not tell."""
        keys = [entry.group for entry in self._entries]
        return keys if any(key is not None for key in keys) else None

    def __len__(self) -> int:
        return len(self._entries)

    def id_of(self, index: int) -> str:
        """Id of a row, also of one that cannot be read."""
        return self._entries[index].id

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        image = self._cached(index, "image", lambda: self._open_image(entry, self.config))
        targets = dict(entry.targets)
        if entry.labels is not None:
            labels = self._cached(index, "labels", lambda: self._label_volume(entry, image))
            targets[SEGMENTATION] = labels
        meta = {
            **entry.meta,
            "shape": list(image.shape),
            "spacing_mm": [round(length, 4) for length in image.spacing_mm],
            "orientation": image.orientation,
        }
        return Sample(entry.id, image, targets, entry.group, meta)

    def by_id(self, sample_id: str) -> Sample:
        """The row with this id.

        Raises:
            DataError: there is none.
        """
        if sample_id not in self._row_of:
            raise DataError(f"{str(self.source)!r} has no volume {sample_id!r}", rows=len(self))
        return self[self._row_of[sample_id]]

    def _label_volume(self, entry: VolumeEntry, image: Volume) -> Volume:
        assert entry.labels is not None
        labels = read_nifti(entry.labels, assume_ras=self.config.missing_affine == "assume-ras")
        if labels.shape != image.shape:
            raise ItemError(
                "labels_do_not_fit", f"{entry.labels.name} has shape {labels.shape}, its image {image.shape}"
            )
        return labels

    def _cached(self, index: int, kind: str, opened: Callable[[], Volume]) -> Volume:
        if (index, kind) in self._cache:
            return self._cache[index, kind]
        volume = opened()
        size = volume.source.nbytes if isinstance(volume.source, np.ndarray) else 0
        if size <= self._room:
            self._cache[index, kind] = volume
            self._room -= size
        return volume


def segmentation_target(names: Sequence[str] = ()) -> TargetSpec:
    """The dense label of a reader; ``names[0]`` is the background."""
    return TargetSpec(SEGMENTATION, "class", level="voxel", names=tuple(names))
