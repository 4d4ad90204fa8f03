"""Edge lists: one table of edges, or a folder with ``edges``, ``nodes`` and ``graphs`` tables (CSV or TSV).

Columns are found by name: ``source`` and ``target`` (also src, from, u / dst, to, v), ``graph`` for several graphs in
one file, ``node`` in the node table, ``label`` in the node and graph tables. Further columns are features: whole
numbers in columns named ``type``, ``kind`` or ``*_label`` are labels, all other numbers are attributes. Without a
header, the first two columns are the ends. Node names may be any text; without a node table, the nodes are those that
edges name.

A row that is not complete, or names a node that the node table lacks, makes its graph a reported row, never silently
shorter. Symbols: G graphs.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.tables import file_fingerprint
from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_graphs.configs.data import EdgeListConfig
from repcore_graphs.datasets.raw_graph import RawGraph, add_reverse, check_graph

SOURCES, TARGETS = ("source", "src", "from", "u"), ("target", "dst", "to", "v")
SUFFIXES = (".csv", ".tsv", ".txt", ".edges", ".edgelist")
ONLY_GRAPH = "graph"


@dataclass(slots=True)
class Rows:
    """One table: header names (made up if there is none) and cells."""

    header: list[str]
    cells: list[list[str]] = field(default_factory=list)

    def column(self, *names: str) -> int | None:
        """Place of the first of these names."""
        lowered = [name.lower() for name in self.header]
        return next((lowered.index(name) for name in names if name in lowered), None)


def read_rows(path: Path) -> Rows:
    """Cells of a comma-, tab- or blank-separated file; lines that begin with ``#`` or ``%`` are comments.

    Raises:
        DataError: not text, or empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text", reason=error) from error
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#%"]
    if not lines:
        raise DataError(f"{path} holds no edges")
    delimiter = next((one for one in (",", "\t", ";") if one in lines[0]), None)
    cells = [line.split() for line in lines] if delimiter is None else list(csv.reader(lines, delimiter=delimiter))
    cells = [[cell.strip() for cell in row] for row in cells]
    lowered = {cell.lower() for cell in cells[0]}
    if lowered & {*SOURCES, *TARGETS, "graph", "node"} and not all(_is_number(cell) for cell in cells[0]):
        return Rows(cells[0], cells[1:])
    width = len(cells[0])
    return Rows(["source", "target", *(f"weight{k}" if k else "weight" for k in range(max(0, width - 2)))], cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _tables(path: Path) -> dict[str, Path]:
    """Files by role."""
    if path.is_file():
        return {"edges": path}
    found: dict[str, Path] = {}
    for role in ("edges", "nodes", "graphs"):
        for suffix in SUFFIXES:
            if (path / f"{role}{suffix}").is_file():
                found.setdefault(role, path / f"{role}{suffix}")
    return found


def sniff(path: Path) -> float:
    """0.9 for a folder with an edges table or a file with source and target columns, 0.2 for two columns of numbers."""
    tables = _tables(path)
    if "edges" not in tables or tables["edges"].suffix not in SUFFIXES:
        return 0.0
    if path.is_dir():
        return 0.9
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = next((line for line in file if line.strip() and line[0] not in "#%"), "")
    words = [word.strip().lower() for word in first.replace(",", " ").replace("\t", " ").split()]
    if any(word in SOURCES for word in words) and any(word in TARGETS for word in words):
        return 0.9
    return 0.2 if len(words) in (2, 3) and all(_is_number(word) for word in words) else 0.0


class EdgeListDataset:
    """Reader of edge lists.

    Args:
        config: path and whether edges are one-way.

    Raises:
        DataError: no edge table, or its columns cannot be told.
    """

    def __init__(self, config: EdgeListConfig) -> None:
        self.config = config
        self.files = _tables(Path(config.path).expanduser())
        if "edges" not in self.files:
            raise DataError(f"{config.path} holds no edge table", expected="a file, or edges.csv in the folder")
        self.edges = read_rows(self.files["edges"])
        self.nodes = read_rows(self.files["nodes"]) if "nodes" in self.files else None
        self.graphs = read_rows(self.files["graphs"]) if "graphs" in self.files else None
        self.source, self.target = self._ends()
        self.names = self._graph_names()
        self._edge_rows = _by_graph(self.edges, self.names)
        self._node_rows = _by_graph(self.nodes, self.names) if self.nodes is not None else {}
        self._node_classes = _class_names(self.nodes)
        self._graph_classes = _class_names(self.graphs)

    def _ends(self) -> tuple[int, int]:
        source, target = self.edges.column(*SOURCES), self.edges.column(*TARGETS)
        if source is None or target is None:
            raise DataError(
                f"{self.files['edges'].name} has no source and target columns", columns=", ".join(self.edges.header)
            )
        return source, target

    def _graph_names(self) -> list[str]:
        """Graphs in the order of the graph table, or of their first edge or node."""
        found: dict[str, None] = {}
        for rows in (self.graphs, self.nodes, self.edges):
            if rows is None:
                continue
            place = rows.column("graph")
            for cells in rows.cells:
                found.setdefault(cells[place] if place is not None and place < len(cells) else ONLY_GRAPH)
        return list(found)

    @property
    def fingerprint(self) -> str:
        parts = [f"{role}:{file_fingerprint(file)}" for role, file in sorted(self.files.items())]
        return hashlib.sha256(f"{parts} {self.config.directed}".encode()).hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        found = []
        if self._graph_classes:
            found.append(TargetSpec("label", "class", names=tuple(self._graph_classes)))
        if self._node_classes:
            found.append(TargetSpec("node_label", "class", level="node", names=tuple(self._node_classes)))
        return found

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return {}

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, index: int) -> str:
        """The graph's name."""
        return self.names[index]

    def by_id(self, sample_id: str) -> Sample:
        if sample_id not in self.names:
            raise DataError(f"no graph {sample_id!r} in {self.files['edges'].name}")
        return self[self.names.index(sample_id)]

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        nodes, place = self._graph_nodes(name)
        rows = self._edge_rows.get(name, [])
        edge_index = np.array(
            [[self._end(cells, side, place) for cells in rows] for side in (self.source, self.target)], np.int64
        ).reshape(2, -1)
        skip = {self.edges.column(*SOURCES), self.edges.column(*TARGETS), self.edges.column("graph")}
        graph = RawGraph(
            num_nodes=len(place),
            edge_index=edge_index,
            **_features("edge", self.edges, rows, skip),
            **nodes,
        )
        check_graph(graph)
        if not self.config.directed:
            graph = add_reverse(graph)
        meta = {"nodes": graph.num_nodes, "edges": graph.edge_index.shape[1]}
        return Sample(id=name, inputs=graph, targets=self._graph_targets(name), meta=meta)

    def _end(self, cells: list[str], column: int, place: Mapping[str, int]) -> int:
        if column >= len(cells) or not cells[column]:
            raise ItemError("incomplete_row", f"the edge row {cells} has no {self.edges.header[column]}")
        if cells[column] not in place:
            raise ItemError("dangling_edge", f"an edge names node {cells[column]!r}, which the node table lacks")
        return place[cells[column]]

    def _graph_nodes(self, name: str) -> tuple[dict[str, Any], dict[str, int]]:
        """Node features and targets, and the number of every node name."""
        if self.nodes is None:
            ends = [
                cells[side]
                for cells in self._edge_rows.get(name, [])
                for side in (self.source, self.target)
                if side < len(cells)
            ]
            ordered = sorted(set(ends), key=lambda end: (not end.isdigit(), int(end) if end.isdigit() else 0, end))
            return {}, {end: number for number, end in enumerate(ordered)}
        key = self.nodes.column("node", "id", "name")
        if key is None:
            raise DataError(f"{self.files['nodes'].name} has no node column", columns=", ".join(self.nodes.header))
        rows = self._node_rows.get(name, [])
        place = {cells[key]: number for number, cells in enumerate(rows)}
        if len(place) != len(rows):
            raise ItemError("duplicate_nodes", f"graph {name!r} lists {len(rows) - len(place)} nodes twice")
        label = self.nodes.column("label")
        found: dict[str, Any] = dict(_features("node", self.nodes, rows, {key, label, self.nodes.column("graph")}))
        if label is not None:
            numbers = [_class_number(cells, label, self._node_classes) for cells in rows]
            found["node_targets"] = {"node_label": np.array(numbers, np.float32)}
        return found, place

    def _graph_targets(self, name: str) -> dict[str, float]:
        if self.graphs is None or not self._graph_classes:
            return {}
        graph, label = self.graphs.column("graph"), self.graphs.column("label")
        assert graph is not None
        assert label is not None
        row = next((cells for cells in self.graphs.cells if cells[graph] == name), None)
        return {} if row is None else {"label": _class_number(row, label, self._graph_classes)}


