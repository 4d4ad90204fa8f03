"""Views of graphs: both directions of an edge go together, nothing is renumbered wrongly, one node and edge stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from repcore.interfaces import Item
from repcore_graphs.configs.views import GraphChange
from repcore_graphs.views.graph_views import changed_graph, edge_numbers

NOTHING = {"drop_nodes": 0.0, "drop_edges": 0.0, "hide_nodes": 0.0, "hide_edges": 0.0}


def ring(nodes: int, codes: bool = False) -> Item:
    """A ring with both directions of every edge; features are the node's and the edge's own number."""
    source = torch.arange(nodes)
    edge_index = torch.cat(
        [torch.stack([source, (source + 1) % nodes]), torch.stack([(source + 1) % nodes, source])], 1
    )
    kind = torch.int64 if codes else torch.float32
    data = Data(
        x=1 + torch.arange(nodes)[:, None].to(kind),
        edge_index=edge_index,
        edge_attr=1 + torch.arange(nodes).repeat(2)[:, None].to(kind),
        target_label=torch.arange(nodes, dtype=torch.float32),
    )
    return Item(data, {"nodes": nodes, "edges": 2 * nodes})


def view(item: Item, seed: int, **change: float) -> Data:
    made = changed_graph(item, np.random.default_rng(seed), change=GraphChange(**{**NOTHING, **change}))
    assert (made.meta["nodes"], made.meta["edges"]) == (made.values.num_nodes, made.values.edge_index.shape[1])
    found: Data = made.values
    return found


def test_numbers_of_edges_join_both_directions_and_repeats() -> None:
    arcs = np.array([[0, 1, 2, 0, 2], [1, 0, 2, 1, 0]])
    numbers = edge_numbers(arcs, 3)
    assert numbers[0] == numbers[1] == numbers[3]
    assert len({numbers[0], numbers[2], numbers[4]}) == 3


@pytest.mark.parametrize("seed", range(5))
def test_dropped_nodes_take_their_edges_along(seed: int) -> None:
    data = view(ring(20), seed, drop_nodes=0.3)
    assert data.num_nodes == 14
    own = data.x[:, 0].long() - 1  # number in the whole ring
    assert "target_label" not in data
    first, second = own[data.edge_index[0]], own[data.edge_index[1]]
    assert (((first - second) % 20 == 1) | ((second - first) % 20 == 1)).all()
    kept = set(own.tolist())
    assert data.edge_index.shape[1] == 2 * sum((one + 1) % 20 in kept for one in kept)


@pytest.mark.parametrize("seed", range(5))
def test_both_directions_of_an_edge_change_together(seed: int) -> None:
    data = view(ring(30), seed, drop_edges=0.3, hide_edges=0.3)
    arcs = {(int(a), int(b)): float(value) for a, b, value in zip(*data.edge_index, data.edge_attr[:, 0], strict=True)}
    assert 0 < len(arcs) < 60
    assert all(arcs[b, a] == value for (a, b), value in arcs.items())
    assert 0.0 in arcs.values()
    assert max(arcs.values()) > 0.0
    assert torch.equal(data.x, ring(30).values.x)


def test_hidden_nodes_are_zero_or_another_nodes_codes() -> None:
    floats, codes = view(ring(40), 1, hide_nodes=0.25), view(ring(40, codes=True), 1, hide_nodes=0.25)
    whole = ring(40).values.x
    hidden = floats.x[:, 0] == 0
    assert 4 <= int(hidden.sum()) <= 18
    assert torch.equal(floats.x[~hidden], whole[~hidden])
    changed = codes.x[:, 0] != whole[:, 0].long()
    assert 4 <= int(changed.sum()) <= 18
    assert codes.x.dtype == torch.int64
    assert set(codes.x[:, 0].tolist()) <= set(range(1, 41))


def test_the_item_stays_as_it_was_and_small_graphs_survive() -> None:
    item = ring(12)
    before = item.values.clone()
    view(item, 0, drop_nodes=0.5, drop_edges=0.5, hide_nodes=0.5, hide_edges=0.5)
    assert all(torch.equal(item.values[name], before[name]) for name in ("x", "edge_index", "edge_attr"))
    for seed in range(10):
        pair = Item(Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]]), edge_attr=None), {})
        assert view(pair, seed, drop_nodes=0.9, drop_edges=0.9).edge_index.shape[1] == 2
        lonely = Item(Data(x=torch.ones(3, 1), edge_index=torch.zeros(2, 0, dtype=torch.long), edge_attr=None), {})
        assert view(lonely, seed, drop_nodes=0.9).num_nodes == 1


def test_shares_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"drop_nodes=1\.0"):
        GraphChange(drop_nodes=1.0)
