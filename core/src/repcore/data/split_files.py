"""Split files: JSON with the ids of each part, so that a split can be shared, compared by hash and used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.splits import PARTS, check_leakage
from repcore.errors import DataError
from repcore.files import read_json_file, written_whole
from repcore.interfaces import ProbeSplit

FORMAT = 1


def write_split(path: Path, split: ProbeSplit, ids: Sequence[str], *, title: str = "", seed: int | None = None) -> None:
    """Write the ids of each part; the file appears only when it is complete.

    Args:
        path: ``.json`` file to write.
        split: rows.
        ids: one a row of the data.
        title / seed: how the split was made, for people.
    """
    parts = {name: getattr(split, name) for name in PARTS if getattr(split, name) is not None}
    content = {
        "format": FORMAT,
        "title": title,
        "seed": seed,
        "hash": split_hash(split, ids),
        "parts": {name: [ids[int(row)] for row in rows] for name, rows in parts.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_split(path: Path, ids: Sequence[str]) -> ProbeSplit:
    """Rows of the data that a split file names; rows it does not name are not used.

    Args:
        path: what :func:`write_split` wrote.
        ids: one a row of the data; order may differ from when the file was written.

    Raises:
        DataError: not a split file, it names ids that the data lacks or has twice, or an id is in two parts.
    """
    parts = _read_parts(path)
    row_of: dict[str, int] = {}
    twice: set[str] = set()
    for row, name in enumerate(ids):
        if name in row_of:
            twice.add(name)
        row_of[name] = row
    named = [name for part in parts.values() for name in part]
    for problem, offenders in (
        ("not in the data", [name for name in named if name not in row_of]),
        ("more than once in the data", [name for name in named if name in twice]),
    ):
        if offenders:
            raise DataError(
                f"{len(offenders)} of {len(named)} ids of {path.name} are {problem}",
                first=", ".join(str(name) for name in offenders[:5]),
                hint="use the --id-column that the file was written with",
            )
    rows = {name: np.array([row_of[one] for one in part], dtype=np.int64) for name, part in parts.items()}
    split = ProbeSplit(train=rows["train"], test=rows["test"], validation=rows.get("validation"))
    check_leakage(split, ids=ids)
    return split


def _read_parts(path: Path) -> dict[str, list[str]]:
    try:
        content: Any = read_json_file(path)  # Any: a file may hold anything
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a split file", reason=str(error)) from error
    parts = content.get("parts") if isinstance(content, dict) else None
    if (
        not isinstance(parts, dict)
        or content.get("format") != FORMAT
        or not {"train", "test"} <= set(parts) <= set(PARTS)
        or not all(isinstance(part, list) for part in parts.values())
    ):
        raise DataError(
            f"{path} is not a split file",
            expected=f'{{"format": {FORMAT}, "parts": {{"train": [ids], "validation": [ids], "test": [ids]}}}}',
        )
    return {name: [str(one) for one in part] for name, part in parts.items()}


def split_hash(split: ProbeSplit, ids: Sequence[str]) -> str:
    """Short hash of which id is in which part, whatever the order of rows: equal splits have equal hashes."""
    digest = hashlib.sha256()
    for name in PARTS:
        rows = getattr(split, name)
        digest.update(name.encode())
        for one in sorted(str(ids[int(row)]) for row in (rows if rows is not None else ())):
            digest.update(b"\0" + one.encode())
    return digest.hexdigest()[:16]
