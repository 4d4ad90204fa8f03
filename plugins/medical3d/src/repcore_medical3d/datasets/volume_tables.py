"""Tables beside volumes: ``split.csv``, BIDS ``participants.tsv``, or the only table of the folder.

Which column names the scans is found by its cells; labels, groups and splits are judged by core, from all rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.cells import is_missing
from repcore.data.groups import group_column, group_in_path
from repcore.data.label_names import are_class_numbers
from repcore.data.labels import LabelKind, read_labels
from repcore.data.names import composed, nearly, unpadded
from repcore.data.split_columns import split_column
from repcore.data.splits import part_of
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError
from repcore.specs import TargetSpec
from repcore_medical3d.datasets.volume_pairs import Item
from repcore_medical3d.formats.volume_files import is_volume, volume_stem

TABLES = ("split.csv", "participants.tsv", "labels.csv")
SPLIT_COLUMNS = ("split", "subset", "partition")
GROUP_WORDS = ("participant", "mrn", "pid", "subject")
SUFFIXES = (".csv", ".tsv", ".parquet")


@dataclass(slots=True)
class TableLabels:
    """Labels, group and split of items, by item number."""

    targets: list[TargetSpec] = field(default_factory=list)
    values: dict[int, dict[str, Any]] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)
    splits: dict[int, str] = field(default_factory=dict)


def read_item_table(
    root: Path, items: Sequence[Item], groups: Sequence[str | None], kind: LabelKind, account: Accounting
) -> TableLabels:
    """What the folder's table says of its scans; nothing where there is none or it names none of them.

    Args:
        groups: of the items, from their paths: a table may name patients instead of scans.

    Raises:
        DataError: ``split.csv`` names no scan at all, or two rows contradict each other about one scan.
    """
    path = _table_path(root)
    if path is None:
        return TableLabels()
    table = Table(path)
    account.use(path)
    columns = {name: table.slice(0, len(table), name) for name in table.columns}
    keys = _keys(items, groups, root)
    found = {
        name: 0 if are_class_numbers(name, cells, list(columns)) else _matches(cells, keys)
        for name, cells in columns.items()
    }
    column = max(found, key=lambda name: found[name])
    if not found[column]:
        first = next((str(cell) for cell in columns[column] if not is_missing(cell)), "")
        if path.name == TABLES[0]:
            raise DataError(
                f"no column of {path.name} names the scans", columns=", ".join(table.columns), first_cell=first,
                first_scan=items[0].stem if items else "none",
            )  # fmt: skip
        near = nearly(keys, [_plain(cell) for cell in columns[column] if not is_missing(cell)])
        why = f"names none of the scans (first cell {first!r}, first scan {items[0].stem!r})"
        account.guess(f"table {path.name}", "not used", f"{why}; {near}" if near else why, is_loss=True)
        return TableLabels()
    account.guess(
        f"column of {path.name}", column, f"{found[column]} of {len(table)} cells name a scan", "rename it to id"
    )
    rows_of = _rows_of(columns[column], keys)
    _check_contradictions(path, column, columns, rows_of)
    _say_lost(path, columns[column], keys, account)
    return _labels(columns, column, rows_of, kind, account)


def _table_path(root: Path) -> Path | None:
    there = [path for name in TABLES if (path := root / name).is_file()]
    if there:
        return there[0]
    found = [path for path in sorted(root.iterdir()) if path.is_file() and table_suffix(path) in SUFFIXES]
    return found[0] if len(found) == 1 else None


def _plain(cell: Any) -> str:  # a cell of any type
    """A scan's name as tables write it: without folders and suffix."""
    text = Path(composed(str(cell).strip()).replace("\\", "/"))
    return volume_stem(text) if is_volume(text) else text.name


def _keys(items: Sequence[Item], groups: Sequence[str | None], root: Path) -> dict[str, list[int]]:
    """Name -> numbers of items; a patient's name stands for all of his scans."""
    keys: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        for name in {composed(one) for one in item.names}:
            keys.setdefault(name, []).append(number)
    patients = [group or group_in_path(item.files[0], root) for group, item in zip(groups, items, strict=True)]
    for number, group in enumerate(patients):
        if group is not None and number not in keys.get(group, []):
            keys.setdefault(group, []).append(number)
    for name, numbers in _case_folders(items, root).items():
        keys.setdefault(name, numbers)
    for name, numbers in [one for one in keys.items() if one[0].lower().startswith("sub-")]:
        keys.setdefault(name[4:], numbers)  # participants.tsv without the prefix
    for short, name in unpadded(keys).items():
        keys[short] = keys[name]
    return keys


