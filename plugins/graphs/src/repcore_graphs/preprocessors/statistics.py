"""Statistics of a graph: how many nodes, edges and small motifs, how far apart, how its signals lie on it.

A baseline of every probe, and what ``graphs/gin`` learns to tell: sizes, degrees, clustering, cycles, cores, chances of
walks to be back (moments of the spectrum), path lengths; of each signal mean, deviation, sum, extremes, skewness,
autocorrelation at one and two steps (Moran 1950), and how it goes with degree and clustering; of each pair of signals
how much of them meets along edges, and within two steps.

Columns share places where there are more than places: of nodes those whose numbers are equal modulo NODE_PLACES, of
edges modulo EDGE_PLACES, with signs that alternate.

Symbols: N nodes, E edges, C places.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, shortest_path

from repcore_graphs.ops.structure import MOST_DENSE, NodeStructure
from repcore_graphs.preprocessors.signals import CUT_OFF, Columns

NODE_PLACES, EDGE_PLACES = 8, 4
MOST_NODES = MOST_DENSE  # beyond, distances and paths of two steps of all pairs take too long
DEGREES = 6  # that are counted one by one, from 0
DISTANCES = (2, 3, 4, 5)


def statistics_of(structure: NodeStructure, nodes: Columns, edges: Columns) -> np.ndarray:
    """All of them, float64 (D,), the same D for every graph.

    Args:
        structure: of a graph of up to MOST_NODES nodes.
        nodes / edges: its columns.
    """
    own, between = placed(nodes, NODE_PLACES), placed(edges, EDGE_PLACES)
    return np.concatenate([
        _sizes(structure), _motifs(structure), _distances(structure),
        *_of_signals(structure, own), *_of_signals(structure, between),
        *_of_pairs(structure, own.values, between.values),
    ])  # fmt: skip


def placed(columns: Columns, places: int) -> Columns:
    """Columns in so many places: (N, places)."""
    found = np.zeros((len(columns.values), places))
    for values, number in zip(columns.values.T, columns.numbers.tolist(), strict=True):
        found[:, number % places] += values * (-1) ** (number // places)
    return Columns(found, np.arange(places))


def _sizes(structure: NodeStructure) -> np.ndarray:
    degree, core, back = structure.degree, structure.core, structure.back
    count, edges = len(degree), structure.arcs.shape[1] // 2
    parts, owner = connected_components(sparse.csr_matrix(structure.adjacency), directed=False)
    counts = np.asarray([(degree == one).sum() for one in range(DEGREES)])
    skewness = ((degree - degree.mean()) ** 3).mean() / (degree.std() + 1e-3) ** 3
    return np.concatenate([
        [np.log1p(count), np.log1p(edges), edges / count],
        [degree.mean(), degree.std(), np.log1p(degree.max()), skewness],
        counts / count, np.log1p(counts),
        [np.log1p(parts), np.bincount(owner).max() / count, np.log1p(edges - count + parts)],
        [core.max(), core.mean(), core.std(), structure.one_way.std()], back.mean(0), back.std(0),
    ])  # fmt: skip


def _motifs(structure: NodeStructure) -> np.ndarray:
    """Clustering, triangles, wedges, claws, cycles of four, and whether like degrees meet (assortativity)."""
    degree, triangles = structure.degree, structure.triangles.sum() / 3
    wedges = (degree * (degree - 1)).sum() / 2
    claws = (degree * (degree - 1) * (degree - 2)).sum() / 6
    two_steps = structure.adjacency @ structure.adjacency
    np.fill_diagonal(two_steps, 0)
    squares = (two_steps * (two_steps - 1)).sum() / 8
    ends = degree[structure.arcs]
    spread = ends[0].var() if ends.size else 0.0
    alike = ((ends[0] - ends[0].mean()) * (ends[1] - ends[1].mean())).mean() / spread if spread > 1e-9 else 0.0
    closed = 3 * triangles / max(wedges, 1)
    return np.asarray(
        [structure.clustering.mean(), closed, *np.log1p([triangles, wedges, claws, squares]), alike], np.float64
    )


def _distances(structure: NodeStructure) -> np.ndarray:
    """Mean, deviation and largest distance between nodes that are joined, and how many pairs are 2, 3, ... apart."""
    apart = shortest_path(sparse.csr_matrix(structure.adjacency), unweighted=True, directed=False)
    found = apart[np.isfinite(apart) & (apart > 0)]
    if not found.size:
        return np.zeros(3 + len(DISTANCES))
    pairs = [np.log1p((found == one).sum() / len(structure.degree)) for one in DISTANCES]
    return np.asarray([found.mean(), found.std(), np.log1p(found.max()), *pairs])


def _of_signals(structure: NodeStructure, columns: Columns) -> list[np.ndarray]:
    """One number a place from each line."""
    values, scaled, degree = columns.values, columns.standardised(), structure.degree
    near = structure.walk @ scaled
    leaves = degree <= 1
    by = [(one - one.mean()) / (one.std() + 1e-3) for one in (degree, structure.clustering)]
    return [
        values.mean(0), values.std(0), np.arcsinh(values.sum(0)), values.max(0), values.min(0),
        np.clip((scaled**3).mean(0), -CUT_OFF, CUT_OFF),
        (scaled * near).mean(0), (scaled * (structure.walk @ near)).mean(0),
        *((one[:, None] * scaled).mean(0) for one in by),
        values[leaves].sum(0) / max(leaves.sum(), 1),
    ]  # fmt: skip


def _of_pairs(structure: NodeStructure, nodes: np.ndarray, edges: np.ndarray) -> list[np.ndarray]:
    """How much of two signals meets: along edges, within two steps, and of a column of edges at a node."""
    count, each = len(nodes), np.triu_indices(nodes.shape[1])
    heard = structure.adjacency @ nodes
    along, within = (nodes.T @ heard)[each], (heard.T @ heard)[each]
    return [along / count, np.arcsinh(along), within / count, (nodes.T @ edges).ravel() / count]
