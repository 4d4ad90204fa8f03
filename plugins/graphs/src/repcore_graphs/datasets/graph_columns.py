"""Columns of tables of edges and nodes that tell nothing of an edge or a node: row numbers, other names, whole graphs.

As features they would give away where a row stands in its file, or the label of the graph that is to be predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.cells import is_missing
from repcore.data.label_names import identifies
from repcore.data.labels import read_label
from repcore.data.tables import Table
from repcore_graphs.datasets.edge_ends import counts_rows, is_measure, paired_columns

LEAST_ROWS = 10  # from which whole numbers in order count rows, whatever their column is called
ROWS_OF_A_GRAPH = 2  # on average, from which one value a graph is no chance


def told_of_graphs(
    table: Table, skip: Sequence[str | None], graphs: Sequence[str], what: str, account: Accounting
) -> dict[str, dict[str, Any]]:
    """Columns that have one value in each graph, and not the same in all: value by graph, of each.

    Args:
        skip: columns that are read as something else.
        graphs: of every row.
        what: ``edge`` or ``node``, for the announcement.
    """
    count = len(set(graphs))
    if count < 2 or len(graphs) < ROWS_OF_A_GRAPH * count:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name in table.columns:
        values = {} if name in skip else _one_each(table.cells(name), graphs)
        if len({None if is_missing(cell) else str(cell) for cell in values.values()}) > 1:
            found[name] = values
            why = f"it has one value in each of {count:,} graphs: it tells of them, and is no feature"
            account.guess(f"{what} column {name!r}", "read with what is known of graphs", why)
    return found


def _one_each(cells: Sequence[Any], graphs: Sequence[str]) -> dict[str, Any]:
    """The value of each graph; empty where a graph has two."""
    found: dict[str, Any] = {}
    for cell, graph in zip(cells, graphs, strict=True):
        value = None if is_missing(cell) else str(cell).strip()
        if found.setdefault(graph, value) != value:
            return {}
    return found


def names_beside(table: Table, source: str, target: str) -> set[str]:
    """Columns that name the ends otherwise: symbols beside numbers, as ``Gene A`` and ``Symbol A``."""
    pairs = paired_columns(table.columns)
    if (source, target) not in pairs:
        return set()
    last = {source: table.columns.index(source), target: table.columns.index(target)}
    return {name for pair in pairs for name in pair if name not in last and _are_words(table, pair)}


def _are_words(table: Table, pair: tuple[str, str]) -> bool:
    return any(not str(cell).strip().isdecimal() for name in pair for cell in table.slice(0, 100, name))


def are_names(cells: Sequence[Any]) -> bool:
    """Whether cells of a column that is called like a label hold words of which none comes again: what things are
    called, as Gephi writes it.
    """
    words = [str(cell).strip() for cell in cells if not is_missing(cell)]
    return 2 < len(words) == len(set(words)) and read_label("label", words).target is None


def why_no_feature(table: Table, name: str, graphs: Sequence[str]) -> str:
    """Why a column is no feature: it numbers the rows of the table, or of each graph; empty where it does not."""
    cells = table.cells(name)
    called = table.has_header and identifies(name)
    begins = str(cells[0]).strip().removesuffix(".0") in ("0", "1")
    is_other = table.has_header and is_measure(name)  # of ranks and hours people do write 1, 2, 3, ...
    if counts_rows(cells) and (called or (begins and not is_other and len(cells) >= LEAST_ROWS)):
        return "it numbers the rows"
    if not called:
        return ""
    whole = [str(cell).strip().removesuffix(".0") for cell in cells if not is_missing(cell)]
    if not whole or not all(text.removeprefix("-").isdecimal() for text in whole):
        return ""
    if len(set(whole)) == len(whole) > 1:
        return "its name says that it identifies rows, and no number comes again"
    rows = [(graph, str(cell).strip()) for graph, cell in zip(graphs, cells, strict=True)]
    return "it numbers the rows of each graph" if len(set(rows)) == len(rows) > len(set(graphs)) > 1 else ""
