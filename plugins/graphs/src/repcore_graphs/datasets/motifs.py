"""Generated default: molecule-like graphs whose class lies in the arrangement of bond types, and nowhere else.

Structure (a random tree closed by a few rings) and node types are drawn alike for all classes. Bond types come from a Potts model on
the dual hypergraph: edges that share a node prefer the same type (class 0), different types (class 1), or do not care
(class 2). Types are equally frequent in every class and some are replaced at random, so neither counts of bonds, nor structure,
nor nodes give the class away, and a perfect score is impossible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from repcore.data.seeds import generator
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_graphs.configs.data import MotifsConfig
from repcore_graphs.datasets.raw_graph import RawGraph

CLASSES = ("neighbours-agree", "neighbours-differ", "independent")
NODE_TYPES = 4
SWEEPS = 12  # of Gibbs sampling; correlations settle within a few
VERSION = 1  # raised when the same settings give other graphs


class Motifs:
    """Reader of the generated graphs; graph i depends on (seed, i) only.

    Args:
        config: size, seed and difficulty.

    Raises:
        ConfigError: sizes that make no graph.
    """

    def __init__(self, config: MotifsConfig) -> None:
        if not 3 <= config.least_nodes <= config.most_nodes:
            raise ConfigError(f"nodes from {config.least_nodes} to {config.most_nodes}", expected="3 <= least <= most")
        if config.edge_types < 2 or config.size < 1:
            raise ConfigError(f"edge_types={config.edge_types}, size={config.size}", expected="at least 2 and 1")
        self.config = config

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"motifs {VERSION} {self.config}".encode()).hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return [TargetSpec("arrangement", "class", names=CLASSES)]

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return {}

    @property
    def vocabularies(self) -> Mapping[str, list[list[int]]]:
        """Node and bond types."""
        return {"node": [list(range(NODE_TYPES))], "edge": [list(range(self.config.edge_types))]}

    def __len__(self) -> int:
        return self.config.size

    def id_of(self, index: int) -> str:
        """``motif-000000`` for the first graph."""
        return f"motif-{index:06d}"

    def by_id(self, sample_id: str) -> Sample:
        number = sample_id.removeprefix("motif-")
        if not number.isdigit() or int(number) >= len(self):
            raise DataError(f"no graph {sample_id!r}", expected=f"{self.id_of(0)} .. {self.id_of(len(self) - 1)}")
        return self[int(number)]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = generator(self.config.seed, "motifs", index)
        label = int(rng.integers(len(CLASSES)))
        num_nodes = int(rng.integers(self.config.least_nodes, self.config.most_nodes + 1))
        edges = ring_tree(num_nodes, rng)
        types = self._bond_types(edges, label, rng)
        arcs = np.repeat(edges, 2, axis=1)
        arcs[:, 1::2] = arcs[::-1, 1::2]  # each edge in both directions
        graph = RawGraph(
            num_nodes=num_nodes,
            edge_index=arcs,
            node_labels=rng.choice(NODE_TYPES, size=(num_nodes, 1), p=[0.6, 0.2, 0.15, 0.05]),
            edge_labels=np.repeat(types, 2)[:, None],
        )
        meta = {"nodes": num_nodes, "edges": arcs.shape[1]}
        return Sample(id=self.id_of(index), inputs=graph, targets={"arrangement": float(label)}, meta=meta)

    def _bond_types(self, edges: np.ndarray, label: int, rng: np.random.Generator) -> np.ndarray:
        """Gibbs sampling of the Potts model with the coupling of the class, then noise."""
        count, kinds = edges.shape[1], self.config.edge_types
        strength = (self.config.coupling, -self.config.coupling, 0.0)[label]
        neighbours = [np.flatnonzero(np.isin(edges, edges[:, k]).any(axis=0) & (np.arange(count) != k)) for k in range(count)]
        types = rng.integers(kinds, size=count)
        for _ in range(SWEEPS if strength else 0):
            for edge in rng.permutation(count):
                votes = np.bincount(types[neighbours[edge]], minlength=kinds)
                # a class-free penalty of common types keeps the counts alike in all classes
                common = np.bincount(np.delete(types, edge), minlength=kinds)
                score = strength * votes - 2.0 * (common - common.mean()) / max(count / kinds, 1)
                chance = np.exp(score - score.max())
                types[edge] = rng.choice(kinds, p=chance / chance.sum())
        noisy = rng.random(count) < self.config.noise
        return np.where(noisy, rng.integers(kinds, size=count), types)


def ring_tree(num_nodes: int, rng: np.random.Generator) -> np.ndarray:
    """A random tree of low degree, closed by about one ring for every six nodes: int64 (2, E), each edge once."""
    edges: list[tuple[int, int]] = []
    degree = np.zeros(num_nodes, np.int64)

    def join(u: int, v: int) -> None:
        edges.append((min(u, v), max(u, v)))
        degree[[u, v]] += 1

    for node in range(1, num_nodes):
        free = np.flatnonzero(degree[:node] < 4)
        join(int(rng.choice(free[-6:])), node)  # a recent node: long chains, as in molecules
    for _ in range(num_nodes // 6):
        u, v = (int(value) for value in rng.choice(num_nodes, 2, replace=False))
        if degree[u] < 4 and degree[v] < 4 and (min(u, v), max(u, v)) not in edges:
            join(u, v)
    return np.array(edges, np.int64).T
