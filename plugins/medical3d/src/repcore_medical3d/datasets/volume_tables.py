"""Tables beside volumes: ``split.csv``, BIDS ``participants.tsv``, or the tables of the folder and of those below it.

Which column names the scans is found by its cells; labels, groups and splits are judged by core, from all rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting, walk
from repcore.data.beside_lists import lists_items, words_of_lists
from repcore.data.catalogue import class_target
from repcore.data.cells import is_missing
from repcore.data.folder_classes import are_people, are_too_many, folder_meaning, stays_beside_table
from repcore.data.groups import group_column, group_in_path
from repcore.data.joined_tables import joined_table, put_together, why_unused, without_placeholders
from repcore.data.labels import LabelKind, read_labels
from repcore.data.names import composed, unpadded
from repcore.data.side_tables import Keys, is_submission
from repcore.data.split_columns import split_column
from repcore.data.splits import part_of
from repcore.data.tables import table_suffix
from repcore.errors import DataError
from repcore.specs import TargetSpec
from repcore_medical3d.datasets.volume_names import SCAN_WORDS, SEQUENCES
from repcore_medical3d.datasets.volume_pairs import Item
from repcore_medical3d.formats.volume_files import is_volume, volume_stem

TABLES = ("split.csv", "participants.tsv", "labels.csv")
SPLIT_COLUMNS = ("split", "subset", "partition")
GROUP_WORDS = ("participant", "mrn", "pid", "subject")
SUFFIXES = (".csv", ".tsv", ".parquet")
FOLDER = "folder"  # label of class folders
TABLE_DEPTH = 2  # folders below the root in which tables are looked for


@dataclass(slots=True)
class TableLabels:
    """Labels, group and split of items, by item number."""

    targets: list[TargetSpec] = field(default_factory=list)
    values: dict[int, dict[str, Any]] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)
    splits: dict[int, str] = field(default_factory=dict)
    told: dict[int, dict[str, Any]] = field(default_factory=dict)  # cells of all columns


def folder_classes(
    root: Path, items: Sequence[Item], groups: Sequence[str | None], table: TableLabels, account: Accounting
) -> TargetSpec | None:
    """The outermost folder that tells no role and no part as a class (``benign/``), into the labels of ``table``.

    None where folders hold the scans of one patient each, or where the table says the same.
    """
    if any(one.name == FOLDER for one in table.targets):
        return None
    words = [_outermost(item, root) for item in items]
    counts = Counter(words)
    if folder_meaning(words, [root.name]).kind != "class" or min(counts.values()) < 2 or are_too_many(words):
        return None
    if are_people(words, [one for one in groups if one]) or _are_sequences(words):
        return None
    columns = {name for cells in table.told.values() for name in cells}
    cells = ([table.told.get(number, {}).get(name) for number in range(len(items))] for name in sorted(columns))
    if not stays_beside_table(words, cells):
        return None
    target, place = class_target(FOLDER, words)
    for number, word in enumerate(words):
        table.values.setdefault(number, {})[FOLDER] = place[word]
    account.guess(
        f"label {FOLDER!r}", f"class ({', '.join(target.names[:6])})", folder_meaning(words, [root.name]).reason
    )
    return target


def read_item_table(
    root: Path, items: Sequence[Item], groups: Sequence[str | None], kind: LabelKind, account: Accounting
) -> TableLabels:
    """What the folder's tables say of its scans; nothing where there is none or they name none of them.

    Args:
        groups: of the items, from their paths: a table may name patients instead of scans.

    Raises:
        DataError: ``split.csv`` names no scan at all, or two rows contradict each other about one scan.
    """
    keys = _keys(items, groups, root)
    files = [item.files[0] for item in items]
    tables = []
    for path in _table_paths(root, keys, account):
        account.use(path)
        one = joined_table(path, keys, files, account, noun="scan", change="rename it to id")
        if one.rows_of:
            tables.append(one)
        elif one.first_name and path.name == TABLES[0]:
            raise DataError(
                f"no column of {path.name} names the scans", columns=", ".join(one.table.columns),
                first_cell=one.first_name, first_scan=items[0].stem if items else "none",
            )  # fmt: skip
        elif one.first_name:
            why = why_unused(one, keys, "scan", items[0].stem)
            account.guess(f"table {path.name}", "not used", why, is_loss=True)
    if not tables:
        return _listed(TableLabels(), root, files, keys, account)
    kept = without_placeholders(tables, account)
    columns, rows_of = put_together(kept, root, account)
    found = _labels(columns, rows_of, kind, account)
    if not found.groups:
        found.groups = {number: name for one in kept for number, name in one.owners().items()}
    return _listed(found, root, files, keys, account)


def _listed(table: TableLabels, root: Path, files: Sequence[Path], keys: Keys, account: Accounting) -> TableLabels:
    """The labels with parts that lists of names declare, where no column does."""
    if not table.splits:
        words = words_of_lists(root, files, account, keys)
        table.splits = {number: word for number, word in enumerate(words) if word is not None}
    return table


def _outermost(item: Item, root: Path) -> str:
    """The first folder of a scan that tells neither a role nor a part, as it is written; empty where there is none."""
    above = (composed(part) for part in item.files[0].relative_to(root).parts[:-1])
    return next((part for part in above if part.lower() in item.seen.folders), "")


def _are_sequences(folders: Sequence[str]) -> bool:
    """Whether folders are called like sequences of one examination."""
    return any({name.lower() for name in folders} <= {*family, *SCAN_WORDS} for family in SEQUENCES)


def _table_paths(root: Path, keys: Keys, account: Accounting) -> list[Path]:
    """The table that is called so, else those of the folder and of the ones below it; submissions are no labels."""
    there = [path for name in TABLES if (path := root / name).is_file()]
    if there:
        return there[:1]
    found = [
        one.path
        for one in walk(root)
        if not (one.problem or one.left_out)
        and (table_suffix(one.path) in SUFFIXES or lists_items(one.path, keys))
        and len(one.path.relative_to(root).parts) <= TABLE_DEPTH + 1
    ]  # fmt: skip
    for path in found:
        if is_submission(path):
            account.ignore(path, "a sample submission by its name: places for answers, no labels")
    return sorted(path for path in found if not is_submission(path))


def _plain(cell: Any) -> str:  # a cell of any type
    """A scan's name as tables write it: without folders and suffix."""
    text = Path(composed(str(cell).strip()).replace("\\", "/"))
    return volume_stem(text) if is_volume(text) else text.name


