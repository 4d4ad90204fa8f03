"""A batch of graphs as plain tensors, seen by every layer: nodes, stored arcs, and edges as dual nodes.

Symbols: N nodes, A arcs (stored columns of ``edge_index``), E edges (dual nodes; E <= A), B graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from repcore.errors import ShapeError
from repcore_graphs.ops.dht import DualHypergraph, EdgeCounting, dht
from repcore_graphs.ops.dual_hypergraph_conv.endpoints import EdgeScales, edge_scales
from repcore_graphs.ops.sums import Runs, runs_of


@dataclass(frozen=True, slots=True)
class GraphTensors:
    """One batch.

    Args:
        nodes: (N, Dn) float features, or int64 codes before embedding.
        node_graph: int64 (N,), ascending.
        num_graphs: B.
        arcs: int64 (2, A), (source, target) columns for node convolutions.
        arc_edge: int64 (A,), edge of each arc.
        ends: int64 (2, E), end points of each edge.
        edges: (E, De) features, int64 codes before embedding, or None before initialisation.
        edge_graph: int64 (E,).
        multiplicity: float (E,), arcs an edge stands for in the dual; 0 = dropped but kept in place.
        scales: structure factors of the dual convolution, shared by all layers until edges are dropped.
        is_whole: no edge has multiplicity 0.
        runs: what :meth:`arcs_by_node` gives, made when first asked for.
    """

    nodes: Tensor
    node_graph: Tensor
    num_graphs: int
    arcs: Tensor
    arc_edge: Tensor
    ends: Tensor
    edges: Tensor | None
    edge_graph: Tensor
    multiplicity: Tensor
    scales: EdgeScales
    is_whole: bool = True
    runs: dict[bool, tuple[Tensor, Runs, Runs]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def num_nodes(self) -> int:
        return int(self.node_graph.shape[0])

    @property
    def num_edges(self) -> int:
        return int(self.ends.shape[1])

    def with_features(self, *, nodes: Tensor | None = None, edges: Tensor | None = None) -> GraphTensors:
        """The same structure with other features."""
        return replace(self, nodes=self.nodes if nodes is None else nodes, edges=self.edges if edges is None else edges)

    def edge_features(self) -> Tensor:
        """Edge features, which must exist by now."""
        if self.edges is None:
            raise ShapeError("edges have no features yet", hint="encoder.embed_edges(graph) initialises them")
        return self.edges

    def arcs_by_node(self, *, loops: bool) -> tuple[Tensor, Runs, Runs]:
        """Arcs, (2, A) or with a loop at every node behind them (2, A + N), and these by target and by source, for
        :func:`repcore_graphs.ops.sums.weighted_sums`."""
        if loops not in self.runs:
            everyone = torch.arange(self.num_nodes, device=self.arcs.device)
            arcs = torch.cat([self.arcs, everyone.expand(2, -1)], dim=1) if loops else self.arcs
            self.runs[loops] = arcs, runs_of(arcs[1], self.num_nodes), runs_of(arcs[0], self.num_nodes)
        return self.runs[loops]

    def dual(self) -> DualHypergraph:
        """The dual hypergraph in closed form."""
        return DualHypergraph(self.ends, self.multiplicity, self.arc_edge, self.num_nodes)

    def select_edges(self, kept: Tensor) -> GraphTensors:
        """Only the edges at these positions, in this order; arcs follow. Nodes all stay. Shapes depend on ``kept``."""
        number = torch.full((self.num_edges,), -1, dtype=torch.long, device=kept.device)
        number[kept] = torch.arange(kept.numel(), device=kept.device)
        arc_edge = number[self.arc_edge]
        stay = (arc_edge >= 0).nonzero().squeeze(1)
        ends, multiplicity = self.ends.index_select(1, kept), self.multiplicity[kept]
        return replace(
            self,
            arcs=self.arcs.index_select(1, stay),
            arc_edge=arc_edge[stay],
            ends=ends,
            edges=None if self.edges is None else self.edges.index_select(0, kept),
            edge_graph=self.edge_graph[kept],
            multiplicity=multiplicity,
            scales=edge_scales(ends, self.num_nodes, multiplicity, multiplicity.dtype),
            runs={},
        )

    def mask_edges(self, keep: Tensor) -> GraphTensors:
        """The same shapes with the multiplicity of dropped edges set to 0: the form that compiles as one graph."""
        multiplicity = self.multiplicity * keep.to(self.multiplicity.dtype)
        scales = edge_scales(self.ends, self.num_nodes, multiplicity, multiplicity.dtype)
        return replace(self, multiplicity=multiplicity, scales=scales, is_whole=False)

    def arc_weights(self, edge_weight: Tensor | None) -> Tensor | None:
        """Weight of each arc from the weight of its edge; None if every arc counts fully."""
        if edge_weight is None and self.is_whole:
            return None
        living = (self.multiplicity > 0).to(self.multiplicity.dtype)
        weight = living if edge_weight is None else edge_weight * living
        return weight[self.arc_edge]


def from_pyg(data: Any, *, edges: EdgeCounting = "once") -> GraphTensors:
    """Read a ``Batch`` or a single ``Data`` of torch-geometric.

    A batch that our preprocessor collated carries the pairing of arcs already (``pair_first``, ``arc_edge``);
    for any other it is computed here.

    Args:
        data: ``x`` (N, Dn), ``edge_index`` (2, A), ``edge_attr`` (A, De) or None, and of a batch ``batch``,
            ``num_graphs``.
        edges: how undirected edges are counted, see :func:`repcore_graphs.ops.dht.dht`.

    Raises:
        ShapeError: no node features.
    """
    if getattr(data, "x", None) is None:
        raise ShapeError("the graph has no node features x", hint="the preprocessor of repcore-graphs adds degrees")
    nodes, arcs, attributes = data.x, data.edge_index, getattr(data, "edge_attr", None)
    node_graph = getattr(data, "batch", None)
    if node_graph is None:
        node_graph = torch.zeros(nodes.shape[0], dtype=torch.long, device=nodes.device)
    num_graphs = int(getattr(data, "num_graphs", 1))
    if edges == "once" and getattr(data, "pair_first", None) is not None:
        first, arc_edge = data.pair_first, data.arc_edge
        multiplicity = torch.bincount(arc_edge, minlength=first.numel()).to(torch.get_default_dtype())
        ends = arcs[:, first]
    else:
        dual = dht(arcs, nodes.shape[0], edges=edges, edge_attr=attributes)
        ends, arc_edge, multiplicity = dual.ends, dual.arc_edge, dual.multiplicity
        first = None
    if edges == "once" and attributes is not None:
        attributes = attributes[_first_arcs(arc_edge, ends.shape[1]) if first is None else first]
    return GraphTensors(
        nodes=nodes,
        node_graph=node_graph,
        num_graphs=num_graphs,
        arcs=arcs,
        arc_edge=arc_edge,
        ends=ends,
        edges=attributes,
        edge_graph=node_graph[ends[0]],
        multiplicity=multiplicity,
        scales=edge_scales(ends, nodes.shape[0], multiplicity, multiplicity.dtype),
    )


def _first_arcs(arc_edge: Tensor, num_edges: int) -> Tensor:
    """The arc that is stored first of each edge: int64 (E,)."""
    positions = torch.arange(arc_edge.numel(), device=arc_edge.device)
    first = torch.full((num_edges,), arc_edge.numel(), dtype=torch.long, device=arc_edge.device)
    return first.scatter_reduce(0, arc_edge, positions, "amin", include_self=True)
