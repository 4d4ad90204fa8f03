"""Lists of volumes: decathlon (``dataset.json``, also of nnU-Net and MONAI) and nnssl (``pretrain_data.json``)."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from repcore.data.accounting import Accounting, walk
from repcore.data.catalogue import existing, rows_by
from repcore.data.encodings import whole_text
from repcore.data.headers import json_at
from repcore.errors import DataError
from repcore.files import is_file, parse_json
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.volumes import (
    VolumeCatalogue,
    VolumeReader,
    VolumeRow,
    segmentation_target,
    volume_row,
)
from repcore_medical3d.formats.volume_files import is_volume, volume_stem, volume_suffix

DECATHLON_PARTS = {"training": "train", "validation": "validation", "test": "test"}
MOST_CHANNELS = 64


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


def read_list(path: Path) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        DataError: it is not one.
    """
    try:
        content = parse_json(whole_text(path))
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
    names = channel_names(content)
    account = Accounting(path.parent)
    account.use(path)
    moved: list[str] = []
    rows, words, has_labels = [], [], False
    for key, word in DECATHLON_PARTS.items():
        listed_here = content.get(key, [])
        for number, listed in enumerate(listed_here if isinstance(listed_here, list) else []):
            images = _images(listed)
            if not images:
                raise DataError(f"{path.name}, {key}[{number}] names no image", got=json.dumps(listed)[:120])
            labels = listed.get("label") if isinstance(listed, dict) else None
            has_labels |= isinstance(labels, str)
            files = tuple(_found_below(path.parent, image, moved) for image in images)
            name = volume_stem(files[0])
            files = channel_files(files[0]) if len(files) == 1 else files
            channels = tuple(names[place] if place < len(names) else str(place) for place in range(len(files)))
            label_file = _found_below(path.parent, labels, moved) if isinstance(labels, str) else None
            lost = next((one for one in files if not one.exists()), None)
            problem = ("missing_file", f"{path.name} lists {lost}, which does not exist") if lost else None
            channels = channels if len(files) > 1 else ()
            rows.append(volume_row(name, files, label_file, channels=channels, problem=problem))
            words.append(word)
    if not rows:
        raise DataError(f"{path.name} lists no volume", expected=", ".join(DECATHLON_PARTS), found=", ".join(content))
    if len({row.id for row in rows}) < len(rows):  # all named ct.nii.gz in folders of their own
        rows = [dataclasses.replace(row, id=os.path.relpath(row.source.images[0], path.parent)) for row in rows]
    targets = [segmentation_target(label_names(content))] if has_labels else []
    if moved:
        why = f"they lie elsewhere by the list, for example {moved[0]}, and here by the ends of their paths"
        account.guess(f"{len(moved)} files of {path.name}", "found below its folder", why)
    _say_unlisted(path, rows, account)
    return VolumeCatalogue(rows, targets, rows_by(words), account=account)


def _found_below(folder: Path, listed: str, moved: list[str]) -> Path:
    """A listed file; where it is not there (a list of another machine), the one below the folder whose path ends so."""
    file = folder / listed
    if is_file(channel_files(file)[0]) or file.is_dir():
        return file
    parts = PurePosixPath(listed.replace("\\", "/")).parts
    for start in range(len(parts)):
        if parts[start] in ("/", ".."):
            continue
        other = folder.joinpath(*parts[start:])
        if is_file(channel_files(other)[0]):
            moved.append(listed)
            return other
    return file


def _say_unlisted(path: Path, rows: Sequence[VolumeRow], account: Accounting) -> None:
    """Volumes beside a list that it does not name."""
    named = {os.path.normpath(file) for row in rows for file in row.files}
    for one in walk(path.parent):
        if not one.problem and not one.left_out and is_volume(one.path) and os.path.normpath(one.path) not in named:
            account.ignore(one.path, f"a volume that {path.name} does not list")


def _images(listed: object) -> list[str]:
    """The files of an entry: a text, or an object with ``image``, which may be a list of channels."""
    image = listed.get("image") if isinstance(listed, dict) else listed
    found = image if isinstance(image, list) else [image]
    return [one for one in found if isinstance(one, str)] if all(isinstance(one, str) for one in found) else []


def channel_files(file: Path) -> tuple[Path, ...]:
    """The file, or where nnU-Net lists a case without its channels, the files ``_0000``, ``_0001`` of it."""
    if is_file(file) or file.is_dir():
        return (file,)
    stem, suffix = volume_stem(file), volume_suffix(file)
    found = []
    for number in range(MOST_CHANNELS):
        one = file.with_name(f"{stem}_{number:04d}{suffix}")
        if not is_file(one):
            break
        found.append(one)
    return tuple(found) or (file,)


def channel_names(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of channels by number: ``modality`` of decathlon, ``channel_names`` of nnU-Net."""
    for key in ("channel_names", "modality"):
        given = content.get(key)
        if isinstance(given, dict):
            return tuple(str(given[number]) for number in sorted(given, key=lambda one: (len(str(one)), str(one))))
    return ()


def label_names(content: Mapping[str, Any]) -> dict[int, str]:
    """Class names by id, rising; both published forms (id to name, name to id) are accepted."""
    labels = content.get("labels", {})
    if not isinstance(labels, dict):
        return {}
    by_number: dict[int, str] = {}
    for key, value in labels.items():
        if re.fullmatch(r"\d+", str(key)):
            by_number[int(key)] = str(value)
        elif re.fullmatch(r"\d+", str(value)):
            by_number[int(value)] = str(key)
    return {number: by_number[number] for number in sorted(by_number)}


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
                    ident = "/".join(
                        filter(None, (name, person, str(session.get("session_id", "")), volume_stem(file)))
                    )
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
