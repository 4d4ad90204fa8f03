"""What folders say of the files in them: a class, whose they are (a group), or nothing. Said with the reason.

``cat/1.wav`` and ``dog/1.wav`` are classes. ``speaker1/`` or ``patients/anna/`` tell whose a file is, and folders that
hold one file each name that file: a class of one example says nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from repcore.data.groups import is_group_name, plain_name

_NUMBERED = re.compile(r"^(.*?)[-_ ]?\d+$")
_CLASS_STEMS = frozenset(
    {"", "class", "c", "label", "type", "grade", "category", "cat", "digit", "level", "stage", "kind"}
)


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
    if above and is_group_name(f"{plain_name(above[-1]).removesuffix('s')}_id"):
        return FolderMeaning("group", f"{said} below {above[-1]!r}")
    if most == 1 and stem is not None and stem not in _CLASS_STEMS:
        return FolderMeaning("none", f"{said}: they name a file, no class")
    return FolderMeaning("class", said)


def _stem(name: str) -> str | None:
    """The word before a running number; None for a name without a number."""
    found = _NUMBERED.match(name)
    return None if found is None else plain_name(found[1])
