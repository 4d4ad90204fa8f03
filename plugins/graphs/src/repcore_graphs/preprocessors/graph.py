"""From stored graphs to batches of torch-geometric: features, cleaned edges, and the pairing of opposite directions.

What is learned from the training graphs only: label vocabularies (unless the reader knows the whole of them), mean and
standard deviation of continuous attributes, the largest degree. Everything is in one small JSON file beside the model.

Symbols: N nodes, A arcs (columns of edges), E edges as stored, B graphs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Batch as GraphBatch
from torch_geometric.data import Data

from repcore.data.guard import read_sample
from repcore.data.label_numbers import as_floating
from repcore.errors import DataError, ItemError
from repcore.files import read_object
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_graphs.configs.data import GraphPreprocessorConfig
from repcore_graphs.datasets.raw_graph import RawGraph, check_graph
from repcore_graphs.ops.dht import pair_arcs
from repcore_graphs.preprocessors.features import FeatureEncoding, FeatureStatistics
from repcore_graphs.preprocessors.given import graph_from

STATE_FILE = "graph_features.json"


class GraphPreprocessor:
    """The path from a :class:`RawGraph` to a batch.

    Args:
        config: how labels, attributes, missing features and odd edges are treated.
    """

    def __init__(self, config: GraphPreprocessorConfig) -> None:
        self.config = config
        self.nodes: FeatureEncoding | None = None
        self.edges: FeatureEncoding | None = None
        self.most_degree = 0
        self.average_edges = 0
        self.average_nodes = 0

    @classmethod
    def load(cls, config: GraphPreprocessorConfig, folder: Path) -> GraphPreprocessor:
        """From a saved model.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        sizes = ("most_degree", "average_edges", "average_nodes")
        state = read_object(folder / STATE_FILE, ("nodes", "edges", *sizes))
        preprocessor = cls(config)
        preprocessor.nodes = FeatureEncoding.from_json(state["nodes"])
        preprocessor.edges = FeatureEncoding.from_json(state["edges"])
        preprocessor.most_degree, preprocessor.average_edges, preprocessor.average_nodes = (
            int(state[name]) for name in sizes
        )
        return preprocessor

    # ----------------------------------------------------------------------------------------------- fitting

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Learn vocabularies, scales and sizes; graphs that cannot be used are left out.

        Raises:
            DataError: no usable graph.
        """
        nodes, edges = FeatureStatistics(), FeatureStatistics()
        arcs, sizes = [], []
        for index in indices:
            try:
                graph = self._cleaned(read_sample(reader, int(index)))[0]
            except ItemError:
                continue
            nodes.add(graph.node_attributes, graph.node_labels, _of("node", graph.columns))
            edges.add(graph.edge_attributes, graph.edge_labels, _of("edge", graph.columns))
            self.most_degree = max(self.most_degree, int(_degrees(graph).max(initial=0)))
            arcs.append(graph.edge_index.shape[1])
            sizes.append(graph.num_nodes)
        if not arcs:
            raise DataError(f"none of {len(indices)} training graphs can be used")
        known: Mapping[str, list[list[int]]] = getattr(reader, "vocabularies", {})
        codes, scale = self.config.labels == "codes", self.config.standardise
        self.nodes = nodes.encoding(codes=codes, standardise=scale, vocabulary=known.get("node"))
        self.edges = edges.encoding(codes=codes, standardise=scale, vocabulary=known.get("edge"))
        self.most_degree = min(self.most_degree, self.config.most_degrees)
        self.average_edges, self.average_nodes = math.ceil(np.mean(arcs)), math.ceil(np.mean(sizes))

    def facts(self) -> Mapping[str, Any]:
        """Widths and kinds for encoders and objectives, by config field name."""
        nodes, edges = self._fitted()
        degrees = self.most_degree + 1 if self.config.missing_nodes == "degree" else 1
        return {
            "node_width": nodes.width or (0 if nodes.sizes else degrees),
            "edge_width": edges.width,
            "node_vocabularies": nodes.sizes,
            "edge_vocabularies": edges.sizes,
            "node_kind": nodes.kind if not nodes.is_empty else "one-hot",
            "edge_kind": edges.kind,
            "average_edges": self.average_edges,
            "average_nodes": self.average_nodes,
        }

    # ----------------------------------------------------------------------------------------------- samples

    def prepare(self, sample: Sample) -> list[Item]:
        """One item; its status says if edges were removed, features are not used or a label was unknown.

        Raises:
            ItemError: the graph cannot be used, see :func:`check_graph`.
        """
        nodes, edges = self._fitted()
        graph, notes = self._cleaned(sample)
        notes = [*([sample.meta["remark"]] if "remark" in sample.meta else []), *notes]
        x, unknown_nodes = nodes.encode(
            graph.node_attributes, graph.node_labels, graph.num_nodes, "node", graph.columns
        )
        edge_attr, unknown_edges = edges.encode(
            graph.edge_attributes, graph.edge_labels, graph.edge_index.shape[1], "edge", graph.columns
        )
        unused = (
            nodes.unused(graph.node_attributes, graph.node_labels, "node"),
            edges.unused(graph.edge_attributes, graph.edge_labels, "edge"),
        )
        notes += [("unused_features", text) for text in unused if text]
        if unknown_nodes + unknown_edges:
            notes.append(
                ("unknown_label", f"{unknown_nodes} nodes and {unknown_edges} edges have labels never trained on")
            )
        data = Data(
            x=self._structural(graph) if x is None else x,
            edge_index=torch.from_numpy(graph.edge_index),
            edge_attr=edge_attr,
        )
        for name, values in self._element_targets(sample).items():
            data[f"target_{name}"] = torch.from_numpy(as_floating(values))
        meta = {"nodes": graph.num_nodes, "edges": graph.edge_index.shape[1]}
        status = notes[0][0] if notes else "ok"
        return [Item(values=data, meta=meta, status=status, reason="; ".join(text for _, text in notes))]

    def inputs_from(self, value: Any) -> Any:
        """Data of torch-geometric."""
        return graph_from(value)

    def _element_targets(self, sample: Sample) -> dict[str, np.ndarray]:
        """Labels of nodes and of the edges that are kept; the sample's own where it has them (some may be hidden)."""
        raw: RawGraph = sample.inputs
        kept = self._kept(raw)[0]
        found = {name: sample.targets.get(name, values) for name, values in raw.node_targets.items()}
        edges = {name: sample.targets.get(name, values) for name, values in raw.edge_targets.items()}
        return {**found, **{name: raw.of_arcs(np.asarray(values))[kept] for name, values in edges.items()}}

    def restore(self, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
        """Outputs at the stored nodes (N, K) or edges (E, K); NaN at edges that were dropped.

        An edge whose opposite direction the reader added has the outputs of the arc that stands as stored.

        Raises:
            ItemError: ``other_level``: a graph has nodes and edges.
        """
        if level not in ("node", "edge"):
            raise ItemError("other_level", f"a graph has nodes and edges, no level {level!r}")
        if level == "node":
            return outputs[0]
        kept = self._kept(sample.inputs)[0]
        whole = np.full((len(kept), outputs[0].shape[1]), np.nan, np.float32)
        whole[kept] = outputs[0]
        return whole[sample.inputs.first_arcs]

    def elements(self, sample: Sample, level: str) -> Mapping[str, np.ndarray]:
        """Each node, or both ends of each stored edge: by name where the file names its nodes, else by number.

        ``edge`` is one number for both directions of an edge (of equal attributes): one row of each number is one edge.
        """
        graph: RawGraph = sample.inputs
        names = sample.meta.get("node_names")
        numbers = sample.meta.get("node_numbers", np.arange(graph.num_nodes))  # in the whole graph, of a part
        nodes = np.asarray(numbers) if names is None else np.asarray(names, np.str_)
        if level == "node":
            return {"node": nodes}
        stored = graph.first_arcs
        source, target = graph.edge_index[:, stored]
        attributes = None if graph.edge_attributes is None else torch.as_tensor(graph.edge_attributes)
        both = pair_arcs(torch.as_tensor(graph.edge_index), graph.num_nodes, attributes)[1]
        return {"source": nodes[source], "target": nodes[target], "edge": both.numpy()[stored]}

    def cleaned(self, sample: Sample) -> RawGraph:
        """The graph as the encoder sees it: its arcs are those of the collated batch, in the same order."""
        return self._cleaned(sample)[0]

    def collate(self, items: Sequence[Item]) -> Batch:
        """A torch-geometric batch with the pairing of opposite arcs, so that no device has to sort them."""
        joined = _joined([item.values for item in items])
        joined.pair_first, joined.arc_edge = pair_arcs(joined.edge_index, joined.num_nodes, joined.edge_attr)
        names = [key for key in joined.keys() if key.startswith("target_")]  # noqa: SIM118 - a method of PyG
        targets = {name.removeprefix("target_"): joined[name] for name in names}
        return Batch(inputs=joined, size=len(items), targets=targets)

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Nodes and arcs."""
        return int(meta.get("nodes", 1)) + int(meta.get("edges", 0))

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Write the learned state as JSON."""
        nodes, edges = self._fitted()
        state = {
            "nodes": nodes.to_json(),
            "edges": edges.to_json(),
            "most_degree": self.most_degree,
            "average_edges": self.average_edges,
            "average_nodes": self.average_nodes,
        }
        (Path(folder) / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
        return state

    # --------------------------------------------------------------------------------------------- internals

    def _fitted(self) -> tuple[FeatureEncoding, FeatureEncoding]:
        if self.nodes is None or self.edges is None:
            raise DataError(
                "the graph preprocessor was not fitted", hint="fit(reader, indices) or load(config, folder)"
            )
        return self.nodes, self.edges

    def _cleaned(self, sample: Sample) -> tuple[RawGraph, list[tuple[str, str]]]:
        """The graph without edges that the config removes, and what to say about it."""
        graph = sample.inputs
        if not isinstance(graph, RawGraph):
            raise ItemError("not_a_graph", f"the reader gave {type(graph).__name__}, not a graph")
        check_graph(graph)
        keep, notes = self._kept(graph)
        return (graph if keep.all() else graph.with_arcs(keep)), notes

    def _kept(self, graph: RawGraph) -> tuple[np.ndarray, list[tuple[str, str]]]:
        """Which stored edges stay, bool (A,), and what to say about the others."""
        keep = np.ones(graph.edge_index.shape[1], bool)
        notes = []
        if self.config.self_edges == "drop":
            loops = graph.edge_index[0] == graph.edge_index[1]
            keep &= ~loops
            if loops.any():
                notes.append(("self_edges_dropped", f"{int(loops.sum())} self edges were dropped"))
        if self.config.duplicate_edges == "first":
            first = _first_of_each(graph.edge_index)
            if not first.all():
                notes.append(("duplicate_edges", f"{int((~first).sum())} repeated edges were dropped"))
            keep &= first
        return keep, notes

    def _structural(self, graph: RawGraph) -> torch.Tensor:
        """Features from the structure alone: (N, most_degree + 1) one-hot degrees, or ones."""
        if self.config.missing_nodes == "ones":
            return torch.ones(graph.num_nodes, 1)
        degrees = torch.from_numpy(np.minimum(_degrees(graph), self.most_degree))
        return torch.nn.functional.one_hot(degrees, self.most_degree + 1).float()


def _joined(graphs: Sequence[Data]) -> GraphBatch:
    """Graphs side by side, nodes of one after those of the one before.

    torch-geometric's own joining takes several times as long, and shifts what has "index" or "batch" in its name.
    """
    stores = [graph.to_dict() for graph in graphs]
    sizes = torch.tensor([len(one["x"]) for one in stores])
    arcs = torch.tensor([one["edge_index"].shape[1] for one in stores])
    ends = torch.cumsum(sizes, 0)
    values = {name: torch.cat([one[name] for one in stores]) for name in stores[0] if name != "edge_index"}
    shifts = (ends - sizes).repeat_interleave(arcs)
    values["edge_index"] = torch.cat([one["edge_index"] for one in stores], dim=1) + shifts
    values["batch"] = torch.arange(len(graphs)).repeat_interleave(sizes)
    values["ptr"] = torch.cat([ends.new_zeros(1), ends])
    joined = GraphBatch(**values)
    joined._num_graphs = len(graphs)  # what torch-geometric's own joining sets
    return joined


def _of(what: str, columns: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Names of the columns of nodes or edges, by ``attributes`` and ``labels``."""
    return {name.removeprefix(f"{what}_"): names for name, names in columns.items() if name.startswith(what)}


def _degrees(graph: RawGraph) -> np.ndarray:
    """Outgoing arcs of each node, (N,)."""
    return np.bincount(graph.edge_index[0], minlength=graph.num_nodes)


def _first_of_each(edge_index: np.ndarray) -> np.ndarray:
    """True at the first occurrence of every (source, target)."""
    first = np.zeros(edge_index.shape[1], bool)
    if edge_index.shape[1]:
        keys = edge_index[0] * (int(edge_index.max()) + 1) + edge_index[1]  # a number for every pair: sorts quicker
        first[np.unique(keys, return_index=True)[1]] = True
    return first


# -------------------------------------------------------------------------------------------------- baselines


def raw_features(preprocessor: GraphPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Mean, sum and largest node features, mean edge features, counts and degrees: (G, D), NaN rows where unusable."""
    rows = [_or_none(preprocessor, sample, _raw_row) for sample in samples]
    return stacked(rows)


def raw_elements(preprocessor: GraphPreprocessor, sample: Sample, items: Sequence[Item], level: str) -> np.ndarray:
    """Baseline of nodes (N, D): their features and degree; of stored edges (E, D): theirs and those of both ends."""
    data = items[0].values
    degree = torch.bincount(data.edge_index[0], minlength=data.num_nodes).float()[:, None]
    nodes = torch.cat([data.x.float().reshape(data.num_nodes, -1), degree], dim=1)
    if level == "node":
        return np.asarray(nodes.numpy(), np.float64)
    source, target = data.edge_index
    parts = [nodes[source] + nodes[target], (nodes[source] - nodes[target]).abs()]  # the same in both directions
    if data.edge_attr is not None:
        parts.append(data.edge_attr.float().reshape(len(source), -1))
    return preprocessor.restore(sample, items, [torch.cat(parts, dim=1).numpy()], level)


def sizes_only(preprocessor: GraphPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Number of nodes and arcs, mean and largest degree: (G, 4)."""
    return stacked([_or_none(preprocessor, sample, _size_row) for sample in samples])


def _or_none(preprocessor: GraphPreprocessor, sample: Sample, row: Any) -> np.ndarray | None:
    try:
        return np.asarray(row(preprocessor.prepare(sample)[0].values), dtype=np.float64)
    except ItemError:
        return None


def _size_row(data: Data) -> list[float]:
    degrees = torch.bincount(data.edge_index[0], minlength=data.num_nodes).float()
    return [float(data.num_nodes), float(data.edge_index.shape[1]), float(degrees.mean()), float(degrees.max())]


def _raw_row(data: Data) -> list[float]:
    x = data.x.float()
    values = _size_row(data) + x.mean(0).tolist() + x.sum(0).tolist() + x.amax(0).tolist()
    if data.edge_attr is not None:
        edges = data.edge_attr.float()
        values += (edges.mean(0) if len(edges) else edges.new_zeros(edges.shape[1])).tolist()
    return values


def stacked(rows: Sequence[np.ndarray | None]) -> np.ndarray:
    """Rows of a baseline (G, D), NaN where there is none."""
    width = max((len(row) for row in rows if row is not None), default=0)
    return np.array([np.full(width, np.nan) if row is None else row for row in rows]).reshape(len(rows), width)
