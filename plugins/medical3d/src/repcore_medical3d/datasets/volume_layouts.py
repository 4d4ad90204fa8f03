"""Layouts of volumes on disk: flat folders, decathlon lists, nnssl lists.

A flat folder may hold ``images`` and ``labels`` (or ``imagesTr`` and ``labelsTr``) with equal file names, and a table
``split.csv`` with columns ``id`` and ``split``; further columns of numbers become labels of whole scans.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from repcore.data.catalogue import existing, rows_by
from repcore.data.headers import json_at
from repcore.data.splits import PART_NAMES
from repcore.errors import DataError
from repcore.specs import TargetSpec
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.volumes import VolumeCatalogue, VolumeReader, segmentation_target, volume_row
from repcore_medical3d.formats.volumes import is_nifti, stem_of

IMAGE_FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"))
LABEL_ENDINGS = ("_seg", "_label", "_labels", "_mask", "_gt")
IMAGE_ENDINGS = ("_ct", "_image", "_img", "")
TABLE = "split.csv"
DECATHLON_PARTS = {"training": "train", "validation": "validation", "test": "test"}
LOOKED_AT = 3000  # paths of a large tree that are enough to know


class VolumeFolderReader(VolumeReader):
    """Dataset ``medical3d/volume-folder``: every NIfTI file below a folder, or one file."""

    def __init__(self, config: VolumeFilesConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(folder_catalogue(root), root, config)


class DecathlonReader(VolumeReader):
    """Dataset ``medical3d/decathlon``: a list with ``training``, ``validation`` and ``test``."""

    def __init__(self, config: VolumeFilesConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(decathlon_catalogue(list_file(root, "dataset.json")), root, config)


class NnsslReader(VolumeReader):
    """Dataset ``medical3d/nnssl``: ``pretrain_data.json``: datasets, subjects, sessions, images."""

    def __init__(self, config: VolumeFilesConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(nnssl_catalogue(list_file(root, "pretrain_data.json")), root, config)


def list_file(path: Path, name: str) -> Path:
    """The list itself, or the one of this name in a folder.

    Raises:
        DataError: there is none.
    """
    file = path / name if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{str(path)!r} has no {name}", hint="--reader volume-folder")
    return file


# ------------------------------------------------------------------------------------------- flat folders


def folder_catalogue(root: Path) -> VolumeCatalogue:
    """Rows with labels where a file of the same name lies in a folder of labels, or beside it with an ending.

    Raises:
        DataError: no NIfTI file below the folder, or a file that is none.
    """
    if root.is_file():
        if not is_nifti(root):
            raise DataError(f"{str(root)!r} is no NIfTI file by its name", expected=".nii, .nii.gz")
        return VolumeCatalogue([volume_row(stem_of(root), (root,))])
    files = sorted(path for path in root.rglob("*") if is_nifti(path) and not _is_hidden(path, root))
    if not files:
        there = sorted({path.suffix.lower() or "(no suffix)" for path in islice(root.rglob("*"), LOOKED_AT)})
        raise DataError(
            f"{str(root)!r} holds no NIfTI file", expected=".nii, .nii.gz", found=", ".join(there[:8]) or "nothing"
        )
    labels = _labels_of(files)
    images = [path for path in files if path not in set(labels.values())]
    ids = _short_ids(images, root)
    table = _table(root / TABLE)
    lost = sorted(set(table) - {stem_of(path) for path in images})
    targets = [segmentation_target()] if labels else []
    targets += [TargetSpec(name, "regression") for name in _numeric_columns(table)]
    rows = []
    for name, path in zip(ids, images, strict=True):
        cells = table.get(stem_of(path), {})
        numbers = {column: float(cells[column]) for column in _numeric_columns(table) if cells.get(column)}
        rows.append(volume_row(name, (path,), labels.get(path), targets=numbers))
    words = [table.get(stem_of(path), {}).get("split") or None for path in images] if table else _folder_splits(images)
    notes = (f"{len(lost)} rows of {TABLE} have no volume, for example {lost[0]}",) if lost else ()
    return VolumeCatalogue(rows, targets, rows_by(words), notes)


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _labels_of(files: Sequence[Path]) -> dict[Path, Path]:
    """Image -> file of labels, by folder names or by endings of file names."""
    known = set(files)
    found = {}
    for path in files:
        for images, labels in IMAGE_FOLDERS:
            if path.parent.name == images:
                names = {path.name, re.sub(r"_0000(?=\.nii)", "", path.name)}
                candidates = [path.parent.parent / labels / name for name in names]
                fitting = [one for one in candidates if one in known]
                if fitting:
                    found[path] = fitting[0]
        suffix = path.name[len(stem_of(path)) :]
        for ending in LABEL_ENDINGS:
            if stem_of(path).endswith(ending):
                base = stem_of(path).removesuffix(ending)
                images_of = [path.with_name(base + one + suffix) for one in IMAGE_ENDINGS]
                found.update({one: path for one in images_of if one in known})
    return found


def _short_ids(images: Sequence[Path], root: Path) -> list[str]:
    """File names without suffix, or paths where names repeat."""
    stems = [stem_of(path) for path in images]
    if len(set(stems)) == len(stems):
        return stems
    return [(path.parent / stem_of(path)).relative_to(root).as_posix() for path in images]


def _table(path: Path) -> dict[str, dict[str, str]]:
    """Rows of ``split.csv`` by id; empty without one."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or "id" not in rows[0]:
        raise DataError(f"{path.name} has no column 'id'", columns=", ".join(rows[0]) if rows else "no rows")
    return {row["id"]: row for row in rows}


