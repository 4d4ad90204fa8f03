"""Views ``graphs/graph-pair`` and ``graphs/graph-weak-strong``: parts left out, features hidden.

Source: GraphCL (You et al. 2020, arXiv 2010.13902). Differs: all four changes act on every view, each on a share;
both directions of an edge change together; edge features are hidden, too. Unlike the views that
``graphs/graph-contrast`` draws on the device, dropped nodes are gone, so that any encoder can take the result.

Hidden features are 0; where features are codes, which have no 0, those of a random other node (edge) of the graph.

Symbols: N nodes, A stored columns of edges.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from repcore.data.views import Change, ChangedPair, ChangedViews, ChangedWeakStrong
from repcore.interfaces import Item
from repcore_graphs.configs.views import GraphChange


class GraphViews(ChangedViews):
    """Views of one graph: with at least one node and, where there were some, one edge."""

    def change(self, settings: GraphChange) -> Change:
        return partial(changed_graph, change=settings)


class GraphPair(GraphViews, ChangedPair):
    """Settings: :class:`GraphPairConfig`."""


class GraphWeakStrong(GraphViews, ChangedWeakStrong):
    """Settings: :class:`GraphWeakStrongConfig`."""


def changed_graph(item: Item, generator: np.random.Generator, *, change: GraphChange) -> Item:
    """The graph with some nodes and edges left out and features of others hidden; labels of nodes and edges stay
    behind, nothing is shared with the item."""
    data: Data = item.values
    arcs = data.edge_index.numpy()
    edge_of = edge_numbers(arcs, int(data.num_nodes))
    kept_nodes = _chosen(int(data.num_nodes), 1.0 - change.drop_nodes, generator)
    alive = kept_nodes[arcs[0]] & kept_nodes[arcs[1]]
    alive &= (generator.random(int(edge_of.max(initial=-1)) + 1) >= change.drop_edges)[edge_of]
    if arcs.shape[1] and not alive.any():  # a graph without edges has nothing left to say
        kept_nodes, alive = np.ones_like(kept_nodes), np.ones_like(alive)
    number = np.cumsum(kept_nodes) - 1
    nodes, columns = torch.from_numpy(kept_nodes), torch.from_numpy(alive)
    edge_attr = data.edge_attr
    if edge_attr is not None:
        hit = (generator.random(int(edge_of.max(initial=-1)) + 1) < change.hide_edges)[edge_of]
        edge_attr = _hidden(edge_attr, hit, edge_of, generator)[columns]
    hit = generator.random(int(data.num_nodes)) < change.hide_nodes
    changed = Data(
        x=_hidden(data.x, hit, np.arange(int(data.num_nodes)), generator)[nodes],
        edge_index=torch.from_numpy(number[arcs[:, alive]]),
        edge_attr=edge_attr,
    )
    meta = {**item.meta, "nodes": int(nodes.sum()), "edges": int(columns.sum())}
    return replace(item, values=changed, meta=meta)


def edge_numbers(arcs: np.ndarray, nodes: int) -> np.ndarray:
    """Number of the undirected edge that each column of (2, A) belongs to, int64 (A,)."""
    keys = np.minimum(*arcs) * max(nodes, 1) + np.maximum(*arcs)
    numbers: np.ndarray = np.unique(keys, return_inverse=True)[1].reshape(-1)
    return numbers


def _chosen(count: int, share: float, generator: np.random.Generator) -> np.ndarray:
    """A random share of the rows, at least one, bool (count,)."""
    chosen = np.zeros(count, bool)
    chosen[generator.permutation(count)[: max(1, round(count * share))]] = True
    return chosen


def _hidden(values: Tensor, hit: np.ndarray, owner: np.ndarray, generator: np.random.Generator) -> Tensor:
    """A copy of rows (S, C) with those that are hit hidden; rows of one owner get the same."""
    values = values.clone()
    where = torch.from_numpy(hit)
    if values.is_floating_point():
        values[where] = 0.0
        return values
    owners = int(owner.max(initial=-1)) + 1
    row_of = np.zeros(owners, np.int64)
    row_of[owner] = np.arange(len(owner))
    shown = row_of[generator.permutation(owners)][owner]
    values[where] = values[torch.from_numpy(shown)][where]
    return values
