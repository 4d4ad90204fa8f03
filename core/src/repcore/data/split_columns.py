"""Which column of a table says in which part of a split a row stands, and what its words mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.cells import is_missing
from repcore.data.groups import plain_name
from repcore.data.splits import part_of

SPLIT_NAMES = frozenset({
    "split", "data_split", "dataset_split", "split_name", "subset", "set", "data_set", "partition", "part",
    "fold",
})  # fmt: skip
"""Names of columns of parts; of those that may mean something else, words decide."""
SURELY_SPLIT = frozenset({"split", "data_split", "dataset_split", "split_name", "partition"})
"""Names that mean nothing else: a column called so is no label, whatever its words."""


def are_parts(cells: Iterable[Any]) -> bool:
    """Whether every filled cell names a part of a split, and some is filled; stops at the first that does not."""
    return bool(_parts_in(cells))


def _parts_in(cells: Iterable[Any]) -> set[str]:
    """Parts that cells name; none where a filled cell names no part."""
    seen: dict[Any, str] = {}
    for cell in cells:
        if cell in seen or is_missing(cell):
            continue
        part = part_of(cell)
        if part is None:
            return set()
        seen[cell] = part
    return set(seen.values())


def split_column(
    columns: Iterable[str], cells_of: Callable[[str], Iterable[Any]], names: Iterable[str] = SPLIT_NAMES
) -> str | None:
    """The column of parts: called so and with such words, or the only one that holds nothing but two such words.

    Args:
        columns: their names, in the order of the table.
        cells_of: name -> cells; of most columns only the first is looked at.
        names: plain names that count as called so.
    """
    known = frozenset(names)
    parts = {one: found for one in columns if (found := _parts_in(cells_of(one)))}
    called = next((one for one in parts if plain_name(one) in known), None)
    several = [one for one, found in parts.items() if len(found) > 1]
    return called or (several[0] if len(several) == 1 else None)


def unknown_parts(name: str, cells: Iterable[Any]) -> str:
    """What to say of a column that is called a split and has other words; empty for any other column."""
    if plain_name(name) not in SURELY_SPLIT:
        return ""
    found = [str(cell).strip() for cell in cells if not is_missing(cell)]
    odd = list(dict.fromkeys(one for one in found if part_of(one) is None))
    if not odd or all(one.removesuffix(".0").isdecimal() for one in odd):
        return ""
    shown = ", ".join(map(repr, odd[:3]))
    return (
        f"column {name!r}: words such as {shown} are no parts of a split (train, validation, test): it divides nothing"
    )


def parts_of(cells: Iterable[Any]) -> list[str | None]:
    """Part of each row; None where the cell is empty or names none."""
    return [None if is_missing(cell) else part_of(cell) for cell in cells]


def one_part_each(
    rows_of: Mapping[str, Iterable[int]], names: Sequence[str], account: Accounting
) -> dict[str, list[int]]:
    """Rows of each part without those that stand in several parts, which belong to none of them and are warned of.

    Args:
        rows_of: part -> rows that it names.
        names: of all rows, for the warning.
    """
    parts: dict[int, list[str]] = {}
    for part, rows in rows_of.items():
        for row in dict.fromkeys(rows):
            parts.setdefault(row, []).append(part)
    torn = sorted(row for row, found in parts.items() if len(found) > 1)
    if torn:
        shown = ", ".join(f"{names[row]!r} ({' and '.join(sorted(parts[row]))})" for row in torn[:3])
        account.odd_cells.append(
            f"declared splits: {len(torn):,} names stand in several parts and belong to none: {shown}; "
            "leave each name in one part"
        )
    return {part: sorted(row for row in set(rows) if len(parts[row]) == 1) for part, rows in rows_of.items()}
