"""Dataset ``pointcloud/shape-hdf5``: clouds side by side in HDF5 files, one file or several for each part of a split.

Written for the layouts of two public benchmarks, and reads any folder that keeps their shape:

* ModelNet40 as points (``modelnet40_ply_hdf5_2048``): ``ply_data_train0.h5`` ..., ``ply_data_test0.h5`` ...,
  ``shape_names.txt`` with a class a line;
* ScanObjectNN: ``training_objectdataset.h5``, ``test_objectdataset.h5`` and their harder variants, such as
  ``training_objectdataset_augmentedrot_scale75.h5`` (PB-T50-RS); classes have no file.

Every file holds ``data`` (n, N, 3 or more) and ``label`` (n,) or (n, 1). Clouds are kept in memory as they are stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.allocation import DEFLATE_RATIO, check_allocation
from repcore.data.catalogue import Catalogue, Row, existing, rows_by
from repcore.data.encodings import whole_text
from repcore.data.labels import numbered_classes
from repcore.data.splits import PART_NAMES
from repcore.data.tables import file_fingerprint
from repcore.errors import DataError, ItemError, PluginError, closest
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.shapes import ShapeHdf5Config
from repcore_pointcloud.datasets.shape_reader import ReadCloud, ShapeReader
from repcore_pointcloud.formats.points import PointCloud

SUFFIXES = (".h5", ".hdf5")
SIGNATURE = b"\x89HDF\r\n\x1a\n"
POINTS, LABEL = "data", "label"
UNWRITTEN = 2**20  # bytes that an array may have beyond what its stored ones can unpack to
NAMES_FILE = "shape_names.txt"
SCAN_OBJECTS = "objectdataset"  # in the file names of ScanObjectNN
SCAN_OBJECT_CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink",
    "sofa", "toilet",
)  # fmt: skip


class ShapeHdf5Reader(ShapeReader):
    """All clouds of one variant of a folder of HDF5 files, or of one file.

    Raises:
        DataError: no fitting file, arrays that do not fit together, or a variant that is not there.
        PluginError: h5py is not installed.
    """

    def __init__(self, config: ShapeHdf5Config) -> None:
        files, notes = chosen_files(existing(config.path, self.noun), config.variant)
        catalogue = hdf5_catalogue(files, notes)
        super().__init__(catalogue, config.path, labels=config.labels, cache_mib=0)  # it is in memory already


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """One file: the data set it belongs to, as its name says, and the part of the split (None = not said)."""

    path: Path
    variant: str
    part: str | None


def sniff(path: Path) -> float:
    """HDF5 files by name and first bytes."""
    return 0.9 if array_files(path) else 0.0


def array_files(path: Path) -> list[ArrayFile]:
    """The file itself, or those of a folder, in natural order: 2 before 10."""
    if path.is_file():
        return [_named(path)] if _is_hdf5(path) else []
    files = [one for one in path.iterdir() if _is_hdf5(one)] if path.is_dir() else []
    return [_named(one) for one in sorted(files, key=_natural)]


def _is_hdf5(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def _natural(path: Path) -> list[tuple[int, str]]:
    """Key of a name that puts numbers in their order."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", path.name)]


def _named(path: Path) -> ArrayFile:
    """What a name says: ``ply_data_train0`` is part train of ``ply_data``."""
    part, rest = None, []
    for word in path.stem.split("_"):
        found = PART_NAMES.get(word.rstrip("0123456789").lower())
        if part is None and found is not None:
            part = found
        else:
            rest.append(word)
    return ArrayFile(path, "_".join(rest), part)


def chosen_files(path: Path, variant: str) -> tuple[list[ArrayFile], list[str]]:
    """Files of one variant, and a remark about those left out.

    Raises:
        DataError: no file, no such variant, or several and none was named and none is the plain one.
    """
    files = array_files(path)
    if not files:
        raise DataError(f"{str(path)!r} holds no HDF5 file", expected=" or ".join(SUFFIXES))
    known = sorted({one.variant for one in files}, key=len)
    if variant and variant not in known:
        raise DataError(
            f"there are no files of variant {variant!r}",
            variants=", ".join(known),
            did_you_mean=closest(variant, known),
        )
    if not variant:
        if not all(one.startswith(known[0]) for one in known):
            raise DataError(
                f"{str(path)!r} holds several data sets", variants=", ".join(known), hint="dataset.variant=NAME"
            )
        variant = known[0]
    others = [one for one in known if one != variant]
    notes = [f"variant {variant!r}; also there: {', '.join(others)} (dataset.variant)"] if others else []
    return [one for one in files if one.variant == variant], notes


