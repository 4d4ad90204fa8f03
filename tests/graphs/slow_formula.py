"""The definitions again, slowly and independently: dense incidence matrices and Python loops in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def dense_conv(features: Tensor, ends: list[tuple[int, int]], weight: Tensor, bias: Tensor, num_nodes: int) -> Tensor:
    """D^-1 H B^-1 H^T X W + b with a dense incidence matrix (edges x hyperedges), multiplicities as entries of H.

    A self edge belongs to its hyperedge twice; hyperedges with one member are left out; one private hyperedge an edge.
    """
    count = len(ends)
    incidence = torch.zeros(count, num_nodes + count, dtype=torch.float64)
    for number, (u, v) in enumerate(ends):
        incidence[number, u] += 1
        incidence[number, v] += 1
    incidence[:, :num_nodes][:, incidence[:, :num_nodes].sum(0) <= 1] = 0
    for number in range(count):
        incidence[number, num_nodes + number] = 1
    members, memberships = incidence.sum(0), incidence.sum(1)
    inverse = torch.where(members > 0, 1 / members.clamp(min=1), torch.zeros_like(members))
    transformed = features.double() @ weight.double()
    return (incidence @ (inverse[:, None] * (incidence.T @ transformed))) / memberships[:, None] + bias.double()


def ranked(score: Tensor, graph_of_edge: list[int], ratio: float) -> list[int]:
    """Kept edges, grouped by graph, falling score, by sorting Python lists."""
    kept: list[int] = []
    for graph in sorted(set(graph_of_edge)):
        mine = [edge for edge, owner in enumerate(graph_of_edge) if owner == graph]
        mine.sort(key=lambda edge: (-float(score[edge]), edge))
        kept += mine[: math.ceil(round(ratio * len(mine), 6))]
    return kept


def dense_gcn(nodes: Tensor, ends: list[tuple[int, int]], weight: list[float], matrix: Tensor, bias: Tensor) -> Tensor:
    """GCN by a dense adjacency matrix; a unit loop where no self edge is."""
    count = len(nodes)
    adjacency = torch.zeros(count, count, dtype=torch.float64)
    for (u, v), value in zip(ends, weight, strict=True):
        adjacency[v, u] += value
    has_loop = {u for u, v in ends if u == v}
    for node in range(count):
        if node not in has_loop:
            adjacency[node, node] += 1
    degree = adjacency.sum(1)
    root = torch.where(degree > 0, degree.clamp(min=1e-300).rsqrt(), torch.zeros_like(degree))
    return (root[:, None] * adjacency * root[None]) @ (nodes.double() @ matrix.double().T) + bias.double()


def hyperdrop_classifier(
    weights: Mapping[str, Tensor],
    nodes: Tensor,
    ends: list[tuple[int, int]],
    edges: Tensor,
    graph_of_node: list[int],
    *,
    layers: int,
    ratio: float,
) -> dict[str, Tensor]:
    """The published graph classifier in evaluation mode, from published key names: all that a golden folder stores."""
    found: dict[str, Tensor] = {}
    weight = [1.0] * len(ends)
    x, e = nodes.double(), edges.double()
    graphs = max(graph_of_node) + 1
    readout = 0
    for layer in range(layers):
        x = dense_gcn(x, ends, weight, weights[f"convs.{layer}.lin.weight"], weights[f"convs.{layer}.bias"]).relu()
        found[f"l{layer}.x"] = x
        pools = []
        for graph in range(graphs):
            mine = x[[node for node, owner in enumerate(graph_of_node) if owner == graph]]
            pools.append(torch.cat([mine.amax(0), mine.mean(0), mine.sum(0)]))
        readout = readout + torch.stack(pools)
        if layer == layers - 1:
            break
        e = dense_conv(
            e, ends, weights[f"hyperconvs.{layer}.weight"], weights[f"hyperconvs.{layer}.bias"], len(x)
        ).relu()
        score = dense_conv(
            e, ends, weights[f"scoreconvs.{layer}.weight"], weights[f"scoreconvs.{layer}.bias"], len(x)
        ).tanh()[:, 0]
        kept = ranked(score, [graph_of_node[u] for u, _ in ends], ratio)
        found |= {f"l{layer}.edge_attr": e, f"l{layer}.score": score, f"l{layer}.perm": torch.tensor(kept)}
        ends, e = [ends[edge] for edge in kept], e[kept]
        weight = [min(max(float(score[edge]), 0.0), 1.0) for edge in kept]
    hidden = readout
    for place in (0, 3, 6):
        hidden = (
            hidden @ weights[f"classifier.{place}.weight"].double().T + weights[f"classifier.{place}.bias"].double()
        )
        hidden = hidden.relu() if place < 6 else hidden
    return found | {"readout": readout, "log_probs": hidden.log_softmax(-1)}
