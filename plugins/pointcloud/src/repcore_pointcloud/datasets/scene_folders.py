"""Dataset ``pointcloud/scenes``: any folder of scene files, one scene a file, labels in it or beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting, walk
from repcore.data.beside_lists import listed_splits
from repcore.data.catalogue import Row, existing, rows_by
from repcore.data.groups import groups_in_paths
from repcore.data.identity import settings_stamp
from repcore.data.splits import PART_NAMES
from repcore.errors import DataError
from repcore.files import read_json_file
from repcore_pointcloud.configs.scenes import ScenesConfig
from repcore_pointcloud.datasets.scene_labels import labels_beside, load_labelled
from repcore_pointcloud.datasets.scene_reader import ReadScene, SceneReader, unique_ids
from repcore_pointcloud.formats.reading import SUFFIXES, TEXT_SUFFIXES
from repcore_pointcloud.formats.text import looks_like_points

SIDE_FOLDERS = {
    "label_2": "boxes of KITTI", "calib": "calibration", "imagesets": "lists of frames", "image_2": "images",
    "semantic_mask": "labels of points", "instance_mask": "labels of points", "planes": "road planes",
    "gt_database": "cut-out objects", "lidarseg": "labels of nuScenes by token", "panoptic": "labels of nuScenes",
    "radar_front": "radar", "oxts": "positions of the car",
}  # fmt: skip
"""Folders of public layouts whose files are about clouds but are none, and what they hold."""
BOX_FOLDERS = ("labels", "label", "annotations", "boxes")
NUSCENES_LOG = re.compile(r"^(n\d{3}-\d{4}-\d{2}-\d{2}-[\d-]+[+-]\d{4})__")


class SceneFolder(SceneReader):
    """One scene a file; a single file is a data set of one.

    Args:
        config: path, columns, and the label that means unlabelled.

    Raises:
        DataError: there is no scene file.
    """

    def __init__(self, config: ScenesConfig) -> None:
        root = existing(config.path, self.noun)
        account = Accounting(root if root.is_dir() else root.parent)
        files = [root] if root.is_file() else scene_files(root, account)
        if not files:
            raise DataError(
                f"{config.path!r} holds no scene",
                expected=", ".join(SUFFIXES),
                found="; ".join(account.sentences()[:3]),
            )
        base = root.parent if root.is_file() else root
        ids = unique_ids(files, base)
        groups = _groups(files, base, account)
        rows = [scene_row(*one, config) for one in zip(ids, files, groups, strict=True)]
        for row in rows:
            account.use(*row.files)
        super().__init__(rows, config, account, splits=_splits(root, files, account))


def scene_row(name: str, path: Path, group: str | None, config: ScenesConfig) -> Row[ReadScene]:
    """A row that reads one file and the labels beside it."""
    how: dict[str, Any] = {
        "columns": config.columns,
        "bin_columns": config.bin_columns,
        "decimal": config.decimal,
        "flags_left_out": config.flags_left_out,
    }
    stamp = settings_stamp(config, tuple(how))  # prepared scenes are kept for one way of reading
    files = (path, *labels_beside(path).values())
    return Row(name, partial(load_labelled, path, **how), group=group, files=files, stamp=stamp)


def scene_files(root: Path, account: Accounting) -> list[Path]:
    """Files of scenes below a folder, in order; why others are left out goes into the account."""
    found = []
    for one in walk(root):
        if one.problem:
            account.unreadable(one.path, one.problem)
        elif not one.left_out:
            reason = _not_a_scene(one.path, root)
            if reason is None:
                found.append(one.path)
            elif reason:
                account.ignore(one.path, reason)
    return found


def _not_a_scene(path: Path, root: Path) -> str | None:
    """Why a file is no scene; None if it is one, empty where its suffix says enough."""
    if path.suffix.lower() not in SUFFIXES:
        return ""
    folders = [part.lower() for part in path.relative_to(root).parts[:-1]]
    side = next((SIDE_FOLDERS[part] for part in folders if part in SIDE_FOLDERS), None)
    if side is not None:
        return side
    if path.suffix.lower() in TEXT_SUFFIXES and path.stat().st_size:
        if folders and folders[-1] in BOX_FOLDERS and (path.parent.parent / "points").is_dir():
            return "boxes of objects, no points"
        if path.name.lower().startswith(("readme", "license", "licence")):
            return "a text for people"
        if not looks_like_points(path):
            return "text without columns of coordinates"
    return None


def _groups(files: Sequence[Path], root: Path, account: Accounting) -> list[str | None]:
    """What must not be split: drives of nuScenes, and people or places that paths name."""
    drives = [found[1] if (found := NUSCENES_LOG.match(path.name)) else None for path in files]
    if any(drives):
        account.note("groups: drives from file names of nuScenes; kept together in splits")
        return drives
    keys, said = groups_in_paths(files, root)
    if said:
        account.note(said)
    return keys


def _splits(root: Path, files: Sequence[Path], account: Accounting) -> Mapping[str, Sequence[int]]:
    """Splits that an ``index.json``, lists of names or a folder level declare; one scene alone is all training data."""
    if len(files) == 1:
        return {"train": [0]}
    index = root / "index.json"
    stems = [one.stem for one in files]
    if index.is_file():
        account.use(index)
        try:
            return declared(read_json_file(index), stems)
        except ValueError as error:
            account.unreadable(index, f"no JSON: {error}")
    listed = listed_splits(root, files, account)
    if listed:
        return listed
    levels = [[part.lower() for part in path.relative_to(root).parts[:-1]] for path in files]
    words = [next((PART_NAMES[part] for part in one if part in PART_NAMES), None) for one in levels]
    if all(words) and len(set(words)) > 1:
        account.guess("split", ", ".join(sorted({str(one) for one in words})), "a folder level has these names")
        return rows_by(words)
    return {}


def declared(index: object, names: Sequence[str]) -> dict[str, list[int]]:
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
