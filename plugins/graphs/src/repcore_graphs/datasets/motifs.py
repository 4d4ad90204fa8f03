"""Generated default: molecule-like graphs in which only bonds, seen together with their ends, carry the class.

A random tree (chains) is closed by bridges. The type of a chain bond follows from the types of its two ends by one
rule for all graphs, (type_u + type_v) mod 3; on bridges the rule is shifted by the class. A share of bonds is replaced
at random. Node types and bond types are equally frequent in every class and structure is drawn alike, so no count
gives the class away; the common rule can be learned without labels, by predicting hidden bonds, and makes the shifted
ones stand out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from repcore.data.generated import Generated
from repcore.data.seeds import generator
from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_graphs.configs.data import MotifsConfig
from repcore_graphs.datasets.raw_graph import RawGraph

KINDS = 3  # of nodes, of bonds, and of rules
CLASSES = ("shift-0", "shift-1", "shift-2")


class Motifs(Generated):
    """Dataset ``graphs/motifs``.

    Args:
        config: size, seed and difficulty.

    Raises:
        ConfigError: sizes that make no graph.
    """

    noun = "motif"
    targets = (
        TargetSpec("rule", "class", names=CLASSES),
        TargetSpec("bridge", "class", level="edge", names=("chain", "bridge")),
    )

    def __init__(self, config: MotifsConfig) -> None:
        if not 3 <= config.least_nodes <= config.most_nodes:
            raise ConfigError(f"nodes from {config.least_nodes} to {config.most_nodes}", expected="3 <= least <= most")
        if config.size < 1 or not 0 <= config.noise <= 1:
            raise ConfigError(f"size={config.size}, noise={config.noise}", expected="at least 1, and a share")
        super().__init__(config, config.size)
        self.config = config

    @property
    def vocabularies(self) -> Mapping[str, list[list[int]]]:
        """Node and bond types."""
        return {"node": [list(range(KINDS))], "edge": [list(range(KINDS))]}

    def make(self, index: int) -> Sample:
        """A graph of a class drawn at random."""
        rng = generator(self.config.seed, "motifs", index)
        label = int(rng.integers(len(CLASSES)))
        num_nodes = int(rng.integers(self.config.least_nodes, self.config.most_nodes + 1))
        edges = ring_tree(num_nodes, rng)
        nodes = rng.integers(KINDS, size=num_nodes)
        is_bridge = np.arange(edges.shape[1]) >= num_nodes - 1
        types = self._bond_types(nodes[edges], is_bridge, label, rng)
        arcs = np.repeat(edges, 2, axis=1)
        arcs[:, 1::2] = arcs[::-1, 1::2]  # each edge in both directions
        graph = RawGraph(
            num_nodes=num_nodes,
            edge_index=arcs,
            node_labels=nodes[:, None],
            edge_labels=np.repeat(types, 2)[:, None],
            edge_targets={"bridge": is_bridge.astype(np.float32)},
            edge_of=np.repeat(np.arange(is_bridge.size), 2),
        )
        meta = {"nodes": num_nodes, "edges": arcs.shape[1]}
        return Sample(
            id=self.id_of(index), inputs=graph, targets={"rule": float(label), **graph.element_targets}, meta=meta
        )

    def _bond_types(self, ends: np.ndarray, is_bridge: np.ndarray, label: int, rng: np.random.Generator) -> np.ndarray:
        """Bond types (E,) from the types of both ends (2, E), then noise."""
        ruled = (ends[0] + ends[1] + label * is_bridge) % KINDS
        noisy = rng.random(is_bridge.size) < self.config.noise
        return np.where(noisy, rng.integers(KINDS, size=is_bridge.size), ruled)


def ring_tree(num_nodes: int, rng: np.random.Generator) -> np.ndarray:
    """A random tree of low degree (its N - 1 edges first), then about one bridge for every four nodes.

    Returns:
        int64 (2, E), each edge once.
    """
    edges: list[tuple[int, int]] = []
    degree = [0] * num_nodes

    def join(u: int, v: int) -> None:
        edges.append((min(u, v), max(u, v)))
        degree[u] += 1
        degree[v] += 1

    for node in range(1, num_nodes):
        free = [other for other in range(max(0, node - 6), node) if degree[other] < 4]
        join(free[int(rng.integers(len(free)))], node)  # a recent node: long chains, as in molecules
    known = set(edges)
    for _ in range(2 * num_nodes):
        u, v = (int(value) for value in rng.integers(num_nodes, size=2))
        key = (min(u, v), max(u, v))
        if u != v and degree[u] < 4 and degree[v] < 4 and key not in known:
            known.add(key)
            join(u, v)
        if len(edges) >= num_nodes - 1 + num_nodes // 4:
            break
    return np.array(edges, np.int64).T
