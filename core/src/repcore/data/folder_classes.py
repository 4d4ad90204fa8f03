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

from repcore.data.accounting import Accounting
from repcore.data.cells import is_missing
from repcore.data.groups import group_in_path, is_group_name, is_person_folder, plain_name

_NUMBERED = re.compile(r"^(.*?)[-_ ]?\d+$")
_WORD_THEN_NUMBER = re.compile(r"(.*[^\W\d_])[-_. ]*\(?\d+\)?")
_NUMBER_THEN_WORD = re.compile(r"\d+[-_. ]+([^\W\d_].*)")
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
    if all(map(is_person_folder, counts)):
        return FolderMeaning("group", f"{said}, all called like people")
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


@dataclass(frozen=True, slots=True)
class FolderLevels:
    """What nested folders say of each file.

    Args:
        classes: class of each file; empty where no level is one. reason: why.
        groups: whose each file is; empty where no level says it. said: why.
        left: folders of a further level that may be classes, too.
    """

    classes: tuple[str, ...] = ()
    reason: str = ""
    groups: tuple[str, ...] = ()
    said: str = ""
    left: tuple[str, ...] = ()


def folder_levels(above: Sequence[Sequence[str]], root: str) -> FolderLevels:
    """Classes and groups in nested folders: ``walking/subject01/trial1``, ``subject01/walking``.

    Args:
        above: folders of each file, the outermost first, without parts of a split; of files at different depths only
            the innermost folder counts.
        root: name of the folder of all.
    """
    depths = {len(one) for one in above}
    nested = [list(level) for level in zip(*above, strict=True)] if len(depths) == 1 else []
    levels = nested or [[one[-1] if one else "" for one in above]]
    outer, classes, groups = [root], [], FolderLevels()
    for level in levels:
        meaning = folder_meaning(level, outer)
        outer = [*outer, level[0]] if level and len(set(level)) == 1 else outer
        if meaning.kind == "group" and not groups.groups:
            groups = FolderLevels(groups=tuple(level), said=meaning.reason)
        elif meaning.kind == "class":
            classes.append((level, meaning.reason))
    if len(levels) > 1:  # trial1, trial2: a running number below or above what it counts
        classes = [one for one in classes if not _are_counted(one[0])] or ([] if groups.groups else classes)
    if not classes:
        return groups
    chosen, reason = classes[-1]
    left = tuple(sorted(set(classes[-2][0]))) if len(classes) > 1 else ()
    return FolderLevels(tuple(chosen), reason, groups.groups, groups.said, left)


def _are_counted(folders: Sequence[str]) -> bool:
    stems = {_stem(name) for name in folders}
    stem = stems.pop()
    return not stems and stem is not None and stem not in _CLASS_STEMS


def tell_words_in_names(stems: Sequence[str], account: Accounting) -> None:
    """Say that names of files may hold classes (``rain-01``, ``01_rain``), which nothing but their author knows.

    Args:
        stems: names of all files without their suffixes.
    """
    for pattern in (_WORD_THEN_NUMBER, _NUMBER_THEN_WORD):
        found = [pattern.fullmatch(stem) for stem in stems]
        words = [plain_name(one[1]) for one in found if one is not None]
        counts = Counter(words)
        if len(words) < len(stems) or not 2 <= len(counts) <= MOST_FOLDER_CLASSES:
            continue
        if min(counts.values()) < 2 or len(words) < LEAST_OF_A_CLASS * len(counts):
            continue
        if all(is_group_name(f"{re.sub(r'[_0-9]', '', word)}_id") for word in counts):
            continue
        shown = ", ".join(f"{word} {count}" for word, count in counts.most_common(4))
        why = f"they may hold {len(counts)} classes ({shown}): folders of these names, or a table beside them, tell so"
        account.guess("names of files", "no label", why)
        return


def are_people(folders: Sequence[str], groups: Iterable[str] = ()) -> bool:
    """Whether the folders are called like patients, or like the groups that are known."""
    names = set(folders)
    if any(group_in_path(f"{name}/x") for name in names) or names == set(groups):
        return True
    return all(map(is_person_folder, names))


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
    if _are_counted(folders):
        return False  # images_part_1 and images_part_2: pieces of one set
    for cells in columns:
        pairs = {(folder, str(cell)) for folder, cell in zip(folders, cells, strict=True) if not is_missing(cell)}
        if pairs and len(pairs) == len({one for one, _ in pairs}) == len({one for _, one in pairs}):
            return False
    return True
