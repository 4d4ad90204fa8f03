"""For plain torch-geometric code: the dual hypergraph as a transform, and graphs back as ``Data``."""

from __future__ import annotations

from typing import Any

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from repcore.errors import ShapeError
from repcore_graphs.layers.edge_convolution import EdgeInit, initial_edges
from repcore_graphs.ops.dht import EdgeCounting
from repcore_graphs.tensors import GraphTensors, from_pyg


@functional_transform("dual_hypergraph")
class DualHypergraphTransform(BaseTransform):
    """``Data`` of a graph -> ``Data`` of its dual: edges as nodes with the edge features, nodes as hyperedges.

    The result has ``x`` (E, De), ``hyperedge_index`` (2, I) for ``torch_geometric.nn.HypergraphConv`` and others,
    ``hyperedge_attr`` (N, Dn), and ``num_hyperedges`` to pass as their ``num_edges``.

    Source: Jo et al. 2021 (arXiv 2106.15845), section 3.1.

    Args:
        edges: undirected edges as one dual node or every stored column.
        edge_init: features of edges that have none.
        private: give every dual node a hyperedge of its own and remove hyperedges with one member, as published.

    Example:
        >>> dual = DualHypergraphTransform()(data)
        >>> HypergraphConv(3, 16)(dual.x, dual.hyperedge_index, num_edges=dual.num_hyperedges)
    """

    def __init__(
        self, *, edges: EdgeCounting = "once", edge_init: EdgeInit = "endpoints", private: bool = True
    ) -> None:
        self.edges: EdgeCounting = edges
        self.edge_init: EdgeInit = edge_init
        self.private = private

    def forward(self, data: Any) -> Data:
        """The dual of one graph.

        Raises:
            ShapeError: no node features.
        """
        graph = from_pyg(data, edges=self.edges)
        features = initial_edges(graph, self.edge_init) if graph.edges is None else graph.edges
        incidence = graph.dual().incidence(private=self.private)
        count = int(incidence[1].max()) + 1 if incidence.numel() else graph.num_nodes
        return Data(
            x=features,
            hyperedge_index=incidence,
            hyperedge_attr=graph.nodes,
            num_hyperedges=max(count, graph.num_nodes),
        )


def to_pyg(graph: GraphTensors) -> Data:
    """The graph as ``Data`` with ``x``, ``edge_index``, ``edge_attr`` a stored column, and ``batch``.

    Raises:
        ShapeError: edges were dropped in place (static shapes), so that columns no longer are edges.
    """
    if not graph.is_whole:
        raise ShapeError("dropped edges are still among the columns", hint="HyperDrop(..., static_shapes=False)")
    attributes = None if graph.edges is None else graph.edges[graph.arc_edge]
    return Data(x=graph.nodes, edge_index=graph.arcs, edge_attr=attributes, batch=graph.node_graph)
