"""From any stored graph to structure and signals: the preprocessor of ``graphs/gin``. It learns nothing from data.

Symbols: N nodes, A arcs (both directions of every edge), T pairs of a node and a column, B graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repcore.data.guard import read_sample
from repcore.data.label_numbers import as_floating
from repcore.errors import DataError, ItemError
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_graphs.configs.data import GraphPreprocessorConfig
from repcore_graphs.configs.gin import SignalGraphConfig
from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.ops.structure import NodeStructure, node_structure
from repcore_graphs.preprocessors.graph import GraphPreprocessor, stacked
from repcore_graphs.preprocessors.signals import WIDTH, Columns, edge_columns, node_columns
from repcore_graphs.preprocessors.statistics import MOST_NODES, statistics_of


@dataclass(frozen=True, slots=True)
class SignalGraph:
    """One graph as the encoder takes it.

    Args:
        structure: float32 (N, S).
        arcs: int64 (2, A).
        signals: float32 (T, WIDTH).
        node / column: int64 (T,), of nodes; columns of edges are -1, -2, ...
        targets: labels of nodes and of stored edges.
    """

    structure: np.ndarray
    arcs: np.ndarray
    signals: np.ndarray
    node: np.ndarray
    column: np.ndarray
    targets: Mapping[str, np.ndarray]


class SignalGraphPreprocessor(GraphPreprocessor):
    """Preprocessor ``graphs/signals``.

    Args:
        config: see :class:`SignalGraphConfig`.
    """

    def __init__(self, config: SignalGraphConfig) -> None:
        super().__init__(GraphPreprocessorConfig(duplicate_edges=config.duplicate_edges, self_edges=config.self_edges))

    @classmethod
    def load(cls, config: SignalGraphConfig, folder: Path) -> SignalGraphPreprocessor:  # type: ignore[override]
        """There is nothing to read."""
        del folder
        return cls(config)

    def save(self, folder: Path) -> Mapping[str, Any]:
        """There is nothing to write."""
        del folder
        return {}

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """See that there is a graph.

        Raises:
            DataError: none of them can be used.
        """
        for index in indices:
            try:
                self._cleaned(read_sample(reader, int(index)))
            except ItemError:
                continue
            return
        raise DataError(f"none of {len(indices)} training graphs can be used")

    def facts(self) -> Mapping[str, Any]:
        return {}

    def prepare(self, sample: Sample) -> list[Item]:
        """One item; its status says if edges were removed.

        Raises:
            ItemError: the graph cannot be used, see :func:`repcore_graphs.datasets.raw_graph.check_graph`.
        """
        graph, notes = self._cleaned(sample)
        notes = [*([sample.meta["remark"]] if "remark" in sample.meta else []), *notes]
        targets = {name: as_floating(values) for name, values in self._element_targets(sample).items()}
        values = signal_graph(node_structure(graph.num_nodes, graph.edge_index), graph, targets)
        meta = {"nodes": graph.num_nodes, "edges": graph.edge_index.shape[1]}
        status = notes[0][0] if notes else "ok"
        return [Item(values=values, meta=meta, status=status, reason="; ".join(text for _, text in notes))]

    def collate(self, items: Sequence[Item]) -> Batch:
        graphs: list[SignalGraph] = [item.values for item in items]
        counts = np.asarray([len(one.structure) for one in graphs])
        first = np.cumsum(counts) - counts
        inputs = {
            "structure": np.concatenate([one.structure for one in graphs]),
            "edge_index": np.concatenate([one.arcs + start for one, start in zip(graphs, first, strict=True)], 1),
            "graph": np.repeat(np.arange(len(graphs)), counts),
            "signals": np.concatenate([one.signals for one in graphs]),
            "signal_node": np.concatenate([one.node + start for one, start in zip(graphs, first, strict=True)]),
            "signal_column": np.concatenate([one.column for one in graphs]),
        }
        names = {name for one in graphs for name in one.targets}
        targets = {name: torch.from_numpy(np.concatenate([one.targets[name] for one in graphs])) for name in names}
        tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
        return Batch(inputs=tensors, size=len(items), targets=targets)

    def described(self, sample: Sample) -> tuple[NodeStructure, Columns, Columns]:
        """Structure, columns of nodes and columns of edges of a sample.

        Raises:
            ItemError: the graph cannot be used.
        """
        graph = self._cleaned(sample)[0]
        return node_structure(graph.num_nodes, graph.edge_index), node_columns(graph), edge_columns(graph)


def signal_graph(structure: NodeStructure, graph: RawGraph, targets: Mapping[str, np.ndarray]) -> SignalGraph:
    """All columns of a graph, one behind the other."""
    nodes, edges = node_columns(graph), edge_columns(graph)
    values = Columns(
        np.concatenate([nodes.values, edges.values], 1), np.concatenate([nodes.numbers, -1 - edges.numbers])
    )
    count, columns = values.values.shape
    return SignalGraph(
        structure=structure.features(),
        arcs=structure.arcs,
        signals=values.signals(structure).reshape(-1, WIDTH),
        node=np.repeat(np.arange(count), columns),
        column=np.tile(values.numbers, count),
        targets=targets,
    )


# -------------------------------------------------------------------------------------------------- baselines


Described = tuple[NodeStructure, Columns, Columns]


def statistics(preprocessor: SignalGraphPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Statistics of structure and signals (G, D); NaN rows of graphs that cannot be used or are too large for them."""
    known = [_described(preprocessor, sample) for sample in samples]
    fit = [one if one is not None and len(one[0].degree) <= MOST_NODES else None for one in known]
    return stacked([None if one is None else statistics_of(*one) for one in fit])


def raw_features(preprocessor: SignalGraphPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Counts and degrees, mean, sum and largest value of each column of nodes, mean of each of edges (G, D); a graph
    without a column has 0 there. NaN rows where unusable."""
    known = [_described(preprocessor, sample) for sample in samples]
    numbers = [sorted({n for one in known if one for n in one[kind].numbers.tolist()}) for kind in (1, 2)]  # type: ignore[union-attr]
    return stacked([None if one is None else _raw_row(one, *numbers) for one in known])


def _raw_row(described: Described, of_nodes: Sequence[int], of_edges: Sequence[int]) -> np.ndarray:
    structure, nodes, edges = described
    degree = structure.degree
    own, between = _at(nodes, of_nodes), _at(edges, of_edges)
    sizes = [len(degree), degree.sum(), degree.mean(), degree.max()]
    return np.concatenate([sizes, own.mean(0), own.sum(0), own.max(0), between.mean(0)])


def _at(columns: Columns, numbers: Sequence[int]) -> np.ndarray:
    """The columns with these numbers (N, len(numbers))."""
    found = np.zeros((len(columns.values), len(numbers)))
    place = {number: column for column, number in enumerate(numbers)}
    for values, number in zip(columns.values.T, columns.numbers.tolist(), strict=True):
        found[:, place[number]] += values
    return found


def _described(preprocessor: SignalGraphPreprocessor, sample: Sample) -> Described | None:
    try:
        return preprocessor.described(sample)
    except ItemError:
        return None
