"""Sums over runs are those of scatters, with gradients, also where there is nothing to sum."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from repcore_graphs.layers import node_convolution, readout
from repcore_graphs.layers.node_convolution import GraphConvolution
from repcore_graphs.layers.readout import pool_by_graph
from repcore_graphs.ops.dual_hypergraph_conv import endpoints
from repcore_graphs.ops.ordering import stable_order
from repcore_graphs.ops.sums import runs_of, sums, weighted_sums
from repcore_graphs.tensors import from_pyg


def random_arcs(nodes: int, arcs: int) -> torch.Tensor:
    return torch.randint(nodes, (2, arcs), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("arcs", [0, 1, 50])
def test_sums_are_those_of_a_scatter(kind: torch.dtype, arcs: int) -> None:
    source, target = random_arcs(20, arcs)
    generator = torch.Generator().manual_seed(1)
    values, weight = torch.randn(20, 3, dtype=kind, generator=generator), torch.rand(arcs, generator=generator).to(kind)
    runs = runs_of(target, 20)
    found = sums(values, source[runs.order], runs.starts, weight[runs.order])
    expected = torch.zeros(20, 3, dtype=kind).index_add(0, target, values[source] * weight[:, None])
    torch.testing.assert_close(found, expected)


def test_gradients_of_values_and_weights_once_and_twice() -> None:
    arcs = random_arcs(7, 15)
    into, out_of = runs_of(arcs[1], 7), runs_of(arcs[0], 7)
    values, weight = torch.randn(7, 2, dtype=torch.float64), torch.rand(15, dtype=torch.float64)
    given = (values.requires_grad_(), weight.requires_grad_())

    def run(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return weighted_sums(x, w, arcs, into, out_of)

    assert torch.autograd.gradcheck(run, given)
    assert torch.autograd.gradgradcheck(run, given)


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("widths", [(3, 8), (8, 3)])
def test_a_convolution_by_runs_is_that_of_messages(
    loops: bool, weighted: bool, widths: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    graph = from_pyg(Data(x=torch.randn(12, widths[0]), edge_index=random_arcs(12, 30)), edges="as-stored")
    conv = GraphConvolution(*widths, loops=loops)
    found, calls = [], list[int]()
    for usable in (True, False):
        monkeypatch.setattr(node_convolution, "are_bags_usable", lambda values, usable=usable: usable)
        if not usable:
            monkeypatch.setattr(GCNConv, "message", counted(GCNConv.message, calls))
        nodes = graph.nodes.clone().requires_grad_()
        weight = torch.linspace(0, 1, graph.num_edges).requires_grad_() if weighted else None
        out = conv(graph, nodes, None, weight)
        wanted = [nodes, conv.conv.lin.weight, *([weight] if weight is not None else [])]
        found.append((out, *torch.autograd.grad(out.square().sum(), wanted)))
    assert calls  # the second one was torch-geometric's
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("below", [1, 7, 2**16 + 1, 2**40])
def test_order_by_digits_is_the_stable_order(below: int) -> None:
    for count in (0, 1, 300):
        keys = torch.randint(below, (count,), generator=torch.Generator().manual_seed(0))
        keys[::3] = keys.clone()[: len(keys[::3])]  # equal ones
        assert stable_order(keys, below).tolist() == torch.sort(keys, stable=True).indices.tolist()


def test_gradient_of_the_largest_is_shared_as_torch_shares_it(monkeypatch: pytest.MonkeyPatch) -> None:
    owner, found = torch.tensor([0, 0, 0, 2, 2]), []
    for usable in (True, False):
        monkeypatch.setattr(readout, "are_bags_usable", lambda values, usable=usable: usable)
        values = torch.tensor([[1.0, 0.0], [1.0, 2.0], [0.0, 2.0], [3.0, 3.0], [4.0, 3.0]], requires_grad=True)
        pooled = pool_by_graph(values, owner, 3, how=("max", "mean"))
        found.append((pooled, *torch.autograd.grad(pooled.square().sum(), [values])))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert found[0][0][1].tolist() == [0.0] * 4  # a graph without nodes


def counted(function, calls: list[int]):  # type: ignore[no-untyped-def]
    def call(*arguments, **named):  # type: ignore[no-untyped-def]
        calls.append(1)
        return function(*arguments, **named)

    return call


def test_no_row_for_every_arc_is_kept_for_the_way_back() -> None:
    nodes, arcs, width = 50, 2000, 16
    edges = torch.randint(nodes, (2, arcs), generator=torch.Generator().manual_seed(0))
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    conv = GraphConvolution(width, width)
    graph = from_pyg(Data(x=torch.randn(nodes, width), edge_index=edges), edges="as-stored")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        conv(graph, graph.nodes.requires_grad_(), None, torch.ones(arcs, requires_grad=True)).sum().backward()
    assert kept
    assert max(kept) < arcs * width


def test_edges_by_node_are_made_where_sums_are_taken() -> None:
    scales = endpoints.edge_scales(random_arcs(5, 9), 5, None, torch.float32)
    assert scales.ends_at is not None
    assert scales.ends_at.at_nodes.order.shape == (18,)
