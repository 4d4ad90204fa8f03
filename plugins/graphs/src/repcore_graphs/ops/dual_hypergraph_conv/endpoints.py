"""The fast form: an edge has exactly two end points, so no incidence list is needed.

With c_a the number of edge ends at node a (counting multiplicity), live_a = 1 if c_a > 1 else 0, and h = X W::

    mu_a  = live_a / c_a * (sum over edge ends at a of multiplicity_k h_k)
    out_k = (h_k + mu_u + mu_v) / (1 + live_u + live_v) + b            for edge k = (u, v)

Equal to the definition in ``torch.py`` up to rounding; O(E (F G + G)) time, O(E G) memory, two scatters and two
gathers; on a CPU two sums over runs (``ops/sums.py``), without a row for every end. The operator is linear, so the
weight is applied where the features are narrower. Gradients use the same kernel: the transpose of "scatter to nodes,
scale, gather to edges" has the same shape, with the two scalings swapped. Sums of half-precision features are kept in
float32. Deterministic on CPU; on CUDA with ``torch.use_deterministic_algorithms(True)``, as for every scatter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from repcore.nn.products import product
from repcore_graphs.ops.sums import Runs, are_bags_usable, runs_of, sums


class EndRuns(NamedTuple):
    """The two ends of every edge, for sums over runs.

    Args:
        at_nodes: the 2 E edge ends by node as the edges that they belong to, all first ends before all second ones.
        listed: int64 (2 E,), both ends of edge 0, of edge 1, ...
        starts: int64 (E,), where each edge starts in ``listed``.
    """

    at_nodes: Runs
    listed: Tensor
    starts: Tensor


class EdgeScales(NamedTuple):
    """What depends on the structure only.

    Args:
        node_scale: (N, 1), live_a / c_a.
        edge_scale: (E, 1), 1 / (1 + live_u + live_v).
        ends_at: the ends by node and by edge; None where no sums are taken by runs.
    """

    node_scale: Tensor
    edge_scale: Tensor
    ends_at: EndRuns | None


def edge_scales(ends: Tensor, num_nodes: int, multiplicity: Tensor | None, dtype: torch.dtype) -> EdgeScales:
    """Factors that depend on the structure only: compute once, use in every layer until edges are dropped."""
    ones = (
        torch.ones(ends.shape[1], device=ends.device, dtype=dtype) if multiplicity is None else multiplicity.to(dtype)
    )
    count = torch.zeros(num_nodes, device=ends.device, dtype=dtype)
    count = count.index_add(0, ends[0], ones).index_add(0, ends[1], ones)
    live = (count > 1).to(dtype)
    node_scale = live / count.clamp(min=1)
    edge_scale = 1 / (1 + live.index_select(0, ends[0]) + live.index_select(0, ends[1]))
    ends_at = _end_runs(ends, num_nodes) if are_bags_usable(node_scale) else None
    return EdgeScales(node_scale[:, None], edge_scale[:, None], ends_at)


def _end_runs(ends: Tensor, num_nodes: int) -> EndRuns:
    by_node, edges = runs_of(ends.reshape(-1), num_nodes), ends.shape[1]
    starts = torch.arange(0, 2 * edges, 2, device=ends.device)
    return EndRuns(Runs(by_node.order % max(edges, 1), by_node.starts), ends.t().reshape(-1), starts)


def dual_hypergraph_conv(
    edge_features: Tensor,
    ends: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    num_nodes: int,
    *,
    multiplicity: Tensor | None = None,
    self_term: bool = False,
    scales: EdgeScales | None = None,
) -> Tensor:
    """One convolution over the edges; arguments and result as the definition in ``torch.py``.

    Args:
        scales: result of :func:`edge_scales` for the same structure, to save counting again.
    """
    scales = scales or edge_scales(ends, num_nodes, multiplicity, edge_features.dtype)
    count = None if multiplicity is None else multiplicity.to(edge_features.dtype)[:, None]
    if weight.shape[0] < weight.shape[1]:
        averaged = _average(edge_features, ends, scales, count)
        out = product(averaged + edge_features if self_term else averaged, weight.t())
    else:
        transformed = product(edge_features, weight.t())
        out = _average(transformed, ends, scales, count)
        if self_term:
            out = out + transformed
    if bias is None:
        return out
    return out.add_(bias) if out.dtype == bias.dtype else out + bias  # in place: nobody else has seen it yet


def _average(values: Tensor, ends: Tensor, scales: EdgeScales, count: Tensor | None) -> Tensor:
    node_scale, edge_scale, ends_at = scales
    out: Tensor
    if ends_at is not None and are_bags_usable(values):
        node_scale, edge_scale = node_scale.to(values.dtype), edge_scale.to(values.dtype)
        out = _AverageByRuns.apply(values, count, node_scale, edge_scale, edge_scale, ends_at)
    else:
        out = _Average.apply(values, ends[0], ends[1], node_scale, edge_scale, count)
    return out


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


class _AverageByRuns(torch.autograd.Function):
    """out = after * G s_n S (before * h) + s_e * h by sums over runs: no row for every edge end is written down.

    Factors are columns, None is 1. The gradient is the same with ``before`` and ``after`` exchanged.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        before: Tensor | None,
        node_scale: Tensor,
        after: Tensor | None,
        edge_scale: Tensor,
        ends_at: EndRuns,
    ) -> Tensor:
        ctx.save_for_backward(before, node_scale, after, edge_scale)
        ctx.ends_at = ends_at
        entries, starts = ends_at.at_nodes.order, ends_at.at_nodes.starts
        weights = None if before is None else before.squeeze(1)[entries]
        means = sums(values.contiguous(), entries, starts, weights).mul_(node_scale)
        weights = None if after is None else after.expand(-1, 2).reshape(-1)
        return sums(means, ends_at.listed, ends_at.starts, weights).addcmul_(values, edge_scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        before, node_scale, after, edge_scale = ctx.saved_tensors
        back = _AverageByRuns.apply(grad, after, node_scale, before, edge_scale, ctx.ends_at)
        return back, None, None, None, None, None
