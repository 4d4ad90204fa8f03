"""Dataset ``pointcloud/shape-parts``: ShapeNetPart as text files, a category a folder and a part number a point.

Layout (``shapenetcore_partanno_segmentation_benchmark_v0_normal``): ``synsetoffset2category.txt`` with a category and
its folder a line; ``<folder>/<model>.txt`` with x y z nx ny nz part a line; and lists of models,
``train_test_split/shuffled_{train,val,test}_file_list.json``. Part numbers run over all categories.

Symbols: n points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from repcore.data.catalogue import Catalogue, Row, existing
from repcore.data.encodings import whole_text
from repcore.errors import DataError, ItemError
from repcore.files import read_json_file
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.shapes import ShapeFilesConfig
from repcore_pointcloud.datasets.shape_reader import ReadCloud, ShapeReader
from repcore_pointcloud.formats.points import PointCloud

CATEGORY_FILE = "synsetoffset2category.txt"
LISTS = {"train": "train", "val": "validation", "test": "test"}  # word in the file name -> part
COLUMNS = (4, 7)  # x y z part, or with normals
UNLABELLED = -1
PARTS: Mapping[str, int] = {
    "Airplane": 4, "Bag": 2, "Cap": 2, "Car": 4, "Chair": 4, "Earphone": 3, "Guitar": 3, "Knife": 2, "Lamp": 4,
    "Laptop": 2, "Motorbike": 6, "Mug": 2, "Pistol": 3, "Rocket": 3, "Skateboard": 3, "Table": 3,
}  # fmt: skip
"""Parts of each category in the order of their numbers: 50 in all."""


class ShapePartReader(ShapeReader):
    """Shapes with a category and a part of each point.

    Targets: ``category`` (class) of a shape, ``part`` (class) of a point.

    Raises:
        DataError: no table of categories, one that is not part of the benchmark, or lists that name no file.
    """

    def __init__(self, config: ShapeFilesConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(part_catalogue(root), config.path, labels=config.labels, cache_mib=config.cache_mib)


def sniff(path: Path) -> float:
    """The table of categories beside folders of that name."""
    return 0.95 if (path / CATEGORY_FILE).is_file() else 0.0


def part_names() -> tuple[str, ...]:
    """``Airplane 0`` ... ``Table 2``, place = part number."""
    return tuple(f"{category} {number}" for category, count in PARTS.items() for number in range(count))


def part_catalogue(root: Path) -> Catalogue[ReadCloud]:
    """Rows, targets and splits of a copy of the benchmark, whole or with some categories only.

    Raises:
        DataError: as :class:`ShapePartReader`.
    """
    folders = _folders(root)
    names = tuple(sorted(folders))
    rows = [
        _row(path, root, names.index(category), list(PARTS).index(category))
        for category in names
        for path in sorted((root / folders[category]).glob("*.txt"))
    ]
    if not rows:
        raise DataError(f"{str(root)!r} holds no shape", expected=f"text files in {', '.join(folders.values())}")
    targets = [
        TargetSpec("category", "class", names=names),
        TargetSpec("part", "class", level="point", names=part_names(), ignore=UNLABELLED),
    ]
    splits, notes = _splits(root, {row.id: number for number, row in enumerate(rows)})
    return Catalogue(rows, targets, splits, notes)


def _folders(root: Path) -> dict[str, str]:
    """Category -> folder.

    Raises:
        DataError: the table is missing or empty, or names a category without known parts.
    """
    table = root / CATEGORY_FILE
    if not table.is_file():
        raise DataError(f"{str(root)!r} has no {CATEGORY_FILE}", expected="a line 'Airplane 02691156' a category")
    lines = [line.split() for line in whole_text(table).splitlines() if line.strip()]
    if not lines or any(len(line) != 2 for line in lines):
        raise DataError(f"{CATEGORY_FILE} is not a list of categories and folders")
    unknown = [category for category, _ in lines if category not in PARTS]
    if unknown:
        raise DataError(f"category {unknown[0]!r} is none of ShapeNetPart", categories=", ".join(PARTS))
    return {one[0]: one[1] for one in lines}


def _row(path: Path, root: Path, category: int, published: int) -> Row[ReadCloud]:
    """A shape; published networks are told its number among all sixteen categories, also where some are not there."""
    name = path.relative_to(root).with_suffix("").as_posix()
    facts = {"category": published}
    return Row(name, partial(read_parts, path), {"category": category}, meta=facts, files=(path,))


def read_parts(path: Path) -> PointCloud:
    """Points and part numbers of a file.

    Raises:
        ItemError: ``corrupt``, ``wrong_columns`` or ``wrong_labels``.
    """
    try:
        table = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (ValueError, OSError) as error:
        raise ItemError("corrupt", f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
    if table.ndim != 2 or table.shape[1] not in COLUMNS:
        raise ItemError("wrong_columns", f"{path.name} is {table.shape}; expected x y z, normals or not, and the part")
    labels = table[:, -1].astype(np.int64)
    if (labels != table[:, -1]).any() or (labels < 0).any() or (labels >= sum(PARTS.values())).any():
        raise ItemError("wrong_labels", f"the last column of {path.name} holds no part numbers")
    return PointCloud(np.ascontiguousarray(table[:, :3], dtype=np.float32), labels)


def _splits(root: Path, row_of: Mapping[str, int]) -> tuple[dict[str, Sequence[int]], list[str]]:
    """Rows of each list that is there, and a remark about listed models without a file.

    Raises:
        DataError: a list that is damaged, or of which no model is there.
    """
    found: dict[str, Sequence[int]] = {}
    notes = []
    for word, part in LISTS.items():
        path = root / "train_test_split" / f"shuffled_{word}_file_list.json"
        if not path.is_file():
            continue
        try:
            listed = ["/".join(Path(str(one)).parts[-2:]) for one in read_json_file(path)]
        except (ValueError, TypeError) as error:
            raise DataError(f"{path.name} is no list of models", reason=str(error).splitlines()[0]) from error
        rows = [row_of[one] for one in listed if one in row_of]
        if listed and not rows:
            raise DataError(f"{path.name} names none of the {len(row_of)} shapes", first=listed[0])
        if len(rows) < len(listed):
            notes.append(f"{len(listed) - len(rows)} of {len(listed)} models of {path.name} have no file")
        found[part] = sorted(rows)
    return found, notes
