"""Keep the best-scored share of the edges of each graph in a batch, as HyperDrop does.

Source: Jo et al. 2021 (arXiv 2106.15845), section 3.3; public repository harryjo97/EHGNN with the top-k of
torch-geometric. Differs: a ratio of 1.0 keeps every edge (current torch-geometric keeps a single one); graphs without
edges and single edges are ordinary cases; equal scores are decided by the smaller edge number (the reference's first
sort is unstable); shapes do not depend on the data, so it compiles as one graph.

Symbols: E edges, B graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from repcore.errors import ConfigError
from repcore_graphs.ops.ordering import stable_order

Ties = Literal["by-index", "unspecified"]


@dataclass(frozen=True, slots=True)
class EdgeSelection:
    """Which edges stay.

    Args:
        keep: bool (E,).
        order: int64 (E,), edge numbers grouped by graph, falling score within a graph, dropped ones among them.
    """

    keep: Tensor
    order: Tensor

    def kept(self) -> Tensor:
        """Positions of the edges that stay, grouped by graph, falling score: int64 (K,), K depends on the data."""
        return self.order[self.keep[self.order]]


def topk_edges(
    score: Tensor,
    edge_graph: Tensor,
    ratio: float,
    *,
    num_graphs: int,
    alive: Tensor | None = None,
    ties: Ties = "by-index",
) -> EdgeSelection:
    """Keep the ceil(ratio * e_g) edges of highest score in each graph g with e_g (living) edges.

    An undirected edge must be one entry here (see :func:`repcore_graphs.ops.dht.dht`, ``"once"``), so that its two
    directions stay or go together.

    Args:
        score: float (E,). No gradient flows through the choice.
        edge_graph: int64 (E,), graph of each edge, in any order.
        ratio: share to keep, 0 < ratio <= 1.
        num_graphs: B.
        alive: bool (E,): edges dropped earlier stay dropped and do not count.
        ties: what decides between equal scores; ``"unspecified"`` leaves it to torch's unstable sort, which on one
            machine reproduces the published choice exactly.

    Raises:
        ConfigError: ratio outside (0, 1].

    Cost: two stable sorts, O(E log E).
    """
    if not 0 < ratio <= 1:
        raise ConfigError(
            f"edge ratio={ratio} is outside 0 < ratio <= 1",
            meaning="share of the edges of each graph that stays",
            hint="0.65",
        )
    ranked = score.detach()
    living = torch.ones_like(edge_graph) if alive is None else alive.to(edge_graph.dtype)
    if alive is not None:
        ranked = ranked.masked_fill(~alive, float("-inf"))
    falling = torch.sort(ranked, descending=True, stable=ties == "by-index").indices
    order = falling[stable_order(edge_graph[falling], num_graphs)]  # (E,), grouped by graph

    total = torch.zeros(num_graphs, dtype=edge_graph.dtype, device=score.device).index_add(
        0, edge_graph, torch.ones_like(edge_graph)
    )
    first = torch.cumsum(total, 0) - total  # (B,), where each graph starts in `order`
    living_total = torch.zeros_like(total).index_add(0, edge_graph, living)
    quota = living_total if ratio == 1.0 else (ratio * living_total.to(torch.float32)).ceil().to(total.dtype)

    grouped = edge_graph[order]
    rank = torch.arange(score.shape[0], device=score.device) - first[grouped]
    keep = torch.zeros_like(edge_graph, dtype=torch.bool).index_put((order,), rank < quota[grouped])
    return EdgeSelection(keep=keep if alive is None else keep & alive, order=order)
