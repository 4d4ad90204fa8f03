"""A folder whose own tables name its recordings, as one list: Common Voice, Kaggle, ``metadata.csv`` beside clips.

A table called after a part of a split (``train.tsv``, ``dev.tsv``) declares it. A recording that several tables name is
one row, of the first that belongs to a part; cells in which they contradict each other count as missing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.catalogue import files_below
from repcore.data.cells import is_missing
from repcore.data.groups import plain_name
from repcore.data.joined_tables import LABEL
from repcore.data.label_names import calls_classes, names_rows
from repcore.data.split_columns import one_part_each
from repcore.data.splits import PART_NAMES
from repcore.data.tables import table_suffix
from repcore.errors import DataError
from repcore_audio.datasets.excerpts import has_times
from repcore_audio.datasets.locating import Locator
from repcore_audio.datasets.manifest_tables import JSON_SUFFIXES, Cells, path_column, read_cells, sibling_recording
from repcore_audio.datasets.recordings import SUFFIXES

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".parquet")
PATH = "path"
SPLIT = "split"
LEAST_NAMED = 0.5  # share of the recordings below that the tables have to name
MOST_BESIDE = 200  # files of a subfolder that may hold the tables
MOST_TABLES = 50  # that are looked at to see whether a folder is such a one


@dataclass(frozen=True, slots=True)
class Named:
    """A table that names recordings: its cells, the column that does, and the part that its own name tells."""

    path: Path
    cells: Cells
    column: str

    @property
    def part(self) -> str:
        """Part of a split by the table's name; empty where it tells none."""
        found = {PART_NAMES[word] for word in plain_name(self.path.stem).split("_") if word in PART_NAMES}
        return found.pop() if len(found) == 1 else ""


def tables_in(root: Path) -> list[Path]:
    """Tables and JSON lists that lie in the folder itself, else those of its subfolders without recordings."""
    here = sorted(one for one in root.iterdir() if not one.name.startswith("."))
    found = [one for one in here if one.is_file() and _is_table(one)]
    if found:
        return found
    for folder in (one for one in here if one.is_dir()):
        files = sorted(one for one in islice(folder.iterdir(), MOST_BESIDE) if one.is_file())
        if not any(one.suffix.lower() in SUFFIXES for one in files):
            found += [one for one in files if _is_table(one)]
    return found


def _is_table(path: Path) -> bool:
    return table_suffix(path) in TABLE_SUFFIXES or path.suffix.lower() in JSON_SUFFIXES


def naming_tables(root: Path, account: Accounting, most: int | None = None) -> list[Named]:
    """Tables of a folder in which a column names recordings that are there, or that have the name of one and hold times
    (selection tables, label tracks); tells ``account`` of each.

    Args:
        most: tables that are looked at; None = all.
    """
    found: list[Named] = []
    locator = Locator(root)
    for path in tables_in(root)[:most]:
        own = Accounting(root)
        try:
            cells = read_cells(path, own)
            column = path_column(cells, root, own) or _beside(path, cells)
        except DataError:
            continue
        names = [] if column is None else [name for name in cells.texts(column)[:40] if name]
        if column is not None and any(locator.find(name)[1] is None for name in names):
            if column == PATH and any(one.column == PATH for one in found):
                own.guesses.clear()  # the same of every table that has the name of a recording
            account.add(own)
            if not cells.has_names:
                cells.renamed([name for name in cells.columns if name != column], LABEL)
            found.append(Named(path, cells, column))
        else:
            account.ignore(path, "a table that names none of the recordings")
    return found


def _beside(path: Path, cells: Cells) -> str | None:
    """Give each row the recording that has the name of the table, if there is one and rows have times."""
    recording = sibling_recording(path)
    if recording is None or not len(cells) or PATH in cells.columns:
        return None
    if not has_times(cells.columns):
        return None
    cells.columns[PATH] = [os.path.relpath(recording, path.parent).replace(os.sep, "/")] * len(cells)
    return PATH


def names_enough(root: Path) -> bool:
    """Whether a folder's tables name at least half of the recordings below it."""
    found = naming_tables(root, Accounting(root), MOST_TABLES)
    if not found:
        return False
    names = {PurePosixPath(str(name)).name for one in found for name in one.cells.texts(one.column) if name}
    looked_at = min(1.0, MOST_TABLES / len(tables_in(root)))
    return len(names) >= LEAST_NAMED * looked_at * len(files_below(root, SUFFIXES))


