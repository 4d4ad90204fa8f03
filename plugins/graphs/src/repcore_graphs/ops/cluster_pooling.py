"""Soft clusters over a ragged set of edges (or nodes): assignment, pooling and unpooling without dense padding.

Source: HyperCluster, Jo et al. 2021 (arXiv 2106.15845), section 3.2, with the attention of Graph Multiset Pooling
(Baek et al. 2021, arXiv 2102.11533); public repository harryjo97/EHGNN.
Differs: the reference pads every graph to the largest one; here elements stay in one flat list with an owner, so
memory is O(E S H) at most for one head and nothing depends on batch mates. Several heads work (the reference fails
when it unpools): elements are restored with the assignment averaged over heads.

Symbols: E elements, B graphs, S clusters, K heads, D features = K * head width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

SoftmaxOver = Literal["clusters", "elements"]


def cluster_assignment(
    queries: Tensor,
    keys: Tensor,
    owner: Tensor,
    *,
    num_graphs: int,
    heads: int = 1,
    softmax_over: SoftmaxOver = "clusters",
    multiplicity: Tensor | None = None,
) -> Tensor:
    """Share of each element in each cluster of its graph.

    Scores are divided by sqrt(D) with the whole width D, not a head's, as published.

    Args:
        queries: (S, D), one a cluster.
        keys: (E, D).
        owner: int64 (E,).
        num_graphs: B.
        heads: K, divides D.
        softmax_over: ``"clusters"``: the shares of an element sum to 1; ``"elements"``: those of a cluster do.
        multiplicity: (E,), how many equal elements one stands for.

    Returns:
        (E, K, S).
    """
    clusters, width = queries.shape
    scores = torch.einsum(
        "ekd,skd->eks",
        keys.reshape(-1, heads, width // heads),
        queries.reshape(clusters, heads, width // heads),
    )
    scores = scores / width**0.5
    if softmax_over == "clusters":
        return scores.softmax(dim=-1)
    index = owner[:, None, None].expand_as(scores)
    highest = torch.full((num_graphs, heads, clusters), float("-inf"), dtype=scores.dtype, device=scores.device)
    highest = highest.scatter_reduce(0, index, scores.detach(), "amax", include_self=True)
    shares = (scores - highest[owner]).exp()
    counted = shares if multiplicity is None else shares * multiplicity[:, None, None].to(shares.dtype)
    total = torch.zeros_like(highest).index_add(0, owner, counted)
    return shares / total[owner].clamp(min=torch.finfo(shares.dtype).tiny)


def cluster_pool(
    assignment: Tensor,
    values: Tensor,
    owner: Tensor,
    *,
    num_graphs: int,
    multiplicity: Tensor | None = None,
) -> Tensor:
    """Sum of values by share: (E, K, S) and (E, D) -> (B, S, D)."""
    _, heads, clusters = assignment.shape
    width = values.shape[-1]
    weighted = values if multiplicity is None else values * multiplicity[:, None].to(values.dtype)
    by_head = weighted.reshape(-1, heads, 1, width // heads)  # (E, K, 1, D/K)
    pooled = values.new_zeros(num_graphs, heads, clusters, width // heads)
    pooled = pooled.index_add(0, owner, assignment[..., None] * by_head)
    return pooled.transpose(1, 2).reshape(num_graphs, clusters, width)


def cluster_unpool(assignment: Tensor, clusters: Tensor, owner: Tensor) -> Tensor:
    """Each element from the clusters of its graph: (E, K, S) and (B, S, D) -> (E, D)."""
    shares = assignment.mean(dim=1)  # (E, S)
    return torch.einsum("es,esd->ed", shares, clusters[owner])


def dense_assignment(assignment: Tensor, owner: Tensor, *, num_graphs: int, longest: int, padding: float) -> Tensor:
    """Padded view for people and for comparison with the published code: (B * K, S, longest), heads outermost.

    Args:
        padding: value of slots without an element: 1 / S if shares sum to 1 over clusters, otherwise 0.
    """
    _, heads, clusters = assignment.shape
    position = _place_in_graph(owner, num_graphs)
    dense = assignment.new_full((heads, num_graphs, clusters, longest), padding)
    dense[:, owner, :, position] = assignment
    return dense.flatten(0, 1)


def _place_in_graph(owner: Tensor, num_graphs: int) -> Tensor:
    """Running number of each element within its graph; owners ascend."""
    total = torch.bincount(owner, minlength=num_graphs)
    return torch.arange(owner.numel(), device=owner.device) - (torch.cumsum(total, 0) - total)[owner]
