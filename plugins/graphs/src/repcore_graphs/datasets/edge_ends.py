"""Which two columns of a table of edges are their ends: by their names, else by their cells.

What was decided is told to the account, with the setting that changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import is_missing, read_numbers
from repcore.data.groups import plain_name
from repcore.data.tables import Table
from repcore.errors import DataError

END_NAMES = (
    ("source", "target"), ("src", "dst"), ("from", "to"), ("u", "v"), ("i", "j"), ("head", "tail"), ("row", "col"),
    ("node1", "node2"), ("node_1", "node_2"), ("node_a", "node_b"), ("id1", "id2"), ("id_1", "id_2"), ("n1", "n2"),
    ("source_id", "target_id"), ("source_node", "target_node"), ("from_id", "to_id"), ("from_node", "to_node"),
    ("from_node_id", "to_node_id"), ("fromnodeid", "tonodeid"), ("subject", "object"), ("atom1", "atom2"),
    ("vertex1", "vertex2"), ("start_node", "end_node"), ("source", "dst"), ("src", "target"), ("from", "target"),
    ("source", "destination"), ("follower", "followee"), ("citing", "cited"),
)  # fmt: skip
ROWS_COMPARED = 200_000  # a large sparse graph repeats few ids in its first thousand edges
DIRECTION_NAMES = ("type", "edge_type", "direction")
DIRECTION_WORDS = {"directed": True, "undirected": False}
MOST_UNNAMED = 4  # columns of an edge list without a header: two ends, a weight, a time
LEAST_SHARED = 0.1  # share of ids that have to stand on both sides, to take two columns for ends by their cells
CHANGE = "dataset.source=NAME dataset.target=NAME with train, --read source=NAME ... elsewhere"


def find_ends(table: Table, source: str, target: str, account: Accounting | None) -> tuple[str, str]:
    """The columns with the two ends of each edge.

    Args:
        source / target: as the user says; empty = find them.

    Raises:
        DataError: no two columns are ends, or only the user can tell which are.
    """
    if source or target:
        if not (source and target):
            raise DataError("one end of the edges was named, not the other", hint=CHANGE)
        return table.require(source), table.require(target)
    _refuse_matrix(table, by_name=True)
    names = {plain_name(column): column for column in table.columns}
    for one, other in END_NAMES:
        if table.has_header and one in names and other in names:
            if account is not None and (one, other) != END_NAMES[0]:
                account.guess("ends of edges", f"columns {names[one]!r} and {names[other]!r}", "by their names", CHANGE)
            return names[one], names[other]
    if len(table.columns) < 2:
        raise DataError(
            f"{table.path.name} has one column, an edge has two ends", columns=", ".join(table.columns), hint=CHANGE
        )
    _refuse_matrix(table, by_name=False)
    pairs = [(table.columns[0], one) for one in table.columns[1:3]]  # a triple has its relation in the middle
    shares = {pair: shared_ids(*(table.slice(0, ROWS_COMPARED, name) for name in pair)) for pair in pairs}
    first, second = max(pairs, key=lambda pair: shares[pair])
    share = shares[first, second]
    if (len(table.columns) > 2 and share < LEAST_SHARED) or not are_ids(table, first, second):
        raise DataError(
            f"{table.path.name} has no source and target columns",
            columns=", ".join(table.columns[:40]),
            hint=CHANGE,
        )
    if account is not None:
        why = f"{share:.0%} of the ids stand in both"
        account.guess("ends of edges", f"columns {first!r} and {second!r}", why, CHANGE)
    return first, second


def _refuse_matrix(table: Table, *, by_name: bool) -> None:
    """Raises DataError for an adjacency matrix: its columns are called like the cells of its first, or it is square."""
    inner, count = table.columns[1:], len(table)
    if by_name:
        is_matrix = count == len(inner) > 1 and {str(cell).strip() for cell in table.cells(table.columns[0])} == {
            *inner
        }
    else:
        is_matrix = len(table.columns) == count > 2 or (len(table.columns) > MOST_UNNAMED and not table.has_header)
    if is_matrix:
        raise DataError(
            f"{table.path.name} has {len(table.columns)} columns and {count} rows",
            meaning="an edge list has one row an edge; this may be an adjacency matrix",
            hint=f"{CHANGE}; or save the matrix with scipy.io.mmwrite",
        )


def direction_column(table: Table) -> tuple[str, bool] | None:
    """A column called type in which every edge is ``Directed``, or every one ``Undirected``, as Gephi writes it."""
    name = next((one for one in table.columns if plain_name(one) in DIRECTION_NAMES), None)
    words = set() if name is None else {str(cell).strip().lower() for cell in table.cells(name)}
    if name is None or len(words) != 1 or not words <= set(DIRECTION_WORDS):
        return None
    return name, DIRECTION_WORDS[words.pop()]


def shared_ids(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Share of the distinct ids of the smaller side that stand on the other side, too."""
    left, right = {str(cell).strip() for cell in one}, {str(cell).strip() for cell in other}
    return len(left & right) / max(1, min(len(left), len(right)))


def are_ids(table: Table, *columns: str) -> bool:
    """Whether cells can name nodes: whole numbers, or short texts; measured values and sentences cannot."""
    for column in columns:
        filled = [str(cell).strip() for cell in table.slice(0, 2000, column) if not is_missing(cell)]
        numbers = read_numbers(column, filled).values
        known = numbers[~np.isnan(numbers)]
        if not filled or (known.size and not (known == known.round()).all()):
            return False
        if known.size < len(filled) and max(len(text.split()) for text in filled) > 4:
            return False
    return True
