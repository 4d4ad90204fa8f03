"""torch-geometric data on disk: ``processed/data.pt`` of an in-memory data set, or ``.pt`` files with ``Data`` objects.

Edges are taken as they are stored: one direction or both, self edges, repeated ones. Integer features are labels,
floating ones attributes, ``edge_weight`` is an edge attribute, ``adj_t`` stands for ``edge_index`` where that is
missing. What ``y`` is (of graphs or of nodes, class or value) is decided from all graphs and said. Nothing is written.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from repcore.data.accounting import Accounting
from repcore.data.tables import file_fingerprint
from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_graphs.configs.data import PyGConfig
from repcore_graphs.datasets.graph_targets import GraphTargets, label_of, read_targets
from repcore_graphs.datasets.pyg_files import load_graphs
from repcore_graphs.datasets.pyg_graph import (
    edge_features,
    edges_of,
    features_of,
    flat,
    has_no_size,
    is_one_way,
    masked,
    repaired,
    size_of,
    stands_for_x,
    weights_of,
    width_of,
)
from repcore_graphs.datasets.pyg_paths import SETTINGS, find_files
from repcore_graphs.datasets.raw_graph import ONE_GRAPH, RawGraph, check_graph

LEVEL_HINT = "dataset.level=graph or dataset.level=node (--read level=... with embed, probe and inspect)"
USED = {
    "x",
    "y",
    "z",
    "edge_index",
    "edge_attr",
    "edge_weight",
    "adj_t",
    "num_nodes",
    "train_mask",
    "val_mask",
    "test_mask",
}


class PyGDataset:
    """Reader of one file, or of a folder of them.

    Args:
        config: path, and what cannot be read off the file.

    Raises:
        DataError: see :func:`load_graphs`; ``y`` fits neither graphs nor nodes, or both; nodes are numbered from 1.
    """

    def __init__(self, config: PyGConfig) -> None:
        self.config = config
        self.path = Path(config.path).expanduser()
        self.account = Accounting(root=self.path if self.path.is_dir() else None)
        self.graphs: list[Data] = []
        self._splits: dict[str, list[int]] = {}
        self.files: list[Path] = []
        for part, files in find_files(self.path).items():
            begin = len(self.graphs)
            for file in files:
                self.graphs += load_graphs(file)
            self.files += files
            if part:
                self._splits[part] = list(range(begin, len(self.graphs)))
        self._account_files()
        self._problems = {row: why for row, graph in enumerate(self.graphs) if (why := repaired(graph))}
        for row in self._problems:
            self.graphs[row] = Data(num_nodes=0)  # says nothing when all graphs are judged
        self.sizes = [size_of(graph) for graph in self.graphs]
        self._check_numbering()
        self._tell_features()
        self._targets, self._node_labels = self._read_y()
        if len(self.graphs) == 1:
            self.account.note(ONE_GRAPH)

    # ------------------------------------------------------------------------------------------ findings

    def _account_files(self) -> None:
        self.account.use(*self.files)
        if self.path.is_dir():
            for name in SETTINGS:
                for file in self.path.rglob(name):
                    self.account.ignore(file, "torch-geometric's note on how the data was made")
            self.account.cover(self.path)

    def _check_numbering(self) -> None:
        """Refuse edges that count nodes from 1; where sizes are not stored, say what they were taken from."""
        ends = [edges_of(graph)[0] for graph in self.graphs]
        filled = [(edges, size) for edges, size in zip(ends, self.sizes, strict=True) if edges.shape[1]]
        from_one = bool(filled) and all(int(edges.min()) >= 1 for edges, _ in filled)
        if from_one and self.config.first_node == 0 and any(int(edges.max()) == size for edges, size in filled):
            raise DataError(
                f"{self.path.name}: edges name nodes 1 to N of N nodes: they are numbered from 1",
                graphs=f"{len(filled)} with edges, node 0 in none",
                hint="dataset.first_node=1 with train, --read first_node=1 with embed, probe and inspect",
            )
        unknown = sum(has_no_size(graph) for graph in self.graphs)
        if unknown:
            zero = ", node 0 in none of their edges: they may be numbered from 1" if from_one else ""
            self.account.note(
                f"{unknown} graphs store neither x nor num_nodes: sizes are the largest node number + 1{zero}"
            )

    def _tell_features(self) -> None:
        """Say where graphs differ in what they store: the ones that differ from most become reported rows."""
        for name in ("x", "edge_attr"):
            widths = Counter(width_of(getattr(graph, name, None)) for graph in self.graphs)
            if len(widths) > 1:
                shown = ", ".join(
                    f"{count} {'without' if width is None else f'with {width} columns'}"
                    for width, count in widths.most_common(4)
                )
                self.account.note(f"graphs differ in {name}: {shown}")
        if any(weights_of(graph) is not None for graph in self.graphs):
            self.account.guess("edge_weight", "an edge attribute", "graphs store one value for every edge")
        unused = sorted({str(key) for graph in self.graphs for key in graph.keys()} - USED)  # noqa: SIM118 - PyG's method
        if unused:
            self.account.note(f"stored but not used: {', '.join(unused[:12])}")
        if any(stands_for_x(graph) is not None for graph in self.graphs):
            self.account.guess("z", "labels of nodes", "graphs store no x", "store x")
        one_way = sum(is_one_way(graph) for graph in self.graphs)
        if one_way:
            self.account.note(f"{one_way} of {len(self.graphs)} graphs store edges in one direction only: kept so")

    # ------------------------------------------------------------------------------------------- targets

    def _level(self, shapes: Sequence[tuple[int, tuple[int, ...]]]) -> str:
        """``graph`` or ``node``, from the shapes of all ``y`` and the numbers of nodes."""
        if self.config.level != "auto":
            return self.config.level
        sizes = {int(np.prod(shape)) for _, shape in shapes}
        of_nodes = all(shape and shape[0] == nodes for nodes, shape in shapes)
        of_graphs = len(sizes) == 1 and all(len(shape) <= 1 or shape[0] == 1 for _, shape in shapes)
        if of_graphs and (sizes == {1} or not of_nodes or any(len(shape) == 2 for _, shape in shapes)):
            return "graph"
        if of_nodes and not of_graphs:
            return "node"
        if of_nodes and len(self.graphs) == 1:
            why = f"one graph of {shapes[0][0]} nodes with as many values"
            self.account.guess("y", "labels of nodes", why, "dataset.level=graph")
            return "node"
        if of_nodes:
            raise DataError(
                f"{self.path.name}: y has {shapes[0][0]} values in each graph of {shapes[0][0]} nodes",
                meaning="they may be labels of the nodes, or tasks of the graph",
                hint=LEVEL_HINT,
            )
        raise DataError(
            f"{self.path.name}: y has {', '.join(map(str, sorted(sizes)[:6]))} values in different graphs",
            expected="as many in every graph, or one a node",
            hint=LEVEL_HINT,
        )

    def _read_y(self) -> tuple[GraphTargets, list[dict[str, np.ndarray]]]:
        """Targets of the graphs, and of the nodes of each graph."""
        known = [graph.y for graph in self.graphs if isinstance(graph.y, torch.Tensor) and graph.y.numel()]
        if not known:
            return GraphTargets(), []
        sizes = [size for graph, size in zip(self.graphs, self.sizes, strict=True) if graph.y is not None]
        codes = not known[0].is_floating_point()
        if self._level([(size, tuple(y.shape)) for size, y in zip(sizes, known, strict=False)]) == "node":
            return self._node_targets(codes)
        width = known[0].numel()
        rows = [np.full(width, np.nan) if graph.y is None else flat(graph.y) for graph in self.graphs]
        if any(len(row) != width for row in rows):
            raise DataError(f"{self.path.name}: y has different numbers of values", hint=LEVEL_HINT)
        return read_targets("y", np.stack(rows), self.account, kind=self.config.label_kind, codes=codes), []

    def _node_targets(self, codes: bool) -> tuple[GraphTargets, list[dict[str, np.ndarray]]]:
        """Labels of all nodes, judged together, and one copy a split mask with the labels of other parts removed."""
        tables = [
            np.full((size, 1), np.nan) if graph.y is None else flat(graph.y).reshape(len(graph.y), -1)
            for graph, size in zip(self.graphs, self.sizes, strict=True)
        ]
        width = max(table.shape[1] for table in tables)
        tables = [table if table.shape[1] == width else np.full((len(table), width), np.nan) for table in tables]
        starts = np.cumsum([0, *(len(table) for table in tables)])
        joined = np.concatenate(tables)
        specs: list[TargetSpec] = []
        found: list[dict[str, np.ndarray]] = [{} for _ in tables]
        for column in range(width):
            name = "y" if width == 1 else f"y-{column}"
            one = label_of(name, joined[:, column], kind=self.config.label_kind, codes=codes)
            one.tell(self.account)
            if one.target is None:
                continue
            specs.append(TargetSpec(name, one.target.kind, level="node", names=one.target.names))
            for row, graph in enumerate(self.graphs):
                values = one.values[starts[row] : starts[row + 1]]
                found[row] |= {name: values, **masked(graph, name, values)}
        return GraphTargets(tuple(specs)), found

    # -------------------------------------------------------------------------------------------- reader

    @property
    def fingerprint(self) -> str:
        if len(self.files) == 1 and self.config.first_node == 0:
            return file_fingerprint(self.files[0])
        parts = [file_fingerprint(file) for file in self.files]
        return hashlib.sha256(f"{parts} {self.config.first_node}".encode()).hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return self._targets.specs

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Declared by files called train, val and test; empty otherwise."""
        return self._splits

    @property
    def costs(self) -> np.ndarray:
        """Nodes of each graph."""
        return np.array(self.sizes)

    def __len__(self) -> int:
        return len(self.graphs)

    def id_of(self, index: int) -> str:
        """Row number as text."""
        return str(index)

    def by_id(self, sample_id: str) -> Sample:
        if not sample_id.isdigit() or int(sample_id) >= len(self):
            raise DataError(f"no graph {sample_id!r}", expected=f"0 .. {len(self) - 1}")
        return self[int(sample_id)]

    def __getitem__(self, index: int) -> Sample:
        if index in self._problems:
            raise ItemError("malformed_graph", self._problems[index])
        data = self.graphs[index]
        edges, weights = edges_of(data)
        graph = RawGraph(
            num_nodes=self.sizes[index],
            edge_index=edges - self.config.first_node,
            **features_of("node", data.x if stands_for_x(data) is None else stands_for_x(data)),
            **edge_features(data, weights),
            node_targets=self._node_labels[index] if self._node_labels else {},
        )
        check_graph(graph)
        meta = {"nodes": graph.num_nodes, "edges": graph.edge_index.shape[1]}
        return Sample(
            id=self.id_of(index), inputs=graph, targets={**self._targets.of(index), **graph.element_targets}, meta=meta
        )
