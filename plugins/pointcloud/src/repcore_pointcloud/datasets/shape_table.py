"""Labels, groups and splits of shapes from a table beside them: a row a file, joined by path, name or stem."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.groups import group_column
from repcore.data.labels import read_labels
from repcore.data.names import composed, nearly
from repcore.data.side_tables import Keys, is_submission
from repcore.data.split_columns import split_column
from repcore.data.splits import part_of
from repcore.data.tables import MISSING_WORDS, Table
from repcore.errors import DataError, closest
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.shapes import ShapeFolderConfig

LABEL_TABLES = ("labels.csv", "labels.tsv")
FILE_COLUMNS = ("file", "path", "filename", "file_name", "name", "id", "model")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")  # lists of names in .txt are no labels
MOST_BYTES = 64 << 20  # of a table that is opened to see whether it names files
SPLIT_COLUMNS = ("split", "subset", "part", "fold")


@dataclass(frozen=True, slots=True)
class FileLabels:
    """What a table says about files, one entry a file.

    Args:
        targets: labels that were found.
        labels: label name -> value of each file.
        words: part of the split of each file; empty without such a column.
        groups: leakage key of each file.
        remarks: files without a row, rows without a file.
    """

    targets: Sequence[TargetSpec]
    labels: Sequence[Mapping[str, Any]]
    words: Sequence[str | None] = ()
    groups: Sequence[str | None] = ()
    remarks: Sequence[str] = field(default_factory=list)


def label_table(root: Path, files: Sequence[Path], config: ShapeFolderConfig, account: Accounting) -> Table | None:
    """The table that the settings name, ``labels.csv``, or the one of the folder's that names most files, announced.

    Args:
        root: the folder.
        files: shapes below it, which are no tables of labels.
    """
    if config.label_table:
        given = Path(config.label_table).expanduser()
        return Table(given if given.is_file() else root / given)
    called = next((root / name for name in LABEL_TABLES if (root / name).is_file()), None)
    if called is not None:
        return Table(called)
    ids = [path.relative_to(root).as_posix() for path in files]
    best: tuple[int, Table, str] | None = None
    for path in sorted(set(root.iterdir()) - set(files)):
        if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file() or path.stat().st_size > MOST_BYTES:
            continue
        if is_submission(path):
            account.ignore(path, "a sample submission by its name: places for answers, no labels")
            continue
        try:
            table = Table(path)
        except DataError:
            continue
        count, column = naming_column(table, spoken_of(table, root, ids))
        if count and len(table.columns) > 1 and (best is None or count > best[0]):
            best = (count, table, column)
    if best is None:
        return None
    count, table, column = best
    why = f"its column {column!r} names {count:,} of {len(ids):,} files"
    account.guess("labels", f"table {table.path.name}", why, "dataset.label_table=NAME")
    return table


def naming_column(table: Table, ids: Sequence[str]) -> tuple[int, str]:
    """How many files the column names that names most, and that column; none where at most half of its cells do."""
    best = (0, "")
    for name in table.columns:
        texts = [_text(cell) for cell in table.slice(0, len(table), name)]
        filled = {text for text in texts if text is not None}
        if all(text.replace(".", "", 1).isdecimal() for text in filled) and name.lower() not in FILE_COLUMNS:
            continue  # classes are numbers, too
        count = len(_rows_of_files(texts, ids))
        if 2 * count > len(filled) and count > best[0]:
            best = (count, name)
    return best


def spoken_of(table: Table, root: Path, ids: Sequence[str]) -> list[str]:
    """Files that a table may speak of: ``train.csv`` of those in ``train`` where others have the same names."""
    paths = [PurePosixPath(composed(one)) for one in ids]
    keys = Keys(root, [one.parts[:-1] for one in paths], lambda name: PurePosixPath(name).stem)
    for number, one in enumerate(paths):
        keys.add(number, {one.name, one.stem})
    among = keys.scope(table.path)
    return [one for number, one in enumerate(ids) if among is None or number in among]


def table_labels(
    table: Table, root: Path, ids: Sequence[str], config: ShapeFolderConfig, account: Accounting
) -> FileLabels:
    """Labels, splits and groups of each file; what columns were taken for goes into the account.

    Names in the table may be relative paths, file names, or file names without suffix.

    Raises:
        DataError: no column of file names, or no row fits a file.
    """
    lower = {name.lower(): name for name in table.columns}
    wanted = (config.file_column.lower(),) if config.file_column else FILE_COLUMNS
    file_column = next((lower[name] for name in wanted if name in lower), None)
    if file_column is None and not config.file_column:
        file_column = naming_column(table, spoken_of(table, root, ids))[1] or None
    if file_column is None:
        raise DataError(
            f"{table.path.name} has no column of file names",
            columns=", ".join(table.columns),
            hint="dataset.file_column=NAME",
        )
    names = [_text(cell) for cell in table.slice(0, len(table), file_column)]
    _refuse_contradictions(table, names)
    row_of = _rows_of_files(names, spoken_of(table, root, ids))
    missing = [name for row, name in enumerate(names) if name is not None and row not in set(row_of.values())]
    if not row_of:
        stems = Counter(composed(Path(one).stem) for one in ids)
        shared = next((one for one in names if one is not None and stems[composed(Path(one).stem)] > 1), None)
        if shared is not None:
            both = [one for one in ids if composed(Path(one).stem) == composed(Path(shared).stem)][:2]
            raise DataError(
                f"{table.path.name} names {shared!r}, which is the name of several files",
                files=", ".join(both), hint="write paths from the folder on, one row a file",
            )  # fmt: skip
        raise DataError(
            f"no row of {table.path.name} names a file of the folder",
            first_row=names[0],
            first_file=ids[0],
            meaning=nearly([one for name in ids for one in (name, Path(name).stem)], [one for one in names if one]),
            did_you_mean=closest(str(names[0]), ids),
            hint="dataset.file_column names the column; paths start at the folder",
        )
    remarks = []
    if len(row_of) < len(ids):
        remarks.append(f"{len(ids) - len(row_of)} of {len(ids)} files have no row in {table.path.name}: unlabelled")
    if missing:
        remarks.append(f"{len(missing)} rows of {table.path.name} name no file, for example {missing[0]!r}")
    others = [name for name in table.columns if name != file_column]
    called = next((lower[name] for name in SPLIT_COLUMNS if lower.get(name) in others), None)
    split = called or split_column(others, lambda name: table.slice(0, len(table), name))
    rest = [name for name in others if name != split]
    group = group_column(rest)
    targets, labels = _columns(table, [name for name in rest if name != group], row_of, ids, account)
    words: list[str | None] = []
    if split is not None:
        cells = table.slice(0, len(table), split)
        words = [_split_word(cells[row_of[one]]) if one in row_of else None for one in ids]
    keys: list[str | None] = []
    if group is not None:
        cells = table.slice(0, len(table), group)
        keys = [_text(cells[row_of[one]]) if one in row_of else None for one in ids]
        account.note(f"groups: column {group!r}; kept together in splits")
    return FileLabels(targets, labels, words, keys, remarks)


def _refuse_contradictions(table: Table, names: Sequence[str | None]) -> None:
    """Rows of one file that say the same are one; of rows that do not, none may silently win.

    Raises:
        DataError: two rows of one file differ.
    """
    first: dict[str, int] = {}
    columns = {name: table.slice(0, len(table), name) for name in table.columns}
    for row, name in enumerate(names):
        if name is None or first.setdefault(name, row) == row:
            continue
        odd = next((column for column, cells in columns.items() if cells[row] != cells[first[name]]), None)
        if odd is not None:
            both = " and ".join(repr(columns[odd][one]) for one in (first[name], row))
            raise DataError(
                f"{table.path.name} says of {name!r} in column {odd!r} both {both}", rows=f"{first[name]}, {row}"
            )


def _rows_of_files(names: Sequence[str | None], ids: Sequence[str]) -> dict[str, int]:
    """File id -> row of the table; a short name counts only where it is unique."""
    exact = {composed(name).removeprefix("./"): row for row, name in enumerate(names) if name is not None}
    found = {one: exact[composed(one)] for one in ids if composed(one) in exact}
    for short in (lambda one: composed(Path(one).name), lambda one: composed(Path(one).stem)):
        times = Counter(short(one) for one in ids)
        for one in ids:
            if one not in found and times[short(one)] == 1 and short(one) in exact:
                found[one] = exact[short(one)]
    return found


def _columns(
    table: Table, columns: Sequence[str], row_of: Mapping[str, int], ids: Sequence[str], account: Accounting
) -> tuple[list[TargetSpec], list[dict[str, Any]]]:
    """Labels of every column of the table that is one, by the rules that all domains share."""
    found = read_labels({name: table.slice(0, len(table), name) for name in columns}, account=account)
    known = [one for one in found if one.target is not None]
    labels: list[dict[str, Any]] = [{} for _ in ids]
    for column in known:
        for label, name in zip(labels, ids, strict=True):
            value = column.value(row_of[name]) if name in row_of else math.nan
            if not (isinstance(value, float) and math.isnan(value)):
                label[column.name] = value
    return [one.target for one in known if one.target is not None], labels


def _text(cell: Any) -> str | None:  # text, or parquet's own type
    text = "" if cell is None else str(cell).strip()
    return None if text.lower() in MISSING_WORDS else text


def _split_word(cell: Any) -> str | None:
    text = _text(cell)
    return None if text is None else part_of(text) or text
