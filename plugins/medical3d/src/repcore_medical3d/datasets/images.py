"""Readers of 2-D images: any folder (with an optional table of labels), and published list files.

Rows whose file is missing or damaged stay rows and are reported. Labels are typed by their values: words and whole
numbers are classes, other numbers regression; three or more yes/no columns also make one multilabel target.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting, walk
from repcore.data.catalogue import Catalogue, CatalogueReader, Row, existing, rows_by
from repcore.data.encodings import whole_text
from repcore.errors import DataError, ItemError, PluginError
from repcore.files import is_file
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.datasets.image_labels import Labels, folder_labels, listed_parts, table_labels, with_folders
from repcore_medical3d.datasets.image_masks import Masks, read_mask, split_masks
from repcore_medical3d.datasets.view_groups import view_groups
from repcore_medical3d.formats.dicom import is_dicom, read_header
from repcore_medical3d.formats.images import PICTURE_SUFFIXES, SUFFIXES, Radiograph, read_image, read_radiograph

CHESTXRAY14 = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
VINDR = ("PE", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding")
LIST_NAMES: Mapping[int, tuple[str, ...]] = {len(CHESTXRAY14): CHESTXRAY14, len(VINDR): VINDR}
LIST_TARGET = "findings"
MASK_TARGET = TargetSpec("mask", "class", level="voxel")
MOST_IDS = 12  # of a label image that are written out
KNOWN_OTHERS = frozenset({".csv", ".tsv", ".parquet", ".json", ".txt", ".nii", ".gz", ".md", ".html", ".xml", ".zip"})
IMAGE_FOLDERS = ("images", ".", "../images", "..")


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Where an image lies, and the label image beside it, if any: one, or a mask of each (class number, file)."""

    image: Path
    mask: Path | None = None
    pieces: tuple[tuple[int, Path], ...] = ()


def image_row(
    name: str,
    image: Path,
    targets: Mapping[str, Any] | None = None,
    group: str | None = None,
    *,
    mask: Path | None = None,
    pieces: tuple[tuple[int, Path], ...] = (),
    problem: tuple[str, str] | None = None,
) -> Row[ImageFiles]:
    """A row of one image."""
    files = (image, *([mask] if mask else []), *(path for _, path in pieces))
    return Row(name, ImageFiles(image, mask, pieces), targets or {}, group, problem, files=files)


class ImageReader(CatalogueReader[ImageFiles, Radiograph]):
    """Random access to the images of a catalogue.

    Args:
        catalogue: rows, labels and splits.
        source: what the user pointed at, for messages.
        config: labels to use, and memory.

    Raises:
        DataError: no rows, none that can be read, or a label that was not found.
    """

    noun = "image"

    def __init__(
        self, catalogue: Catalogue[ImageFiles], source: Path, config: ImageFilesConfig, classes: Sequence[str] = ()
    ) -> None:
        if any(row.source.mask or row.source.pieces for row in catalogue.rows):
            target = replace(MASK_TARGET, names=tuple(classes)) if classes else MASK_TARGET
            catalogue = replace(catalogue, targets=(*catalogue.targets, target))
        super().__init__(
            catalogue,
            source,
            labels=config.labels,
            cache_mib=config.cache_mib,
            expected=", ".join(SUFFIXES),
            pseudonymise=config.pseudonymise,
        )

    def read(self, row: Row[ImageFiles]) -> Radiograph:
        image = read_radiograph(row.source.image)
        pixels = image.pixels
        mask = None if row.source.mask is None else read_image(row.source.mask)
        mask = read_mask(row.source.pieces) if row.source.pieces else mask
        if mask is not None and mask.shape != pixels.shape[:2]:
            raise ItemError("mask_size", f"the label image has shape {mask.shape}, the image {pixels.shape[:2]}")
        return replace(image, mask=mask)

    def sample(self, row: Row[ImageFiles], content: Radiograph) -> Sample:
        """The image with its label image, if asked for, among the targets."""
        sample = super().sample(row, content)
        if content.mask is None or all(one.name != MASK_TARGET.name for one in self._targets):
            return sample
        return replace(sample, targets={**sample.targets, MASK_TARGET.name: content.mask})

    def size_of(self, content: Radiograph) -> int:
        return content.pixels.nbytes + (0 if content.mask is None else content.mask.nbytes)

    def facts(self, content: Radiograph) -> Mapping[str, Any]:
        height, width = content.pixels.shape[:2]
        facts = {"height": height, "width": width}
        if content.pixels.ndim == 3:
            facts["colours"] = content.pixels.shape[2]
        if content.remark:
            facts["remark"] = content.remark
        return facts

    def describe(self, sample: Sample) -> Mapping[str, Any]:
        """Size and depth in words, range of the values, ids of the label image; for ``inspect``."""
        image: Radiograph = sample.inputs
        finite = image.pixels[np.isfinite(image.pixels)] if image.pixels.dtype.kind == "f" else image.pixels
        facts: dict[str, Any] = {"size": " x ".join(map(str, image.pixels.shape)), "depth": str(image.pixels.dtype)}
        if finite.size:
            facts.update({"lowest value": float(finite.min()), "highest value": float(finite.max())})
        if image.mask is not None:
            facts["label ids"] = ", ".join(map(str, np.unique(image.mask)[:MOST_IDS].tolist()))
        return facts


