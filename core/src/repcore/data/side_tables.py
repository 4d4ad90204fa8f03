"""Tables beside files: which files a table may speak of, which file a cell means, and what is no table of labels.

``train.csv`` beside the folder ``train`` and a table inside of ``siteA`` speak of that folder where other folders hold
files of the same names. A name that two files share joins nothing, unless another column names the folder. Sample
submissions hold places for answers, not labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from repcore.data.cells import is_missing
from repcore.data.names import composed
from repcore.data.splits import PART_NAMES, folder_part, part_of

_SUBMISSION = re.compile(r"(^|[-_ .])(submissions?|submit|samplesubmission|sample_sub)([-_ .]|$)", re.IGNORECASE)


def table_part(path: Path) -> str:
    """Part of a split that a table's name tells (``train.csv``, ``labels_test.csv``); empty where it tells none."""
    words = re.split(r"[-_.\s]+", path.name.lower())
    found = {PART_NAMES[word] for word in words if word in PART_NAMES}
    return found.pop() if len(found) == 1 else ""


def is_submission(path: Path) -> bool:
    """Whether a table is called a (sample) submission: its cells are places for answers, or guesses."""
    return _SUBMISSION.search(path.stem) is not None


@dataclass(slots=True)
class Keys:
    """What tables may call items: ends of their paths (one item each, or nothing is meant), and owners of several.

    Args:
        root: folder of the data.
        folders: folders below ``root`` in which each item lies, the outermost first.
        plain: the last part of a path as tables may write it without its suffix; empty for none.
    """

    root: Path
    folders: list[tuple[str, ...]]
    plain: Callable[[str], str]
    by_name: dict[str, dict[int, None]] = field(default_factory=dict)
    by_owner: dict[str, dict[int, None]] = field(default_factory=dict)
    _known: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._known = frozenset(folder for above in self.folders for folder in above)

    def add(self, number: int, names: Iterable[str], owners: Iterable[str] = ()) -> None:
        """Names of an item, which its folders may precede, and names of whom it belongs to (a patient, a study)."""
        above = self.folders[number]
        for name in names:
            for start in range(len(above) + 1):
                self.by_name.setdefault("/".join((*above[start:], name)), {})[number] = None
        for owner in owners:
            self.by_owner.setdefault(owner, {})[number] = None

    def find(self, cell: Any, among: frozenset[int] | None = None) -> tuple[list[int], bool]:
        """Items that a cell means, and whether it is their own name; several with one name: nobody knows which.

        Args:
            cell: of any type.
            among: items that the table may speak of; None = all.
        """
        if is_missing(cell):
            return [], True
        parts = PurePosixPath(composed(str(cell).strip()).replace("\\", "/")).parts
        for start in range(len(parts)):
            tail = parts[start:]
            plain = self.plain(tail[-1])
            for words in (tail, (*tail[:-1], plain)) if plain else (tail,):
                name = "/".join(words)
                for known, is_name in ((self.by_name, True), (self.by_owner, False)):
                    found = [one for one in known.get(name, ()) if among is None or one in among]
                    if start and is_name:
                        found = self._below(parts[start - 1], found)
                    if found:
                        return found, is_name
        return [], True

    def _below(self, folder: str, found: list[int]) -> list[int]:
        """Those in the folder that the cell names before the name, where the data have a folder of that name."""
        if folder not in self._known:
            return found
        return [one for one in found if folder in self.folders[one]]

    def scope(self, table: Path) -> frozenset[int] | None:
        """Items that a table may speak of by its place or name; None where nothing limits it.

        A folder limits its table only where items outside of it share names with those inside.
        """
        if not table.is_relative_to(self.root):
            return None
        above = table.relative_to(self.root).parts[:-1]
        inside = {number for number, own in enumerate(self.folders) if above and own[: len(above)] == above}
        limited = self._if_shared(inside, None)
        stem, part = table.stem.casefold(), table_part(table)
        called = {
            number
            for number, own in enumerate(self.folders)
            if any(_calls(stem, part, folder) for folder in own[len(above) if own[: len(above)] == above else 0 :])
        }
        return self._if_shared(called if limited is None else called & limited, limited)

    def _if_shared(self, inside: set[int] | frozenset[int], before: frozenset[int] | None) -> frozenset[int] | None:
        if not inside:
            return before
        for known in (self.by_name, self.by_owner):
            for found in known.values():
                count = sum(one in inside for one in found)
                if 0 < count < len(found):
                    return frozenset(inside)
        return before


def told_apart(
    torn: Mapping[int, Sequence[Path]], columns: Mapping[str, Sequence[Any]], root: Path
) -> tuple[dict[int, Path], str]:
    """Files of rows whose name several files have, by a column that names their folders; and that column.

    Args:
        torn: row -> files below ``root`` that share its name.
        columns: cells of all rows by name of the column.
    """
    for name, cells in columns.items():
        found = {}
        for row, files in torn.items():
            fits = [one for one in files if any(_names(cells[row], part) for part in one.relative_to(root).parts[:-1])]
            if len(fits) != 1:
                break
            found[row] = fits[0]
        if torn and len(found) == len(torn):
            return found, name
    return {}, ""


def _calls(stem: str, part: str, folder: str) -> bool:
    """Whether the name of a table names a folder: ``siteA.csv``, ``siteA_labels.csv``, ``labels_train.csv``."""
    if part and folder_part(folder) is not None:
        return folder_part(folder) == part
    word = re.escape(folder.casefold())
    return re.search(rf"^{word}([-_. ]|$)|[-_. ]{word}$", stem) is not None


def _names(cell: Any, folder: str) -> bool:
    if is_missing(cell):
        return False
    part = folder_part(folder)
    word = composed(str(cell).strip()).casefold()
    return word == composed(folder).casefold() or (part is not None and part_of(cell) == part)


def is_placeholder(
    columns: Mapping[str, Sequence[Any]], key: str, others: Sequence[Mapping[str, Sequence[Any]]]
) -> bool:
    """Whether a table repeats the columns of another one with one and the same word in each: places for answers.

    Args:
        columns: cells by name of the column. key: the column of names.
        others: tables with labels, in the same form.
    """
    own = [name for name in columns if name != key]
    filled = [{str(cell) for cell in columns[name] if not is_missing(cell)} for name in own]
    if not own or len(columns[key]) < 2 or any(len(words) > 1 for words in filled):
        return False
    varied = (
        {name for name in own if name in other and len({str(cell) for cell in other[name]}) > 1} for other in others
    )
    return any(found == set(own) for found in varied)
