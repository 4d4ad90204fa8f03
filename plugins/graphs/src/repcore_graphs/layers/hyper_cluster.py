"""HyperCluster and graph multiset pooling: learned seeds that attend to the edges or nodes of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore_graphs.ops.cluster_pooling import (
    SoftmaxOver,
    cluster_assignment,
    cluster_pool,
    cluster_unpool,
)


@dataclass(frozen=True, slots=True)
class Clusters:
    """Result of pooling.

    Args:
        values: (B, S, D), the pooled clusters.
        assignment: (E, K, S), share of each element in each cluster, by head.
        owner: int64 (E,).
    """

    values: Tensor
    assignment: Tensor
    owner: Tensor

    def unpool(self) -> Tensor:
        """Each element from its clusters: (E, D)."""
        return cluster_unpool(self.assignment, self.values, self.owner)


class SeedAttention(nn.Module):
    """S learned seeds query the elements of each graph; keys and values are computed by the caller's layers.

    O = Q + A V; O = norm(O); O = O + ReLU(W_o O); O = norm(O), with Q = W_q seeds and A from
    :func:`repcore_graphs.ops.cluster_pooling.cluster_assignment`.

    Source: Graph Multiset Pooling (Baek et al. 2021, arXiv 2102.11533) as HyperCluster uses it (arXiv 2106.15845,
    section 3.2);
    public repository harryjo97/EHGNN.
    Differs: no dense padding, several heads.

    Args:
        width: D.
        seeds: S.
        heads: K, divides D.
        layer_norm: normalise after both additions (off in the publication).
        softmax_over: see ``cluster_assignment``.
    """

    def __init__(
        self,
        width: int,
        seeds: int,
        *,
        heads: int = 1,
        layer_norm: bool = False,
        softmax_over: SoftmaxOver = "clusters",
    ) -> None:
        super().__init__()
        if seeds < 1:
            raise ConfigError(f"seeds={seeds} is below 1", meaning="number of clusters a graph")
        if width % heads:
            raise ConfigError(f"heads={heads} does not divide the width {width}")
        self.seeds = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, seeds, width)))
        self.query = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)]) if layer_norm else None
        self.heads = heads
        self.softmax_over: SoftmaxOver = softmax_over

    def forward(
        self,
        keys: Tensor,
        values: Tensor,
        owner: Tensor,
        *,
        num_graphs: int,
        multiplicity: Tensor | None = None,
    ) -> Clusters:
        queries = self.query(self.seeds[0])  # (S, D)
        assignment = cluster_assignment(
            queries,
            keys,
            owner,
            num_graphs=num_graphs,
            heads=self.heads,
            softmax_over=self.softmax_over,
            multiplicity=multiplicity,
        )
        pooled = queries + cluster_pool(assignment, values, owner, num_graphs=num_graphs, multiplicity=multiplicity)
        pooled = self._normalised(pooled, 0)
        pooled = pooled + F.relu(self.output(pooled))
        return Clusters(self._normalised(pooled, 1), assignment, owner)

    def _normalised(self, pooled: Tensor, place: int) -> Tensor:
        return pooled if self.norms is None else self.norms[place](pooled)


class SelfAttention(nn.Module):
    """Attention among the clusters of each graph: H = Q + softmax(Q K^T / sqrt(D)) V; H + ReLU(W_o H).

    Source: Graph Multiset Pooling (arXiv 2102.11533), self-attention block.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, clusters: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        queries, keys, values = self.query(clusters), self.key(clusters), self.value(clusters)
        attended = queries + F.scaled_dot_product_attention(queries, keys, values)
        return attended + F.relu(self.output(attended))
