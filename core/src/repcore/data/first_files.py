"""The first files of a folder, which are enough to know what it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

LOOKED_AT = 3000
FOLDERS_LOOKED_INTO = 400  # a tree without scans is left before it is walked to its end


def first_files(root: Path, most: int = LOOKED_AT) -> list[Path]:
    """Up to ``most`` regular files below a folder in a fixed order, links followed once, hidden ones left out.

    No more than :data:`FOLDERS_LOOKED_INTO` folders are listed.
    """
    return list(islice(_files(root), most))


def _files(root: Path) -> Iterator[Path]:
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