def hdf5_catalogue(files: Sequence[ArrayFile], notes: Sequence[str]) -> Catalogue[ReadCloud]:
    """Rows, classes and splits of files that belong together.

    Raises:
        DataError: an array is missing or has a wrong shape, or labels have no name.
    """
    rows: list[Row[ReadCloud]] = []
    numbers: list[int | None] = []
    words: list[str | None] = []
    for file in files:
        points, labels = read_arrays(file.path)
        stamp = file_fingerprint(file.path)
        rows += _rows(file.path.stem, points, stamp)
        numbers += [None] * len(points) if labels is None else [int(one) for one in labels]
        words += [file.part] * len(points)
    names = _class_names(files, numbers)
    if names:
        rows = [
            replace(row, targets={} if number is None or number < 0 else {"class": number})
            for row, number in zip(rows, numbers, strict=True)
        ]
    targets = [TargetSpec("class", "class", names=names)] if names else []
    account = Accounting(files[0].path.parent)
    account.use(*(file.path for file in files))  # rows hold no file of their own: many lie in one
    if names and (named := files[0].path.with_name(NAMES_FILE)).is_file():
        account.use(named)
    return Catalogue(rows, targets, rows_by(words) if any(words) else {}, notes, account)


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Points (n, N, 3) and class numbers (n,) of a file.

    Raises:
        DataError: damaged, or arrays of a wrong shape.
        PluginError: h5py is not installed.
    """
    h5py = require_h5py(path)
    try:
        with h5py.File(path, "r") as file:
            points = _array(file, POINTS)
            labels = _array(file, LABEL)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read", reason=str(error).splitlines()[0]) from error
    if points is None or points.ndim != 3 or points.shape[2] < 3:
        shape = "missing" if points is None else f"of shape {points.shape}"
        raise DataError(f"{POINTS!r} of {path.name} is {shape}", expected="(shapes, points, 3 or more)")
    if labels is not None:
        if labels.size != len(points):
            raise DataError(f"{path.name}: {labels.size} labels for {len(points)} clouds")
        labels = labels.reshape(-1).astype(np.int64)
    exact = points.dtype == np.float64
    return points[:, :, :3].astype(np.float64 if exact else np.float32), labels


def _array(file: Any, name: str) -> np.ndarray | None:  # an open h5py file
    """An array that lies in the file itself; one that the file only points at could be any file of this machine.

    Raises:
        DataError: a link, external storage, or no array.
    """
    link = file.get(name, getlink=True)
    if link is None:
        return None
    if type(link).__name__ != "HardLink":
        raise DataError(f"{name!r} of {Path(file.filename).name} is a link to somewhere else and was not followed")
    found = file[name]
    if not hasattr(found, "shape"):
        raise DataError(f"{name!r} of {Path(file.filename).name} is a group, not an array")
    if found.external or found.is_virtual:
        raise DataError(f"{name!r} of {Path(file.filename).name} lies in another file, which was not read")
    _check_size(found, name, Path(file.filename).name)
    return np.asarray(found[()])


def _check_size(found: Any, name: str, file: str) -> None:  # an h5py dataset
    """Refuse an array before room is made for it: no numbers, too large, or hardly any of it stored. What was never
    written is read as zeros, so that a file of a kilobyte can be clouds of any number and size.

    Raises:
        DataError: says what is announced and what is there.
    """
    if found.dtype.kind not in "iufb":
        raise DataError(f"{name!r} of {file} holds values of type {found.dtype}", expected="numbers")
    needed, stored = int(found.size) * found.dtype.itemsize, int(found.id.get_storage_size())
    try:
        check_allocation(needed, file, f"its array {name!r}")
    except ItemError as error:
        raise DataError(str(error)) from error
    if needed > DEFLATE_RATIO * stored + UNWRITTEN or (not needed and max(found.shape, default=0) > UNWRITTEN):
        shape = " x ".join(f"{side:,}" for side in found.shape)
        raise DataError(
            f"{name!r} of {file} announces {shape} values, {needed:,} bytes, of which {stored:,} are stored",
            hint="write all of it: parts that were never written would be points at zero",
        )


def require_h5py(path: Path) -> Any:  # the module
    """h5py, or how to install it.

    Raises:
        PluginError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise PluginError(
            f"{path.name} is an HDF5 file; h5py is not installed", hint='pip install "repcore-pointcloud[hdf5]"'
        ) from error
    return h5py


def _rows(stem: str, points: np.ndarray, stamp: str) -> Iterator[Row[ReadCloud]]:
    for row, cloud in enumerate(points):
        yield Row(f"{stem}/{row:05d}", partial(PointCloud, cloud), stamp=stamp)


def _class_names(files: Sequence[ArrayFile], numbers: Sequence[int | None]) -> tuple[str, ...]:
    """Names from the folder, the known ones of ScanObjectNN, or the numbers themselves; empty without labels.

    Raises:
        DataError: a label beyond the names.
    """
    highest = max((one for one in numbers if one is not None), default=-1)
    if highest < 0:
        return ()
    listed = files[0].path.parent / NAMES_FILE
    if listed.is_file():
        names = tuple(line.strip() for line in whole_text(listed).splitlines() if line.strip())
    elif SCAN_OBJECTS in files[0].variant and highest < len(SCAN_OBJECT_CLASSES):
        names = SCAN_OBJECT_CLASSES
    else:
        names = numbered_classes(highest)
    if highest >= len(names):
        raise DataError(
            f"label {highest} of {files[0].path.parent.name!r} has no name", names=f"{len(names)} in {NAMES_FILE}"
        )
    return names
