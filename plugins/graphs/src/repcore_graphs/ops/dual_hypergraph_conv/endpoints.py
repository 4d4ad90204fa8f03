"""The fast form: an edge has exactly two end points, so no incidence list is needed.

With c_a the number of edge ends at node a (counting multiplicity), live_a = 1 if c_a > 1 else 0, and h = X W::

    mu_a  = live_a / c_a * (sum over edge ends at a of multiplicity_k h_k)
    out_k = (h_k + mu_u + mu_v) / (1 + live_u + live_v) + b            for edge k = (u, v)

Equal to the definition in ``torch.py`` up to rounding; O(E (F G + G)) time, O(E G) memory, two scatters and two
gathers. The operator is linear, so the weight is applied where the features are narrower. Gradients use the same
kernel: the transpose of "scatter to nodes, scale, gather to edges" has the same shape, with the two scalings swapped.
Sums of half-precision features are kept in float32. Deterministic on CPU; on CUDA with
``torch.use_deterministic_algorithms(True)``, as for every scatter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def edge_scales(ends: Tensor, num_nodes: int, multiplicity: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Factors that depend on the structure only: compute once, use in every layer until edges are dropped.

    Returns:
        node_scale: (N, 1), live_a / c_a.
        edge_scale: (E, 1), 1 / (1 + live_u + live_v).
    """
    ones = (
        torch.ones(ends.shape[1], device=ends.device, dtype=dtype) if multiplicity is None else multiplicity.to(dtype)
    )
    count = torch.zeros(num_nodes, device=ends.device, dtype=dtype)
    count = count.index_add(0, ends[0], ones).index_add(0, ends[1], ones)
    live = (count > 1).to(dtype)
    node_scale = live / count.clamp(min=1)
    edge_scale = 1 / (1 + live.index_select(0, ends[0]) + live.index_select(0, ends[1]))
    return node_scale[:, None], edge_scale[:, None]


def dual_hypergraph_conv(
    edge_features: Tensor,
    ends: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    num_nodes: int,
    *,
    multiplicity: Tensor | None = None,
    self_term: bool = False,
    scales: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """One convolution over the edges; arguments and result as the definition in ``torch.py``.

    Args:
        scales: result of :func:`edge_scales` for the same structure, to save counting again.
    """
    node_scale, edge_scale = scales or edge_scales(ends, num_nodes, multiplicity, edge_features.dtype)
    count = None if multiplicity is None else multiplicity.to(edge_features.dtype)[:, None]
    if weight.shape[0] < weight.shape[1]:
        averaged = _Average.apply(edge_features, ends[0], ends[1], node_scale, edge_scale, count)
        out = (averaged + edge_features if self_term else averaged) @ weight
    else:
        transformed = edge_features @ weight
        out = _Average.apply(transformed, ends[0], ends[1], node_scale, edge_scale, count)
        if self_term:
            out = out + transformed
    return out if bias is None else out + bias


def _sum_at_nodes(values: Tensor, start: Tensor, end: Tensor, num_nodes: int) -> Tensor:
    """(E, G) -> (N, G): sum over the edge ends at each node, float32 or wider."""
    wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    summed = torch.zeros(num_nodes, values.shape[1], device=values.device, dtype=wide.dtype)
    return summed.index_add_(0, start, wide).index_add_(0, end, wide)


class _Average(torch.autograd.Function):
    """out = s_e * (h + G s_n S (c * h)) with S the sum at nodes, G = S^T the gather at edges, s and c diagonal."""

    @staticmethod
    def forward(
        ctx: Any,  # autograd context
        values: Tensor,
        start: Tensor,
        end: Tensor,
        node_scale: Tensor,
        edge_scale: Tensor,
        count: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(start, end, node_scale, edge_scale, count)
        weighted = values if count is None else values * count
        means = (_sum_at_nodes(weighted, start, end, node_scale.shape[0]) * node_scale).to(values.dtype)
        gathered = means.index_select(0, start).add_(means.index_select(0, end)).add_(values)
        # not in place: torch 2.11 compiles a forward that returns a tensor changed in place to one without gradients
        return gathered * edge_scale.to(values.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        start, end, node_scale, edge_scale, count = ctx.saved_tensors
        scaled = grad * edge_scale.to(grad.dtype)
        means = (_sum_at_nodes(scaled, start, end, node_scale.shape[0]) * node_scale).to(grad.dtype)
        gathered = means.index_select(0, start).add_(means.index_select(0, end))  # in place: pages are costly on a CPU
        if count is not None:
            gathered.mul_(count)
        return gathered.add_(scaled), None, None, None, None, None
