"""Comparing JSON documents of a golden folder with what a replay produced.

A ``.json`` file is compared as a nested document, a ``.jsonl`` file column by column: the replay gives, for each field,
one value a line. Data sets that lie outside the folder may be missing: the replay then gives :class:`Unavailable`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from repcore.verification.compare import Row

_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class Unavailable:
    """In place of a produced value: it needs a data set outside the folder, which is not at ``path``."""

    path: Path

    def excuses(self, folder: Path) -> bool:
        """True if the data set really lies outside the folder and really is not there."""
        outside = not self.path.resolve().is_relative_to(folder.resolve())
        return outside and not self.path.exists()


def compare_document(
    stored: Any, produced: Mapping[str, Any], fields: Sequence[str], rule: Mapping[str, Any], folder: Path
) -> tuple[list[Row], list[str]]:
    """Compare the leaves of a nested document whose dotted paths fit ``fields``.

    Returns:
        one row a first-level key (one in all for a flat document), and what is unavailable.
    """
    missing = {key: value.path for key, value in produced.items() if _is_excused(value, folder)}
    expected = {path: leaf for path, leaf in _leaves(stored) if path[0] not in missing and _fits(path, fields)}
    computed = {path: leaf for path, leaf in _leaves(produced) if path[0] not in missing and _fits(path, fields)}
    groups: dict[str, list[tuple[str, ...]]] = {}
    for path in {**expected, **computed}:
        groups.setdefault(path[0] if len(path) > 1 else "*", []).append(path)
    rows = []
    for group, paths in groups.items():
        wrong = []
        for path in paths:
            if path not in expected or path not in computed:
                wrong.append(f"{'.'.join(path)} is only in the {'folder' if path in expected else 'replay'}")
            elif not same_value(expected[path], computed[path], rule):
                wrong.append(f"{'.'.join(path)}: {_short(computed[path])} instead of {_short(expected[path])}")
        rows.append(Row(group, not wrong, len(paths), detail=_listed(wrong)))
    if not rows and not missing:
        rows.append(Row("*", False, detail=f"no field fits {', '.join(fields)}"))
    return rows, [f"{key}: no data set at {path}" for key, path in missing.items()]


def compare_lines(
    stored: Sequence[Mapping[str, Any]], produced: Mapping[str, Any], fields: Sequence[str], rule: Mapping[str, Any]
) -> list[Row]:
    """Compare fields of a JSON-lines file; a field that a line lacks counts as null."""
    ignored = set(rule.get("ignored_lines", ()))
    rows = []
    for name in fields:
        column = produced.get(name)
        if column is None or len(column) != len(stored):
            got = "nothing" if column is None else f"{len(column)} values"
            rows.append(Row(name, False, detail=f"the replay gave {got} for {len(stored)} lines"))
            continue
        wrong = [
            f"line {number}: {_short(value)} instead of {_short(line.get(name))}"
            for number, (line, value) in enumerate(zip(stored, column, strict=True))
            if number not in ignored and not same_value(line.get(name), value, rule)
        ]
        rows.append(Row(name, not wrong, len(stored) - len(ignored & set(range(len(stored)))), detail=_listed(wrong)))
    extra = sorted(set(produced) - set(fields))
    return rows + [Row(name, False, detail="produced, but the folder does not ask for it") for name in extra]


def same_value(stored: Any, produced: Any, rule: Mapping[str, Any]) -> bool:
    """Equality of JSON values: numbers within ``rtol``, lists as sets on request, numpy and tuples as plain values."""
    if isinstance(produced, bool) or isinstance(stored, bool) or stored is None or produced is None:
        return stored is produced
    if isinstance(stored, int | float) and isinstance(produced, int | float):
        rtol = float(rule.get("rtol", 0.0))
        return math.isclose(produced, stored, rel_tol=rtol, abs_tol=0.0) if rtol else produced == stored
    if isinstance(stored, Mapping) and isinstance(produced, Mapping):
        return stored.keys() == produced.keys() and all(same_value(stored[k], produced[k], rule) for k in stored)
    if isinstance(stored, list) and isinstance(produced, list | tuple):
        if rule.get("lists_as_sets"):
            return len(stored) == len(produced) and _as_set(stored) == _as_set(produced)
        return len(stored) == len(produced) and all(
            same_value(old, new, rule) for old, new in zip(stored, produced, strict=True)
        )
    return type(stored) is type(produced) and bool(stored == produced)


def _as_set(values: Sequence[Any]) -> set[str]:
    return {json.dumps(value, sort_keys=True) for value in values}


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, (*path, str(key)))
    elif path:
        yield path, value


def _fits(path: tuple[str, ...], fields: Sequence[str]) -> bool:
    return any(fnmatchcase(".".join(path), pattern) for pattern in fields)


def _is_excused(value: Any, folder: Path) -> bool:
    return isinstance(value, Unavailable) and value.excuses(folder)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _listed(wrong: Sequence[str]) -> str:
    more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
    return "; ".join(wrong[:3]) + more
