"""Tables beside files joined to them by a column of names, one or several tables as one.

The column that names most items is found by its cells; a name that several items share joins nothing and is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from repcore.data.accounting import Accounting
from repcore.data.cells import is_missing
from repcore.data.label_names import are_class_numbers
from repcore.data.names import nearly
from repcore.data.side_tables import Keys, is_placeholder, table_part, told_apart
from repcore.data.tables import Table
from repcore.errors import DataError


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """A table, its column of names, and item number -> rows.

    ``first_name``: its first name where it names no item, and then ``rows_of`` is empty.
    """

    table: Table
    column: str
    rows_of: Mapping[int, Sequence[int]]
    first_name: str = ""

    @property
    def columns(self) -> dict[str, list[Any]]:
        """Cells by name of the column, without the names of items."""
        return {
            name: list(self.table.slice(0, len(self.table), name)) for name in self.table.columns if name != self.column
        }


def joined_table(
    path: Path, keys: Keys, files: Sequence[Path], account: Accounting, *, noun: str, change: str = ""
) -> JoinedTable:
    """A table joined to items. Says which column names them, and what could not be joined.

    Args:
        keys: what tables may call items. files: the first file of each item.
        noun: what an item is, for messages.
        change: how a user chooses another column.
    """
    table = Table(path)
    columns = {name: table.slice(0, len(table), name) for name in table.columns}
    among = keys.scope(path)
    found = {
        name: {}
        if are_class_numbers(name, cells, list(columns))
        else {row: numbers for row, cell in enumerate(cells) if (numbers := keys.find(cell, among))[0]}
        for name, cells in columns.items()
    }
    column = max(
        found, key=lambda name: (len({tuple(numbers) for numbers, _ in found[name].values()}), len(found[name]))
    )
    if not found[column]:
        first = next((str(cell) for cell in columns[column] if not is_missing(cell)), "no cell")
        return JoinedTable(table, column, {}, first)
    said = f"{len(found[column])} of {len(table)} cells name a {noun}"
    account.guess(f"column of {path.name}", column, said, change)
    lost = [str(cell) for row, cell in enumerate(columns[column]) if row not in found[column]]
    if lost:
        account.note(f"{len(lost)} rows of {path.name} have no {noun}, for example {lost[0]}")
    torn = {
        row: [files[one] for one in numbers]
        for row, (numbers, is_name) in found[column].items()
        if is_name and len({keys.folders[one] for one in numbers}) > 1
    }
    others = {name: cells for name, cells in columns.items() if name != column}
    kept, by = told_apart(torn, others, keys.root)
    if by:
        account.guess(f"{noun}s of {path.name}", f"by {column!r} and {by!r}", "names alone stand for several")
    elif torn:
        account.odd_cells.append(_said_torn(table, column, torn, keys.root, noun))
    number_of = {file: number for number, file in enumerate(files)}
    rows_of: dict[int, list[int]] = {}
    for row, (named, _) in found[column].items():
        told = [number_of[kept[row]]] if row in kept else []
        for number in told if row in torn else named:
            rows_of.setdefault(number, []).append(row)
    return JoinedTable(table, column, rows_of)


def _said_torn(table: Table, column: str, torn: Mapping[int, Sequence[Path]], root: Path, noun: str) -> str:
    row, files = next(iter(torn.items()))
    shown = " and of ".join(sorted(one.relative_to(root).as_posix() for one in files)[:2])
    name = str(table.slice(row, row + 1, column)[0]).strip()
    return (
        f"column {column!r} of {table.path.name}: {len(torn):,} cells name several {noun}s each ({name!r} is the "
        f"name of {shown}): they label none; write the folders into it"
    )


def why_unused(one: JoinedTable, keys: Keys, noun: str, first_item: str) -> str:
    """What to say of a table that names no item."""
    cells = [str(cell).strip() for cell in one.table.slice(0, len(one.table), one.column) if not is_missing(cell)]
    near = nearly([*keys.by_name, *keys.by_owner], [keys.plain(cell) or cell for cell in cells])
    why = f"names none of the {noun}s (first cell {one.first_name!r}, first {noun} {first_item!r})"
    return f"{why}; {near}" if near else why


class Named(Protocol):
    """A table and its column of names."""

    @property
    def table(self) -> Table:
        """The table."""

    @property
    def column(self) -> str:
        """Its column of names."""


AnyTable = TypeVar("AnyTable", bound=Named)


def without_placeholders(tables: Sequence[AnyTable], account: Accounting) -> list[AnyTable]:
    """The tables without those that hold one word in every row where another table has labels; these are said.

    A table that is called like a part of a split is kept: all of a test part may be of one class.
    """
    if len(tables) < 2:
        return list(tables)
    cells = [{name: one.table.cells(name) for name in one.table.columns} for one in tables]
    kept = []
    for number, one in enumerate(tables):
        others = [*cells[:number], *cells[number + 1 :]]
        if not table_part(one.table.path) and is_placeholder(cells[number], one.column, others):
            why = "not used", "every row says the same where another table has labels: places for answers"
            account.guess(f"table {one.table.path.name}", *why, is_loss=True)
        else:
            kept.append(one)
    return kept


def put_together(tables: Sequence[JoinedTable]) -> tuple[dict[str, list[Any]], dict[int, list[int]]]:
    """Cells of all tables by column, without those of names, and item number -> rows of the whole.

    Raises:
        DataError: rows contradict each other about one item.
    """
    columns: dict[str, list[Any]] = {}
    rows_of: dict[int, list[int]] = {}
    first = 0
    for one in tables:
        for name, found in one.columns.items():
            cells = columns.setdefault(name, [])
            cells += [None] * (first - len(cells))
            cells += found
        for number, rows in one.rows_of.items():
            rows_of.setdefault(number, []).extend(first + row for row in rows)
        first += len(one.table)
    whole = {name: cells + [None] * (first - len(cells)) for name, cells in columns.items()}
    _check_contradictions(tables, whole, rows_of)
    return whole, rows_of


def _check_contradictions(
    tables: Sequence[JoinedTable], columns: Mapping[str, Sequence[Any]], rows_of: Mapping[int, Sequence[int]]
) -> None:
    whose = [(one, row) for one in tables for row in range(len(one.table))]
    for rows in rows_of.values():
        if len(rows) < 2:
            continue
        for name, cells in columns.items():
            filled = [row for row in rows if name in whose[row][0].table.columns]
            words = {str(cells[row]).strip() for row in filled}
            if len(words) > 1:
                one, row = whose[filled[0]]
                key = one.table.slice(row, row + 1, one.column)[0]
                raise DataError(
                    f"{one.table.path.name} says of {key!r} in column {name!r} both "
                    f"{' and '.join(sorted(map(repr, words))[:2])}",
                    rows=", ".join(str(whose[row][1]) for row in filled[:5]),
                )
