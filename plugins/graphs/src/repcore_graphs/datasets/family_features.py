"""Features of generated graphs: labels that lie in regions, at random, by degree or at ends, values that are smooth,
noise or by degree, and labels of edges by those of their ends.

Symbols: N nodes, E edges, K labels.
"""

from __future__ import annotations

import numpy as np

FOLDS = 3  # kinds of parts of a folded chain
LABELS = 8  # codes that are drawn from
LABELLED, VALUED, BONDED = 0.85, 0.45, 0.35  # shares of graphs that have labels of nodes, values, labels of edges
NOISE = (0.0, 0.05, 0.2)
GROWTH = 0.6  # chance of an edge to pass a region on, a round
ROUNDS = 40


def drawn_nodes(
    count: int, edges: np.ndarray, kinds: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Attributes float32 (N, 1 to 3) and labels int64 (N, 1), each or both None.

    Args:
        edges: int64 (E, 2), each once.
        kinds: labels that come with the structure (N,), which are taken more often than not.
    """
    labels = None
    if rng.random() < LABELLED:
        codes = rng.permutation(LABELS)  # which number stands for what differs from graph to graph
        labels = codes[_labels(count, edges, kinds, rng)][:, None]
    attributes = None
    if rng.random() < VALUED:
        columns = [_values(count, edges, rng) for _ in range(int(rng.integers(1, 4)))]
        attributes = np.stack(columns, 1).astype(np.float32)
    return attributes, labels


def drawn_edge_labels(edges: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator) -> np.ndarray | None:
    """Labels of edges int64 (E,): a rule of both ends' labels, some replaced, or at random; None for most graphs."""
    if rng.random() >= BONDED or not len(edges):
        return None
    kinds = int(rng.integers(2, 5))
    drawn = rng.choice(kinds, size=len(edges), p=rng.dirichlet(np.full(kinds, 0.7)))
    if labels is None or rng.random() < 0.5:
        return np.asarray(drawn, np.int64)
    rule = rng.integers(kinds, size=2 * LABELS - 1)
    ruled = rule[labels[edges].sum((1, 2))]
    return np.asarray(np.where(rng.random(len(edges)) < rng.uniform(0, 0.4), drawn, ruled), np.int64)


def _labels(count: int, edges: np.ndarray, kinds: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """(N,) of 0 .. LABELS - 1."""
    number, degree = int(rng.integers(2, LABELS)), np.bincount(edges.ravel(), minlength=count)
    way = int(rng.integers(4))
    if kinds is not None and rng.random() < 0.6:
        number, found = FOLDS, kinds.copy()
    elif way == 0:
        found = _regions(count, edges, min(number * int(rng.integers(1, 4)), count), rng) % number
    elif way == 1:
        found = rng.choice(number, size=count, p=rng.dirichlet(np.full(number, 0.5)))
    elif way == 2:
        found = np.minimum(degree, number - 1)
    else:  # those at ends are others than those inside
        inside, outside = rng.dirichlet(np.full(number, 0.5)), rng.dirichlet(np.full(number, 0.3))
        found = np.where(degree <= 1, rng.choice(number, count, p=outside), rng.choice(number, count, p=inside))
    noisy = rng.random(count) < rng.choice(NOISE)
    return np.asarray(np.where(noisy, rng.integers(number, size=count), found), np.int64)


def _regions(count: int, edges: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Regions that grow along edges from so many nodes (N,); what no region reaches has one at random."""
    found = np.full(count, -1)
    found[rng.permutation(count)[:number]] = np.arange(number)
    for _ in range(ROUNDS):
        passed = edges[rng.random(len(edges)) < GROWTH]
        for source, target in (passed.T, passed.T[::-1]):
            new = (found[source] >= 0) & (found[target] < 0)
            found[target[new]] = found[source[new]]
    return np.where(found < 0, rng.integers(number, size=count), found)


def _values(count: int, edges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth, noise, or by degree, some of them with a heavy tail, of any size (N,)."""
    values, way = rng.normal(size=count), int(rng.integers(4))
    degree = np.bincount(edges.ravel(), minlength=count)
    if way in (0, 1):
        for _ in range(int(rng.integers(1, 6))):
            total = values.copy()
            np.add.at(total, edges[:, 0], values[edges[:, 1]])
            np.add.at(total, edges[:, 1], values[edges[:, 0]])
            values = total / (1 + degree)
        values = values / (values.std() + 1e-6)
    elif way == 2:
        values = np.log1p(degree) * rng.choice([-1, 1]) + values * rng.uniform(0, 1)
    if rng.random() < 0.3:
        values = np.exp(np.minimum(values, 5.0))
    scaled: np.ndarray = values * np.exp(rng.normal()) + rng.normal() * rng.choice([0, 1, 3])
    return scaled
