"""Prepared scenes in files of their own, so that regions are found once a data set and not once an epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from repcore.data.guard import read_sample
from repcore.data.whole_folders import link_files
from repcore.errors import DataError, ItemError
from repcore.files import read_object
from repcore.interfaces import DatasetReader, Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.scenes import SceneConfig
from repcore_pointcloud.preprocessors.scene_geometry import PREPARED_FIELDS, PreparedScene, prepare_scene

FORMAT = 1
REASONS = "reasons.json"  # why scenes of a block cannot be used
KEPT = 4  # prepared scenes in memory


class ScenePreparation:
    """Implements :class:`repcore.interfaces.BlockPreparation`: one NPZ a scene that can be used."""

    least_rows = 1

    def __init__(self, config: SceneConfig) -> None:
        self.config = config

    @property
    def key(self) -> str:
        return sha256(json.dumps([FORMAT, asdict(self.config)], sort_keys=True).encode()).hexdigest()

    def block(self, reader: DatasetReader, rows: range, folder: Path, progress: Callable[[int, int], None]) -> None:
        reasons: dict[str, str] = {}
        for done, row in enumerate(rows):
            try:
                prepared = prepare_scene(read_sample(reader, row).inputs, self.config)
            except ItemError as error:
                reasons[error.status] = error.reason
            else:
                np.savez(folder / f"{row}.npz", **{name: getattr(prepared, name) for name in PREPARED_FIELDS})
            progress(done + 1, len(rows))
        (folder / REASONS).write_text(json.dumps(reasons), encoding="utf-8")

    def join(self, reader: DatasetReader, blocks: Sequence[Path], folder: Path) -> None:
        reasons: dict[str, str] = {}
        for block in blocks:
            link_files(block, folder, "*.npz")
            reasons.update(read_object(block / REASONS))
        if not any(folder.iterdir()):
            raise DataError(f"none of {len(reader)} scenes can be used", reasons="; ".join(reasons.values()))

    def open(self, reader: DatasetReader, folder: Path) -> PreparedScenes:
        return PreparedScenes(reader, folder)


class PreparedScenes:
    """The same rows, whose inputs are prepared scenes where there is one."""

    def __init__(self, reader: DatasetReader, folder: Path) -> None:
        self.reader, self.folder = reader, folder
        self._kept: dict[int, PreparedScene] = {}

    @property
    def prepared_from(self) -> DatasetReader:
        """The data set as it was read, whose rows or files are named where they have changed."""
        return self.reader

    @property
    def fingerprint(self) -> str:
        return self.reader.fingerprint

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return self.reader.targets

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return self.reader.splits

    @property
    def groups(self) -> Sequence[str | None] | None:
        """Leakage key of each row; None where the data set has none."""
        found: Sequence[str | None] | None = getattr(self.reader, "groups", None)
        return found

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> Sample:
        sample = self.reader[index]
        prepared = self._prepared(index)
        return sample if prepared is None else replace(sample, inputs=prepared)

    def by_id(self, sample_id: str) -> Sample:
        """The row with this id, unprepared."""
        return self.reader.by_id(sample_id)

    def _prepared(self, index: int) -> PreparedScene | None:
        if index not in self._kept:
            path = self.folder / f"{index}.npz"
            if not path.is_file():
                return None
            with np.load(path, allow_pickle=False) as file:
                found = PreparedScene(**{name: file[name] for name in PREPARED_FIELDS})
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[index] = found
        return self._kept[index]
