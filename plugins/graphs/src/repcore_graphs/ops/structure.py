"""What the structure of a graph says of each node: degrees, cores, triangles, chances to walk back.

Directions, weights, self edges and repeats do not count. Up to :data:`MOST_DENSE` nodes everything is exact; beyond,
chances to be back are estimated from random signs, the same in every run (Hutchinson 1990), but those of two steps.

Symbols: N nodes, A stored columns of edges, S steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

STEPS = 8  # the longest walk; the shortest that can be back has 2
MOST_DENSE = 1024  # nodes
SIGNS = 64  # random vectors
FEATURES = 9 + 1 + STEPS - 1  # columns of NodeStructure.features


@dataclass(frozen=True, slots=True)
class NodeStructure:
    """One graph.

    Args:
        adjacency: (N, N) of 0 and 1, symmetric, without self edges; an array, or sparse for a large graph.
        walk: the same by rows that sum to 1 (0 at an isolated node): ``walk @ values`` is the mean over neighbours.
        arcs: int64 (2, 2 E), both directions of every edge.
        degree / core / triangles: (N,).
        back: (N, S - 1), chance of a random walk to be back after 2 .. S steps.
        one_way: (N,), how many more edges go out than come in, as a difference of logarithms.
    """

    adjacency: Any
    walk: Any
    arcs: np.ndarray
    degree: np.ndarray
    core: np.ndarray
    triangles: np.ndarray
    back: np.ndarray
    one_way: np.ndarray

    @property
    def clustering(self) -> np.ndarray:
        """Share of pairs of neighbours that are joined, (N,); 0 where there is no pair."""
        pairs = self.degree * (self.degree - 1) / 2
        return np.asarray(self.triangles / np.maximum(pairs, 1))

    def features(self) -> np.ndarray:
        """All of it, in sizes that a network takes: float32 (N, FEATURES)."""
        degree, count = self.degree, len(self.degree)
        columns = [
            np.log1p(degree), np.log1p(self.core), np.log1p(self.triangles), self.clustering,
            np.full(count, np.log1p(count) / 3), *(degree == one for one in range(4)), self.one_way, *self.back.T,
        ]  # fmt: skip
        return np.stack(columns, 1).astype(np.float32)


def node_structure(num_nodes: int, edge_index: np.ndarray) -> NodeStructure:
    """The structure of a graph.

    Args:
        num_nodes: N, at least 1.
        edge_index: int64 (2, A).
    """
    source, target = edge_index[:, edge_index[0] != edge_index[1]]
    if num_nodes <= MOST_DENSE:
        given = np.zeros((num_nodes, num_nodes))
        given[source, target] = 1.0
        adjacency: Any = np.maximum(given, given.T)
    else:
        given = sparse.csr_matrix((np.ones(len(source)), (source, target)), (num_nodes, num_nodes)).astype(bool)
        adjacency = (given + given.T).astype(np.float64).tocsr()
    degree, out, into = (np.asarray(one).ravel() for one in (adjacency.sum(1), given.sum(1), given.sum(0)))
    inverse = 1 / np.maximum(degree, 1)
    is_small = num_nodes <= MOST_DENSE
    walk = adjacency * inverse[:, None] if is_small else sparse.diags(inverse) @ adjacency
    return NodeStructure(
        adjacency=adjacency,
        walk=walk,
        arcs=np.stack(adjacency.nonzero()).astype(np.int64),
        degree=degree,
        core=core_numbers(adjacency, degree),
        triangles=_triangles(adjacency) if is_small else _many_triangles(adjacency, degree),
        back=_back(walk) if is_small else _estimated_back(walk),
        one_way=np.log1p(out) - np.log1p(into),
    )


def core_numbers(adjacency: Any, degree: np.ndarray) -> np.ndarray:
    """The largest k of each node (N,) such that it belongs to a part in which everyone has k neighbours."""
    left, alive = degree.copy(), np.ones(len(degree), bool)
    core, k = np.zeros(len(degree)), 0
    while alive.any():
        low = alive & (left <= k)
        if low.any():
            core[low] = k
            alive &= ~low
            left = left - np.asarray(adjacency[np.flatnonzero(low)].sum(0)).ravel()
        else:
            k = int(left[alive].min())
    return core


def _triangles(adjacency: np.ndarray) -> np.ndarray:
    return np.asarray(((adjacency @ adjacency) * adjacency).sum(1) / 2)


def _many_triangles(adjacency: sparse.csr_matrix, degree: np.ndarray) -> np.ndarray:
    """Triangles at each node, each found once: edges go from the node of lower degree, so that hubs have few."""
    rank = np.empty(len(degree), np.int64)
    rank[np.argsort(degree, kind="stable")] = np.arange(len(degree))
    edges = adjacency.tocoo()
    up = rank[edges.row] < rank[edges.col]
    towards = sparse.csr_matrix((edges.data[up], (edges.row[up], edges.col[up])), adjacency.shape)
    first = (towards @ towards).multiply(towards)
    others = (towards.T @ towards).multiply(towards)
    parts = (first.sum(1), others.sum(1), others.sum(0))
    return sum((np.asarray(one).ravel() for one in parts), np.zeros(len(degree)))


def _back(walk: np.ndarray) -> np.ndarray:
    powers = [walk]
    while len(powers) < STEPS // 2:
        powers.append(powers[-1] @ walk)
    halves = [(powers[steps // 2 - 1], powers[steps - steps // 2 - 1]) for steps in range(2, STEPS + 1)]
    return np.stack([(one * other.T).sum(1) for one, other in halves], 1)


def _estimated_back(walk: sparse.csr_matrix) -> np.ndarray:
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (walk.shape[0], SIGNS))
    there, columns = walk @ signs, []
    for _ in range(2, STEPS + 1):
        there = walk @ there
        columns.append((signs * there).mean(1).clip(0, 1))
    columns[0] = np.asarray(walk.multiply(walk.T).sum(1)).ravel()
    return np.stack(columns, 1)
