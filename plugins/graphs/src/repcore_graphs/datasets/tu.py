"""TUDataset raw text (``DS_A.txt``, ``DS_graph_indicator.txt``, ...), read in place; nothing is ever written beside it.

Opening counts the graphs; edges and features are parsed on first use. A damaged graph (an edge to a node that is not
there, a NaN attribute) becomes a reported row; files that do not fit each other (truncated copies) are errors that
name both files.

Symbols: N nodes of all graphs, A stored edge lines, G graphs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.encodings import whole_text
from repcore.data.seeds import generator
from repcore.data.tables import file_fingerprint
from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_graphs.configs.data import TUDatasetConfig
from repcore_graphs.datasets.folds import JSON_NAME, TEXT_FOLDER, fold_split, published_folds, stratified_folds
from repcore_graphs.datasets.graph_targets import MOST_CLASSES, GraphTargets, read_targets
from repcore_graphs.datasets.raw_graph import RawGraph, check_graph

SUFFIXES = (
    "A", "graph_indicator", "graph_labels", "graph_attributes",
    "node_labels", "node_attributes", "edge_labels", "edge_attributes",
)  # fmt: skip
LABEL, VALUE = "label", "value"


def find_prefix(path: Path) -> tuple[Path, str]:
    """Folder and data set name of the files under a path.

    Raises:
        DataError: no ``*_A.txt``, or several.
    """
    folders = [path, path / "raw", path / path.name / "raw", path / path.name]
    for folder in folders:
        found = sorted(folder.glob("*_A.txt")) if folder.is_dir() else []
        if len(found) > 1:
            raise DataError(f"{folder} holds several data sets", found=", ".join(one.name for one in found))
        if found:
            return folder, found[0].name[: -len("_A.txt")]
    raise DataError(f"{path} is not a TUDataset", expected="a file NAME_A.txt in it or in its subfolder raw/")


def sniff(path: Path) -> float:
    """1.0 if the two files that every TUDataset has are there."""
    try:
        folder, name = find_prefix(path)
    except DataError:
        return 0.0
    return 1.0 if (folder / f"{name}_graph_indicator.txt").is_file() else 0.0


class TUDataset:
    """Reader of one TUDataset folder.

    Args:
        config: path and folds.

    Raises:
        DataError: files are missing, or their lengths do not fit.
    """

    def __init__(self, config: TUDatasetConfig) -> None:
        self.config = config
        self.folder, self.name = find_prefix(Path(config.path).expanduser())
        self.graph_of_node = self._read("graph_indicator", np.int64)[:, 0] - 1
        if self.graph_of_node.size == 0 or self.graph_of_node.min() < 0:
            raise DataError(f"{self._path('graph_indicator')} does not number graphs from 1")
        self.count = int(self.graph_of_node.max()) + 1
        self.account = Accounting(root=self.folder)
        self._account_files()
        self._labels = self._graph_labels()
        self._values = self._graph_values()

    # ---------------------------------------------------------------------------------------------- reader

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for suffix in SUFFIXES:
            if self._path(suffix).is_file():
                digest.update(f"{suffix}:{file_fingerprint(self._path(suffix))};".encode())
        return digest.hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return [*self._labels.specs, *self._values.specs]

    @cached_property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Train, validation and test of the fold in the config; empty without one."""
        if self.config.fold is None:
            return {}
        split = fold_split(self.folds(), self.config.fold, self.count)
        return {name: rows.tolist() for name, rows in split.items()}

    @cached_property
    def vocabularies(self) -> Mapping[str, list[list[int]]]:
        """All label values of nodes and edges, a column each: for one-hot widths as published."""
        found = {}
        for kind in ("node", "edge"):
            labels = self._all[f"{kind}_labels"]
            if labels is not None:
                found[kind] = [np.unique(column).tolist() for column in labels.T]
        return found

    def folds(self) -> list[np.ndarray]:
        """Test rows of the ten folds that the config asks for."""
        if self.config.folds == "published":
            return published_folds(self.folder, self.count)
        spec = next((one for one in self._labels.specs if one.kind == "class"), None)
        labels = np.zeros(self.count) if spec is None else self._labels.values[spec.name]
        return stratified_folds(labels, generator=generator(self.config.seed, "folds"))

    def __len__(self) -> int:
        return self.count

    def id_of(self, index: int) -> str:
        """``NAME-000001`` for the first graph."""
        return f"{self.name}-{index + 1:06d}"

    def by_id(self, sample_id: str) -> Sample:
        number = sample_id.removeprefix(f"{self.name}-")
        if not number.isdigit() or not 1 <= int(number) <= self.count:
            raise DataError(
                f"no graph {sample_id!r} in {self.name}", expected=f"{self.id_of(0)} .. {self.id_of(self.count - 1)}"
            )
        return self[int(number) - 1]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        graph = self._graph(index)
        check_graph(graph)
        targets = {**self._labels.of(index), **self._values.of(index)}
        meta = {"nodes": graph.num_nodes, "edges": graph.edge_index.shape[1]}
        return Sample(id=self.id_of(index), inputs=graph, targets=targets, meta=meta)

    # ------------------------------------------------------------------------------------------------ files

    def _path(self, suffix: str) -> Path:
        return self.folder / f"{self.name}_{suffix}.txt"

    def _read(self, suffix: str, dtype: type) -> np.ndarray:
        """One file as (lines, columns)."""
        path = self._path(suffix)
        if not path.is_file():
            raise DataError(f"{self.name} lacks {path.name}", folder=self.folder)
        if not whole_text(path).strip():
            return np.zeros((0, 1), dtype)  # an edge file may be empty
        try:
            return np.loadtxt(path, delimiter=",", dtype=dtype, ndmin=2)
        except (ValueError, UnicodeDecodeError) as error:
            raise DataError(f"{path.name} cannot be read as numbers; is it truncated?", reason=error) from error

    def _optional(self, suffix: str, dtype: type, lines: int, like: str) -> np.ndarray | None:
        if not self._path(suffix).is_file():
            return None
        values = self._read(suffix, dtype)
        if len(values) != lines:
            raise DataError(
                f"{self.name}_{suffix}.txt has {len(values)} lines, {self.name}_{like}.txt stands for {lines}",
                meaning="one of the two is truncated, or they belong to different data sets",
            )
        return values

    def _account_files(self) -> None:
        """The files of the format; others beside them (read-mes, folds) are named."""
        self.account.use(*(self._path(suffix) for suffix in SUFFIXES if self._path(suffix).is_file()))
        for path in self.folder.iterdir():
            if path.name in (JSON_NAME, TEXT_FOLDER):
                self.account.use(path)
        self.account.cover(self.folder, "not one of the files of a TUDataset")

    def _graph_labels(self) -> GraphTargets:
        """``graph_labels``: classes, unless the numbers are not whole."""
        values = self._optional("graph_labels", np.float64, self.count, "graph_indicator")
        if values is None:
            return GraphTargets()
        if values.shape[1] > 1:
            return read_targets(LABEL, values, self.account, kind=self.config.label_kind)
        known = np.unique(values[~np.isnan(values)])
        is_class = known.size <= MOST_CLASSES and bool((known == known.round()).all())
        if self.config.label_kind != "auto" or not is_class:
            return read_targets(LABEL, values, self.account, kind=self.config.label_kind)
        # the format means classes by this file, even where a class has one graph or all graphs are of one
        place = {float(value): float(number) for number, value in enumerate(known)}
        spec = TargetSpec(LABEL, "class", names=tuple(f"{name:.0f}" for name in known))
        return GraphTargets((spec,), {LABEL: np.array([place.get(float(one), np.nan) for one in values[:, 0]])})

    def _graph_values(self) -> GraphTargets:
        values = self._optional("graph_attributes", np.float64, self.count, "graph_indicator")
        if values is None:
            return GraphTargets()
        return read_targets(VALUE, values, self.account, kind="regression")

    @cached_property
    def _all(self) -> dict[str, np.ndarray | None]:
        """Edges and features of all graphs, edges grouped by graph in their stored order."""
        num_nodes = self.graph_of_node.size
        edges = self._read("A", np.int64)
        if edges.size and edges.shape[1] != 2:
            raise DataError(f"{self._path('A').name} has {edges.shape[1]} columns", expected="2: source, target")
        arcs = edges.reshape(-1, 2).T - 1
        inside = (arcs >= 0) & (arcs < num_nodes)
        if (~inside.any(axis=0)).any():
            line = int(np.argmax(~inside.any(axis=0))) + 1
            raise DataError(f"line {line} of {self._path('A').name} names two nodes that do not exist", nodes=num_nodes)
        known = np.where(inside[0], arcs[0], arcs[1])  # the end that exists tells the graph
        return {
            "arcs": arcs,
            "arc_graph": self.graph_of_node[known],
            "node_labels": self._optional("node_labels", np.int64, num_nodes, "graph_indicator"),
            "node_attributes": self._optional("node_attributes", np.float32, num_nodes, "graph_indicator"),
            "edge_labels": self._optional("edge_labels", np.int64, arcs.shape[1], "A"),
            "edge_attributes": self._optional("edge_attributes", np.float32, arcs.shape[1], "A"),
        }

    @cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nodes and arcs sorted by graph, and where each graph starts."""
        arc_graph = self._all["arc_graph"]
        assert arc_graph is not None
        nodes, arcs = np.argsort(self.graph_of_node, kind="stable"), np.argsort(arc_graph, kind="stable")
        starts = np.arange(self.count + 1)
        return (
            nodes,
            np.searchsorted(self.graph_of_node[nodes], starts),
            arcs,
            np.searchsorted(arc_graph[arcs], starts),
        )

    @cached_property
    def costs(self) -> np.ndarray:
        """Nodes of each graph."""
        return np.bincount(self.graph_of_node, minlength=self.count)

    def _graph(self, index: int) -> RawGraph:
        node_order, node_start, arc_order, arc_start = self._order
        nodes = node_order[node_start[index] : node_start[index + 1]]
        arcs = arc_order[arc_start[index] : arc_start[index + 1]]
        ends = self._all["arcs"]
        assert ends is not None
        place = {int(node): number for number, node in enumerate(nodes)}
        edge_index = np.array([[place.get(int(end), -1) for end in side[arcs]] for side in ends], np.int64)
        if (edge_index < 0).any():
            line = int(arcs[np.argmax((edge_index < 0).any(axis=0))]) + 1
            raise ItemError("dangling_edge", f"line {line} of {self.name}_A.txt leaves the graph")

        def rows(key: str, which: np.ndarray) -> np.ndarray | None:
            values = self._all[key]
            return None if values is None else values[which]

        return RawGraph(
            num_nodes=len(nodes),
            edge_index=edge_index.reshape(2, -1),
            node_attributes=rows("node_attributes", nodes),
            node_labels=rows("node_labels", nodes),
            edge_attributes=rows("edge_attributes", arcs),
            edge_labels=rows("edge_labels", arcs),
        )
