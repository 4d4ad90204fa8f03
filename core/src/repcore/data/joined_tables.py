"""Tables beside files joined to them by a column of names, one or several tables as one.

The column that names most items is found by its cells; a name that several items share joins nothing and is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from repcore.data.accounting import Accounting
from repcore.data.beside_lists import side_table, with_class_names
from repcore.data.cells import is_missing
from repcore.data.label_names import are_class_numbers
from repcore.data.names import nearly
from repcore.data.side_tables import Keys, is_placeholder, table_part, told_apart
from repcore.data.tables import Table
from repcore.errors import DataError

LABEL = "label"


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """A table, its column of names, and item number -> rows.

    Args:
        first_name: its first name where it names no item, and then ``rows_of`` is empty.
        is_by_item: whether names are those of items, not of whom they belong to.
        lost: rows without an item.
        torn: row -> files that share its name; these label none.
    """

    table: Table
    column: str
    rows_of: Mapping[int, Sequence[int]]
    first_name: str = ""
    is_by_item: bool = True
    lost: Sequence[int] = ()
    torn: Mapping[int, Sequence[Path]] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, list[Any]]:
        """Cells by name of the column, without the names of items; a list's only other column is called label."""
        others = [name for name in self.table.columns if name != self.column]
        called = {others[0]: LABEL} if len(others) == 1 and not self.table.has_header else {}
        return {called.get(name, name): list(self.table.cells(name)) for name in others}

    def owners(self) -> dict[int, str]:
        """Item -> the cell that names it, of cells that name several items each: whom these belong to."""
        items_of: dict[int, list[int]] = {}
        for number, rows in self.rows_of.items():
            for row in rows:
                items_of.setdefault(row, []).append(number)
        if all(len(numbers) < 2 for numbers in items_of.values()):
            return {}
        cells = self.table.cells(self.column)
        return {number: str(cells[row]).strip() for row, numbers in items_of.items() for number in numbers}


def joined_table(
    path: Path,
    keys: Keys,
    files: Sequence[Path],
    account: Accounting,
    *,
    noun: str,
    change: str = "",
    column: str | None = None,
    one_each: bool = False,
) -> JoinedTable:
    """A table joined to items. Says which column names them, and what could not be joined.

    Args:
        keys: what tables may call items. files: the first file of each item.
        noun: what an item is, for messages.
        change: how a user chooses another column.
        column: that the user named; of tables without it the column is found.
        one_each: an item is one file: names of several in one folder are torn, too, and rows without an item are left
            to the caller, who keeps them as rows.
    """
    table = side_table(path, keys)
    columns = {name: table.slice(0, len(table), name) for name in table.columns}
    found = _found(columns, keys, keys.scope(path), column)
    chosen = max(found, key=lambda name: _closeness(found[name]))
    named = found[chosen]
    if not named:
        first = next((str(cell) for cell in columns[chosen] if not is_missing(cell)), "no cell")
        return JoinedTable(table, chosen, {}, first)
    is_by_item = all(is_name for _, is_name in named.values())
    account.guess(f"column of {path.name}", chosen, f"{len(named)} of {len(table)} cells name a {noun}", change)
    lost = [row for row in range(len(table)) if row not in named]
    if lost and not one_each:
        account.note(f"{len(lost)} rows of {path.name} have no {noun}, for example {columns[chosen][lost[0]]}")
    torn = {
        row: [files[one] for one in numbers]
        for row, (numbers, is_name) in named.items()
        if is_name and len(numbers if one_each else {keys.folders[one] for one in numbers}) > 1
    }
    others = {name: cells for name, cells in columns.items() if name != chosen}
    kept, by = told_apart(torn, others, keys.root)
    if by:
        account.guess(f"{noun}s of {path.name}", f"by {chosen!r} and {by!r}", "names alone stand for several")
    elif torn:
        account.odd_cells.append(_said_torn(table, chosen, torn, keys.root, noun))
    number_of = {file: number for number, file in enumerate(files)}
    rows_of: dict[int, list[int]] = {}
    for row, (every, _) in named.items():
        alone = [number_of[kept[row]]] if row in kept else []
        for number in alone if row in torn else every:
            rows_of.setdefault(number, []).append(row)
    return JoinedTable(table, chosen, rows_of, "", is_by_item, lost, {} if by else torn)


def _found(
    columns: Mapping[str, Sequence[Any]], keys: Keys, among: frozenset[int] | None, asked: str | None
) -> dict[str, dict[int, tuple[list[int], bool]]]:
    """Items that each cell names, by column and row; only of the column that is asked for, if there is one."""
    only = [name for name in columns if asked is not None and name.lower() == asked.lower()]
    return {
        name: {}
        if not only and are_class_numbers(name, columns[name], list(columns))
        else {row: numbers for row, cell in enumerate(columns[name]) if (numbers := keys.find(cell, among))[0]}
        for name in only or columns
    }


def _closeness(named: Mapping[int, tuple[list[int], bool]]) -> tuple[float, ...]:
    """How many items a column tells apart, how few each of its cells stands for, and how many cells name some."""
    width = sum(len(numbers) for numbers, _ in named.values())
    return len({tuple(numbers) for numbers, _ in named.values()}), -width / max(1, len(named)), len(named)


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


def put_together(
    tables: Sequence[JoinedTable], root: Path, account: Accounting
) -> tuple[dict[str, list[Any]], dict[int, list[int]]]:
    """Cells of all tables by column, without those of names, and item number -> rows of the whole.

    Args:
        root: folder of the data, whose list of classes names their numbers.

    Raises:
        DataError: rows contradict each other about one item.
    """
    whole, rows_of = gathered(tables, root, account)
    _check_contradictions(tables, whole, rows_of)
    return whole, rows_of


def gathered(
    tables: Sequence[JoinedTable], root: Path, account: Accounting
) -> tuple[dict[str, list[Any]], dict[int, list[int]]]:
    """As :func:`put_together`; rows that contradict each other are left to the caller."""
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
    return with_class_names(root, whole, account), rows_of


def _check_contradictions(
    tables: Sequence[JoinedTable], columns: Mapping[str, Sequence[Any]], rows_of: Mapping[int, Sequence[int]]
) -> None:
    whose = [(one, row) for one in tables for row in range(len(one.table))]
    held = {id(one): one.columns.keys() for one in tables}
    for rows in rows_of.values():
        if len(rows) < 2:
            continue
        for name, cells in columns.items():
            filled = [row for row in rows if name in held[id(whose[row][0])]]
            words = {str(cells[row]).strip() for row in filled}
            if len(words) > 1:
                one, row = whose[filled[0]]
                key = one.table.slice(row, row + 1, one.column)[0]
                raise DataError(
                    f"{one.table.path.name} says of {key!r} in column {name!r} both "
                    f"{' and '.join(sorted(map(repr, words))[:2])}",
                    rows=", ".join(str(whose[row][1]) for row in filled[:5]),
                )
