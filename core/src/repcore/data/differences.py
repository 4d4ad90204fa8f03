"""Which rows or files of changed data differ: stamps that a run keeps at its start, and their comparison in words.

Stamps are JSON values of one of three forms:

    {id: hash}                                     a hash of each row, by its id, of data sets that keep their rows
    {"tables": {name: {columns, rows, block, stamps}}}  a hash of every ``block`` rows of a table
    {"files": {name: hash}}                        a hash of each file, where rows are not known or too many
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.identity import file_identity, read_limit
from repcore.data.tables import Table

MOST_STAMPS = 50_000  # of a data set: rows, blocks of rows, or files
MOST_CELLS = 5_000_000  # of tables that are looked through row by row; of larger ones only the file is known
AT_ONCE = 8192  # rows
DIGITS = 8
SHOWN = 5
Stamps = Mapping[str, Any]


def data_stamps(reader: Any) -> Stamps | None:  # any DatasetReader
    """What a run keeps of its data, to say later what has changed; None where a reader tells neither rows nor files."""
    reader = getattr(reader, "prepared_from", reader)
    rows = getattr(reader, "rows", None)
    if isinstance(rows, tuple | list) and len(rows) <= MOST_STAMPS and all(hasattr(one, "stamped") for one in rows):
        return {str(one.id): _digest(one.stamped())[:16] for one in rows}
    tables = [one for one in getattr(reader, "tables_read", ()) if isinstance(one, Table)]
    if tables and sum(len(one) * len(one.columns) for one in tables) <= MOST_CELLS:
        return {"tables": {one.path.name: _table_stamps(one) for one in tables}}
    account = getattr(reader, "account", None)
    return {"files": _file_stamps(account)} if isinstance(account, Accounting) else None


def difference(before: Stamps | None, now: Stamps | None) -> str:
    """Which rows or files were added, removed or changed, in words."""
    if not isinstance(before, Mapping) or now is None:
        return "which rows differ is not recorded for this data set"
    for kind in ("tables", "files"):
        if isinstance(before.get(kind), Mapping) != isinstance(now.get(kind), Mapping):
            return "which rows differ is not known: the data are read in another way now"
    if isinstance(now.get("files"), Mapping):
        return _named(before["files"], now["files"], " files") or "no file: the way in which they are read"
    if not isinstance(now.get("tables"), Mapping):
        return _named(before, now, "") or "the same rows in another order"
    said = []
    old, new = before["tables"], now["tables"]
    if set(old) != set(new):
        if len(old) == len(new) == 1:  # one table that has another name
            old = {next(iter(new)): next(iter(old.values()))}
        else:
            said.append(_named(dict.fromkeys(old, ""), dict.fromkeys(new, ""), " tables"))
    said += [words for name in new if name in old and (words := _table_words(name, old[name], new[name]))]
    return "; ".join(said) or "no row: the way in which they are read"


def _named(before: Mapping[str, str], now: Mapping[str, str], noun: str) -> str:
    parts = {
        "new": [name for name in now if name not in before],
        "gone": [name for name in before if name not in now],
        "changed": [name for name in now if name in before and now[name] != before[name]],
    }
    return "; ".join(f"{len(names):,} {word}{noun} ({_first(names)})" for word, names in parts.items() if names)


def _first(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def _table_words(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs in a table; rows are counted from 0, without the header."""
    if old["columns"] != new["columns"]:
        other = _named(dict.fromkeys(old["columns"], ""), dict.fromkeys(new["columns"], ""), "")
        return f"columns of {name}: {other or 'in another order'}"
    first, second, size = _cut(old["stamps"]), _cut(new["stamps"]), int(new["block"])
    if (old["block"], old["rows"]) != (size, new["rows"]) or len(first) != len(second):
        return f"{name} has {_counted(new['rows'])}, had {old['rows']:,}{_shifted(first, second, old, new)}"
    differing = [number for number, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    if not differing:
        return ""
    if size == 1:
        rows = "row differs" if len(differing) == 1 else "rows differ"
        return f"{len(differing):,} {rows} in {name} ({'row' if len(differing) == 1 else 'rows'} {_first(differing)})"
    places = [f"{one * size} to {min((one + 1) * size, new['rows']) - 1}" for one in differing]
    return (
        f"rows differ in {len(differing):,} of {len(first):,} blocks of {size} rows of {name} (rows {_first(places)})"
    )


def _counted(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"


def _shifted(first: list[str], second: list[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Where a table whose number of rows has changed begins and ends to differ."""
    if old["block"] != new["block"]:
        return ""
    least = min(len(first), len(second))
    head = next((number for number in range(least) if first[number] != second[number]), least)
    tail = next((number for number in range(least - head) if first[-1 - number] != second[-1 - number]), least - head)
    size = int(new["block"])
    if size > 1:
        return f": they differ from row {head * size} on"
    gone, come = len(first) - head - tail, len(second) - head - tail
    if not gone:
        return f": new {_range(head, come)}"
    return f": gone {_range(head, gone)}" if not come else f": {_range(head, gone)} became {_range(head, come)}"


def _range(start: int, count: int) -> str:
    return f"row {start}" if count == 1 else f"rows {start} to {start + count - 1}"


def _table_stamps(table: Table) -> dict[str, Any]:
    size = -(-len(table) // MOST_STAMPS)
    found: list[str] = []
    step = size * max(1, AT_ONCE // size)
    for start in range(0, len(table), step):
        stop = min(start + step, len(table))
        cells = list(zip(*(table.slice(start, stop, name) for name in table.columns), strict=True))
        found += [_digest(repr(cells[place : place + size]))[:DIGITS] for place in range(0, stop - start, size)]
    return {"columns": list(table.columns), "rows": len(table), "block": size, "stamps": "".join(found)}


def _cut(stamps: str) -> list[str]:
    return [stamps[place : place + DIGITS] for place in range(0, len(stamps), DIGITS)]


def _file_stamps(account: Accounting) -> dict[str, str]:
    """Hash of each file that became rows, labels or settings; sizes and times where all are too much to read."""
    names = [name for name, fate, _ in account.files() if fate == "used"]
    if len(names) > MOST_STAMPS:
        return {}
    paths = {name: (account.root or Path()) / name for name in names}
    sizes = {name: path.stat() for name, path in paths.items() if path.is_file()}
    if sum(one.st_size for one in sizes.values()) > read_limit():
        return {name: f"{one.st_size}-{one.st_mtime_ns}" for name, one in sizes.items()}
    return {name: file_identity(path)[:16] for name, path in paths.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
