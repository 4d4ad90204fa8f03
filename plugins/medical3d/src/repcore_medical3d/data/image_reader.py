"""Readers of 2-D images: any folder (with an optional table of labels), and published list files.

Rows whose file is missing or damaged stay rows and are reported. Labels are typed by their values: words and whole
numbers are classes, other numbers regression; three or more yes/no columns also make one multilabel target.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from repcore.errors import DataError, ItemError, closest
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.data.image_files import SUFFIXES, Radiograph, read_image
from repcore_medical3d.data.image_labels import folder_labels, table_labels

CHESTXRAY14 = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
VINDR = ("PE", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding")
LIST_NAMES: Mapping[int, tuple[str, ...]] = {len(CHESTXRAY14): CHESTXRAY14, len(VINDR): VINDR}
LIST_TARGET = "findings"
IMAGE_FOLDERS = ("images", ".", "../images", "..")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row before it is read."""

    id: str
    path: Path
    targets: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    mask: Path | None = None
    problem: tuple[str, str] | None = None


class ImageReader:
    """Random access to a list of entries, with decoded images kept up to a bound.

    Args:
        entries: rows.
        targets: labels found; splits: row numbers by name.
        config: labels to use, and memory.

    Raises:
        DataError: no rows, or a label that was not found.
    """

    def __init__(
        self,
        source: Path,
        entries: Sequence[Entry],
        targets: Sequence[TargetSpec],
        splits: Mapping[str, Sequence[int]],
        config: ImageFilesConfig,
    ) -> None:
        if not entries:
            raise DataError(f"{str(source)!r} holds no image", expected=", ".join(SUFFIXES))
        if all(entry.problem for entry in entries):
            first = entries[0]
            raise DataError(
                f"none of the {len(entries)} images of {str(source)!r} can be read",
                first=f"{first.id}: {first.problem[1] if first.problem else ''}",
            )
        self.source = source
        self._entries = tuple(entries)
        self._targets = _chosen(targets, config.labels)
        self._splits = dict(splits)
        self._row_of = {entry.id: row for row, entry in enumerate(self._entries)}
        self._cache: OrderedDict[int, Radiograph] = OrderedDict()
        self._room = config.cache_mib * 1024 * 1024
        if any(entry.mask for entry in entries):
            self._targets = (*self._targets, TargetSpec("mask", "class", level="voxel"))

    @property
    def fingerprint(self) -> str:
        """Hash of names, sizes, times and labels."""
        digest = sha256()
        for entry in self._entries:
            try:
                facts = entry.path.stat()
                digest.update(f"{entry.id}|{facts.st_size}|{facts.st_mtime_ns}|".encode())
            except OSError:
                digest.update(f"{entry.id}|missing|".encode())
            digest.update(repr(sorted(entry.targets.items())).encode())
        return digest.hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return self._targets

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return self._splits

    @property
    def groups(self) -> Sequence[str | None] | None:
        """Leakage keys; None where no table names them."""
        keys = [entry.group for entry in self._entries]
        return keys if any(key is not None for key in keys) else None

    def __len__(self) -> int:
        return len(self._entries)

    def id_of(self, index: int) -> str:
        """Id of a row, also of one that cannot be read."""
        return self._entries[index].id

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        if entry.problem is not None:
            raise ItemError(*entry.problem)
        radiograph = self._decoded(index, entry)
        wanted = {target.name for target in self._targets}
        labels = {name: value for name, value in entry.targets.items() if name in wanted}
        height, width = radiograph.pixels.shape[:2]
        return Sample(entry.id, radiograph, labels, entry.group, {"height": height, "width": width})

    def by_id(self, sample_id: str) -> Sample:
        """The row with this id.

        Raises:
            DataError: there is none.
        """
        if sample_id not in self._row_of:
            raise DataError(f"{str(self.source)!r} has no image {sample_id!r}", rows=len(self))
        return self[self._row_of[sample_id]]

    def _decoded(self, index: int, entry: Entry) -> Radiograph:
        if index in self._cache:
            return self._cache[index]
        pixels = read_image(entry.path)
        mask = None
        if entry.mask is not None:
            mask = read_image(entry.mask)
            if mask.shape != pixels.shape[:2]:
                raise ItemError("mask_size", f"the label image has shape {mask.shape}, the image {pixels.shape[:2]}")
        radiograph = Radiograph(pixels, mask)
        if pixels.nbytes <= self._room:
            self._cache[index] = radiograph
            self._room -= pixels.nbytes
        return radiograph


