"""Dataset ``pointcloud/shapes-folder``: any tree of clouds and meshes, with labels from subfolders or from a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from repcore.data.catalogue import Catalogue, Row, class_target, existing, rows_by
from repcore.data.headers import head
from repcore.data.splits import PART_NAMES
from repcore.data.tables import MISSING_WORDS, Table, number
from repcore.errors import DataError, closest
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.shapes import ShapeFolderConfig
from repcore_pointcloud.datasets.shape_reader import ReadCloud, ShapeReader
from repcore_pointcloud.formats.points import (
    MESH_SUFFIXES,
    SUFFIXES,
    TEXT_SUFFIXES,
    holds_lengths,
    looks_like_points,
    read_cloud,
)

LABEL_TABLES = ("labels.csv", "labels.tsv")
FILE_COLUMNS = ("file", "path", "filename", "file_name", "name", "id", "model")
SPLIT_COLUMNS = ("split", "subset", "part", "fold")
SIDE_FILES = ("labels.csv", "labels.tsv", "readme.txt", "license.txt", "train.txt", "test.txt", "val.txt")
MOST_CLASSES = 0.5  # of the rows: a numeric column with more distinct values is a regression target
LOOKED_AT = 3000
UNMISTAKABLE = (*MESH_SUFFIXES, ".pcd", ".xyz", ".pts")
VERTEX_LINE = re.compile(rb"^v[ \t]+[-+.\d]", re.MULTILINE)


class ShapeFolderReader(ShapeReader):
    """Every cloud or mesh below a folder, or one file.

    Subfolders are classes if every file lies in one and there are two or more; a level named train, test or the like
    becomes the split. A table of labels takes the place of folder names.
    """

    def __init__(self, config: ShapeFolderConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(folder_catalogue(root, config), config.path, labels=config.labels, cache_mib=config.cache_mib)


def sniff(path: Path) -> float:
    """Any tree with clouds or meshes, or one of them; tables and texts among other files mean little."""
    if path.is_file():
        is_shape = _is_shape(path) and not _is_table_of_rows(path)
        return 0.6 if is_shape and (path.suffix.lower() not in TEXT_SUFFIXES or looks_like_points(path)) else 0.0
    files = [one for one in islice(path.rglob("*"), LOOKED_AT) if one.is_file()]
    shapes = [one for one in files if _is_shape(one)]
    texts = [one for one in shapes if one.suffix.lower() in TEXT_SUFFIXES]
    told = [one for one in shapes if one not in texts] + [one for one in texts[:3] if looks_like_points(one)]
    if any(one.suffix.lower() in UNMISTAKABLE for one in told):
        return 0.5
    if texts and not looks_like_points(texts[0]):  # tables of something else
        shapes = [one for one in shapes if one.suffix.lower() not in TEXT_SUFFIXES]
    return 0.5 * len(shapes) / len(files) if files else 0.0


def _is_table_of_rows(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv") and path.name.lower() in LABEL_TABLES


def _is_shape(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or path.name.lower() in SIDE_FILES or not path.is_file():
        return False
    if path.suffix.lower() == ".obj":
        return VERTEX_LINE.search(head(path, 1 << 16)) is not None
    return path.suffix.lower() != ".bin" or holds_lengths(path)


def folder_catalogue(root: Path, config: ShapeFolderConfig) -> Catalogue[ReadCloud]:
    """Rows, labels and splits of a tree.

    Raises:
        DataError: no shape, or a table of labels that does not fit.
    """
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise DataError(f"{str(root)!r} is no cloud or mesh by its name", expected=", ".join(SUFFIXES))
        return Catalogue([_row(root.name, root, config)])
    files, others = _files(root)
    if not files:
        raise DataError(
            f"{str(root)!r} holds no cloud or mesh",
            expected=", ".join(SUFFIXES),
            found=_counted(others) or "no file at all",
        )
    ids = [path.relative_to(root).as_posix() for path in files]
    kinds = Counter(path.suffix.lower() for path in files)
    notes = [f"mixed formats: {_counted(kinds)}"] if len(kinds) > 1 else []
    if others:
        notes.append(f"files of other kinds are left out: {_counted(others)}")
    words, folders = _split_words(root, files)
    table = _label_table(root, config)
    if table is None:
        targets, labels = _folder_labels(folders)
    else:
        targets, labels, split_words, remarks = table_labels(table, ids, config)
        words = split_words or words
        notes += remarks
    rows = [_row(name, path, config, one) for name, path, one in zip(ids, files, labels, strict=True)]
    splits = rows_by(words) if any(words) else {}
    return Catalogue(rows, targets, splits, notes)


def _row(name: str, path: Path, config: ShapeFolderConfig, targets: Mapping[str, Any] | None = None) -> Row[ReadCloud]:
    read = partial(read_cloud, path, columns=config.columns, mesh_points=config.mesh_points, seed=config.sampling_seed)
    return Row(name, read, targets or {}, files=(path,))


def _files(root: Path) -> tuple[list[Path], Counter[str]]:
    """Shapes below a folder, hidden ones left out, and a count of everything else by suffix."""
    shapes, others = [], Counter[str]()
    for path in sorted(root.rglob("*")):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if _is_shape(path):
            shapes.append(path)
        elif path.name.lower() not in SIDE_FILES:
            others[path.suffix.lower() or "(no suffix)"] += 1
    return shapes, others


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())[:8])


def _split_words(root: Path, files: Sequence[Path]) -> tuple[list[str | None], list[tuple[str, ...]]]:
    """Split of every file from a folder level that is called train, test, ... everywhere, and the other levels."""
    levels = [path.relative_to(root).parts[:-1] for path in files]
    for place in (0, 1):  # train/chair/x.off, chair/train/x.off as in ModelNet
        words = [PART_NAMES.get(one[place].lower()) if len(one) > place else None for one in levels]
        if all(words):
            return words, [(*one[:place], *one[place + 1 :]) for one in levels]
    return [None] * len(files), list(levels)


def _folder_labels(folders: Sequence[tuple[str, ...]]) -> tuple[list[TargetSpec], list[dict[str, Any]]]:
    classes = [levels[0] if levels else "" for levels in folders]
    if not all(classes) or len(set(classes)) < 2:
        return [], [{} for _ in folders]
    target, numbers = class_target("class", classes)
    return [target], [{"class": numbers[word]} for word in classes]


def _label_table(root: Path, config: ShapeFolderConfig) -> Table | None:
    if config.label_table:
        given = Path(config.label_table).expanduser()
        return Table(given if given.is_file() else root / given)
    found = next((root / name for name in LABEL_TABLES if (root / name).is_file()), None)
    return None if found is None else Table(found)


def table_labels(
    table: Table, ids: Sequence[str], config: ShapeFolderConfig
) -> tuple[list[TargetSpec], list[dict[str, Any]], list[str | None], list[str]]:
    """Targets, labels of each file, splits where the table has them, and remarks.

    Names in the table may be relative paths, file names, or file names without suffix.

    Raises:
        DataError: no column of file names, or no row fits a file.
    """
    lower = {name.lower(): name for name in table.columns}
    wanted = (config.file_column.lower(),) if config.file_column else FILE_COLUMNS
    file_column = next((lower[name] for name in wanted if name in lower), None)
    if file_column is None:
        raise DataError(
            f"{table.path.name} has no column of file names",
            columns=", ".join(table.columns),
            hint="dataset.file_column=NAME",
        )
    names = [_text(cell) for cell in table.slice(0, len(table), file_column)]
    row_of = _rows_of_files(names, ids)
    missing = [name for row, name in enumerate(names) if name is not None and row not in set(row_of.values())]
    if not row_of:
        raise DataError(
            f"no row of {table.path.name} names a file of the folder",
            first_row=names[0],
            first_file=ids[0],
            did_you_mean=closest(str(names[0]), ids),
            hint="dataset.file_column names the column; paths start at the folder",
        )
    remarks = []
    if len(row_of) < len(ids):
        remarks.append(f"{len(ids) - len(row_of)} of {len(ids)} files have no row in {table.path.name}: unlabelled")
    if missing:
        remarks.append(f"{len(missing)} rows of {table.path.name} name no file, for example {missing[0]!r}")
    split_column = next((lower[name] for name in SPLIT_COLUMNS if name in lower and lower[name] != file_column), None)
    targets, labels = _columns(table, [c for c in table.columns if c not in (file_column, split_column)], row_of, ids)
    words: list[str | None] = []
    if split_column is not None:
        cells = table.slice(0, len(table), split_column)
        words = [_split_word(cells[row_of[one]]) if one in row_of else None for one in ids]
    return targets, labels, words, remarks


def _rows_of_files(names: Sequence[str | None], ids: Sequence[str]) -> dict[str, int]:
    """File id -> row of the table; a short name counts only where it is unique."""
    exact = {name.removeprefix("./"): row for row, name in enumerate(names) if name is not None}
    found = {one: exact[one] for one in ids if one in exact}
    for short in (lambda one: Path(one).name, lambda one: Path(one).stem):
        times = Counter(short(one) for one in ids)
        for one in ids:
            if one not in found and times[short(one)] == 1 and short(one) in exact:
                found[one] = exact[short(one)]
    return found


def _columns(
    table: Table, columns: Sequence[str], row_of: Mapping[str, int], ids: Sequence[str]
) -> tuple[list[TargetSpec], list[dict[str, Any]]]:
    """A target for each column: numbers with many values are regression, everything else is a class."""
    targets: list[TargetSpec] = []
    labels: list[dict[str, Any]] = [{} for _ in ids]
    for column in columns:
        cells = table.slice(0, len(table), column)
        texts = [_text(cells[row_of[one]]) if one in row_of else None for one in ids]
        known = [text for text in texts if text is not None]
        if not known:
            continue
        values = _numbers(known)
        if values is not None and (
            len(set(values)) > MOST_CLASSES * len(values) or any(one != round(one) for one in values)
        ):
            targets.append(TargetSpec(column, "regression"))
            for label, text in zip(labels, texts, strict=True):
                if text is not None:
                    label[column] = float(text)
            continue
        target, numbers = class_target(column, known)
        targets.append(target)
        for label, text in zip(labels, texts, strict=True):
            if text is not None:
                label[column] = numbers[text]
    return targets, labels


def _numbers(texts: Sequence[str]) -> list[float] | None:
    try:
        return [value for text in texts if (value := number(text)) is not None]
    except ValueError:
        return None


def _text(cell: Any) -> str | None:  # text, or parquet's own type
    text = "" if cell is None else str(cell).strip()
    return None if text.lower() in MISSING_WORDS else text


def _split_word(cell: Any) -> str | None:
    text = _text(cell)
    return None if text is None else PART_NAMES.get(text.lower(), text)