class ImageFolderReader(ImageReader):
    """Every image below a folder; labels from a table in it, else from the names of its subfolders."""

    def __init__(self, config: ImageFilesConfig) -> None:
        path = existing(config.path, self.noun)
        masks = path / config.mask_folder
        root = path.parent if path.is_file() else path
        account = Accounting(root)
        files = [path] if path.is_file() else image_files(path, masks, account)
        found = (
            Masks() if path.is_file() else split_masks(files, root, account, by_content=config.label_maps == "content")
        )
        taken = found.files
        files = [file for file in files if file not in taken and account.fate(file) is None]
        labels = Labels() if path.is_file() else None
        patients = dicom_patients(files)
        by_table = labels or table_labels(root, files, config, account, patients)
        labels = by_table or folder_labels(root, files, account, patients)
        if by_table and not path.is_file():
            labels = with_folders(by_table, root, files, account)
        if not (labels.splits or path.is_file()):
            labels.splits = listed_parts(root, files, account)
        rows = [
            image_row(
                file.relative_to(root).as_posix(),
                file,
                labels.values.get(file, {}),
                labels.groups.get(file, patients.get(file)),
                mask=_mask_of(masks, file) or found.whole.get(file),
                pieces=found.pieces.get(file, ()),
            )
            for file in files
        ]
        rows += [image_row(name, root / name, problem=("missing_file", reason)) for name, reason in labels.missing]
        splits = rows_by([labels.splits.get(file) for file in files])
        super().__init__(Catalogue(rows, labels.targets, splits, labels.notes, account), path, config, found.names)


def image_files(root: Path, masks: Path, account: Accounting) -> list[Path]:
    """Pictures by their names and DICOM files by their content, whatever they are called; what is neither is said."""
    found = []
    for one in walk(root):
        is_image = one.path.suffix.lower() in SUFFIXES
        if one.problem:
            account.unreadable(one.path, one.problem)
        elif one.left_out or masks in one.path.parents:
            continue
        elif is_image or (one.path.suffix.lower() not in KNOWN_OTHERS and is_dicom(one.path)):
            found.append(one.path)
    return found


def dicom_patients(files: Sequence[Path]) -> dict[Path, str]:
    """PatientID of DICOM files that name one."""
    found: dict[Path, str] = {}
    for file in files:
        if file.suffix.lower() in PICTURE_SUFFIXES:
            continue
        with contextlib.suppress(ItemError, PluginError):
            patient = read_header(file).patient
            if patient:
                found[file] = patient
    return found


class ImageListReader(ImageReader):
    """A published list file: a name and 0/1 labels a line (14 of ChestX-ray14, 6 of VinDr-CXR, or any number)."""

    def __init__(self, config: ImageFilesConfig) -> None:
        path = existing(config.path, self.noun)
        lines = [one for one in whole_text(path).splitlines() if one.strip()]
        parsed = [parsed_line(one) for one in lines]
        counts = [len(numbers) for _, numbers in parsed if numbers is not None]
        if not counts:
            raise DataError(f"{path.name} has no line of a file name and 0/1 labels", expected="a.png 0 1 0")
        width = max(sorted(set(counts)), key=counts.count)
        names = LIST_NAMES.get(width, tuple(f"label_{number}" for number in range(width)))
        folders = [path.parent / name for name in IMAGE_FOLDERS]
        people, said = view_groups([PurePath(PurePath(name).name) for name, _ in parsed], PurePath())
        if width == len(CHESTXRAY14):
            people, said = [name.partition("_")[0] for name, _ in parsed], ""
        rows = []
        for number, (name, values) in enumerate(parsed):
            file = _found(folders, name)
            problem = None
            if values is None or len(values) != width:
                problem = ("malformed_row", f"line {number + 1} of {path.name} is {lines[number][:60]!r}")
            elif file is None:
                problem = ("missing_file", f"{name} is in none of the folders beside {path.name}")
            targets = {} if problem else {LIST_TARGET: values}
            rows.append(image_row(name, file or path.parent / name, targets, people[number], problem=problem))
        target = TargetSpec(LIST_TARGET, "multilabel", names=names)
        super().__init__(Catalogue(rows, (target,), notes=(said,) if said else ()), path, config)


def parsed_line(line: str) -> tuple[str, list[float] | None]:
    """File name and 0/1 labels; None where a label is neither."""
    name, *words = re.split(r"[,\s]+", line.strip())
    if not words or any(word not in ("0", "1") for word in words):
        return name, None
    return name, [float(word) for word in words]


def _found(folders: Sequence[Path], name: str) -> Path | None:
    """The file in one of the usual folders, with or without its suffix in the list."""
    candidates = [name] if Path(name).suffix.lower() in SUFFIXES else [name + suffix for suffix in SUFFIXES]
    return next((folder / one for folder in folders for one in candidates if is_file(folder / one)), None)


def _mask_of(folder: Path, file: Path) -> Path | None:
    if not folder.is_dir():
        return None
    return next(
        (folder / (file.stem + suffix) for suffix in SUFFIXES if (folder / (file.stem + suffix)).is_file()), None
    )
