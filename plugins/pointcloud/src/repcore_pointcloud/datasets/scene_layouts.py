"""Layouts of public scene sets: ScanNet, S3DIS, KITTI and SemanticKITTI, and the folders of arrays of Pointcept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from repcore.data.accounting import Accounting, walk
from repcore.data.allocation import load_array
from repcore.data.beside_lists import listed_splits
from repcore.data.catalogue import Row, existing, rows_by
from repcore.data.splits import PART_NAMES
from repcore.errors import DataError, ItemError
from repcore_pointcloud.configs.scenes import ScenesConfig
from repcore_pointcloud.datasets.scene_folders import scene_row
from repcore_pointcloud.datasets.scene_reader import ReadScene, SceneReader, unique_ids
from repcore_pointcloud.formats.reading import read_points
from repcore_pointcloud.formats.scenes import Loaded, load_scene, loaded
from repcore_pointcloud.formats.table import PointTable, RawColumns, point_table

SCANNET_MESH, SCANNET_LABELS = "_vh_clean_2.ply", "_vh_clean_2.labels.ply"
ANNOTATIONS = "Annotations"
VELODYNE = "velodyne"
COORDINATES = "coord.npy"
POINTCEPT_ARRAYS = {"coord": "xyz", "color": "rgb", "normal": "normal", "strength": "intensity"}


def _files(root: Path, account: Accounting) -> list[Path]:
    """Every file below a folder that can be opened."""
    found = []
    for one in walk(root):
        if one.problem:
            account.unreadable(one.path, one.problem)
        elif not one.left_out:
            found.append(one.path)
    return found


def _opened(config: ScenesConfig, noun: str) -> tuple[Path, Accounting]:
    root = existing(config.path, noun)
    return root, Accounting(root if root.is_dir() else root.parent)


class ScanNetReader(SceneReader):
    """Dataset ``pointcloud/scannet``: ``<scene>/<scene>_vh_clean_2.ply``, labels beside it where there are some.

    Raises:
        DataError: no mesh of that name.
    """

    def __init__(self, config: ScenesConfig) -> None:
        root, account = _opened(config, self.noun)
        files = [one for one in _files(root, account) if one.name.endswith(SCANNET_MESH)]
        if not files:
            raise DataError(f"{config.path!r} holds no scene of ScanNet", expected=f"*{SCANNET_MESH}")
        rows = [_scannet_row(one) for one in files]
        super().__init__(rows, config, account)


def _scannet_row(path: Path) -> Row[ReadScene]:
    name = path.name.removesuffix(SCANNET_MESH)
    beside = path.with_name(path.name.replace(SCANNET_MESH, SCANNET_LABELS))
    files = (path, beside) if beside.is_file() else (path,)
    # scans scene0000_00 and scene0000_01 show one room
    return Row(name, partial(read_scannet, path), group=name.rpartition("_")[0], files=files)


def read_scannet(path: Path) -> Loaded:
    """Vertices of a mesh, and the classes of the labelled mesh beside it.

    Raises:
        ItemError: unreadable, or ``labels_differ``.
    """
    scene = load_scene(path)
    beside = path.with_name(path.name.replace(SCANNET_MESH, SCANNET_LABELS))
    labels = load_scene(beside).labels if beside.is_file() else {}
    if "label" in labels and len(labels["label"]) != len(scene.scene.points):
        raise ItemError(
            "labels_differ", f"{beside.name}: {len(labels['label'])} labels, {len(scene.scene.points)} points"
        )
    found = {"semantic": labels["label"]} if "label" in labels else {}
    return Loaded(scene.scene, found, notes=scene.notes, columns=scene.columns)


class S3disReader(SceneReader):
    """Dataset ``pointcloud/s3dis``: ``Area_*/<room>/Annotations/<class>_<number>.txt``, one object a file.

    Raises:
        DataError: no room.
    """

    def __init__(self, config: ScenesConfig) -> None:
        root, account = _opened(config, self.noun)
        objects: dict[Path, list[Path]] = {}
        for one in _files(root, account):
            if one.parent.name == ANNOTATIONS and one.suffix.lower() == ".txt":
                objects.setdefault(one.parent.parent, []).append(one)
        if not objects:
            raise DataError(f"{config.path!r} holds no room of S3DIS", expected=f"{ANNOTATIONS}/<class>_<number>.txt")
        for room in objects:
            account.ignore(room / f"{room.name}.txt", "the room without labels; its Annotations are read")
        self.names: tuple[str, ...] = tuple(sorted({_s3dis_class(one) for files in objects.values() for one in files}))
        rows: list[Row[ReadScene]] = [
            Row(
                f"{room.parent.name}/{room.name}",
                partial(read_s3dis, tuple(files), self.names),
                group=room.parent.name,  # the area, since buildings differ
                files=tuple(files),
            )
            for room, files in sorted(objects.items())
        ]
        super().__init__(rows, config, account)
        account.note(f"classes of semantic: {', '.join(self.names)}")


def _s3dis_class(path: Path) -> str:
    return path.stem.split("_")[0].strip()


def read_s3dis(files: Sequence[Path], names: Sequence[str]) -> Loaded:
    """A room from its objects; an object with damaged lines keeps the others, and the room says so.

    Raises:
        ItemError: an object cannot be read.
    """
    tables: list[PointTable] = []
    classes, instances, remarks = [], [], []
    for number, path in enumerate(files):
        table = read_points(path)
        tables.append(table)
        classes.append(np.full(len(table), names.index(_s3dis_class(path))))
        instances.append(np.full(len(table), number))
        remarks += [table.remark] if table.remark else []
    coloured = all(one.colours is not None for one in tables)
    remark = (remarks[0][0], "; ".join(text for _, text in remarks)) if remarks else None
    room = PointTable(
        xyz=np.concatenate([one.xyz for one in tables]),
        colours=np.concatenate([one.colours for one in tables if one.colours is not None]) if coloured else None,
        labels={"semantic": np.concatenate(classes), "instance": np.concatenate(instances)},
        columns=tables[0].columns,
        remark=remark,
    )
    return loaded(room)


class KittiReader(SceneReader):
    """Dataset ``pointcloud/kitti``: ``.../velodyne/*.bin``; SemanticKITTI's ``labels`` folder beside it is read too.

    Raises:
        DataError: no sweep below a folder velodyne.
    """

    def __init__(self, config: ScenesConfig) -> None:
        root, account = _opened(config, self.noun)
        everything = _files(root, account) if root.is_dir() else [root]
        files = [
            one for one in everything if one.suffix.lower() == ".bin" and one.parent.name.lower().startswith(VELODYNE)
        ]
        if not files:
            raise DataError(f"{config.path!r} holds no sweep", expected=f"{VELODYNE}/*.bin")
        for one in everything:
            if one.parent.name.lower() in ("label_2", "calib", "image_2", "image_3"):
                account.ignore(one, f"{one.parent.name}: boxes, calibration and images are not read")
        base = root if root.is_dir() else root.parent
        rows = [
            scene_row(name, path, _sequence(path), config)
            for name, path in zip(unique_ids(files, base), files, strict=True)
        ]
        splits = listed_splits(root, files, account) if root.is_dir() else {}
        super().__init__(rows, config, account, splits=splits or ({"train": [0]} if len(rows) == 1 else {}))


def _sequence(path: Path) -> str | None:
    """The drive that a sweep belongs to; frames of KITTI's detection set are single."""
    name = path.parent.parent.name
    return None if name.lower() in ("training", "testing") else name or None


class PointceptReader(SceneReader):
    """Dataset ``pointcloud/pointcept``: a folder a scene with coord.npy, color.npy, normal.npy, segment*.npy, ...

    Raises:
        DataError: no coord.npy.
    """

    def __init__(self, config: ScenesConfig) -> None:
        root, account = _opened(config, self.noun)
        folders = sorted({one.parent for one in _files(root, account) if one.name == COORDINATES})
        if not folders:
            raise DataError(f"{config.path!r} holds no scene of Pointcept", expected=f"<split>/<scene>/{COORDINATES}")
        rows = [_pointcept_row(folder, root) for folder in folders]
        words = [
            next((PART_NAMES[one.lower()] for one in folder.relative_to(root).parts if one.lower() in PART_NAMES), None)
            for folder in folders
        ]
        splits = rows_by(words) if all(words) else {}
        super().__init__(rows, config, account, splits=splits)


def _pointcept_row(folder: Path, root: Path) -> Row[ReadScene]:
    name = folder.relative_to(root).as_posix() if folder != root else folder.name
    files = tuple(sorted(one for one in folder.glob("*.npy")))
    scan = folder.name
    group = scan.rpartition("_")[0] if scan.startswith("scene") and "_" in scan else folder.parent.name
    is_area = folder.parent.name.lower().startswith("area")
    return Row(name, partial(read_pointcept, files), group=group if scan.startswith("scene") or is_area else None,
               files=files)  # fmt: skip


def read_pointcept(files: Sequence[Path]) -> Loaded:
    """Arrays of one scene, each named by its file.

    Raises:
        ItemError: ``corrupt``, or ``labels_differ``: an array of another length.
    """
    columns: dict[str, np.ndarray] = {}
    for path in files:
        try:
            values = load_array(path)
        except (ValueError, OSError, EOFError) as error:
            raise ItemError("corrupt", f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
        name = path.stem.lower()
        columns[POINTCEPT_ARRAYS.get(name, name)] = values
    count = len(columns["xyz"])
    for name, values in columns.items():
        if len(values) != count:
            raise ItemError("labels_differ", f"{name}.npy has {len(values)} rows for {count} points")
    return loaded(point_table(RawColumns(columns), files[0].parent.name))
