"""Lists beside files: ``ImageSets/train.txt``, ``train.txt`` with a name a line, ``labels.txt`` with a class beside it,
``metadata.jsonl``, and ``classes.txt``, which names the classes that others number.

A list speaks of files only where its lines plainly name them; prose about a training names none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.cells import flat_cells, is_missing
from repcore.data.encodings import whole_text
from repcore.data.json_rows import json_rows
from repcore.data.names import composed
from repcore.data.side_tables import Keys
from repcore.data.split_columns import one_part_each
from repcore.data.splits import PART_NAMES
from repcore.data.tables import Table
from repcore.errors import DataError

SPLIT_FOLDERS = ("ImageSets", "imagesets", "splits")
LIST_SUFFIXES = (".txt", ".lst")
JSON_SUFFIXES = (".jsonl", ".ndjson")
LEAST_NAMED = 0.5  # share of the lines of a list that name a file
LARGEST_LIST = 64 * 2**20
LINES_LOOKED_AT = 200
CLASS_LISTS = ("classes.txt", "class_names.txt", "classnames.txt", "labels.txt")
NUMBERED = frozenset({"label", "class", "target", "category", "class_id", "category_id", "label_id", "y"})


def file_keys(root: Path, files: Sequence[Path]) -> Keys:
    """What lists may call files: ends of their paths, with or without suffix."""
    parts = [tuple(composed(part) for part in file.relative_to(root).parts) for file in files]
    keys = Keys(root, [one[:-1] for one in parts], lambda name: PurePosixPath(name).stem)
    for number, one in enumerate(parts):
        keys.add(number, {one[-1], PurePosixPath(one[-1]).stem})
    return keys


def lists_items(path: Path, keys: Keys) -> bool:
    """Whether a text or JSON list plainly speaks of items: at least half of its first lines name one.

    Args:
        keys: what lists may call the items.
    """
    suffix = path.suffix.lower()
    if not path.is_file() or not 0 < path.stat().st_size <= LARGEST_LIST:
        return False
    if suffix in JSON_SUFFIXES:
        try:
            rows = json_rows(path)[:LINES_LOOKED_AT]
        except DataError:
            return False
        named = sum(any(isinstance(cell, str) and keys.find(cell)[0] for cell in row.values()) for row in rows)
        return named >= LEAST_NAMED * len(rows)
    if suffix != ".txt":
        return False
    lines = list(islice(_lines(path), LINES_LOOKED_AT))
    return bool(lines) and sum(bool(_named(line, keys)) for line in lines) >= LEAST_NAMED * len(lines)


def side_table(path: Path, keys: Keys) -> Table:
    """A table or list beside items; its first line is no header where it names one.

    Raises:
        DataError: it cannot be read.
    """
    if path.suffix.lower() in JSON_SUFFIXES:
        rows = json_rows(path)
        names = dict.fromkeys(name for row in rows for name in row)
        cells = {name: flat_cells(row.get(name) for row in rows) for name in names}
        return Table.of_cells(path, {name: [_text(one) for one in column] for name, column in cells.items()})
    return Table(path, is_data=lambda cell: bool(keys.find(cell)[0])) if path.suffix.lower() == ".txt" else Table(path)


def _text(cell: Any) -> str | None:
    return None if is_missing(cell) else str(cell)


def listed_splits(
    root: Path, files: Sequence[Path], account: Accounting, keys: Keys | None = None
) -> dict[str, list[int]]:
    """Rows of each part that lists of names declare, a name a line; empty where there is no list.

    Names are paths below the root or the ends of them, with or without suffix; a name of several files is none of them.
    Where lists declare no training part, what they do not name is it. What stands in lists of several parts is in none
    of them, and warned of.

    Args:
        keys: what lists may call the files; None = ends of their paths.
    """
    keys = keys or file_keys(root, files)
    found: dict[str, set[int]] = {}
    for path, part, is_beside in _lists(root):
        lines = list(_lines(path))
        rows = [items[0] for line in lines if len(items := _named(line, keys)) == 1]
        if not rows or (is_beside and len(rows) < LEAST_NAMED * len(lines)):
            continue
        account.use(path)
        found.setdefault(part, set()).update(rows)
        if len(rows) < len(lines):
            account.note(f"{len(lines) - len(rows)} of {len(lines)} names of {path.name} name no file, or several")
    if not found:
        return {}
    if "train" not in found:
        named = set().union(*found.values())
        found["train"] = {row for row in range(len(files)) if row not in named}
        account.guess(
            "split", "what the lists do not name is for training", f"lists name {', '.join(sorted(found))} only"
        )
    return one_part_each(found, [file.name for file in files], account)


def words_of_lists(
    root: Path, files: Sequence[Path], account: Accounting, keys: Keys | None = None
) -> list[str | None]:
    """Part of each file as lists declare it, said; empty where there is no list."""
    listed = listed_splits(root, files, account, keys)
    if not listed:
        return []
    account.guess("split", ", ".join(sorted(listed)), "lists of names beside the files")
    parts = {row: part for part, rows in listed.items() for row in rows}
    return [parts.get(row) for row in range(len(files))]


def with_class_names(root: Path, columns: Mapping[str, Sequence[Any]], account: Accounting) -> dict[str, list[Any]]:
    """Columns whose class numbers ``classes.txt`` names, with the names; others as they are.

    Only numbers of classes are replaced, and only where they can count from 0 or from 1, not both.
    """
    found = {name: list(cells) for name, cells in columns.items()}
    names: dict[int, str] = {}
    for path in (root / name for name in CLASS_LISTS):
        names = _class_names(path) if not names and path.is_file() else names
        if names:
            break
    for column, cells in columns.items() if names else ():
        numbers = {str(cell).strip() for cell in cells if not is_missing(cell)}
        if column.lower() not in NUMBERED or not numbers or not all(one.isdecimal() for one in numbers):
            continue
        lowest, highest = min(map(int, numbers)), max(map(int, numbers))
        from_one = 0 in names and lowest > 0 and highest == len(names)
        if not from_one and (not set(map(int, numbers)) <= set(names) or (0 in names and lowest > 0)):
            why = f"its numbers {lowest} to {highest} do not tell how they count {len(names)} names"
            account.guess(f"{path.name} for column {column!r}", "not used", why, is_loss=True)
            continue
        account.use(path)
        account.guess(f"classes of column {column!r}", f"as {path.name} names them", f"{len(names)} names")
        found[column] = [None if is_missing(one) else names[int(str(one).strip()) - from_one] for one in cells]
    return found


def _class_names(path: Path) -> dict[int, str]:
    """Number -> name of a list of classes: a name a line from 0 on, or lines of a number and a name."""
    if not 0 < path.stat().st_size <= LARGEST_LIST:
        return {}
    lines = list(_lines(path))
    pairs = [re.fullmatch(r"(\d+)[\s,:;]+(\D.*)", line) for line in lines]
    numbered = {int(one[1]): one[2].strip() for one in pairs if one is not None}
    if len(numbered) == len(lines):
        return numbered
    return dict(enumerate(lines)) if len(set(lines)) == len(lines) > 1 and len(numbered) == 0 else {}


def _lines(path: Path) -> Iterator[str]:
    return (line.strip() for line in whole_text(path).splitlines() if line.strip())


def _named(line: str, keys: Keys) -> list[int]:
    """Items that a line names: as a whole, or by its first field."""
    for cell in (line, re.split(r"[\t,;]", line)[0], line.split()[0]):
        numbers, _ = keys.find(cell.strip().strip("'\""))
        if numbers:
            return numbers
    return []


def _lists(root: Path) -> list[tuple[Path, str, bool]]:
    """Lists with the part that their name tells, and whether they lie beside the files, in no folder of lists."""
    folders = [one for name in SPLIT_FOLDERS for one in sorted(root.rglob(name)) if one.is_dir()]
    found = []
    for path in [path for folder in folders for path in sorted(folder.glob("*.txt"))]:
        part = PART_NAMES.get(path.stem.lower())
        if part is not None:
            found.append((path, part, False))
    for path in sorted(root.iterdir()):
        if path.suffix.lower() not in LIST_SUFFIXES or not path.is_file() or path.stat().st_size > LARGEST_LIST:
            continue
        parts = {PART_NAMES[word] for word in re.split(r"[^a-z]+", path.stem.lower()) if word in PART_NAMES}
        if len(parts) == 1:
            found.append((path, parts.pop(), True))
    return found
