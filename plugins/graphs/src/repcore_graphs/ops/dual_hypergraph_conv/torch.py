"""The definition: D^-1 H B^-1 H^T (X W) + b on an incidence list with private hyperedges.

Source: hypergraph convolution (Bai et al. 2021, arXiv 1901.08150) as EHGNN uses it: no attention, no hyperedge weights,
hyperedges with a single member removed, one private hyperedge a dual node; public repository harryjo97/EHGNN.
Both counts, B and D, are taken after the removal. An inverse of 0 counts as 0.

Symbols: E dual nodes (edges), N hyperedges (nodes), F features in, G features out.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dual_hypergraph_conv(
    edge_features: Tensor,
    ends: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    num_nodes: int,
    *,
    multiplicity: Tensor | None = None,
    self_term: bool = False,
    scales: object = None,
) -> Tensor:
    """One convolution over the edges of a graph.

    Args:
        edge_features: (E, F).
        ends: int64 (2, E), end points of each edge.
        weight: (F, G).
        bias: (G,) or None.
        num_nodes: N.
        multiplicity: (E,), how many equal dual nodes an edge stands for; 0 takes it out of all sums. Default 1.
        self_term: add X W once more (not in the paper: keeps features that averaging would blur away).
        scales: counts that other implementations take from outside; the definition counts for itself.

    Returns:
        (E, G). Rows of edges with multiplicity 0 are defined but mean nothing.
    """
    num_edges = edge_features.shape[0]
    ones = edge_features.new_ones(num_edges)
    count = ones if multiplicity is None else multiplicity.to(edge_features.dtype)
    transformed = edge_features @ weight  # (E, G)

    # incidences: end 0 of every edge, end 1 of every edge, then the private hyperedges N .. N + E - 1
    members = torch.arange(num_edges, device=ends.device)
    dual_node = torch.cat([members, members, members])
    hyperedge = torch.cat([ends[0], ends[1], num_nodes + members])
    weights = torch.cat([count, count, ones])
    cardinality = edge_features.new_zeros(num_nodes + num_edges).index_add(0, hyperedge, weights)
    kept = (cardinality > 1) | (torch.arange(num_nodes + num_edges, device=ends.device) >= num_nodes)
    is_kept = kept[hyperedge].to(edge_features.dtype)

    inverse_cardinality = torch.where(cardinality > 0, 1.0 / cardinality.clamp(min=1e-12), 0.0)
    gathered = transformed[dual_node] * (weights * is_kept)[:, None]
    hyperedge_mean = edge_features.new_zeros(num_nodes + num_edges, weight.shape[1]).index_add(0, hyperedge, gathered)
    hyperedge_mean = hyperedge_mean * inverse_cardinality[:, None]
    degree = edge_features.new_zeros(num_edges).index_add(0, dual_node, is_kept)
    spread = hyperedge_mean[hyperedge] * is_kept[:, None]
    out = edge_features.new_zeros(num_edges, weight.shape[1]).index_add(0, dual_node, spread) / degree[:, None]
    if self_term:
        out = out + transformed
    return out if bias is None else out + bias
