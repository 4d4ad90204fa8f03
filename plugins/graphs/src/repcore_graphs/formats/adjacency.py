"""Adjacency matrices in tables and arrays: which tables and arrays are some, and their entries.

A table whose columns are called like the cells of its first column is one, whatever it holds. A square of numbers
without names is one where it is symmetric, or holds mostly nothing and an empty diagonal: measured tables, point sets
and pictures are neither. Symbols: N nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.cells import is_missing, read_numbers
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError

ARRAY = ".npy"
TABLES = (".csv", ".tsv", ".tab", ".txt", ".parquet")
LEAST_NAMED = 3  # nodes of a matrix whose rows and columns have the same names
LEAST_PLAIN = 7  # of one without: 3 x 3 and 4 x 4 turn things, 6 x 6 are six points with their normals
MOST_FILLED = 0.5  # share of entries that are edges
MOST_SIDE = 20_000


@dataclass(slots=True)
class Adjacency:
    """Entries of a matrix.

    Args:
        names: of the N nodes.
        values: float64 (N, N); entry (i, j) is the weight of the edge from i to j, 0 = none.
        is_named: rows and columns are called alike; else only the entries say that this is an adjacency matrix.
    """

    names: list[str]
    values: np.ndarray
    is_named: bool


def may_be_adjacency(path: Path) -> bool:
    """Whether the name of a file allows for a matrix."""
    return path.suffix.lower() == ARRAY or table_suffix(path) in TABLES


def adjacency_in(path: Path) -> Adjacency | None:
    """The adjacency matrix that a file holds; None where it holds none."""
    try:
        return _of_array(path) if path.suffix.lower() == ARRAY else _of_table(Table(path))
    except (DataError, OSError, ValueError, EOFError):
        return None


def _of_array(path: Path) -> Adjacency | None:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.dtype.kind not in "biuf":
        return None
    return _plain(np.asarray(array, np.float64)) if LEAST_PLAIN <= len(array) <= MOST_SIDE else None


def _of_table(table: Table) -> Adjacency | None:
    columns, count = table.columns, len(table)
    if not LEAST_NAMED <= count <= MOST_SIDE or abs(len(columns) - count) > 1:
        return None
    first = [_text(cell) for cell in table.cells(columns[0])]
    if table.has_header and len(columns) == count + 1 and len(set(first)) == count and {*first} == {*columns[1:]}:
        return _named(table, first, columns[1:], 0)
    if table.has_header:
        values = None if len(columns) != count else _numbers(table, columns, 0)
        return None if values is None or count < LEAST_PLAIN else _plain(values, list(columns))
    if len(columns) != count:
        return None
    above = [_text(table.slice(0, 1, one)[0]) for one in columns]
    if above[1:] == first[1:] and len({*above[1:]}) == count - 1 and count > LEAST_NAMED and not above[0]:
        return _named(table, first[1:], columns[1:], 1)  # numbers as names: of columns in the first line
    values = _numbers(table, columns, 0)
    return None if values is None or count < LEAST_PLAIN else _plain(values)


def _named(table: Table, names: list[str], columns: Sequence[str], skipped: int) -> Adjacency | None:
    """Columns in the order of the rows."""
    order = columns if skipped else names
    values = _numbers(table, order, skipped)
    return None if values is None else Adjacency(names, values, is_named=True)


def _plain(values: np.ndarray, names: list[str] | None = None) -> Adjacency | None:
    """A square without names of rows, if it looks like edges."""
    if not np.isfinite(values).all() or not values.any():
        return None
    is_sparse = not values.diagonal().any() and np.count_nonzero(values) <= MOST_FILLED * values.size
    if not (is_sparse or np.array_equal(values, values.T)):
        return None
    return Adjacency(names or [str(node) for node in range(len(values))], values, is_named=False)


def _numbers(table: Table, columns: Sequence[str], skipped: int) -> np.ndarray | None:
    """Entries (N, N), an empty cell as 0; None where a cell is no number."""
    found = []
    for name in columns:
        cells = table.cells(name)[skipped:]
        numbers = read_numbers(name, cells)
        if numbers.odd_count:
            return None
        found.append(np.nan_to_num(numbers.values, nan=0.0))
    return np.stack(found, 1)


def _text(cell: Any) -> str:
    return "" if is_missing(cell) else str(cell).strip()
