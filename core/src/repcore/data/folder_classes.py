"""What folders say of the files in them: a class, whose they are (a group), or nothing. Said with the reason.

``cat/1.wav`` and ``dog/1.wav`` are classes. ``speaker1/`` or ``patients/anna/`` tell whose a file is, and folders that
hold one file each name that file: a class of one example says nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from repcore.data.cells import is_missing
from repcore.data.groups import group_in_path, is_group_name, plain_name

_NUMBERED = re.compile(r"^(.*?)[-_ ]?\d+$")
_CLASS_STEMS = frozenset(
    {"", "class", "c", "label", "type", "grade", "category", "cat", "digit", "level", "stage", "kind"}
)
LEAST_OF_A_CLASS = 3  # folders with fewer files on average hold patients, not classes
MOST_FOLDER_CLASSES = 50


@dataclass(frozen=True, slots=True)
class FolderMeaning:
    """What the folders mean, and why, in words."""

    kind: Literal["class", "group", "none"]
    reason: str


def folder_meaning(folders: Sequence[str], above: Sequence[str] = ()) -> FolderMeaning:
    """What the folder of each file means.

    Args:
        folders: one a file, ``""`` for a file in none.
        above: folders that all files share, the outermost first: ``speakers`` above ``anna`` and ``ben``.
    """
    counts = Counter(folders)
    if not folders or "" in counts or len(counts) < 2:
        return FolderMeaning("none", "not every file lies in a folder, or all lie in one")
    few, most = min(counts.values()), max(counts.values())
    sizes = f"{few} files" if few == most else f"{few} to {most} files"
    said = f"{len(counts)} folders of {'1 file' if most == 1 else sizes} each"
    stems = {_stem(name) for name in counts}
    stem = stems.pop() if len(stems) == 1 else None
    if stem and is_group_name(f"{stem}_id"):
        return FolderMeaning("group", f"{said}, all called {stem} and a number")
    word = plain_name(above[-1]).removesuffix("s") if above else ""
    if word and "_" not in word and is_group_name(f"{word}_id"):  # speakers/, not xrays_of_patients/
        return FolderMeaning("group", f"{said} below {above[-1]!r}")
    if most == 1 and stem is not None and stem not in _CLASS_STEMS:
        return FolderMeaning("none", f"{said}: they name a file, no class")
    return FolderMeaning("class", said)


def _stem(name: str) -> str | None:
    """The word before a running number; None for a name without a number."""
    found = _NUMBERED.match(name)
    return None if found is None else plain_name(found[1])


def are_people(folders: Sequence[str], groups: Iterable[str] = ()) -> bool:
    """Whether the folders are called like patients, or like the groups that are known."""
    names = set(folders)
    return any(group_in_path(f"{name}/x") for name in names) or names == set(groups)


def are_too_many(folders: Sequence[str]) -> bool:
    """Whether there are more folders than classes, or too few files in each."""
    count = len(set(folders))
    return count > MOST_FOLDER_CLASSES or (len(folders) < LEAST_OF_A_CLASS * count and count > 3)


def stays_beside_table(folders: Sequence[str], columns: Iterable[Sequence[Any]]) -> bool:
    """Whether class folders say what a table with labels of the same files does not say.

    Args:
        folders: class of each file by its folder.
        columns: cells of the table for each file; one that divides the files as the folders do says the same.
    """
    stems = {_stem(name) for name in folders}
    if len(stems) == 1 and (stem := stems.pop()) is not None and stem not in _CLASS_STEMS:
        return False  # images_part_1 and images_part_2: pieces of one set
    for cells in columns:
        pairs = {(folder, str(cell)) for folder, cell in zip(folders, cells, strict=True) if not is_missing(cell)}
        if pairs and len(pairs) == len({one for one, _ in pairs}) == len({one for _, one in pairs}):
            return False
    return True
