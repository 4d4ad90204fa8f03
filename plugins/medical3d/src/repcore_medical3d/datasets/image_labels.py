"""Labels of image files: from the tables beside them, or from the names of subfolders.

Tables are joined by key only: a column is believed to name images where its cells are paths, names or numbers of files
that are there (a study's or a patient's number stands for all of its images, as in MIMIC-CXR). Tables of one kind that
are named after parts of a split (CheXpert's ``train.csv`` and ``valid.csv``) are put together. Which kind of label a
column holds is judged by core.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting, walk
from repcore.data.beside_lists import lists_items, words_of_lists
from repcore.data.catalogue import class_target
from repcore.data.cells import is_missing
from repcore.data.folder_classes import (
    are_people,
    are_too_many,
    folder_meaning,
    stays_beside_table,
    tell_words_in_names,
)
from repcore.data.groups import group_column, group_in_path, groups_in_paths, useful_groups
from repcore.data.item_columns import item_columns, refuse_item_columns, varying
from repcore.data.joined_tables import JoinedTable, gathered, joined_table, without_placeholders
from repcore.data.labels import LabelColumn, read_labels
from repcore.data.names import composed, nearly
from repcore.data.side_tables import Keys, is_submission, table_part
from repcore.data.split_columns import one_part_each, split_column
from repcore.data.splits import folder_part, part_of
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError, closest
from repcore.specs import TargetSpec
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.datasets.view_groups import view_groups

GROUP_WORDS = ("patientid", "patient", "subject", "mrn", "pid")
SPLIT_COLUMNS = ("split", "fold", "subset")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
TABLE_DEPTH = 2  # folders below the root in which tables are looked for
LEAST_YES_NO_COLUMNS = 3  # that also make one multilabel target
MULTILABEL = "findings"
STUDY = re.compile(r"s(\d{6,})")  # MIMIC-CXR: p10/p10000032/s50414267
ROLE_FOLDERS = re.compile(
    r"(images?|imgs?|data|files|png|jpe?g|dicom|dcm|photos|pictures|scans?)(_\d+)?", re.IGNORECASE
)


@dataclass(slots=True)
class Labels:
    """What is known about files.

    Args:
        targets: labels found.
        values / groups / splits: by file.
        missing: rows of a table without a file, with the reason.
        notes: remarks for people.
        told: cells of each column of a table, by file.
    """

    targets: list[TargetSpec] = field(default_factory=list)
    values: dict[Path, dict[str, Any]] = field(default_factory=dict)
    groups: dict[Path, str] = field(default_factory=dict)
    splits: dict[Path, str] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    told: list[Mapping[Path, Any]] = field(default_factory=list)


# ------------------------------------------------------------------------------------------- subfolders


def folder_labels(
    root: Path, files: Sequence[Path], account: Accounting, patients: Mapping[Path, str] | None = None
) -> Labels:
    """The first folder that tells neither a role nor a split as a class, or as a patient; splits from folder names.

    Args:
        patients: of files whose own header names one.
    """
    labels = Labels()
    words: dict[Path, str] = {}
    for file in files:
        parts = file.relative_to(root).parts[:-1]
        split = next((word for part in parts if (word := folder_part(part))), None)
        if split:
            labels.splits[file] = split
        rest = [part for part in parts if folder_part(part) is None and not ROLE_FOLDERS.fullmatch(part)]
        if rest:
            words[file] = rest[0]
    _groups_by_name(labels, files, root, patients or {}, account)
    target, place = class_target("folder", words.values())
    names = target.names
    if len(names) < 2:
        if not labels.groups:
            tell_words_in_names([file.stem for file in files], account)
        return labels
    meaning = folder_meaning(list(words.values()), (root.name,))
    if meaning.kind != "class":
        if meaning.kind == "group" and not labels.groups:
            labels.groups = dict(words)
        kept = "groups" if meaning.kind == "group" else "no classes"
        account.guess("subfolders", kept, meaning.reason, is_loss=meaning.kind == "none")
        return labels
    if are_people(list(words.values()), labels.groups.values()):
        return labels
    if are_too_many(list(words.values())):
        keys = [words.get(file) for file in files]
        if not labels.groups and useful_groups(keys):
            labels.groups = dict(words)
            account.guess("subfolders", "groups", f"{len(names)} folders of few images each, for example {names[0]!r}")
        return labels
    labels.values = {file: {"folder": place[word]} for file, word in words.items()}
    labels.targets = [target]
    account.guess("label 'folder'", f"class ({', '.join(names[:6])})", meaning.reason)
    return labels


def _groups_by_name(
    labels: Labels, files: Sequence[Path], root: Path, patients: Mapping[Path, str], account: Accounting
) -> None:
    """Patients that paths name, else people of whom there are several views; what a header says counts more."""
    named = files
    keys, said = groups_in_paths(files, root)
    if not said:
        named = [file for file in files if file not in patients]
        keys, said = view_groups(named, root)
    if said:
        labels.groups.update({file: key for file, key in zip(named, keys, strict=True) if key is not None})
        account.note(said)


def with_folders(labels: Labels, root: Path, files: Sequence[Path], account: Accounting) -> Labels:
    """Labels of tables, and what folders say beside them: parts of a split, and classes that no table repeats."""
    own = Accounting(root)
    folders = folder_labels(root, files, own)
    if not labels.splits:
        labels.splits = folders.splits
    if not folders.targets or any(one.name == "folder" for one in labels.targets):
        return labels
    target = folders.targets[0]
    words = [target.names[folders.values[file]["folder"]] for file in files]
    if stays_beside_table(words, ([cells.get(file) for file in files] for cells in labels.told)):
        labels.targets.append(target)
        for file, values in folders.values.items():
            labels.values.setdefault(file, {}).update(values)
        own.guesses = [one for one in own.guesses if one.about == "label 'folder'"]
        account.guesses += own.guesses
    return labels


# ------------------------------------------------------------------------------------------------ tables


def table_labels(
    root: Path,
    files: Sequence[Path],
    config: ImageFilesConfig,
    account: Accounting,
    patients: Mapping[Path, str] | None = None,
) -> Labels | None:
    """Labels from the folder's tables; None where there is none that names images.

    Args:
        patients: of files whose own header names one: a table may name patients instead of files.

    Raises:
        DataError: the only table has no column of file names, names none of the files, or cuts images into parts.
    """
    index = _index(root, files, patients or {})
    paths = _without_submissions(_table_paths(root, index, config), config, account)
    if not paths:
        return None
    joined, said = [], {}
    for path in paths:
        said[path] = Accounting(root)
        one = joined_table(
            path, index, files, said[path],
            noun="image", change="dataset.file_column=NAME", column=config.file_column, one_each=True,
        )  # fmt: skip
        if one.rows_of or one.torn:
            joined.append(one)
        else:
            account.ignore(path, "a table that names none of the images")
    if not joined:
        if config.table or len(paths) == 1:
            raise _no_match(Table(paths[0]), files, root, config)
        return None
    kept = [one for one in without_placeholders(joined, account) if _names_some(one, index, config, account)]
    if not kept:
        return None
    for one in kept:
        account.use(one.table.path)
        account.add(said[one.table.path])
        _refuse_parts(one)
    return _gathered(kept, files, root, config, account, patients or {})


def listed_parts(root: Path, files: Sequence[Path], account: Accounting) -> dict[Path, str]:
    """Parts of a split that lists of names declare."""
    words = words_of_lists(root, files, account)
    return {file: word for file, word in zip(files, words, strict=bool(words)) if word is not None}


def _table_paths(root: Path, index: Keys, config: ImageFilesConfig) -> list[Path]:
    """The table that was given, else all tables near the root."""
    if config.table:
        given = Path(config.table).expanduser()
        return [given if given.is_absolute() or given.is_file() else root / given]
    found = [one.path for one in walk(root) if not one.problem and not one.left_out]
    near = [path for path in found if len(path.relative_to(root).parts) <= TABLE_DEPTH + 1]
    return [path for path in near if table_suffix(path) in TABLE_SUFFIXES or lists_items(path, index)]


def _without_submissions(paths: Sequence[Path], config: ImageFilesConfig, account: Accounting) -> list[Path]:
    """The tables without those that are called a submission, unless the user named one."""
    if config.table:
        return list(paths)
    for path in paths:
        if is_submission(path):
            account.ignore(path, "a sample submission by its name: places for answers, no labels")
    return [path for path in paths if not is_submission(path)]


def _index(root: Path, files: Sequence[Path], patients: Mapping[Path, str]) -> Keys:
    """What tables may call files: ends of paths with or without suffix; a study or patient stands for all of its."""
    parts = [tuple(composed(part) for part in file.relative_to(root).parts) for file in files]
    keys = Keys(root, [one[:-1] for one in parts], lambda name: Path(name).stem if Path(name).suffix else "")
    for number, (file, own) in enumerate(zip(files, parts, strict=True)):
        owners = [name for part in own[:-1] if (study := STUDY.fullmatch(part)) for name in (part, study[1])]
        group = group_in_path(file, root)
        owners += [name for name in (group, re.sub(r"\D", "", group)) if name] if group else []
        owners += [composed(patients[file])] if file in patients else []
        keys.add(number, {own[-1], own[-1].removesuffix(composed(file.suffix))}, owners)
    return keys


def _no_match(table: Table, files: Sequence[Path], root: Path, config: ImageFilesConfig) -> DataError:
    """Why a table that should name images does not."""
    candidates = ("file", "filename", "file_name", "image", "image_id", "image index", "path", "name", "id")
    lower = {name.lower(): name for name in table.columns}
    column = config.file_column or next((lower[name] for name in candidates if name in lower), None)
    if column is None:
        return DataError(
            f"{table.path.name} has no column of file names", columns=", ".join(table.columns),
            hint="dataset.file_column=NAME",
        )  # fmt: skip
    names = [str(cell) for cell in table.slice(0, len(table), table.require(column))]
    return DataError(
        f"{table.path.name} names {len(names)} files, none of which is below {root.name}",
        first_in_table=names[0],
        first_file=files[0].name if files else "none",
        meaning=nearly([one for file in files for one in (file.name, file.stem)], names),
        did_you_mean=closest(names[0], [file.name for file in files[:1000]]),
        hint="dataset.file_column=NAME, or dataset.table=OTHER.csv",
    )


def _refuse_parts(one: JoinedTable) -> None:
    """Rows that share an image and differ by a frame or a box are parts of it, which nobody cuts here."""
    if not one.is_by_item:
        return
    shared = sum(len(rows) for rows in one.rows_of.values() if len(rows) > 1)
    found = [column for column in item_columns(one.table.columns) if column.role in ("frame", "box", "channel")]
    found = varying(found, lambda name: one.table.slice(0, len(one.table), name))
    if all(column.role == "box" for column in found) and _same_apart_from(one, [column.name for column in found]):
        return  # boxes of findings: what is said of the image is the same in all its rows
    refuse_item_columns(found, one.table.path.name, "image", shared=shared, rows=len(one.table))


def _same_apart_from(one: JoinedTable, columns: Sequence[str]) -> bool:
    """Whether rows of one image say the same in all other columns."""
    others = (cells for name, cells in one.columns.items() if name not in columns)
    return all(len({str(cells[row]) for row in rows}) == 1 for cells in others for rows in one.rows_of.values())


def _names_some(one: JoinedTable, index: Keys, config: ImageFilesConfig, account: Accounting) -> bool:
    """Whether a row names one image; a table whose names stand for several each (``0.png`` and ``0.jpg``) is left out.

    Raises:
        DataError: all rows name files that lie side by side.
    """
    if one.rows_of:
        return True
    row, files = next(iter(one.torn.items()))
    name = str(one.table.cells(one.column)[row]).strip()
    shown = sorted(file.relative_to(index.root).as_posix() for file in files)
    what = f"{name!r} is the name of {' and of '.join(shown[:2])}"
    if config.table or len({file.parent for file in files}) == 1:
        raise DataError(
            f"{one.table.path.name}: {what}: which of them is meant?",
            hint="write folders and suffixes into the table, or keep files of one kind in a folder of their own",
        )
    account.ignore(one.table.path, f"its names stand for several images each ({what}): write the folders into it")
    return False


def _gathered(
    joined: Sequence[JoinedTable], files: Sequence[Path], root: Path, config: ImageFilesConfig, account: Accounting,
    patients: Mapping[Path, str],
) -> Labels:  # fmt: skip
    """All tables as one: cells by file, judged together."""
    labels = Labels()
    cells, rows_of = gathered(joined, root, account)
    parts = [table_part(one.table.path) for one in joined]
    named: dict[str, set[int]] = {}
    for one, part in zip(joined, parts, strict=True):
        _note_missing(one, labels)
        if part:
            named.setdefault(part, set()).update(one.rows_of)
    if len(named) > 1:
        each = one_part_each(named, [file.name for file in files], account)
        labels.splits.update({files[number]: part for part, numbers in each.items() for number in numbers})
        account.guess("split", ", ".join(part or "none" for part in parts), "names of the tables")
    rows = {files[number]: found for number, found in sorted(rows_of.items())}
    labels.told = [{file: column[found[-1]] for file, found in rows.items()} for column in cells.values()]
    if not _groups_and_splits(labels, cells, rows, config, account):
        _groups_by_name(labels, files, root, patients, account)
    unlabelled = len(files) - len(rows)
    places = " and ".join(one.table.path.name for one in joined)
    labels.notes = (f"{unlabelled} of {len(files)} images are not in {places}",) if unlabelled else ()
    judged = read_labels(
        cells, kind=config.label_kind, uncertain=config.uncertain, separator=config.label_separator,
        group_words=GROUP_WORDS, account=account,
    )  # fmt: skip
    for label in judged:
        if label.target is not None:
            _spread(labels, label, rows, account)
    _add_multilabel(labels, [one for one in judged if one.is_binary and one.target is not None])
    return labels


def _note_missing(one: JoinedTable, labels: Labels) -> None:
    """Rows that name a file which is not there stay rows."""
    if not one.is_by_item:
        return
    problems, cells = one.table.problems(), one.table.cells(one.column)
    for row in one.lost:
        name = None if is_missing(cells[row]) else str(cells[row]).strip()
        why = problems.get(row) or f"{one.table.path.name} names {name!r}, which does not exist"
        labels.missing.append((name or f"row-{row}", why))


def _groups_and_splits(
    labels: Labels, cells: dict[str, list[Any]], rows: Mapping[Path, Sequence[int]], config: ImageFilesConfig,
    account: Accounting,
) -> bool:  # fmt: skip
    """Patients and declared splits, their columns taken out of ``cells``; whether a column names patients."""
    lower = {name.lower(): name for name in cells}
    called = next((lower[name] for name in SPLIT_COLUMNS if name in lower), None)
    split = _column(config.split_column, lower) or called or split_column(cells, cells.__getitem__)
    group = _column(config.group_column, lower) or group_column([name for name in cells if name != split], GROUP_WORDS)
    if split is not None:
        words = _last_told(cells.pop(split), rows)
        labels.splits.update({file: part_of(word) or word for file, word in words.items()})
    if group is not None:
        labels.groups.update(_last_told(cells[group], rows))
        count = len(set(labels.groups.values()))
        account.guess("groups", group, f"{count} different ones; kept together in splits", "dataset.group_column=NAME")
        if config.group_column is not None:
            cells.pop(group)
    return group is not None


def _last_told(cells: Sequence[Any], rows: Mapping[Path, Sequence[int]]) -> dict[Path, str]:
    """The last filled cell of the rows of each file."""
    return {
        file: str(cells[row]).strip() for file, found in rows.items() for row in found if not is_missing(cells[row])
    }


def _column(given: str | None, lower: Mapping[str, str]) -> str | None:
    if given is None:
        return None
    if given.lower() not in lower:
        raise DataError(
            f"the tables have no column {given!r}", did_you_mean=closest(given, lower.values()),
            columns=", ".join(lower.values()),
        )  # fmt: skip
    return lower[given.lower()]


def _spread(labels: Labels, column: LabelColumn, rows: Mapping[Path, Sequence[int]], account: Accounting) -> None:
    """A judged column to the files of its rows; rows that contradict each other give nothing, and are said."""
    assert column.target is not None
    found: dict[Path, Any] = {}
    torn: dict[Path, None] = {}
    for file, numbers in rows.items():
        for value in map(column.value, numbers):
            if isinstance(value, float) and math.isnan(value):
                continue
            if file in found and found[file] != value:
                torn[file] = None
            found[file] = value
    if torn:
        first = next(iter(torn))
        account.odd_cells.append(
            f"column {column.name!r}: rows about {len(torn)} images contradict each other, first {first.name}: "
            "they count as missing"
        )
    labels.targets.append(column.target)
    for file, value in found.items():
        if file not in torn:
            labels.values.setdefault(file, {})[column.name] = value


def _add_multilabel(labels: Labels, yes_no: Sequence[LabelColumn]) -> None:
    if len(yes_no) < LEAST_YES_NO_COLUMNS or MULTILABEL in {target.name for target in labels.targets}:
        return
    names = [one.name for one in yes_no]
    labels.targets.append(TargetSpec(MULTILABEL, "multilabel", names=tuple(names)))
    for values in labels.values.values():
        values[MULTILABEL] = [float(values[name]) if name in values else float("nan") for name in names]
