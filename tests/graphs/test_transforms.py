"""The plugin's layers inside plain torch-geometric code."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch as GraphBatch
from torch_geometric.nn import HypergraphConv

from repcore.errors import ShapeError
from repcore_graphs.layers.edge_convolution import DualHypergraphConv
from repcore_graphs.layers.hyper_drop import HyperDrop
from repcore_graphs.tensors import from_pyg
from repcore_graphs.transforms import DualHypergraphTransform, to_pyg
from tests.graphs.conftest import edgeless, random_graph, with_loops


@pytest.mark.parametrize("edges", ["once", "as-stored"])
@pytest.mark.parametrize("make", [lambda: random_graph(1), with_loops, edgeless])
def test_the_dual_feeds_torch_geometrics_hypergraph_convolution(edges: str, make) -> None:
    data = make()
    dual = DualHypergraphTransform(edges=edges)(data)  # type: ignore[arg-type]
    assert dual.hyperedge_attr.shape == data.x.shape
    conv = HypergraphConv(3, 4)
    out = conv(dual.x, dual.hyperedge_index, num_edges=dual.num_hyperedges)
    ours = DualHypergraphConv(3, 4)
    ours.load_state_dict({"weight": conv.lin.weight.t(), "bias": conv.bias})
    expected = ours(from_pyg(data, edges=edges), dual.x)  # type: ignore[arg-type]
    if edges == "once":  # a list without multiplicities: equal up to ends of degree 1
        degree = torch.bincount(data.edge_index[0], minlength=data.num_nodes)
        inner = (degree[from_pyg(data).ends] > 1).all(0)
        assert out.shape == expected.shape
        if bool(inner.all()) and make is not with_loops:
            torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    else:
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)


def test_missing_features_come_from_the_end_points() -> None:
    data = random_graph(0)
    data.edge_attr = None
    assert DualHypergraphTransform()(data).x.shape == (12, 10)
    assert DualHypergraphTransform(edge_init="ones")(data).x.shape == (12, 1)


def test_a_dropped_graph_goes_on_as_data() -> None:
    batch = GraphBatch.from_data_list([random_graph(0), random_graph(1)])
    drop = HyperDrop(3, ratio=0.5)(from_pyg(batch))
    smaller = to_pyg(drop.graph)
    assert smaller.x.shape == batch.x.shape
    assert smaller.edge_index.shape == (2, 24)
    assert smaller.edge_attr.shape == (24, 3)
    both = {tuple(arc) for arc in smaller.edge_index.T.tolist()}
    assert both == {(v, u) for u, v in both}
    with pytest.raises(ShapeError, match="still among"):
        to_pyg(HyperDrop(3, ratio=0.5, static_shapes=True)(from_pyg(batch)).graph)