def _keys(items: Sequence[Item], groups: Sequence[str | None], root: Path) -> Keys:
    """What tables may call the items; a patient's name stands for all of his scans."""
    above = [tuple(composed(part) for part in item.files[0].relative_to(root).parts[:-1]) for item in items]
    keys = Keys(root, above, lambda name: _plain(name) if _plain(name) != name else "")
    patients = [group or group_in_path(item.files[0], root) for group, item in zip(groups, items, strict=True)]
    for number, (item, group) in enumerate(zip(items, patients, strict=True)):
        written = [item.stem[: len(group)]] if group and item.stem.lower().startswith(group) else []
        keys.add(number, {composed(one) for one in item.names}, [*written, group] if group is not None else [])
    for name, numbers in _case_folders(items, root).items():
        keys.by_owner.setdefault(name, dict.fromkeys(numbers))
    for known in (keys.by_name, keys.by_owner):
        for name in [one for one in known if one.lower().startswith("sub-")]:
            known.setdefault(name[4:], known[name])  # participants.tsv without the prefix
    for short, name in unpadded([*keys.by_name, *keys.by_owner]).items():
        for known in (keys.by_name, keys.by_owner):
            if name in known:
                known[short] = known[name]
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


def _labels(
    others: Mapping[str, Sequence[Any]], rows_of: Mapping[int, Sequence[int]], kind: LabelKind, account: Accounting
) -> TableLabels:
    called = next((name for name in others if name.lower() in SPLIT_COLUMNS), None)
    split = called or split_column(others, others.__getitem__)
    group = group_column([name for name in others if name != split], GROUP_WORDS)
    judged = read_labels(
        {name: cells for name, cells in others.items() if name != split},
        kind=kind, group_words=GROUP_WORDS, account=account,
    )  # fmt: skip
    result = TableLabels(targets=[one.target for one in judged if one.target is not None])
    for number, rows in rows_of.items():
        for row in reversed(rows):  # rows of several tables say different things, and nothing else than each other
            result.told.setdefault(number, {}).update({name: cells[row] for name, cells in others.items()})
            result.values.setdefault(number, {}).update({
                one.name: value for one in judged if one.target is not None and not _is_nan(value := one.value(row))
            })  # fmt: skip
            if group is not None and not is_missing(others[group][row]):
                result.groups[number] = str(others[group][row]).strip()
            if split is not None and not is_missing(others[split][row]):
                word = str(others[split][row]).strip()
                result.splits[number] = part_of(word) or word
    return result


def _is_nan(value: Any) -> bool:  # what LabelColumn.value gives
    return isinstance(value, float) and math.isnan(value)
