"""The first files of a folder, which are enough to know what it holds; recognising data walks no tree to its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

LOOKED_AT = 3000
FOLDERS_LOOKED_INTO = 400


def first_files(root: Path, most: int = LOOKED_AT) -> list[Path]:
    """Up to ``most`` of :func:`files_below`."""
    return list(islice(files_below(root), most))


def files_below(root: Path) -> Iterator[Path]:
    """Regular files of the first :data:`FOLDERS_LOOKED_INTO` folders of a tree, in a fixed order.

    Links are followed once, hidden files and folders left out; nothing below what is no folder.
    """
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        facts = Path(folder).stat()
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        if len(seen) == FOLDERS_LOOKED_INTO:
            return
        seen.add((facts.st_dev, facts.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path
