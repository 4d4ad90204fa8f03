"""Readers of users' scenes: any folder of scene files, and the layouts of ScanNet, S3DIS, KITTI and SemanticKITTI."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.scenes import ScenesConfig
from repcore_pointcloud.formats.scene import Scene
from repcore_pointcloud.formats.scenes import SUFFIXES, Loaded, load_scene

SCANNET_MESH, SCANNET_LABELS = "_vh_clean_2.ply", "_vh_clean_2.labels.ply"
LABELS_LOOKED_AT = 3  # scenes opened to find out which labels there are


class SceneFolder:
    """Dataset ``pointcloud/scenes``: one scene a file; a single file is a data set of one.

    Args:
        config: path and the label that means unlabelled.

    Raises:
        DataError: there is no scene file.
    """

    def __init__(self, config: ScenesConfig) -> None:
        self.config = config
        self.root = Path(config.path).expanduser()
        self.files = self.find()
        if not self.files:
            raise DataError(f"{config.path!r} holds no scene", expected=", ".join(SUFFIXES))
        self._cached: tuple[int, Sample] | None = None

    def find(self) -> list[Path]:
        """Files of the scenes, in order."""
        if self.root.is_file():
            return [self.root]
        found = [one for one in self.root.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file()]
        return sorted(one for one in found if not one.name.startswith((".", "readme", "README")))

    def load(self, file: Path) -> Loaded:
        """Scene and labels of one file."""
        return load_scene(file)

    def group(self, file: Path) -> str | None:
        """What must not be split: nothing, for plain folders."""
        del file
        return None

    def identifier(self, file: Path) -> str:
        """Path below the root without suffix."""
        return file.stem if self.root.is_file() else file.relative_to(self.root).with_suffix("").as_posix()

    @property
    def fingerprint(self) -> str:
        """Hash of names, sizes and times."""
        facts = [(str(one.name), one.stat().st_size, one.stat().st_mtime_ns) for one in self.files]
        return sha256(repr((facts, self.config.ignored_label)).encode()).hexdigest()

    @cached_property
    def targets(self) -> Sequence[TargetSpec]:
        """Labels of the first scenes that can be read; level ``point``."""
        largest: dict[str, int] = {}
        for file in self.files[:LABELS_LOOKED_AT]:
            try:
                labels = self.load(file).labels
            except ItemError:
                continue
            for name, values in labels.items():
                largest[name] = max(largest.get(name, 0), int(values.max(initial=0)))
        return tuple(TargetSpec(name, "class", "point", ignore=self.config.ignored_label) for name in sorted(largest))

    @cached_property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Splits named in an ``index.json`` beside the files; one scene alone is all training data."""
        index = self.root / "index.json"
        if self.root.is_dir() and index.is_file():
            return _declared(json.loads(index.read_text(encoding="utf-8")), [one.stem for one in self.files])
        return {"train": [0]} if len(self.files) == 1 else {}

    @property
    def groups(self) -> Sequence[str | None]:
        """Group key of every scene."""
        return [self.group(one) for one in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        if self._cached is None or self._cached[0] != index:
            file = self.files[index]
            loaded = self.load(file)
            known = {one.name for one in self.targets}
            labels = {name: value for name, value in loaded.labels.items() if name in known}
            meta = {"points": len(loaded.scene.points)}
            self._cached = (index, Sample(self.identifier(file), loaded.scene, labels, self.group(file), meta))
        return self._cached[1]

    def by_id(self, sample_id: str) -> Sample:
        """The scene with this id.

        Raises:
            DataError: there is none.
        """
        for number, file in enumerate(self.files):
            if self.identifier(file) == sample_id:
                return self[number]
        raise DataError(f"there is no scene {sample_id!r} in {self.config.path}")


def _declared(index: object, names: list[str]) -> dict[str, list[int]]:
    """``{name: {"split": ...}}`` or ``[{"name": ..., "split": ...}]`` as row numbers; anything else is no split."""
    rows: list[tuple[str, str]] = []
    if isinstance(index, dict):
        rows = [
            (str(key), str(value["split"]))
            for key, value in index.items()
            if isinstance(value, dict) and "split" in value
        ]
    elif isinstance(index, list):
        for one in index:
            if isinstance(one, dict) and "split" in one:
                key = next((str(one[name]) for name in ("name", "id", "file") if name in one), "")
                rows.append((Path(key).stem, str(one["split"])))
    place = {name: number for number, name in enumerate(names)}
    found: dict[str, list[int]] = {}
    for name, split in rows:
        if name in place:
            found.setdefault(split, []).append(place[name])
    return {name: sorted(numbers) for name, numbers in found.items()} if "train" in found else {}


class ScanNetReader(SceneFolder):
    """Dataset ``pointcloud/scannet``: ``<scene>/<scene>_vh_clean_2.ply``, labels beside it where there are some."""

    def find(self) -> list[Path]:
        return sorted(self.root.rglob(f"*{SCANNET_MESH}"))

    def identifier(self, file: Path) -> str:
        return file.name.removesuffix(SCANNET_MESH)

    def group(self, file: Path) -> str | None:
        """The room: scans scene0000_00 and scene0000_01 show one."""
        return self.identifier(file).rpartition("_")[0]

    def load(self, file: Path) -> Loaded:
        loaded = load_scene(file)
        beside = file.with_name(file.name.replace(SCANNET_MESH, SCANNET_LABELS))
        labels = load_scene(beside).labels if beside.is_file() else {}
        return Loaded(loaded.scene, {"semantic": labels["label"]} if "label" in labels else {})


class S3disReader(SceneFolder):
    """Dataset ``pointcloud/s3dis``: ``Area_*/<room>/Annotations/<class>_<number>.txt``, one object a file."""

    def find(self) -> list[Path]:
        rooms = {one.parent.parent for one in self.root.rglob("Annotations/*.txt")}
        return sorted(rooms)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names in alphabetic order."""
        return tuple(sorted({one.stem.split("_")[0] for one in self.root.rglob("Annotations/*.txt")}))

    def identifier(self, file: Path) -> str:
        return f"{file.parent.name}/{file.name}"

    def group(self, file: Path) -> str | None:
        """The area, since buildings differ."""
        return file.parent.name

    def load(self, file: Path) -> Loaded:
        parts, classes, instances = [], [], []
        for number, one in enumerate(sorted((file / "Annotations").glob("*.txt"))):
            try:
                values = np.loadtxt(one, ndmin=2, dtype=np.float64)
            except ValueError as error:
                raise ItemError("unreadable", f"{one.name}: {error}") from error
            parts.append(values)
            classes.append(np.full(len(values), self.names.index(one.stem.split("_")[0])))
            instances.append(np.full(len(values), number))
        table = np.concatenate(parts)
        scene = Scene(points=table[:, :3].astype(np.float32), colours=(table[:, 3:6] / 255.0).astype(np.float32))
        return Loaded(scene, {"semantic": np.concatenate(classes), "instance": np.concatenate(instances)})


class KittiReader(SceneFolder):
    """Dataset ``pointcloud/kitti``: ``.../velodyne/*.bin``; SemanticKITTI's ``labels`` folder beside it is read too."""

    def find(self) -> list[Path]:
        return sorted(one for one in self.root.rglob("*.bin") if one.parent.name.startswith("velodyne"))

    def group(self, file: Path) -> str | None:
        """The sequence of SemanticKITTI."""
        return file.parent.parent.name
