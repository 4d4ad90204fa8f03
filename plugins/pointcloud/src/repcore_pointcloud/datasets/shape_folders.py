"""Dataset ``pointcloud/shapes-folder``: any tree of clouds and meshes, with labels from subfolders or from a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting, walk
from repcore.data.beside_lists import words_of_lists
from repcore.data.catalogue import Catalogue, Row, class_target, existing, rows_by
from repcore.data.first_files import first_files
from repcore.data.folder_classes import folder_meaning, stays_beside_table, tell_words_in_names
from repcore.data.groups import groups_in_paths
from repcore.data.headers import head
from repcore.data.identity import settings_stamp
from repcore.data.splits import folder_part
from repcore.errors import DataError, ItemError
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.shapes import ShapeFolderConfig
from repcore_pointcloud.datasets.shape_reader import ReadCloud, ShapeReader
from repcore_pointcloud.datasets.shape_table import LABEL_TABLES, FileLabels, label_table, table_labels
from repcore_pointcloud.formats.column_names import NOT_LABELS, is_label, plain
from repcore_pointcloud.formats.headerless import holds_lengths
from repcore_pointcloud.formats.plausible import array_may_be_points
from repcore_pointcloud.formats.points import read_cloud
from repcore_pointcloud.formats.reading import SUFFIXES, TEXT_SUFFIXES, UNMISTAKABLE
from repcore_pointcloud.formats.text import looks_like_points

SIDE_FILES = (*LABEL_TABLES, "readme.txt", "license.txt", "train.txt", "test.txt", "val.txt")
FOLDERS_TRIED = 8
OPENED = 3  # shapes read to tell how their files are understood
VERTEX_LINE = re.compile(rb"^v[ \t]+[-+.\d]", re.MULTILINE)


class ShapeFolderReader(ShapeReader):
    """Every cloud or mesh below a folder, or one file.

    Subfolders are classes if every file lies in one and there are two or more; a level named train, test or the like
    becomes the split. A table of labels stands beside classes of folders.
    """

    def __init__(self, config: ShapeFolderConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(folder_catalogue(root, config), config.path, labels=config.labels, cache_mib=config.cache_mib)


def sniff(path: Path) -> float:
    """Any tree with clouds or meshes, or one of them; tables and texts among other files mean little."""
    if path.is_file():
        is_shape = _is_shape(path) and not _is_table_of_rows(path)
        return 0.6 if is_shape and (path.suffix.lower() not in TEXT_SUFFIXES or looks_like_points(path)) else 0.0
    files = first_files(path)
    shapes = [one for one in files if _is_shape(one)]
    texts = [one for one in shapes if one.suffix.lower() in TEXT_SUFFIXES]
    points = _texts_of_points(texts)
    told = [one for one in shapes if one not in texts] + points
    if any(one.suffix.lower() in UNMISTAKABLE for one in told):
        return 0.5
    if 2 * len(points) < len(texts):  # tables of something else
        shapes = [one for one in shapes if one.suffix.lower() not in TEXT_SUFFIXES]
    return 0.5 * len(shapes) / len(files) if files else 0.0


def _texts_of_points(texts: Sequence[Path]) -> list[Path]:
    """Texts of the folders whose first one looks like points: lists of names lie above the folders of the classes."""
    first: dict[Path, Path] = {}
    for one in texts:
        first.setdefault(one.parent, one)
    fitting = {folder for folder, one in list(first.items())[:FOLDERS_TRIED] if looks_like_points(one)}
    known = set(list(first)[:FOLDERS_TRIED])
    is_so = 2 * len(fitting) > len(known)
    return [one for one in texts if one.parent in fitting or (is_so and one.parent not in known)]


def _is_table_of_rows(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv") and path.name.lower() in LABEL_TABLES


def _is_shape(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or path.name.lower() in SIDE_FILES or not path.is_file():
        return False
    if path.suffix.lower() == ".obj":
        return VERTEX_LINE.search(head(path, 1 << 16)) is not None
    if path.suffix.lower() in (".npy", ".npz"):
        return array_may_be_points(path)
    return path.suffix.lower() != ".bin" or holds_lengths(path)


def folder_catalogue(root: Path, config: ShapeFolderConfig) -> Catalogue[ReadCloud]:
    """Rows, labels and splits of a tree.

    Raises:
        DataError: no shape, or a table of labels that does not fit.
    """
    account = Accounting(root if root.is_dir() else root.parent)
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise DataError(f"{str(root)!r} is no cloud or mesh by its name", expected=", ".join(SUFFIXES))
        rows = [_row(root.name, root, config=config)]
        tell_guesses(rows, account)
        return Catalogue(rows, account=account)
    files, others = _files(root, account)
    if not files:
        raise DataError(
            f"{str(root)!r} holds no cloud or mesh",
            expected=", ".join(SUFFIXES),
            found=_counted(others) or "no file at all",
        )
    return _labelled(root, files, others, config, account)


def _labelled(
    root: Path, files: Sequence[Path], others: Counter[str], config: ShapeFolderConfig, account: Accounting
) -> Catalogue[ReadCloud]:
    """Rows of files with the labels, groups and splits of a table or of their folders."""
    ids = [path.relative_to(root).as_posix() for path in files]
    kinds = Counter(path.suffix.lower() for path in files)
    notes = [f"mixed formats: {_counted(kinds)}"] if len(kinds) > 1 else []
    words, folders = _split_words(root, files)
    table = label_table(root, files, config, account)
    if table is not None and table.path.name.lower() not in SIDE_FILES:
        others = others - Counter([table.path.suffix.lower()])
    if others:
        notes.append(f"files of other kinds are left out: {_counted(others)}")
    groups, said = groups_in_paths(files, root)
    is_called = table is not None and (bool(config.label_table) or table.path.name.lower() in LABEL_TABLES)
    firsts = [levels[0] if levels else "" for levels in folders]
    meaning = folder_meaning(firsts, (root.name,))
    told = FileLabels([], [{} for _ in ids])
    if table is not None:
        account.use(table.path)
        told = table_labels(table, root, ids, config, account)
    columns = [[values.get(one.name) for values in told.labels] for one in told.targets]
    is_class = meaning.kind == "class" and (not is_called or stays_beside_table(firsts, columns))
    targets, labels = _folder_labels(folders) if is_class else ([], [{} for _ in ids])
    if targets:
        why = f"every file lies in a folder of its class: {meaning.reason}"
        account.guess("label 'class'", f"{len(targets[0].names)} classes", why)
    elif meaning.kind == "group" and not said:
        groups, said = list(firsts), f"groups: {meaning.reason}; kept together in splits"
    elif not is_called and all(firsts) and len(set(firsts)) > 1:
        account.guess("folders", "no classes", meaning.reason, is_loss=True)
    if not targets and table is None:
        tell_words_in_names([path.stem for path in files], account)
    if table is not None:
        names = {one.name for one in told.targets}
        targets = [*[one for one in targets if one.name not in names], *told.targets]
        labels = [{**one, **other} for one, other in zip(labels, told.labels, strict=True)]
        words = list(told.words) or words
        groups, said = (list(told.groups), "") if any(told.groups) else (groups, said)
        notes += told.remarks
    if not any(words):
        words = words_of_lists(root, files, account)
    notes += [said] if said else []
    rows = [_row(*one, config=config) for one in zip(ids, files, labels, groups, strict=True)]
    tell_guesses(rows, account)
    return Catalogue(rows, targets, rows_by(words) if any(words) else {}, notes, account)


def _row(
    name: str,
    path: Path,
    labels: Mapping[str, Any] | None = None,
    group: str | None = None,
    *,
    config: ShapeFolderConfig,
) -> Row[ReadCloud]:
    read = partial(
        read_cloud,
        path,
        columns=config.columns,
        mesh_points=config.mesh_points,
        seed=config.sampling_seed,
        bin_columns=config.bin_columns,
        decimal=config.decimal,
        flags_left_out=config.flags_left_out,
    )
    stamp = settings_stamp(
        config, ("columns", "mesh_points", "sampling_seed", "bin_columns", "decimal", "flags_left_out")
    )
    return Row(name, read, labels or {}, group=group, files=(path,), stamp=stamp)


def tell_guesses(rows: Sequence[Row[ReadCloud]], account: Accounting) -> None:
    """Read the first shape of each kind of file, and say how it was understood."""
    seen: set[str] = set()
    for row in rows:
        kind = row.files[0].suffix.lower() if row.files else ""
        if kind in seen or len(seen) >= OPENED:
            continue
        seen.add(kind)
        try:
            cloud = row.source()
        except ItemError:
            continue
        for text in cloud.notes:
            account.note(f"{row.id}: {text}")
        labels = [name for name in cloud.columns if is_label(plain(name)) and plain(name) not in NOT_LABELS]
        if labels:
            why = "a shape has one label a file, points of scenes have their own"
            what = f"labels of points ({', '.join(labels)})"
            account.guess(what, "not used", why, "--reader pointcloud/scenes", is_loss=True)


def _files(root: Path, account: Accounting) -> tuple[list[Path], Counter[str]]:
    """Shapes below a folder, hidden ones left out, and a count of everything else by suffix."""
    shapes, others = [], Counter[str]()
    for one in walk(root):
        if one.problem:
            account.unreadable(one.path, one.problem)
        elif one.left_out:
            account.ignore(one.path, one.left_out)
        elif one.path.suffix.lower() in TEXT_SUFFIXES and one.path.stat().st_size and not looks_like_points(one.path):
            if one.path.name.lower() not in SIDE_FILES:
                account.ignore(one.path, "text without columns of coordinates")
                others[one.path.suffix.lower()] += 1
        elif _is_shape(one.path):
            shapes.append(one.path)
        elif one.path.name.lower() not in SIDE_FILES:
            others[one.path.suffix.lower() or "(no suffix)"] += 1
    return shapes, others


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())[:8])


def _split_words(root: Path, files: Sequence[Path]) -> tuple[list[str | None], list[tuple[str, ...]]]:
    """Split of every file from a folder level that is called train, test, ... everywhere, and the other levels."""
    levels = [path.relative_to(root).parts[:-1] for path in files]
    for place in (0, 1):  # train/chair/x.off, chair/train/x.off as in ModelNet
        words = [folder_part(one[place]) if len(one) > place else None for one in levels]
        if all(words):
            return words, [(*one[:place], *one[place + 1 :]) for one in levels]
    return [None] * len(files), list(levels)


def _folder_labels(folders: Sequence[tuple[str, ...]]) -> tuple[list[TargetSpec], list[dict[str, Any]]]:
    classes = [levels[0] if levels else "" for levels in folders]
    if not all(classes) or len(set(classes)) < 2:
        return [], [{} for _ in folders]
    target, numbers = class_target("class", classes)
    return [target], [{"class": numbers[word]} for word in classes]
