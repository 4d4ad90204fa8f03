"""Labels of image files: from a table with a column of file names, or from the names of subfolders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repcore.data.splits import PART_NAMES
from repcore.data.tables import MISSING_WORDS, Table, number, table_suffix
from repcore.errors import DataError, closest
from repcore.specs import TargetSpec
from repcore_medical3d.configs.images import ImageFilesConfig

FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_id", "image index", "path", "name")
GROUP_COLUMNS = ("patient_id", "patient", "patientid", "patient id", "group", "subject")
MOST_CLASSES = 50
LEAST_YES_NO_COLUMNS = 3  # that also make one multilabel target
MULTILABEL = "findings"


@dataclass(slots=True)
class Labels:
    """What is known about files.

    Args:
        targets: labels found.
        values / groups / splits: by file.
        missing: rows of the table without a file, with the reason.
        notes: remarks for people.
    """

    targets: list[TargetSpec] = field(default_factory=list)
    values: dict[Path, dict[str, Any]] = field(default_factory=dict)
    groups: dict[Path, str] = field(default_factory=dict)
    splits: dict[Path, str] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def folder_labels(root: Path, files: Sequence[Path]) -> Labels:
    """The first folder below the root as a class, where there are several."""
    words = {file: file.relative_to(root).parts[0] for file in files if len(file.relative_to(root).parts) > 1}
    names = tuple(sorted(set(words.values())))
    if len(names) < 2:
        return Labels()
    values = {file: {"folder": names.index(word)} for file, word in words.items()}
    return Labels(targets=[TargetSpec("folder", "class", names=names)], values=dict(values))


def table_labels(root: Path, files: Sequence[Path], config: ImageFilesConfig) -> Labels | None:
    """Labels from the folder's table; None where there is none.

    Raises:
        DataError: the table has no column of file names, or names none of the files.
    """
    path = _table_path(root, config)
    if path is None:
        return None
    table = Table(path)
    column = _column(table, config.file_column, FILE_COLUMNS)
    if column is None:
        raise DataError(
            f"{path.name} has no column of file names",
            columns=", ".join(table.columns),
            hint="dataset.file_column=NAME",
        )
    names = [_text(cell) for cell in table.slice(0, len(table), column)]
    by_name = _by_name(root, files)
    rows = {row: by_name[name] for row, name in enumerate(names) if name in by_name}
    if not rows:
        raise DataError(
            f"{path.name} names {len(names)} files, none of which is below {root.name}",
            first_in_table=names[0],
            first_file=files[0].name if files else "none",
            did_you_mean=closest(names[0] or "", [file.name for file in files[:1000]]),
            hint="dataset.file_column=NAME, or dataset.table=OTHER.csv",
        )
    labels = Labels()
    problems = table.problems()
    labels.missing = [
        (name or f"row-{row}", problems.get(row) or f"{path.name} names {name!r}, which does not exist")
        for row, name in enumerate(names)
        if row not in rows
    ]
    unlabelled = len(files) - len(set(rows.values()))
    labels.notes = (f"{unlabelled} of {len(files)} images are not in {path.name}",) if unlabelled else ()
    group, split = (
        _column(table, config.group_column, GROUP_COLUMNS),
        _column(table, config.split_column, ("split", "fold", "subset")),
    )
    for found, store in ((group, labels.groups), (split, labels.splits)):
        cells = table.slice(0, len(table), found) if found else []
        store.update({rows[row]: text for row, cell in enumerate(cells) if row in rows and (text := _text(cell))})
    labels.splits = {file: PART_NAMES.get(word.lower(), word) for file, word in labels.splits.items()}
    used = {column, group, split}
    for name in table.columns:
        if name not in used and not name.lower().endswith(("split", "_id")):
            _add(labels, name, table.slice(0, len(table), name), rows)
    _add_multilabel(labels)
    return labels


def _table_path(root: Path, config: ImageFilesConfig) -> Path | None:
    if config.table:
        given = Path(config.table).expanduser()
        return given if given.is_absolute() or given.is_file() else root / given
    found = sorted(
        path for path in root.iterdir() if path.is_file() and table_suffix(path) in (".csv", ".tsv", ".parquet")
    )
    return found[0] if len(found) == 1 else next((path for path in found if path.stem == "labels"), None)


def _column(table: Table, given: str | None, candidates: Sequence[str]) -> str | None:
    if given is not None:
        return table.require(given)
    lower = {name.lower(): name for name in table.columns}
    return next((lower[name] for name in candidates if name in lower), None)


def _text(cell: Any) -> str | None:  # a cell of any type
    text = "" if cell is None else str(cell).strip()
    return None if text.lower() in MISSING_WORDS else text


def _by_name(root: Path, files: Sequence[Path]) -> dict[str | None, Path]:
    """Files by relative path, name and stem; a name that stands twice names nothing."""
    found: dict[str | None, Path] = {}
    for spell in (lambda file: file.stem, lambda file: file.name):
        seen: dict[str, list[Path]] = {}
        for file in files:
            seen.setdefault(spell(file), []).append(file)
        found.update({name: paths[0] for name, paths in seen.items() if len(paths) == 1})
    found.update({file.relative_to(root).as_posix(): file for file in files})
    return found


def _add(labels: Labels, name: str, cells: Sequence[Any], rows: Mapping[int, Path]) -> None:
    """One column as a target, unless it is the same everywhere or different everywhere."""
    texts = {row: text for row in rows if (text := _text(cells[row]))}
    words = sorted(set(texts.values()))
    if len(words) < 2:
        return
    try:
        numbers = {row: number(text) for row, text in texts.items()}
    except ValueError:
        if len(words) > min(MOST_CLASSES, len(texts) // 2):
            return
        labels.targets.append(TargetSpec(name, "class", names=tuple(words)))
        for row, text in texts.items():
            labels.values.setdefault(rows[row], {})[name] = words.index(text)
        return
    distinct = sorted({value for value in numbers.values() if value is not None})
    is_class = all(value == int(value) and value >= 0 for value in distinct) and len(distinct) <= MOST_CLASSES
    is_class = is_class and distinct[-1] < 2 * len(distinct)
    names = tuple(str(value) for value in range(int(distinct[-1]) + 1)) if is_class else ()
    labels.targets.append(TargetSpec(name, "class" if is_class else "regression", names=names))
    for row, value in numbers.items():
        labels.values.setdefault(rows[row], {})[name] = int(value or 0) if is_class else value


def _add_multilabel(labels: Labels) -> None:
    yes_no = [target.name for target in labels.targets if target.kind == "class" and target.names == ("0", "1")]
    if len(yes_no) < LEAST_YES_NO_COLUMNS or MULTILABEL in {target.name for target in labels.targets}:
        return
    labels.targets.append(TargetSpec(MULTILABEL, "multilabel", names=tuple(yes_no)))
    for values in labels.values.values():
        values[MULTILABEL] = [float(values[name]) if name in values else float("nan") for name in yes_no]