def read_folder(root: Path, account: Accounting) -> Cells:
    """All tables of a folder as one; the column of recordings is called ``path``, parts of a split ``split``.

    Raises:
        DataError: no table names recordings.
    """
    tables = naming_tables(root, account)
    if not tables:
        raise DataError(f"{str(root)!r} has no table that names its recordings", hint="--reader audio/folder")
    has_parts = len({one.part for one in tables} - {""}) > 1
    if has_parts:
        account.guess("split", ", ".join(sorted({one.part for one in tables} - {""})), "tables are called after them")
    columns: dict[str, list[Any]] = {PATH: []}
    problems: dict[int, str] = {}
    owners: dict[str, Path] = {}
    torn: dict[str, dict[int, None]] = {}
    for one in sorted(tables, key=lambda table: (has_parts and not table.part, table.path.name)):
        _compare(columns, one, torn)
        _append(columns, problems, owners, one, one.part if has_parts else "")
    _tear_parts(columns, [one for one in tables if has_parts and one.part], account)
    for name, rows in torn.items():
        first = columns[PATH][next(iter(rows))]
        account.odd_cells.append(
            f"column {name!r}: tables contradict each other about {len(rows):,} recordings, first {first}: "
            "they count as missing"
        )
        for row in rows:
            columns[name][row] = None
    repeated = sum(len(one.cells) for one in tables) - len(columns[PATH])
    if repeated:
        account.note(f"{repeated:,} rows name a recording that another table names, too: one row is kept")
    _cover(root, columns[PATH], account)
    return Cells(columns, problems)


def _compare(columns: Mapping[str, Sequence[Any]], one: Named, torn: dict[str, dict[int, None]]) -> None:
    """Note the cells of earlier tables that a table contradicts, where a recording is one row of each."""
    if has_times(one.cells.columns):
        return
    known = [None if is_missing(name) else str(name).strip() for name in columns[PATH]]
    names = one.cells.texts(one.column)
    once, here = Counter(known), Counter(names)
    place = {name: row for row, name in enumerate(known) if name is not None and once[name] == 1}
    for name, cells in one.cells.columns.items():
        if name == one.column or name not in columns or (names_rows(name) and not calls_classes(name)):
            continue
        for row, recording in enumerate(names):
            if recording is None or recording not in place or here[recording] > 1:
                continue
            held = columns[name][place[recording]]
            if not is_missing(held) and not is_missing(cells[row]) and _text(held) != _text(cells[row]):
                torn.setdefault(name, {})[place[recording]] = None


def _text(cell: Any) -> str | float:
    """A cell for comparison: 1 and 1.0 are equal."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return str(cell).strip()


def _append(
    columns: dict[str, list[Any]], problems: dict[int, str], owners: dict[str, Path], one: Named, part: str
) -> None:
    """Rows of a table below those of the tables before it, without recordings that one of those has."""
    names = one.cells.texts(one.column)
    rows = [row for row, name in enumerate(names) if owners.setdefault(name or f"row-{row}", one.path) == one.path]
    first, count = len(columns[PATH]), len(rows)
    given: dict[str, Sequence[Any]] = {(PATH if name == one.column else name): column
                                       for name, column in one.cells.columns.items()}  # fmt: skip
    for name, column in given.items():
        held = columns.setdefault(name, [None] * first)
        held += [column[row] for row in rows]
    if part and SPLIT not in given:
        columns.setdefault(SPLIT, [None] * first).extend([part] * count)
    for held in columns.values():
        held += [None] * (first + count - len(held))
    problems.update({first + place: one.cells.problems[row] for place, row in enumerate(rows)
                     if row in one.cells.problems})  # fmt: skip


def _tear_parts(columns: Mapping[str, list[Any]], tables: Sequence[Named], account: Accounting) -> None:
    """Take the part from recordings that tables called after several parts name."""
    names = [str(name).strip() for name in columns[PATH]]
    rows_of: dict[str, list[int]] = {}
    for one in (one for one in tables if SPLIT not in one.cells.columns):
        held = set(one.cells.texts(one.column))
        rows_of.setdefault(one.part, []).extend(row for row, name in enumerate(names) if name in held)
    kept = {row for rows in one_part_each(rows_of, names, account).values() for row in rows}
    for row in {row for rows in rows_of.values() for row in rows} - kept:
        columns[SPLIT][row] = None


def _cover(root: Path, names: Sequence[Any], account: Accounting) -> None:
    """Recordings that no table names are left out, and said."""
    named = {PurePosixPath(str(name).replace("\\", "/")).name.lower() for name in names if name is not None}
    stems = {name for name in named if not name.endswith(SUFFIXES)}
    for file in files_below(root, SUFFIXES, account=account):
        if file.name.lower() not in named and file.stem.lower() not in stems:
            account.ignore(file, "a recording that no table names (--reader audio/folder takes all)")
