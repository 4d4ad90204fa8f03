"""Dataset ``pointcloud/shape-arrays``: many clouds in one array file, with labels and splits beside them.

An .npz with ``points`` (n, N, 3 or more) and, where they are known, ``label`` or ``labels`` (n,), ``split`` (n,),
``class_names`` and ``item_names``; or an .npy with the points alone. Arrays are never unpickled.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.allocation import array_header, load_array, open_arrays
from repcore.data.catalogue import Catalogue, Row, existing, rows_by
from repcore.data.labels import numbered_classes
from repcore.data.splits import PART_NAMES
from repcore.data.tables import file_fingerprint
from repcore.errors import DataError, ItemError
from repcore.files import special_kind
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.shapes import ShapeFilesConfig
from repcore_pointcloud.datasets.shape_reader import ReadCloud, ShapeReader
from repcore_pointcloud.formats.plausible import MOST_UNNAMED
from repcore_pointcloud.formats.points import POINT_KEYS, PointCloud

LABEL_KEYS = ("label", "labels", "y", "target")
SPLIT_NUMBERS = ("train", "test", "validation")  # what 0, 1, 2 stand for
NAME_KEYS = ("class_names", "classes", "names")
ID_KEYS = ("item_names", "ids", "files", "item_ids")


class ShapeArrayReader(ShapeReader):
    """All clouds of one array file, or of the one in a folder."""

    def __init__(self, config: ShapeFilesConfig) -> None:
        path = array_file(existing(config.path, ShapeReader.noun))
        if path is None:
            raise DataError(
                f"{config.path!r} holds no array of clouds", expected="an .npz or .npy with points (n, N, 3)"
            )
        arrays = read_arrays(path)
        catalogue = array_catalogue(arrays, path)
        super().__init__(catalogue, config.path, labels=config.labels, cache_mib=0)  # it is in memory already


def sniff(path: Path) -> float:
    """One array file with three dimensions, the last of which may be coordinates and what belongs to a point."""
    file = array_file(path)
    return 0.9 if file is not None and 3 <= _points_shape(file)[2] <= MOST_UNNAMED else 0.0


def array_file(path: Path) -> Path | None:
    """The file itself, or the only one of a folder, if it holds clouds side by side."""
    files = [path] if path.is_file() else sorted((*path.glob("*.npz"), *path.glob("*.npy")))
    fitting = [one for one in files if not special_kind(one) and len(_points_shape(one)) == 3]
    return fitting[0] if len(fitting) == 1 else None


def _points_shape(path: Path) -> tuple[int, ...]:
    """Shape of the array of points, read from headers; empty if there is none, or if the file is too short for it: one
    damaged file among others must not stand for the whole folder."""
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return _shape(file, path.stat().st_size)
        if path.suffix.lower() != ".npz":
            return ()
        with zipfile.ZipFile(path) as archive:
            name = next((f"{key}.npy" for key in POINT_KEYS if f"{key}.npy" in archive.namelist()), None)
            if name is None:
                return ()
            with archive.open(name) as file:
                return _shape(file, archive.getinfo(name).file_size)
    except (OSError, ValueError, zipfile.BadZipFile):
        return ()


def _shape(file: IO[bytes], size: int) -> tuple[int, ...]:
    shape, needed = array_header(file)
    return shape if 0 < needed <= size else ()


def read_arrays(path: Path) -> Mapping[str, np.ndarray]:
    """Arrays by name, the points under ``points``.

    Raises:
        DataError: damaged, or pickled objects.
    """
    try:
        if not zipfile.is_zipfile(path):
            return {"points": load_array(path)}
        with open_arrays(path) as loaded:
            key = next(key for key in POINT_KEYS if key in loaded)
            return {"points" if name == key else name: loaded[name] for name in loaded}
    except ItemError as error:
        raise DataError(f"{path.name} cannot be read", reason=error.reason) from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name} cannot be read", reason=str(error).splitlines()[0]) from error


def array_catalogue(arrays: Mapping[str, np.ndarray], path: Path) -> Catalogue[ReadCloud]:
    """Rows, labels and splits.

    Raises:
        DataError: shapes that do not fit together.
    """
    points = arrays["points"]
    if points.ndim != 3 or points.shape[2] < 3:
        raise DataError(f"points of {path.name} has shape {points.shape}", expected="(shapes, points, 3 or more)")
    number = len(points)
    for name in (*LABEL_KEYS, *ID_KEYS, "split"):
        if name in arrays and len(arrays[name]) != number:
            raise DataError(f"{path.name}: {len(arrays[name])} entries of {name!r} for {number} clouds")
    ids = _ids(arrays, number)
    targets, labels = _labels(arrays, number)
    stamp = file_fingerprint(path)

    rows: list[Row[ReadCloud]] = [
        Row(name, partial(_cloud, one), label, stamp=stamp)
        for name, one, label in zip(ids, points, labels, strict=True)
    ]
    account = Accounting(path.parent)
    account.use(path)  # rows hold no file of their own: they lie in one array
    return Catalogue(rows, targets, _splits(arrays), account=account)


def _cloud(points: np.ndarray) -> PointCloud:
    exact = points.dtype == np.float64
    return PointCloud(points[:, :3].astype(np.float64 if exact else np.float32, copy=False))


def _ids(arrays: Mapping[str, np.ndarray], number: int) -> list[str]:
    key = next((key for key in ID_KEYS if key in arrays), None)
    names = [] if key is None else [str(one) for one in arrays[key]]
    if len(set(names)) == number:
        return names
    return [f"{row:06d}" + (f"-{names[row]}" if names else "") for row in range(number)]


def _labels(arrays: Mapping[str, np.ndarray], number: int) -> tuple[list[TargetSpec], list[dict[str, Any]]]:
    key = next((key for key in LABEL_KEYS if key in arrays), None)
    if key is None:
        return [], [{} for _ in range(number)]
    values = np.asarray(arrays[key]).reshape(number, -1)[:, 0]
    if np.issubdtype(values.dtype, np.floating) and (values != np.round(values)).any():
        return [TargetSpec("value", "regression")], [{"value": float(one)} for one in values]
    name_key = next((key for key in NAME_KEYS if key in arrays), None)
    if values.dtype.kind in "US":
        names = tuple(sorted({str(one) for one in values}))
        numbers = {name: place for place, name in enumerate(names)}
        return [TargetSpec("class", "class", names=names)], [{"class": numbers[str(one)]} for one in values]
    whole = values.astype(np.int64)
    names = tuple(str(one) for one in arrays[name_key]) if name_key else numbered_classes(int(whole.max()))
    known = [{"class": int(one)} if 0 <= one < len(names) else {} for one in whole]  # -1 = not labelled
    return [TargetSpec("class", "class", names=names)], known


def _splits(arrays: Mapping[str, np.ndarray]) -> Mapping[str, Sequence[int]]:
    if "split" not in arrays:
        return {}
    values = np.asarray(arrays["split"])
    if values.dtype.kind in "US":
        return rows_by([PART_NAMES.get(str(one).lower(), str(one)) for one in values])
    return rows_by([SPLIT_NUMBERS[int(one)] if 0 <= one < len(SPLIT_NUMBERS) else None for one in values])
