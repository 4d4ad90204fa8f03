"""Which files are an edge list: tables by role, and how surely a path holds one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repcore.data.first_files import first_files
from repcore.data.misfits import HARDLY
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError
from repcore_graphs.datasets.edge_ends import (
    END_NAMES,
    ROWS_COMPARED,
    are_formulas,
    are_ids,
    are_two_kinds,
    counts_within,
    find_ends,
    overlap,
    shared_ids,
)
from repcore_graphs.datasets.edge_tables import GRAPH_NAMES

ROLES = {"edges": "edges", "edge": "edges", "edge_list": "edges", "edgelist": "edges", "links": "edges",
         "nodes": "nodes", "node": "nodes", "vertices": "nodes", "graphs": "graphs", "graph": "graphs",
         "graph_labels": "graphs", "labels": "graphs"}  # fmt: skip
SURE_ENDS = tuple(pair for pair in END_NAMES if pair[0] not in ("i", "row", "subject"))
MOST_TABLES = 4  # of a folder in which names of columns are looked at
MOST_BESIDE = 3  # files beside the only table of a folder, such as a readme; more are what the table is about


def find_tables(path: Path) -> dict[str, Path]:
    """Files by role; a folder's only table is its edges."""
    if not path.is_dir():
        return {"edges": path}
    tables = sorted(one for one in path.iterdir() if one.is_file() and table_suffix(one))
    found: dict[str, Path] = {}
    for one in tables:
        role = ROLES.get(one.name.split(".")[0].lower())
        if role is not None:
            found.setdefault(role, one)
    return found or ({"edges": tables[0]} if len(tables) == 1 else _by_columns(tables))


def _by_columns(tables: Sequence[Path]) -> dict[str, Path]:
    """The only table whose columns are called like ends, and the only other one that shares its column of graphs."""
    if len(tables) > MOST_TABLES:
        return {}
    names: dict[Path, set[str]] = {}
    for one in tables:
        try:
            table = Table(one)
        except DataError:
            continue
        names[one] = {column.strip().lower() for column in table.columns} if table.has_header else set()
    edges = [one for one, columns in names.items() if any(set(pair) <= columns for pair in SURE_ENDS)]
    if len(edges) != 1:
        return {}
    shared = names[edges[0]] & {*GRAPH_NAMES}
    graphs = [one for one, columns in names.items() if one != edges[0] and shared & columns]
    return {"edges": edges[0], **({"graphs": graphs[0]} if len(graphs) == 1 else {})}


def sniff(path: Path) -> float:
    """0.9 for a folder with an edges table, or columns that are called like ends; less for two columns of ids."""
    tables = find_tables(path)
    if "edges" not in tables or not table_suffix(tables["edges"]):
        return 0.0
    try:
        table = Table(tables["edges"])
        source, target = find_ends(table, "", "", None)
    except DataError as error:  # of a matrix it says what it means, and that is no edge list at all
        return 0.0 if path.is_dir() or "meaning" in error.facts else HARDLY
    if not are_ids(table, source, target):
        return 0.0
    ends = [table.slice(0, ROWS_COMPARED, name) for name in (source, target)]
    if all(map(are_formulas, ends)) or (table.has_header and counts_within(*ends)):
        return 0.0
    named = table.has_header and any({source.lower(), target.lower()} == set(pair) for pair in SURE_ENDS)
    if named:
        return 0.9
    if are_two_kinds(source, target) and not path.is_dir():
        return 0.4
    share = min(shared_ids(*ends), 2 * overlap(*ends))  # few numbers stand among many without being their ids
    if path.is_dir():
        is_beside = sum(not table_suffix(one) for one in first_files(path)) > MOST_BESIDE
        return 0.8 if len(tables) > 1 else 0.5 * (share >= 0.2 and not is_beside)
    return 0.6 if share >= 0.5 else 0.3 if share >= 0.2 else 0.0
