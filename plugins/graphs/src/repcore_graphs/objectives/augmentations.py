"""Random changes of graphs for contrastive views, one drawn for each graph of a batch, edges treated as things of
their own.

Source: GraphCL (You et al. 2020, arXiv 2010.13902), with the list of PyGCL's example.
Differs: ``mask-edges`` hides edge features, which the published libraries leave out; both directions of an edge change
together; a dropped node stays in place without features and edges, so that nothing is renumbered.

Symbols: N nodes, E edges, A arcs, B graphs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.errors import ConfigError
from repcore_graphs.ops.ordering import stable_order
from repcore_graphs.tensors import GraphTensors

AUGMENTATIONS = ("drop-edges", "drop-nodes", "mask-nodes", "mask-edges", "subgraph")


def check_names(names: tuple[str, ...]) -> None:
    """Refuse unknown augmentations.

    Raises:
        ConfigError: an unknown name, or none at all.
    """
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown or not names:
        raise ConfigError(f"augmentations {unknown or 'are empty'}", expected=", ".join(AUGMENTATIONS))


def draw_augmentation(
    graph: GraphTensors,
    names: tuple[str, ...],
    *,
    strength: float,
    walk_share: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """What one view changes.

    Returns:
        hide_nodes: bool (N,), nodes that show the token. hide_edges: bool (E,). drop_edges: bool (E,).
        chosen: int64 (B,), which augmentation each graph got.
    """
    device = generator.device
    chosen = torch.randint(len(names), (graph.num_graphs,), generator=generator, device=device)
    node_graph, edge_graph, ends = graph.node_graph.to(device), graph.edge_graph.to(device), graph.ends.to(device)
    node_kind, edge_kind = chosen[node_graph], chosen[edge_graph]
    node_hit = torch.rand(graph.num_nodes, generator=generator, device=device) < strength
    edge_hit = torch.rand(graph.num_edges, generator=generator, device=device) < strength
    visited = random_walk(graph, walk_share, generator) if "subgraph" in names else None

    def of(name: str, kind: Tensor) -> Tensor:
        return (kind == names.index(name)) if name in names else torch.zeros_like(kind, dtype=torch.bool)

    gone = of("drop-nodes", node_kind) & node_hit
    if visited is not None:
        gone = gone | (of("subgraph", node_kind) & ~visited)
    drop_edges = (of("drop-edges", edge_kind) & edge_hit) | gone[ends[0]] | gone[ends[1]]
    target = graph.nodes.device
    return {
        "hide_nodes": (gone | (of("mask-nodes", node_kind) & node_hit)).to(target),
        "hide_edges": (of("mask-edges", edge_kind) & edge_hit).to(target),
        "drop_edges": drop_edges.to(target),
        "chosen": chosen.to(target),
    }


def random_walk(graph: GraphTensors, share: float, generator: torch.Generator) -> Tensor:
    """Nodes that one walker a graph visits in as many steps as ``share`` of its nodes: bool (N,).

    A walker on a node without neighbours stays there. All graphs walk at once.
    """
    device = generator.device
    node_graph, arcs = graph.node_graph.to(device), graph.arcs.to(device)
    sizes = torch.bincount(node_graph, minlength=graph.num_graphs)
    first = torch.cumsum(sizes, 0) - sizes
    order = stable_order(arcs[0], graph.num_nodes)
    neighbours = arcs[1][order]
    degree = torch.bincount(arcs[0], minlength=graph.num_nodes)
    start = torch.cumsum(degree, 0) - degree
    steps = (share * sizes).ceil().long()

    def pick(counts: Tensor) -> Tensor:
        uniform = torch.rand(graph.num_graphs, generator=generator, device=device)
        return torch.minimum((uniform * counts).long(), (counts - 1).clamp(min=0))

    here = first + pick(sizes)
    visited = torch.zeros(graph.num_nodes, dtype=torch.bool, device=device)
    visited[here] = True
    for step in range(int(steps.max()) if graph.num_graphs else 0):
        choice = start[here] + pick(degree[here])
        can_move = (degree[here] > 0) & (step < steps)
        target = neighbours[choice.clamp(max=max(len(neighbours) - 1, 0))] if len(neighbours) else here
        here = torch.where(can_move, target, here)
        visited[here] = True
    return visited
