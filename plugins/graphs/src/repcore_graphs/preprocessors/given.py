"""Graphs that people hold in Python."""

from __future__ import annotations

from copy import copy
from typing import Any

from torch_geometric.data import Batch, Data, HeteroData

from repcore.errors import ItemError
from repcore.interfaces import Sample
from repcore_graphs.datasets.pyg_graph import edge_features, edges_of, features_of, repaired, size_of, stands_for_x
from repcore_graphs.datasets.raw_graph import RawGraph, check_graph


def graph_from(value: Any) -> Any:
    """A graph of torch-geometric with its labels: ``y`` of one number, ``y_0``, ``y_1``, ... of (1, K); None for other
    kinds.

    Raises:
        ItemError: as :func:`check_graph`, ``heterogeneous``, and ``malformed_graph`` as in a file of graphs.
    """
    if isinstance(value, RawGraph):
        return value
    if isinstance(value, HeteroData) and not isinstance(value, Batch):
        raise ItemError(
            "heterogeneous", "a graph with several kinds of nodes or edges (HeteroData); try its to_homogeneous()"
        )
    if not isinstance(value, Data) or isinstance(value, Batch):
        return None
    data = copy(value)  # the stores of a copy take other tensors than the caller's
    if problem := repaired(data):
        raise ItemError("malformed_graph", problem)
    data = data.detach().cpu()
    edges, weights = edges_of(data)
    features = data.x if stands_for_x(data) is None else stands_for_x(data)
    graph = RawGraph(
        num_nodes=size_of(data),
        edge_index=edges,
        **features_of("node", features),
        **edge_features(data, weights),
    )
    check_graph(graph)
    label: Any = getattr(data, "y", None)
    if getattr(label, "ndim", 0) == 2 and label.shape[0] == 1 and label.shape[1] > 1:
        return Sample("", graph, {f"y_{place}": one for place, one in enumerate(label[0].tolist())})
    if label is None or getattr(label, "numel", lambda: 1)() != 1:
        return Sample("", graph, {})
    return Sample("", graph, {"y": label.item() if hasattr(label, "item") else label})
