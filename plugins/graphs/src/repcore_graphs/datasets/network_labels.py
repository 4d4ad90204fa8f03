"""A table beside the files of networks that says more of each graph (labels, groups, parts of a split), by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.cells import is_missing
from repcore.data.groups import group_column, useful_groups
from repcore.data.joins import unique_places
from repcore.data.labels import LabelColumn, read_labels
from repcore.data.names import composed, nearly, unpadded
from repcore.data.split_columns import parts_of, split_column
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError
from repcore_graphs.datasets.graph_targets import CHANGE

SUFFIXES = (".csv", ".tsv", ".parquet")
ROW_NOUN = "table's rows"


@dataclass(slots=True)
class GraphTable:
    """What a table says, one entry a graph.

    Args:
        labels: judged over the graphs, not over the table's rows.
        groups / parts: None where the table says nothing.
    """

    labels: list[LabelColumn] = field(default_factory=list)
    groups: list[str | None] | None = None
    parts: list[str | None] | None = None


def read_graph_table(
    root: Path, ids: Sequence[str], kind: Any, account: Accounting, graphs: Collection[Path] = ()
) -> GraphTable:
    """The only table of a folder, joined to its graphs by the column that names them; empty where there is none.

    Args:
        ids: of the graphs: paths below the root.
        kind: of labels, as the user says.
        graphs: files that are graphs themselves.

    Raises:
        DataError: a graph stands on two rows.
    """
    tables = sorted(
        one for one in root.iterdir() if one.is_file() and table_suffix(one) in SUFFIXES and one not in graphs
    )
    if len(tables) != 1:
        return GraphTable()
    try:
        table = Table(tables[0])
    except DataError as error:
        account.unreadable(tables[0], str(error).splitlines()[0])
        return GraphTable()
    place = _places(ids)
    cells = {name: [None if is_missing(one) else composed(str(one).strip()) for one in table.cells(name)]
             for name in table.columns}  # fmt: skip
    counts = {name: sum(cell in place for cell in column) for name, column in cells.items()}
    key = max(counts, key=lambda name: counts[name])
    if not counts[key]:
        near = nearly(place, [cell for cell in cells[key] if cell is not None])
        why = f"no column names the graphs (first {next(iter(place), '')!r})" + (f"; {near}" if near else "")
        account.guess(f"table {table.path.name}", "not used", why, is_loss=True)
        return GraphTable()
    table.tell(account)
    account.guess(f"column of {table.path.name}", key, f"{counts[key]} of {len(table)} cells name a graph")
    rows = _rows(cells[key], place, len(ids), table.path.name, account)
    others = {name: [None if row is None else table_cells[row] for row in rows]
              for name in table.columns if name != key for table_cells in [table.cells(name)]}  # fmt: skip
    return _judged(others, kind, account)


def _places(ids: Sequence[str]) -> dict[str, int]:
    """Graph number by its id, its file's name, and that name without suffix, as far as they are unique."""
    found: dict[str, int] = {}
    shared: set[str] = set()
    for number, name in enumerate(ids):
        path = PurePosixPath(composed(name))
        for word in dict.fromkeys((str(path), path.name, str(path.with_suffix("")), path.stem)):
            if word in found:
                shared.add(word)
            found.setdefault(word, number)
    alone = {word: number for word, number in found.items() if word not in shared}
    return {**alone, **{short: alone[name] for short, name in unpadded(alone).items()}}


def _rows(
    keys: Sequence[str | None], place: dict[str, int], count: int, name: str, account: Accounting
) -> list[int | None]:
    """The table's row of each graph; what is left on either side is said."""
    named = [None if key is None else place.get(key) for key in keys]
    unique_places([one for one in named if one is not None], ROW_NOUN)
    rows: list[int | None] = [None] * count
    for row, one in enumerate(named):
        if one is not None:
            rows[one] = row
    lost = [str(key) for key, one in zip(keys, named, strict=True) if one is None]
    if lost:
        account.note(f"{name}: {len(lost):,} rows name no graph of the folder, first {lost[0]!r}")
    without = rows.count(None)
    if without:
        account.note(f"{name}: {without:,} of {count:,} graphs have no row")
    return rows


def _judged(columns: dict[str, list[Any]], kind: Any, account: Accounting) -> GraphTable:
    found = GraphTable()
    split = split_column(columns, columns.__getitem__)
    if split is not None:
        found.parts = parts_of(columns.pop(split))
        account.guess(f"column {split!r}", "parts of a split", "its words name them")
    group = group_column(list(columns))
    keys = [] if group is None else [None if is_missing(cell) else str(cell).strip() for cell in columns[group]]
    if useful_groups(keys):
        found.groups = keys
        count = len(set(keys) - {None})
        account.guess("groups", f"column {group!r}", f"{count:,} of them, by its name; kept together in splits")
    judged = read_labels(columns, kind=kind, change=CHANGE, account=account)
    found.labels = [one for one in judged if one.target is not None]
    return found