def _case_folders(items: Sequence[Item], root: Path) -> dict[str, list[int]]:
    """Folders of one case each: their files are called alike everywhere (``s0000/ct``, ``case_00000/imaging``), or
    begin with the name of the folder."""
    stems = Counter(item.stem for item in items)
    found: dict[str, list[int]] = {}
    places: dict[str, set[Path]] = {}
    for number, item in enumerate(items):
        folder = item.files[0].parent
        above = [one for one in (folder, *folder.parents) if one != root and root in one.parents]
        cases = [one for one in above if item.stem.startswith(one.name)]  # OAS1_0001_MR1/.../OAS1_0001_MR1_mpr_n4
        if folder != root and stems[item.stem] > 1:
            cases.append(folder)
        for one in dict.fromkeys(cases):
            found.setdefault(composed(one.name), []).append(number)
            places.setdefault(composed(one.name), set()).add(one)
    return {name: numbers for name, numbers in found.items() if len(places[name]) == 1}


def _matches(cells: Sequence[Any], keys: Mapping[str, list[int]]) -> int:
    return sum(1 for cell in cells if not is_missing(cell) and _plain(cell) in keys)


def _rows_of(cells: Sequence[Any], keys: Mapping[str, list[int]]) -> dict[int, list[int]]:
    """Item number -> rows of the table."""
    found: dict[int, list[int]] = {}
    for row, cell in enumerate(cells):
        for number in keys.get(_plain(cell), []) if not is_missing(cell) else []:
            found.setdefault(number, []).append(row)
    return found


def _check_contradictions(
    path: Path, column: str, columns: Mapping[str, Sequence[Any]], rows_of: Mapping[int, Sequence[int]]
) -> None:
    for rows in rows_of.values():
        for name, cells in columns.items():
            words = {str(cells[row]).strip() for row in rows}
            if len(words) > 1:
                key = columns[column][rows[0]]
                raise DataError(
                    f"{path.name} says of {key!r} in column {name!r} both {' and '.join(sorted(map(repr, words))[:2])}",
                    rows=", ".join(str(row) for row in rows[:5]),
                )


def _say_lost(path: Path, cells: Sequence[Any], keys: Mapping[str, list[int]], account: Accounting) -> None:
    lost = [str(cell) for cell in cells if is_missing(cell) or _plain(cell) not in keys]
    if lost:
        account.note(f"{len(lost)} rows of {path.name} have no volume, for example {lost[0]}")


def _labels(
    columns: Mapping[str, Sequence[Any]], key: str, rows_of: Mapping[int, Sequence[int]], kind: LabelKind,
    account: Accounting,
) -> TableLabels:  # fmt: skip
    others = {name: cells for name, cells in columns.items() if name != key}
    called = next((name for name in others if name.lower() in SPLIT_COLUMNS), None)
    split = called or split_column(others, others.__getitem__)
    group = group_column([name for name in others if name != split], GROUP_WORDS)
    judged = read_labels(
        {name: cells for name, cells in others.items() if name != split},
        kind=kind, group_words=GROUP_WORDS, account=account,
    )  # fmt: skip
    result = TableLabels(targets=[one.target for one in judged if one.target is not None])
    for number, rows in rows_of.items():
        row = rows[0]
        result.values[number] = {
            one.name: value for one in judged if one.target is not None and not _is_nan(value := one.value(row))
        }
        if group is not None and not is_missing(others[group][row]):
            result.groups[number] = str(others[group][row]).strip()
        if split is not None and not is_missing(others[split][row]):
            word = str(others[split][row]).strip()
            result.splits[number] = part_of(word) or word
    return result


def _is_nan(value: Any) -> bool:  # what LabelColumn.value gives
    return isinstance(value, float) and math.isnan(value)
