"""The dual hypergraph convolution as a module, and the initial features of edges."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from repcore import ops
from repcore.errors import ConfigError
from repcore_graphs.tensors import GraphTensors

OP = "graphs/dual-hypergraph-conv"
EdgeInit = Literal["endpoints", "concat", "ones"]


class DualHypergraphConv(nn.Module):
    """Message passing between edges that share a node: D^-1 H B^-1 H^T (E W) + b.

    Source: Jo et al. 2021 (arXiv 2106.15845), section 3.1; public repository harryjo97/EHGNN.
    Differs: two options that the paper's mathematics allows and its code lacks. ``self_term`` adds E W once more: two
    row-stochastic averages blur bond types, and edge reconstruction then stops at 0.88. ``node_width`` adds the
    features of the two end points, (x_u + x_v) W_n / 2, the hyperedge features X of the dual, which the code never
    uses.

    Args:
        in_width / out_width: F and G.
        self_term: see above.
        node_width: width of the node features to add; 0 = none.

    Call:
        graph: structure; edges: (E, F); nodes: (N, node_width) when ``node_width`` is set.
    Returns:
        (E, G).
    """

    def __init__(self, in_width: int, out_width: int, *, self_term: bool = False, node_width: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_width, out_width))
        self.bias = nn.Parameter(torch.zeros(out_width))
        self.self_term = self_term
        self._convolve = ops.implementation(OP, ops.choose(OP))
        self.node_weight = nn.Parameter(torch.empty(node_width, out_width)) if node_width else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform weights, zero bias."""
        for weight in (self.weight, self.node_weight):
            if weight is not None:
                bound = math.sqrt(6.0 / (weight.shape[0] + weight.shape[1]))
                nn.init.uniform_(weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, graph: GraphTensors, edges: Tensor, nodes: Tensor | None = None) -> Tensor:
        out: Tensor = self._convolve(
            edges,
            graph.ends,
            self.weight,
            self.bias,
            graph.num_nodes,
            multiplicity=graph.multiplicity,
            self_term=self.self_term,
            scales=graph.scales,
        )
        if self.node_weight is None or nodes is None:
            return out
        half = 0.5 * (nodes @ self.node_weight)  # (N, G): narrower than gathering first
        return out + half.index_select(0, graph.ends[0]) + half.index_select(0, graph.ends[1])

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, self_term={self.self_term}"


def initial_edge_width(edge_width: int, node_width: int, edge_init: EdgeInit) -> int:
    """Width of the edge features that the first layer sees."""
    if edge_width:
        return edge_width
    return 1 if edge_init == "ones" else 2 * node_width


def initial_edges(graph: GraphTensors, edge_init: EdgeInit) -> Tensor:
    """Features for edges that have none.

    ``"endpoints"``: [x_u + x_v, |x_u - x_v|], the same for both directions. ``"concat"``: [x_u, x_v], for directed
    edges. ``"ones"``: what the published code does; the averaging operator then leaves all edges equal, so that scores
    tie and HyperDrop removes arbitrary edges (score spread over 128 PROTEINS graphs below 1e-7).

    Returns:
        (E, 2 Dn) or (E, 1).
    """
    if edge_init == "ones":
        return graph.nodes.new_ones(graph.num_edges, 1)
    start, end = graph.nodes.index_select(0, graph.ends[0]), graph.nodes.index_select(0, graph.ends[1])
    if edge_init == "concat":
        return torch.cat([start, end], dim=1)
    if edge_init == "endpoints":
        return torch.cat([start + end, (start - end).abs()], dim=1)
    raise ConfigError(f"edge_init={edge_init!r} is not known", expected="'endpoints', 'concat' or 'ones'")
