"""Splits that lists of names declare: ``ImageSets/train.txt``; ``train.txt``, ``modelnet40_test.txt`` beside files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from repcore.data.accounting import Accounting
from repcore.data.encodings import whole_text
from repcore.data.splits import PART_NAMES

SPLIT_FOLDERS = ("ImageSets", "imagesets", "splits")
LIST_SUFFIXES = (".txt", ".lst")
LEAST_NAMED = 0.5  # share of the words of a list beside the files that name one: prose about a training names none
LARGEST_LIST = 64 * 2**20


def listed_splits(root: Path, files: Sequence[Path], account: Accounting) -> dict[str, list[int]]:
    """Rows of each part that a list of names declares, a name a line; empty where there is no list.

    Names are paths below the root or the ends of them, with or without suffix; a name of several files is none of them.
    Where lists declare no training part, what they do not name is it.
    """
    keys = _keys(root, files)
    found: dict[str, set[int]] = {}
    for path, part, is_beside in _lists(root):
        names = whole_text(path).split()
        rows = [keys[key] for name in names if (key := _plain(name)) in keys and keys[key] is not None]
        if not rows or (is_beside and len(rows) < LEAST_NAMED * len(names)):
            continue
        account.use(path)
        found.setdefault(part, set()).update(row for row in rows if row is not None)
        if len(rows) < len(names):
            account.note(f"{len(names) - len(rows)} of {len(names)} names of {path.name} name no file, or several")
    if not found:
        return {}
    if "train" not in found:
        named = set().union(*found.values())
        found["train"] = {row for row in range(len(files)) if row not in named}
        account.guess(
            "split", "what the lists do not name is for training", f"lists name {', '.join(sorted(found))} only"
        )
    return {name: sorted(rows) for name, rows in found.items()}


def _keys(root: Path, files: Sequence[Path]) -> Mapping[str, int | None]:
    """Ends of paths without suffix -> row; None where several files end so. The whole path always names its file."""
    keys: dict[str, int | None] = {}
    whole: dict[str, int | None] = {}
    for row, path in enumerate(files):
        parts = PurePosixPath(path.relative_to(root).as_posix()).with_suffix("").parts
        for start in range(len(parts)):
            key = "/".join(parts[start:])
            keys[key] = row if key not in keys else None
        whole["/".join(parts)] = row
    return keys | whole


def _plain(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/").removeprefix("./"))
    return path.with_suffix("").as_posix() if path.name else name


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