def _by_graph(rows: Rows, names: Sequence[str]) -> dict[str, list[list[str]]]:
    place = rows.column("graph")
    found: dict[str, list[list[str]]] = {name: [] for name in names}
    for cells in rows.cells:
        found[cells[place] if place is not None and place < len(cells) else ONLY_GRAPH].append(cells)
    return found


def _class_names(rows: Rows | None) -> list[str]:
    place = None if rows is None else rows.column("label")
    if rows is None or place is None:
        return []
    values = {cells[place] for cells in rows.cells if place < len(cells) and cells[place]}
    return sorted(values, key=lambda value: (not _is_number(value), float(value) if _is_number(value) else 0.0, value))


def _class_number(cells: list[str], place: int, names: Sequence[str]) -> float:
    value = cells[place] if place < len(cells) else ""
    return float(names.index(value)) if value in names else float("nan")


def _features(kind: str, rows: Rows, cells: list[list[str]], skip: set[int | None]) -> dict[str, Any]:
    """Labels and attributes of the columns that are not skipped."""
    labels: list[np.ndarray] = []
    attributes: list[np.ndarray] = []
    for place, name in enumerate(rows.header):
        if place in skip:
            continue
        is_label = name.lower() in ("type", "kind") or name.lower().endswith("_label")
        values = np.array([_number(row, place, name) for row in cells], np.float64)
        (labels if is_label else attributes).append(values)
    found = {}
    if labels:
        found[f"{kind}_labels"] = np.stack(labels, axis=1).reshape(len(cells), -1).astype(np.int64)
    if attributes:
        found[f"{kind}_attributes"] = np.stack(attributes, axis=1).reshape(len(cells), -1).astype(np.float32)
    return found


def _number(cells: list[str], place: int, name: str) -> float:
    if place >= len(cells) or not _is_number(cells[place]):
        raise ItemError("not_a_number", f"column {name!r} has {cells[place] if place < len(cells) else ''!r}")
    return float(cells[place])
