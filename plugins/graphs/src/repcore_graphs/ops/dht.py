"""Dual hypergraph transformation (DHT): edges become nodes, nodes become hyperedges, on index lists only.

Source: Jo et al. 2021 (arXiv 2106.15845), section 3.1; public repository harryjo97/EHGNN.
Differs: the published code always keeps both directions of an undirected edge as two dual nodes. Here that is one of
two named choices: ``"as-stored"`` (every column is a dual node) and ``"once"`` (both directions share one dual node of
multiplicity 2), which gives the same embeddings for half the work when both directions carry the same features.

Symbols: N nodes, A stored columns of ``edge_index`` ("arcs"), E dual nodes ("edges"; E = A as stored), B graphs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from repcore.errors import ConfigError, DataError
from repcore.shapes import check_shape
from repcore_graphs.ops.ordering import stable_order

EdgeCounting = Literal["once", "as-stored"]


@dataclass(frozen=True, slots=True)
class DualHypergraph:
    """The dual of a graph in closed form: every dual node has exactly two hyperedges, its end points.

    Args:
        ends: int64 (2, E), the two hyperedges (original nodes) of each dual node.
        multiplicity: float (E,), how many stored columns a dual node stands for; 0 = dropped.
        arc_edge: int64 (A,), dual node of each stored column.
        num_nodes: N, number of hyperedges that are not private.
    """

    ends: Tensor
    multiplicity: Tensor
    arc_edge: Tensor
    num_nodes: int

    def incidence(self, *, private: bool = True) -> Tensor:
        """The published list form, for hypergraph layers of torch-geometric.

        Row 0 is the dual node, row 1 the hyperedge. With ``private`` every hyperedge with a single member is removed
        and each dual node gets a hyperedge of its own, numbered after the largest used node id. Its length depends on
        the data, so it cannot be part of a compiled graph; nothing in this package needs it.

        Returns:
            int64 (2, I), in the order of the published code: both ends of edge 0, of edge 1, ..., then private ones.
        """
        num_edges = self.ends.shape[1]
        members = torch.arange(num_edges, device=self.ends.device)
        listed = torch.stack([members.repeat_interleave(2), self.ends.t().reshape(-1)])  # (2, 2E)
        if not private or num_edges == 0:
            return listed
        cardinality = torch.zeros(self.num_nodes, dtype=self.multiplicity.dtype, device=self.ends.device)
        cardinality.index_add_(0, listed[1], self.multiplicity.repeat_interleave(2))
        kept = listed[:, cardinality[listed[1]] > 1]
        first_private = int(self.ends.max()) + 1
        return torch.cat([kept, torch.stack([members, members + first_private])], dim=1)


def dht(
    edge_index: Tensor,
    num_nodes: int,
    *,
    edges: EdgeCounting = "as-stored",
    edge_attr: Tensor | None = None,
) -> DualHypergraph:
    """Transform a graph (or a batch of graphs with shifted node ids) into its dual hypergraph.

    Args:
        edge_index: int64 (2, A), columns of (source, target).
        num_nodes: N.
        edges: ``"as-stored"`` or ``"once"``, see the module text. ``"as-stored"`` is free of data-dependent shapes.
        edge_attr: (A, ...) features; with ``"once"`` two directions are joined only if their features are equal.

    Returns:
        The dual; ``ends`` of a joined edge are those of the direction that is stored first.

    Raises:
        ShapeError: ``edge_index`` is not (2, A).
        ConfigError: unknown ``edges``.

    Cost: O(A) as stored, O(A log A) for ``"once"`` (one sort), no dense incidence.
    """
    if not torch.compiler.is_compiling():
        check_shape(edge_index, "2 A", name="edge_index", owner="dht")
    if edges == "as-stored":
        arc_edge = torch.arange(edge_index.shape[1], device=edge_index.device)
        multiplicity = torch.ones(edge_index.shape[1], device=edge_index.device)
        return DualHypergraph(edge_index, multiplicity, arc_edge, num_nodes)
    if edges != "once":
        raise ConfigError(f"edges={edges!r} is not a way to count edges", expected="'once' or 'as-stored'")
    first, arc_edge = pair_arcs(edge_index, num_nodes, edge_attr)
    multiplicity = torch.bincount(arc_edge, minlength=first.numel()).to(torch.get_default_dtype())
    return DualHypergraph(edge_index[:, first], multiplicity, arc_edge, num_nodes)


def pair_arcs(edge_index: Tensor, num_nodes: int, edge_attr: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Join every (u, v) with its reverse (v, u) of equal features.

    Self edges and one-way edges stay alone. Parallel edges are joined one to one in their stored order.

    Args:
        edge_index: int64 (2, A).
        num_nodes: N.
        edge_attr: (A, ...) or None.

    Returns:
        first: int64 (E,), ascending: the stored column that represents each edge.
        arc_edge: int64 (A,), number of the edge that each column belongs to.
    """
    num_arcs = edge_index.shape[1]
    positions = torch.arange(num_arcs, device=edge_index.device)
    if num_arcs == 0:
        return positions, positions
    source, target = edge_index[0], edge_index[1]
    low, high = torch.minimum(source, target), torch.maximum(source, target)
    backward = (source > target).long()
    # sorted, arcs of one node pair lie together: a run of one direction, then one of the other, each in stored order
    run = ((low * num_nodes + high) * 2) + backward
    order = stable_order(run, 2 * num_nodes * num_nodes)
    sorted_run = run[order]
    run_start, pair_start = _run_starts(sorted_run), _run_starts(sorted_run // 2)
    rank = positions - run_start
    is_second = rank < run_start - pair_start  # as many arcs, at least, go the other way
    right, left = order[is_second], order[(pair_start + rank)[is_second]]
    if edge_attr is not None:
        same = (edge_attr[left] == edge_attr[right]).reshape(len(left), math.prod(edge_attr.shape[1:])).all(dim=1)
        left, right = left[same], right[same]
    representative = positions.clone()
    representative[torch.maximum(left, right)] = torch.minimum(left, right)
    is_first = representative == positions
    number = torch.cumsum(is_first.long(), dim=0) - 1
    return positions[is_first], number[representative]


def _run_starts(values: Tensor) -> Tensor:
    """Where the run of equal values that holds each position starts: int64 (A,)."""
    is_start = torch.ones_like(values, dtype=torch.bool)
    is_start[1:] = values[1:] != values[:-1]
    positions = torch.arange(len(values), device=values.device)
    return torch.cummax(positions * is_start, dim=0).values


def inverse_dht(incidence: Tensor, num_edges: int) -> Tensor:
    """The graph whose dual has this incidence (without private hyperedges): the DHT applied again.

    Args:
        incidence: int64 (2, 2 * num_edges), row 0 dual node, row 1 hyperedge, two entries a dual node in any order of
            dual nodes; the order of the two entries of one dual node is kept.
        num_edges: number of dual nodes.

    Returns:
        ``edge_index``, int64 (2, num_edges).

    Raises:
        DataError: some dual node does not have exactly two entries, so this is no dual of a graph.
    """
    counts = torch.bincount(incidence[0], minlength=num_edges)
    if counts.numel() != num_edges or bool((counts != 2).any()):
        wrong = int((counts != 2).nonzero()[0]) if counts.numel() else 0
        raise DataError(
            f"dual node {wrong} has {int(counts[wrong]) if counts.numel() else 0} hyperedges",
            expected="exactly two a dual node: the dual of a graph, without private hyperedges",
        )
    order = stable_order(incidence[0], num_edges)
    return incidence[1][order].reshape(num_edges, 2).t().contiguous()
