"""Generated graphs of eight families, with features of several kinds: what an encoder for any graph learns from.

Families: random pairs (Erdos and Renyi 1959), preferential attachment (Barabasi and Albert 1999), small worlds (Watts
and Strogatz 1998), blocks (Holland et al. 1983), contacts of a chain that is folded in space, as those of a protein's
parts, trees, grids with holes, and fused rings with side chains, as of molecules. Features are drawn apart from the
family, in :mod:`repcore_graphs.datasets.family_features`.

Symbols: N nodes, E edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from repcore.data.generated import Generated
from repcore.data.seeds import generator
from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_graphs.configs.gin import FamiliesConfig
from repcore_graphs.datasets.family_features import FOLDS, drawn_edge_labels, drawn_nodes
from repcore_graphs.datasets.raw_graph import RawGraph

SPREAD = 0.7  # of the logarithm of the number of nodes
STRETCH, WOBBLE = (0.5, 1.0, 0.8), (0.09, 0.09, 0.54)  # of a coiled, a stretched and a loose part of a chain
RING_SIZES = (5, 6, 6, 6, 7)
RECENT = 10  # nodes of a molecule that a ring or chain may grow from
Made = tuple[np.ndarray, int, np.ndarray | None]  # edges (E, 2), number of nodes, kinds of nodes that come with it


class Families(Generated):
    """Dataset ``graphs/families``.

    Args:
        config: how many graphs, and how large.

    Raises:
        ConfigError: no size is possible.
    """

    noun = "family"

    def __init__(self, config: FamiliesConfig) -> None:
        if not 3 <= config.least_nodes <= config.most_nodes or config.size < 1:
            raise ConfigError(
                f"{config.size} graphs of {config.least_nodes} to {config.most_nodes} nodes",
                expected="at least 1 graph, 3 <= least <= most",
            )
        super().__init__(config, config.size)
        self.config = config
        self.targets = (TargetSpec("family", "class", names=tuple(FAMILIES)),)

    def make(self, index: int) -> Sample:
        """A graph of a family drawn at random."""
        rng = generator(self.config.seed, "families", index)
        family = int(rng.integers(len(FAMILIES)))
        usual = rng.normal(math.log(self.config.usual_nodes), SPREAD)
        wanted = int(np.clip(math.exp(usual), self.config.least_nodes, self.config.most_nodes))
        edges, count, kinds = list(FAMILIES.values())[family](wanted, rng)
        arcs = np.concatenate([edges, edges[:, ::-1]]).T.astype(np.int64)
        attributes, labels = drawn_nodes(count, edges, kinds, rng)
        bonds = drawn_edge_labels(edges, labels, rng)
        graph = RawGraph(
            num_nodes=count,
            edge_index=np.ascontiguousarray(arcs),
            node_attributes=attributes,
            node_labels=labels,
            edge_labels=None if bonds is None else np.concatenate([bonds, bonds])[:, None],
            edge_of=np.tile(np.arange(len(edges)), 2),
        )
        meta = {"nodes": count, "edges": arcs.shape[1]}
        return Sample(id=self.id_of(index), inputs=graph, targets={"family": float(family)}, meta=meta)


def distinct(edges: np.ndarray | list[tuple[int, int]]) -> np.ndarray:
    """Each edge once, int64 (E, 2), without self edges."""
    pairs = np.sort(np.asarray(edges, np.int64).reshape(-1, 2), 1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _random(count: int, rng: np.random.Generator) -> Made:
    pairs = np.stack(np.triu_indices(count, 1), 1)
    return pairs[rng.random(len(pairs)) < rng.uniform(1.2, 6) / (count - 1)], count, None


def _attachment(count: int, rng: np.random.Generator) -> Made:
    each = int(rng.integers(1, 4))
    ends, edges = list(range(min(each, count))), []
    for node in range(min(each, count), count):
        for other in {ends[int(one)] for one in rng.integers(len(ends), size=each)}:
            edges.append((other, node))
            ends += [other, node]
    return distinct(edges), count, None


def _small_world(count: int, rng: np.random.Generator) -> Made:
    nodes, reach = np.arange(count), int(rng.integers(1, 4))
    edges = np.concatenate([np.stack([nodes, (nodes + step) % count], 1) for step in range(1, reach + 1)])
    moved = rng.random(len(edges)) < rng.uniform(0, 0.4)
    edges[moved, 1] = rng.integers(count, size=int(moved.sum()))
    return distinct(edges), count, None


def _blocks(count: int, rng: np.random.Generator) -> Made:
    blocks = int(rng.integers(2, 6))
    block = rng.integers(blocks, size=count)
    pairs = np.stack(np.triu_indices(count, 1), 1)
    inside = rng.uniform(2, 6) / (count - 1)
    same = block[pairs[:, 0]] == block[pairs[:, 1]]
    chance = np.where(same, inside * math.sqrt(blocks), inside * rng.uniform(0.02, 0.5))
    return pairs[rng.random(len(pairs)) < chance], count, None


def _contacts(count: int, rng: np.random.Generator) -> Made:
    """A chain of coiled, stretched and loose parts, each node joined to those nearest in space."""
    place, kinds, left, kind = np.zeros((count, 3)), np.zeros(count, np.int64), 0, 0
    way, home = np.zeros(3), rng.uniform(0, 0.15)
    for node in range(1, count):
        if left <= 0:
            kind, left = int(rng.integers(FOLDS)), int(rng.integers(2, 9))
            way = rng.normal(size=3) - home * place[node - 1]
            way /= np.linalg.norm(way) + 1e-9
        left -= 1
        kinds[node] = kind
        place[node] = place[node - 1] + STRETCH[kind] * way + WOBBLE[kind] * rng.normal(size=3)
    apart = np.linalg.norm(place[:, None] - place, axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = min(int(rng.integers(2, 5)), count - 1)
    near = np.argsort(apart, axis=1, kind="stable")[:, :nearest]
    edges = np.stack([np.repeat(np.arange(count), nearest), near.ravel()], 1)
    if rng.random() < 0.5:
        edges = np.concatenate([edges, np.stack([np.arange(count - 1), np.arange(1, count)], 1)])
    return distinct(edges), count, kinds


def _tree(count: int, rng: np.random.Generator) -> Made:
    reach = int(rng.integers(1, count + 1))  # 1 = a path; all of them = a random recursive tree
    return distinct([(int(rng.integers(max(0, node - reach), node)), node) for node in range(1, count)]), count, None


def _grid(count: int, rng: np.random.Generator) -> Made:
    across = max(1, round(math.sqrt(count) * rng.uniform(0.4, 1)))
    nodes = np.arange(count // across * across).reshape(-1, across)
    ways = [(nodes[:, :-1], nodes[:, 1:]), (nodes[:-1], nodes[1:])]
    if rng.random() < 0.3:
        ways.append((nodes[:-1, :-1], nodes[1:, 1:]))
    edges = np.concatenate([np.stack([one.ravel(), other.ravel()], 1) for one, other in ways])
    return distinct(edges[rng.random(len(edges)) > rng.uniform(0, 0.25)]), nodes.size, None


def _rings(count: int, rng: np.random.Generator) -> Made:
    """Rings that share an edge or hang on a chain; no node has more than four neighbours."""
    edges: list[tuple[int, int]] = []
    degree, share = [0], rng.uniform(0.1, 0.8)

    def chain(start: int, length: int) -> int:
        for _ in range(length):
            degree.append(0)
            join(start, len(degree) - 1)
            start = len(degree) - 1
        return start

    def join(one: int, other: int) -> None:
        edges.append((one, other))
        degree[one] += 1
        degree[other] += 1

    while len(degree) < count:
        recent = range(max(0, len(degree) - RECENT), len(degree))
        free = [node for node in recent if degree[node] < 3] or [int(np.argmin(degree))]
        root = free[int(rng.integers(len(free)))]
        if rng.random() >= share:
            chain(root, int(rng.integers(1, 4)))
            continue
        size = int(rng.choice(RING_SIZES))
        shared = [(one, other) for one, other in edges[-RECENT:] if degree[one] < 3 and degree[other] < 3]
        if shared and rng.random() < 0.4:
            start, end = shared[int(rng.integers(len(shared)))]
            join(chain(start, size - 2), end)
        else:
            start = chain(root, 1)
            join(chain(start, size - 1), start)
    return distinct(edges), len(degree), None


FAMILIES: dict[str, Callable[[int, np.random.Generator], Made]] = {
    "random": _random, "attachment": _attachment, "small-world": _small_world, "blocks": _blocks,
    "contacts": _contacts, "tree": _tree, "grid": _grid, "rings": _rings,
}  # fmt: skip
