"""From node (or edge) features to one vector a graph.

Symbols: S elements, B graphs, D features.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from repcore.errors import ConfigError
from repcore_graphs.layers.hyper_cluster import SeedAttention, SelfAttention
from repcore_graphs.layers.node_convolution import GraphConvolution
from repcore_graphs.ops.sums import are_bags_usable
from repcore_graphs.tensors import GraphTensors

Readout = Literal["max-mean-sum", "sum", "mean", "max", "gmt"]
POOLS: dict[str, tuple[str, ...]] = {
    "max-mean-sum": ("max", "mean", "sum"),
    "sum": ("sum",),
    "mean": ("mean",),
    "max": ("max",),
}


def pool_by_graph(
    values: Tensor, owner: Tensor, num_graphs: int, *, how: tuple[str, ...], weight: Tensor | None = None
) -> Tensor:
    """Pools joined side by side: (S, D) -> (B, D * len(how)). A graph without elements gets zeros.

    Args:
        how: any of ``"max"``, ``"mean"``, ``"sum"``, in this order in the result.
        weight: (S,), how many elements one stands for in sums and means; weight 0 also leaves it out of the maximum.
    """
    parts = []
    counted = values if weight is None else values * weight[:, None]
    total = None
    if "sum" in how or "mean" in how:
        total = values.new_zeros(num_graphs, values.shape[1]).index_add(0, owner, counted)
    for name in how:
        if name == "sum" and total is not None:
            parts.append(total)
        elif name == "mean" and total is not None:
            ones = values.new_ones(values.shape[0]) if weight is None else weight.to(values.dtype)
            size = values.new_zeros(num_graphs).index_add(0, owner, ones)
            parts.append(total / size.clamp(min=1)[:, None])
        elif name == "max":
            parts.append(_largest(values, owner, num_graphs, weight))
        else:
            raise ConfigError(f"pooling {name!r} is not known", expected="'max', 'mean' or 'sum'")
    return torch.cat(parts, dim=1)


def _largest(values: Tensor, owner: Tensor, num_graphs: int, weight: Tensor | None) -> Tensor:
    if weight is not None:
        values = values.masked_fill((weight <= 0)[:, None], float("-inf"))
    largest: Tensor = (
        _Largest.apply(values, owner, num_graphs)
        if are_bags_usable(values)
        else _largest_rows(values, owner, num_graphs)
    )
    return torch.where(largest == float("-inf"), torch.zeros_like(largest), largest)


def _largest_rows(values: Tensor, owner: Tensor, num_graphs: int) -> Tensor:
    lowest = values.new_full((num_graphs, values.shape[1]), float("-inf"))
    return lowest.scatter_reduce(0, owner[:, None].expand_as(values), values, "amax", include_self=True)


class _Largest(torch.autograd.Function):
    """Its gradient goes to all largest elements alike, as that of torch's ``scatter_reduce``, rows at a time."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, owner: Tensor, num_graphs: int) -> Tensor:
        largest = _largest_rows(values, owner, num_graphs)
        ctx.save_for_backward(values, owner, largest)
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, owner, largest = ctx.saved_tensors
        is_largest = largest.index_select(0, owner).eq_(values)  # in place: numbers at once, no truth values between
        tied = torch.zeros_like(largest).index_add_(0, owner, is_largest)
        return is_largest.mul_((grad / tied.clamp_(min=1)).index_select(0, owner)), None, None


class MultisetReadout(nn.Module):
    """Graph multiset transformer: nodes -> S clusters by attention with GCN keys and values -> attention -> one vector.

    Source: Baek et al. 2021 (arXiv 2102.11533); "HyperDrop + GMT" in Jo et al. 2021, table 3 (not in their repository).
    Differs: a fixed number of seeds instead of a share of the average graph; no dense padding.

    Args:
        width: D.
        seeds: S of the first pooling.
        heads: of both attentions with seeds.
    """

    def __init__(self, width: int, *, seeds: int = 8, heads: int = 1) -> None:
        super().__init__()
        self.key, self.value = GraphConvolution(width, width), GraphConvolution(width, width)
        self.clusters = SeedAttention(width, seeds, heads=heads, softmax_over="elements")
        self.mix = SelfAttention(width)
        self.last_key, self.last_value = nn.Linear(width, width), nn.Linear(width, width)
        self.last = SeedAttention(width, 1, heads=heads, softmax_over="elements")

    def forward(self, graph: GraphTensors, nodes: Tensor) -> Tensor:
        """(N, D) -> (B, D)."""
        keys, values = self.key(graph, nodes, None, None), self.value(graph, nodes, None, None)
        clusters = self.clusters(keys, values, graph.node_graph, num_graphs=graph.num_graphs).values  # (B, S, D)
        mixed = self.mix(clusters).flatten(0, 1)  # (B * S, D)
        owner = torch.arange(graph.num_graphs, device=nodes.device).repeat_interleave(clusters.shape[1])
        last = self.last(self.last_key(mixed), self.last_value(mixed), owner, num_graphs=graph.num_graphs)
        return last.values[:, 0]
