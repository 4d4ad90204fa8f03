"""Edge lists: one table of edges, or a folder with ``edges``, ``nodes`` and ``graphs`` tables.

Tables are core's (:mod:`repcore.data.tables`): CSV, TSV, text, parquet, whatever their delimiter, header and decimal
sign.
Ends of edges are found by name (source/target, src/dst, from/to, u/v, node1/node2, ...) or by their cells, ``graph`` in
any table tells several graphs apart. Further columns are features: numbers are attributes, words and codes in columns
named type, kind or label are categories. Labels of graphs are the other columns of the graph table, labels of nodes a
column ``label`` of the node table, labels of edges a column ``edge_label``, ``class`` or ``y`` of the edge table.
Without a node table, the nodes are those that edges name.

A row that is not complete, or names a node that the node table lacks, makes its graph a reported row, never silently
shorter; where the whole table is one graph, it goes without edges that are not complete, and its status says so.

Symbols: G graphs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import DECIMAL_SIGNS, TableNumbers, is_missing
from repcore.data.groups import group_column, useful_groups
from repcore.data.joins import unique_places
from repcore.data.labels import LabelColumn, read_label, read_labels
from repcore.data.names import alike, composed
from repcore.data.split_columns import parts_of, split_column
from repcore.data.tables import Table
from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetLevel, TargetSpec
from repcore_graphs.configs.data import EdgeListConfig
from repcore_graphs.datasets.edge_ends import direction_column, find_ends, joins_two_sets
from repcore_graphs.datasets.edge_files import find_tables
from repcore_graphs.datasets.edge_tables import (
    GRAPH_NAMES,
    NODE_NAMES,
    FeatureColumns,
    Ids,
    by_value,
    column_named,
    feature_columns,
)
from repcore_graphs.datasets.graph_columns import are_names, names_beside, told_of_graphs, why_no_feature
from repcore_graphs.datasets.graph_targets import CHANGE
from repcore_graphs.datasets.raw_graph import ONE_GRAPH, RawGraph, add_reverse, check_graph
from repcore_graphs.formats.networks import counts_the_rest

ONLY_GRAPH = "graph"
LEFT_OUT = "edges_left_out"
ALL_BINARY = "all-binary"
NODE_LABELS = ("label", "class", "y", "target")
EDGE_LABELS = ("edge_label", "edge_class", "class", "y")  # a column called label says of what kind an edge is


class EdgeListDataset:
    """Reader of edge lists.

    Args:
        config: path, columns that cannot be found, and whether edges are one-way.

    Raises:
        DataError: no edge table, its columns cannot be told, or ids of nodes or graphs stand twice.
    """

    def __init__(self, config: EdgeListConfig) -> None:
        self.config = config
        path = Path(config.path).expanduser()
        self.files = find_tables(path)
        if "edges" not in self.files:
            raise DataError(f"{config.path} holds no edge table", expected="a file, or edges.csv in the folder")
        self.account = Accounting(root=path if path.is_dir() else path.parent)
        self.tables = {role: Table(file) for role, file in self.files.items()}
        for table in self.tables.values():
            table.tell(self.account)
        if path.is_dir():
            self.account.cover(path, "not the table of edges, nodes or graphs")
        self.source, self.target = find_ends(self.tables["edges"], config.source, config.target, self.account)
        self._typed = direction_column(self.tables["edges"])
        self._directed = config.directed or bool(self._typed and self._typed[1])
        self._graph_column = {role: self._find_graph_column(role) for role in self.tables}
        self._only = self._only_graph()
        self.names = self._graph_names()
        self._place = {name: number for number, name in enumerate(self.names)}
        self._of_graphs: dict[str, dict[str, Any]] = {}  # columns of edges and nodes that tell of whole graphs
        self._read_edges()
        self._read_nodes()
        self._read_graphs()
        self._tell_direction()
        if len(self) == 1:
            self.account.note(ONE_GRAPH)

    # -------------------------------------------------------------------------------------------- tables

    def _find_graph_column(self, role: str) -> str | None:
        table = self.tables[role]
        if self.config.graph:
            return table.require(self.config.graph)
        if role == "graphs":
            found = column_named(table.columns, (*GRAPH_NAMES, "id", "name"))
            if found is None:
                raise DataError(f"{table.path.name} has no graph column", columns=", ".join(table.columns))
            return found
        return column_named([one for one in table.columns if one not in (self.source, self.target)], GRAPH_NAMES)

    def _only_graph(self) -> str:
        """The graph that all rows of tables without a graph column belong to: the one that another table names.

        Raises:
            DataError: another table names several.
        """
        without = [role for role, column in self._graph_column.items() if column is None]
        telling = [role for role, column in self._graph_column.items() if column is not None]
        if not without or not telling:
            return ONLY_GRAPH
        named = dict.fromkeys(name for role in telling for name in self._graphs_of(role))
        if len(named) > 1:
            name, other = (self.tables[one].path.name for one in (without[0], telling[0]))
            raise DataError(
                f"{name} has no graph column, {other} tells {len(named):,} graphs apart",
                columns=", ".join(self.tables[without[0]].columns[:40]),
                hint=f"add the column {self._graph_column[telling[0]]!r} to {name}",
            )
        return next(iter(named))

    def _graph_names(self) -> list[str]:
        """Graphs in the order of the graph table, or of their first edge or node."""
        found: dict[str, None] = {}
        for role in ("graphs", "nodes", "edges"):
            if role in self.tables:
                found.update(dict.fromkeys(self._graphs_of(role)))
        if "graphs" in self.tables:
            unique_places(self._graphs_of("graphs"), "graph table's rows")
        near = alike(found)
        if near:
            self.account.note(f"graph ids are text, and {near}: they are different graphs")
        return list(found)

    def _graphs_of(self, role: str) -> list[str]:
        """The graph of every row of a table."""
        column, table = self._graph_column[role], self.tables[role]
        if column is None:
            return [self._only] * len(table)
        return ["" if cell is None else str(cell).strip() for cell in table.cells(column)]

    def _rows_of(self, role: str) -> list[np.ndarray]:
        """Row numbers of each graph."""
        if self._graph_column[role] is None:
            every = np.arange(len(self.tables[role]))
            return [every if name == self._only else every[:0] for name in self._place]
        return by_value(self._graphs_of(role), self._place)

    def _read_edges(self) -> None:
        table = self.tables["edges"]
        ends = [table.cells(self.source), table.cells(self.target)]
        columns = list(ends)
        self._key = None
        if "nodes" in self.tables:
            nodes = self.tables["nodes"]
            self._key = column_named(nodes.columns, NODE_NAMES)
            if self._key is None:
                raise DataError(f"{nodes.path.name} has no node column", columns=", ".join(nodes.columns))
            columns.append(nodes.cells(self._key))
        self._ids = Ids.of(columns, self.account)
        self._ends = [self._ids.texts(side) for side in ends]
        if joins_two_sets((self.source, self.target), self._ends, self._sets(), self.account):
            for place, name in enumerate((self.source, self.target)):
                self._ends[place] = [end and f"{name} {end}" for end in self._ends[place]]
        self._edge_rows = self._rows_of("edges")
        if not table.has_header and counts_the_rest(*self._ends):
            shown = " ".join(side[0] for side in self._ends)
            self.account.note(f"the first line, {shown!r}, counts nodes and edges: it is no edge")
            self._edge_rows = [rows[rows > 0] for rows in self._edge_rows]
        self._bad_edges = table.problems()
        skip: tuple[str | None, ...] = (
            self.source,
            self.target,
            self._graph_column["edges"],
            self._typed and self._typed[0],
        )
        skip = (*skip, *self._tell_of_graphs("edges", (*skip, self._called_edge_label(table.columns))))
        label = self._edge_label_column([one for one in table.columns if one not in skip])
        self._edge_label = None if label is None else self._element_label("edge", label, table)
        self._edge_features = feature_columns(
            table, (*skip, label), "edge", self.account, self._no_features("edges"), DECIMAL_SIGNS[self.config.decimal]
        )

    def _sets(self) -> str:
        """Setting ``sets``, where a table of nodes knows one set of ids only."""
        if "nodes" in self.tables and self.config.sets == "two":
            raise DataError("sets=two with a table of nodes, which knows one set of ids", hint="sets=one")
        return "one" if "nodes" in self.tables else self.config.sets

    def _called_edge_label(self, columns: Sequence[str]) -> str | None:
        return self.config.edge_label or column_named(columns, ("edge_label", "edge_class"))

    def _tell_of_graphs(self, role: str, skip: Sequence[str | None]) -> list[str]:
        """Columns of a table of edges or nodes that tell of whole graphs."""
        if self._graph_column[role] is None:
            return []
        found = told_of_graphs(self.tables[role], skip, self._graphs_of(role), role[:-1], self.account)
        self._of_graphs = {**found, **self._of_graphs}
        return list(found)

    def _no_features(self, role: str) -> dict[str, str]:
        """Columns that number rows or name ends otherwise, with the reason."""
        table = self.tables[role]
        graphs = self._graphs_of(role)
        found = {name: why_no_feature(table, name, graphs) for name in table.columns}
        if role == "nodes":
            names = column_named([one for one in table.columns if one != self._key], NODE_LABELS)
            if names is not None and self._is_called_only(names):
                found[names] = "another word for each: it says what nodes are called"
        if role == "edges":
            found |= dict.fromkeys(names_beside(table, self.source, self.target), "it names an end once more")
        return {name: why for name, why in found.items() if why}

    def _edge_label_column(self, columns: Sequence[str]) -> str | None:
        if self.config.edge_label and self.config.edge_label not in columns:
            if self.config.edge_label in self.tables["edges"].columns:
                raise DataError(f"column {self.config.edge_label!r} is read as ends or graphs, not as a label")
            return None  # data without the label is what predictions are made for
        return self.config.edge_label or column_named(columns, EDGE_LABELS)

    def _element_label(self, what: str, column: str, table: Table) -> LabelColumn:
        """A column of a table of nodes or edges as their label."""
        name = column if column.startswith(f"{what}_") else f"{what}_{column}"
        cells = table.cells(column)
        decimal = DECIMAL_SIGNS[self.config.decimal]
        comma = TableNumbers(table.by_column, decimal).comma_for(cells)
        label = read_label(name, cells, kind=self.config.label_kind, decimal=decimal, comma=comma, change=CHANGE)
        if label.target is None:  # words that hardly come again are classes all the same where the column says so
            label = read_label(name, cells, kind="class", change=CHANGE, why="its name says so")
        label.tell(self.account)
        return label

    def _is_called_only(self, column: str) -> bool:
        return self.config.label_kind == "auto" and are_names(self.tables["nodes"].cells(column))

    def _read_nodes(self) -> None:
        self._node_rows: list[np.ndarray] = []
        self._node_features = FeatureColumns()
        self._node_label: LabelColumn | None = None
        if "nodes" not in self.tables:
            return
        table = self.tables["nodes"]
        assert self._key is not None
        self._node_ids = self._ids.texts(table.cells(self._key))
        self._node_rows = self._rows_of("nodes")
        self._bad_nodes = table.problems()
        skip: list[str | None] = [self._key, self._graph_column["nodes"]]
        skip += self._tell_of_graphs("nodes", skip)
        name = column_named([one for one in table.columns if one not in skip], NODE_LABELS)
        if name is not None and not self._is_called_only(name):
            self._node_label, skip = self._element_label("node", name, table), [*skip, name]
        self._node_features = feature_columns(
            table, skip, "node", self.account, self._no_features("nodes"), DECIMAL_SIGNS[self.config.decimal]
        )

    def _read_graphs(self) -> None:
        """Labels of graphs, joined by the graph's name; a column of words for parts of a split declares one."""
        self._labels: list[LabelColumn] = []
        self.groups: list[str | None] | None = None
        self._splits: dict[str, list[int]] = {}
        columns = self._columns_of_graphs()
        if not columns:
            return
        split = split_column(columns, columns.__getitem__)
        if split is not None:
            for row, part in enumerate(parts_of(columns.pop(split))):
                if part is not None:
                    self._splits.setdefault(part, []).append(row)
            self.account.guess(f"column {split!r}", "parts of a split", "its words name them")
        self._read_groups(columns)
        found = read_labels(
            columns,
            kind=self.config.label_kind,
            change=CHANGE,
            account=self.account,
            decimal=DECIMAL_SIGNS[self.config.decimal],
        )
        self._labels = [one for one in found if one.target is not None]

    def _columns_of_graphs(self) -> dict[str, list[Any]]:
        """Cells by graph: of the graph table, and of columns of other tables that tell of graphs."""
        columns: dict[str, list[Any]] = {}
        if "graphs" in self.tables:
            table, key = self.tables["graphs"], self._graph_column["graphs"]
            unlisted = [None] * (len(self.names) - len(table))  # its rows come first, in its order
            columns = {name: [*table.cells(name), *unlisted] for name in table.columns if name != key}
        for name, values in self._of_graphs.items():
            columns.setdefault(name, [values.get(graph) for graph in self.names])
        return columns

    def _read_groups(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Patients and the like that keep graphs together in splits; graphs that the table does not list have none."""
        name = group_column(list(columns))
        if name is None:
            return
        keys = [None if is_missing(cell) else composed(str(cell).strip()) for cell in columns[name]]
        if not useful_groups(keys):
            return
        self.groups = keys
        found = len(set(keys) - {None})
        self.account.guess("groups", f"column {name!r}", f"{found:,} of them, by its name; kept together in splits")

    def _tell_direction(self) -> None:
        chosen = "one-way" if self._directed else "both ways, a missing opposite direction is added"
        change = "dataset.directed=true with train, --read directed=true elsewhere"
        why = f"column {self._typed[0]!r} says so" if self._typed else "an edge list does not say"
        self.account.guess("edges", chosen, why, change)

    # -------------------------------------------------------------------------------------------- reader

    @property
    def tables_read(self) -> Sequence[Table]:
        """The tables behind the graphs, by which changed data are told apart."""
        return list(self.tables.values())

    @property
    def fingerprint(self) -> str:
        parts = [f"{role}:{table.fingerprint}" for role, table in sorted(self.tables.items())]
        settings = f"{self.config.directed} {self.source} {self.target} {self.config.graph} {self.config.edge_label}"
        settings += "" if self.config.sets == "auto" else f" {self.config.sets}"
        return hashlib.sha256(f"{parts} {settings}".encode()).hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        found = [one.target for one in self._labels if one.target is not None]
        binary = self._binary()
        if binary:
            found.append(TargetSpec(ALL_BINARY, "multilabel", names=tuple(one.name for one in binary)))
        labelled: tuple[tuple[TargetLevel, LabelColumn | None], ...]
        labelled = (("node", self._node_label), ("edge", self._edge_label))
        for level, label in labelled:
            if label is not None and label.target is not None:
                found.append(TargetSpec(label.name, label.target.kind, level=level, names=label.target.names))
        return found

    def _binary(self) -> list[LabelColumn]:
        found = [one for one in self._labels if one.is_binary]
        return found if len(found) > 1 else []

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Declared by a column of the graph table whose words are train, validation and test; else empty."""
        return self._splits

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, index: int) -> str:
        """The graph's name."""
        return self.names[index]

    def by_id(self, sample_id: str) -> Sample:
        if sample_id not in self._place:
            raise DataError(f"no graph {sample_id!r} in {self.files['edges'].name}")
        return self[self._place[sample_id]]

    def __getitem__(self, index: int) -> Sample:
        nodes, place = self._graph_nodes(index)
        rows, remark = self._whole_edges(self._edge_rows[index])
        self._check_rows(rows, self._bad_edges, self._edge_features)
        label = self._edge_label
        graph = RawGraph(
            num_nodes=len(place),
            edge_index=np.array([self._numbers(rows, side, place) for side in (0, 1)], np.int64).reshape(2, -1),
            **self._edge_features.of("edge", rows),
            **nodes,
            columns={**self._node_features.columns("node"), **self._edge_features.columns("edge")},
            edge_targets={} if label is None else {label.name: label.values[rows]},
        )
        check_graph(graph)
        if not self._directed:
            graph = add_reverse(graph)
        meta = {"nodes": graph.num_nodes, "edges": graph.edge_index.shape[1], "node_names": tuple(place)}
        if remark:
            meta["remark"] = (LEFT_OUT, remark)
        return Sample(
            id=self.names[index],
            inputs=graph,
            targets={**self._graph_targets(index), **graph.element_targets},
            group=None if self.groups is None else self.groups[index],
            meta=meta,
        )

    def _whole_edges(self, rows: np.ndarray) -> tuple[np.ndarray, str]:
        """Rows of one large graph that name both ends, and a sentence about the others.

        A graph of a set is refused for an edge that is not whole, and the others remain; where the table is one graph,
        that would refuse everything. So it goes without the edge and says so, unless most of its edges are like that.
        """
        if self._graph_column["edges"] is not None:
            return rows, ""
        bad = np.array([row in self._bad_edges or not all(side[row] for side in self._ends) for row in rows.tolist()])
        if not bad.any() or 2 * bad.sum() > len(rows):
            return rows, ""
        first = int(rows[bad][0])
        why = self._bad_edges.get(first, f"no {self.source if not self._ends[0][first] else self.target}")
        return rows[~bad], f"{int(bad.sum()):,} of {len(rows):,} edges are left out, the first in row {first}: {why}"

    def _check_rows(self, rows: np.ndarray, problems: Mapping[int, str], features: FeatureColumns) -> None:
        if problems:
            bad = next((int(row) for row in rows if int(row) in problems), None)
            if bad is not None:
                raise ItemError("incomplete_row", f"row {bad}: {problems[bad]}")
        odd = features.odd(rows)
        if odd:
            raise ItemError("not_a_number", odd)

    def _numbers(self, rows: np.ndarray, side: int, place: Mapping[str, int]) -> list[int]:
        """Numbers of the nodes at one end of the edges."""
        names = self._ends[side]
        found = [place.get(names[row], -1) for row in rows.tolist()]
        if -1 in found:
            row = int(rows[found.index(-1)])
            if not names[row]:
                raise ItemError("incomplete_row", f"edge row {row} has no {(self.source, self.target)[side]}")
            raise ItemError("dangling_edge", f"edge row {row} names node {names[row]!r}, which the node table lacks")
        return found

    def _graph_nodes(self, index: int) -> tuple[dict[str, Any], dict[str, int]]:
        """Node features and targets, and the number of every node name."""
        if not self._node_rows:
            rows_here = self._edge_rows[index].tolist()
            ends = {names[row] for names in self._ends for row in rows_here} - {""}
            ordered = sorted(ends, key=_in_order)
            return {}, {end: number for number, end in enumerate(ordered)}
        rows = self._node_rows[index]
        self._check_rows(rows, self._bad_nodes, self._node_features)
        place = {self._node_ids[row]: number for number, row in enumerate(rows)}
        if len(place) != len(rows):
            raise ItemError("duplicate_nodes", f"{len(rows) - len(place)} nodes of {self.names[index]!r} stand twice")
        found = self._node_features.of("node", rows)
        if self._node_label is not None:
            found["node_targets"] = {self._node_label.name: self._node_label.values[rows]}
        return found, place

    def _graph_targets(self, index: int) -> dict[str, Any]:
        """Labels of a graph; missing ones where no table tells of it."""
        found: dict[str, Any] = {}
        for one in self._labels:
            value = one.values[index]
            found[one.name] = float(value) if np.ndim(value) == 0 else value
        binary = self._binary()
        if binary:
            found[ALL_BINARY] = np.asarray([found[one.name] for one in binary], np.float32)
        return found


def _in_order(name: str) -> tuple[bool, str, int, str]:
    """Sorting key of node names: numbers by size, also behind the name of their set, then words."""
    first, _, last = name.rpartition(" ")
    return (not last.isdecimal(), first, int(last) if last.isdecimal() else 0, name)