def _numeric_columns(table: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Columns whose every filled cell is a number."""
    first = next(iter(table.values()), {})
    return [name for name in first if name not in ("id", "split") and _is_numeric(row[name] for row in table.values())]


def _is_numeric(cells: Iterator[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(re.fullmatch(r"-?\d+(\.\d+)?([eE]-?\d+)?", cell) for cell in filled)


def _folder_splits(images: Sequence[Path]) -> list[str | None]:
    """imagesTr and imagesTs, or folders named train and test."""
    words = {"imagesTr": "train", "imagesTs": "test"}
    return [words.get(path.parent.name, PART_NAMES.get(path.parent.name.lower())) for path in images]


# -------------------------------------------------------------------------------------------------- lists


def read_list(path: Path) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        DataError: it is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not readable as JSON", reason=error) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, no object", expected='{"training": [...]}')
    return content


def decathlon_catalogue(path: Path) -> VolumeCatalogue:
    """Rows of a decathlon list; paths are relative to the list.

    Raises:
        DataError: no part is there, or an entry has no image.
    """
    content = read_list(path)
    rows, words, has_labels = [], [], False
    for key, word in DECATHLON_PARTS.items():
        for number, listed in enumerate(content.get(key, [])):
            image = listed if isinstance(listed, str) else listed.get("image") if isinstance(listed, dict) else None
            if isinstance(image, list) and len(image) == 1:
                image = image[0]
            if not isinstance(image, str):
                raise DataError(f"{path.name}, {key}[{number}] names no image", got=json.dumps(listed)[:120])
            labels = listed.get("label") if isinstance(listed, dict) else None
            has_labels |= isinstance(labels, str)
            file = path.parent / image
            rows.append(volume_row(stem_of(file), (file,), path.parent / labels if isinstance(labels, str) else None))
            words.append(word)
    if not rows:
        raise DataError(f"{path.name} lists no volume", expected=", ".join(DECATHLON_PARTS), found=", ".join(content))
    if len({row.id for row in rows}) < len(rows):  # all named ct.nii.gz in folders of their own
        rows = [dataclasses.replace(row, id=os.path.relpath(row.source.images[0], path.parent)) for row in rows]
    names = _label_names(content.get("labels", {}))
    targets = [segmentation_target(names)] if has_labels else []
    return VolumeCatalogue(rows, targets, rows_by(words))


def _label_names(labels: object) -> tuple[str, ...]:
    """Class names by number; both published forms (number to name, name to number) are accepted."""
    if not isinstance(labels, dict):
        return ()
    by_number: dict[int, str] = {}
    for key, value in labels.items():
        if str(key).isdigit():
            by_number[int(key)] = str(value)
        elif str(value).isdigit():
            by_number[int(value)] = str(key)
    if sorted(by_number) != list(range(len(by_number))):
        return ()
    return tuple(by_number[number] for number in range(len(by_number)))


def nnssl_catalogue(path: Path) -> VolumeCatalogue:
    """Rows of an nnssl list: subjects are groups, modality goes into ``meta``.

    Paths may be absolute or relative to the list; ``$NAME`` at the start stands for an environment variable.

    Raises:
        DataError: there is no image in it.
    """
    rows = []
    for dataset in _members(read_list(path).get("datasets", {})):
        name = str(dataset.get("name") or dataset.get("dataset_index") or "dataset")
        for subject in _members(dataset.get("subjects", {})):
            person = str(subject.get("subject_id", ""))
            for session in _members(subject.get("sessions", {})):
                for image in _members(session.get("images", [])):
                    file = path.parent / os.path.expandvars(str(image.get("image_path", "")))
                    masks = image.get("associated_masks") or {}
                    mask = masks.get("anatomy_mask") if isinstance(masks, dict) else None
                    ident = "/".join(filter(None, (name, person, str(session.get("session_id", "")), stem_of(file))))
                    labels = path.parent / os.path.expandvars(mask) if mask else None
                    meta = {"modality": str(image.get("modality", ""))}
                    rows.append(volume_row(ident, (file,), labels, group=f"{name}/{person}", meta=meta))
    if not rows:
        raise DataError(f"{path.name} lists no image", expected="datasets > subjects > sessions > images")
    targets = [segmentation_target()] if any(row.source.labels for row in rows) else []
    return VolumeCatalogue(rows, targets)


def _members(value: object) -> list[Mapping[str, Any]]:
    """Members of a level, written as a list or by key."""
    found = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [one for one in found if isinstance(one, dict)]


# ------------------------------------------------------------------------------------------------- sniffing


def sniff_folder(path: Path) -> float:
    """Any tree with NIfTI files, or one of them."""
    if path.is_file():
        return 0.9 if is_nifti(path) else 0.0
    return 0.6 if any(is_nifti(one) for one in islice(path.rglob("*"), LOOKED_AT)) else 0.0


def sniff_decathlon(path: Path) -> float:
    """A JSON object with a list of training volumes."""
    return 0.9 if _listed(path, "dataset.json", tuple(DECATHLON_PARTS)) else 0.0


def sniff_nnssl(path: Path) -> float:
    """A JSON object with data sets."""
    return 0.9 if _listed(path, "pretrain_data.json", ("datasets",)) else 0.0


def _listed(path: Path, name: str, keys: Sequence[str]) -> bool:
    file = path / name if path.is_dir() else path
    if file.suffix.lower() != ".json" or not file.is_file():
        return False
    content = json_at(file)
    return isinstance(content, dict) and any(isinstance(content.get(key), list | dict) for key in keys)