class ImageFolderReader(ImageReader):
    """Every image below a folder; labels from a table in it, else from the names of its subfolders."""

    def __init__(self, config: ImageFilesConfig) -> None:
        path = existing(config.path)
        masks = path / config.mask_folder
        files = [path] if path.is_file() else image_files(path, without=masks)
        root = path.parent if path.is_file() else path
        labels = table_labels(root, files, config) or folder_labels(root, files)
        entries = [
            Entry(_id(root, file), file, labels.values.get(file, {}), labels.groups.get(file), _mask_of(masks, file))
            for file in files
        ]
        entries += [Entry(name, root / name, problem=("missing_file", reason)) for name, reason in labels.missing]
        rows = {file: row for row, file in enumerate(files)}
        splits: dict[str, list[int]] = {}
        for file, word in labels.splits.items():
            splits.setdefault(word, []).append(rows[file])
        super().__init__(path, entries, labels.targets, {word: sorted(rows) for word, rows in splits.items()}, config)
        self.notes = labels.notes


class ImageListReader(ImageReader):
    """A published list file: a name and 0/1 labels a line (14 of ChestX-ray14, 6 of VinDr-CXR, or any number)."""

    def __init__(self, config: ImageFilesConfig) -> None:
        path = existing(config.path)
        lines = [one for one in path.read_text(encoding="utf-8-sig").splitlines() if one.strip()]
        rows = [parsed_line(one) for one in lines]
        counts = {len(numbers) for _, numbers in rows if numbers is not None}
        if not rows or not counts:
            raise DataError(f"{path.name} has no line of a file name and 0/1 labels", expected="a.png 0 1 0")
        width = max(counts, key=lambda count: sum(numbers is not None and len(numbers) == count for _, numbers in rows))
        names = LIST_NAMES.get(width, tuple(f"label_{number}" for number in range(width)))
        folders = [path.parent / name for name in IMAGE_FOLDERS]
        entries = []
        for number, (name, values) in enumerate(rows):
            file = _found(folders, name)
            problem = None
            if values is None or len(values) != width:
                problem = ("malformed_row", f"line {number + 1} of {path.name} is {lines[number][:60]!r}")
            elif file is None:
                problem = ("missing_file", f"{name} is in none of the folders beside {path.name}")
            targets = {} if problem else {LIST_TARGET: values}
            patient = name.partition("_")[0] if width == len(CHESTXRAY14) else None
            entries.append(Entry(name, file or path.parent / name, targets, patient, problem=problem))
        super().__init__(path, entries, [TargetSpec(LIST_TARGET, "multilabel", names=names)], {}, config)


def parsed_line(line: str) -> tuple[str, list[float] | None]:
    """File name and 0/1 labels; None where a label is neither."""
    name, *words = re.split(r"[,\s]+", line.strip())
    if not words or any(word not in ("0", "1") for word in words):
        return name, None
    return name, [float(word) for word in words]


def _found(folders: Sequence[Path], name: str) -> Path | None:
    """The file in one of the usual folders, with or without its suffix in the list."""
    candidates = [name] if Path(name).suffix.lower() in SUFFIXES else [name + suffix for suffix in SUFFIXES]
    return next((folder / one for folder in folders for one in candidates if (folder / one).is_file()), None)


def existing(text: str) -> Path:
    """A path that is there.

    Raises:
        DataError: none was given, or it does not exist.
    """
    if not text:
        raise DataError("no data was named", hint="--data FOLDER")
    path = Path(text).expanduser()
    if not path.exists():
        raise DataError(f"{text!r} does not exist")
    return path


def image_files(folder: Path, *, without: Path) -> list[Path]:
    """Images below a folder, hidden ones and label images left out, sorted by path."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(
        path
        for path in found
        if without not in path.parents and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _id(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix()


def _mask_of(folder: Path, file: Path) -> Path | None:
    if not folder.is_dir():
        return None
    return next(
        (folder / (file.stem + suffix) for suffix in SUFFIXES if (folder / (file.stem + suffix)).is_file()), None
    )


def _chosen(found: Sequence[TargetSpec], wanted: Sequence[str]) -> tuple[TargetSpec, ...]:
    names = [target.name for target in found]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"the images have no label {missing[0]!r}",
            did_you_mean=closest(missing[0], names),
            labels=", ".join(names) or "none",
        )
    return tuple(target for target in found if not wanted or target.name in wanted)
