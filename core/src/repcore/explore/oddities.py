"""What vectors alone say of a data set: near copies, outliers, and parts that are thinly covered.

Vectors are centred first: those of many networks lie in a narrow cone, in which everything is alike by plain cosine.

Symbols: N rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binom
from sklearn.cluster import KMeans

from repcore.errors import PluginError, RegistryError
from repcore.estimation.folder import build_estimator
from repcore.explore.label_errors import DEVIATIONS, robust_deviations
from repcore.explore.lists import Lists
from repcore.explore.nearest import EXACT_BELOW, exact
from repcore.explore.rows import unit
from repcore.interfaces import FeatureBatch
from repcore.registry import Registry
from repcore.specs import GENERIC

NEIGHBOURS = 10
QUERIES_AT_ONCE = 2048
ROWS_A_CLUSTER, MOST_CLUSTERS = 40, 50
DOUBT = 0.01  # probability of a share this low by chance, over all clusters together
GAUSSIAN = f"{GENERIC}/gaussian-anomaly"


def centred(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors about their mean, float32 (N, D)."""
    return unit(vectors - vectors.mean(0, dtype=np.float64))


def neighbours(vectors: np.ndarray, k: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows of every row, int64 (N, k), and their similarities; of unit vectors.

    Above ``EXACT_BELOW`` rows through lists, where faiss is installed: nearly all of them, in a small part of the time.
    """
    k = min(k, len(vectors) - 1)
    places, similar = [], []
    search = _search(vectors)
    for start in range(0, len(vectors), QUERIES_AT_ONCE):
        found, near = search([vectors], vectors[start : start + QUERIES_AT_ONCE], k + 1)
        own = np.arange(start, start + len(found))[:, None]
        order = np.argsort(found == own, axis=1, kind="stable")[:, :k]  # itself goes last, wherever it stood
        places.append(np.take_along_axis(found, order, 1))
        similar.append(np.take_along_axis(near, order, 1))
    return np.concatenate(places), np.concatenate(similar)


def _search(vectors: np.ndarray) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    if len(vectors) <= EXACT_BELOW:
        return exact
    try:
        return Lists.built([vectors]).search
    except PluginError:  # slow, but right
        return exact


def near_copies(places: np.ndarray, similar: np.ndarray, near: float) -> list[tuple[int, int, float]]:
    """Pairs (row, other, share), each once, the closest first.

    How close rows of a data set usually lie depends on its size and on the network, so that no fixed similarity is a
    copy: the share is their distance over the median distance of a row to its nearest.

    Args:
        places / similar: of the nearest rows, (N, k). near: the largest share.
    """
    distance = np.sqrt(np.maximum(2.0 - 2.0 * similar.astype(np.float64), 0.0))
    usual = float(np.median(distance[:, 0]))
    pairs = {}
    for row, rank in zip(*np.nonzero(distance <= near * usual), strict=True):
        one, other = sorted((int(row), int(places[row, rank])))
        pairs[one, other] = float(distance[row, rank]) / usual if usual > 0 else 0.0
    return sorted(((one, other, share) for (one, other), share in pairs.items()), key=lambda pair: (pair[2], pair))


def outliers(registry: Registry, vectors: np.ndarray, similar: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Rows far from the others, farthest first.

    Two scores, each in robust deviations of its logarithm: the mean distance to the nearest rows, and the distance from
    one Gaussian of all rows (estimator gaussian-anomaly); a row counts by the larger.

    Args:
        vectors: (N, D) as they are. similar: of the nearest rows, (N, k).

    Returns:
        row numbers, deviations, and whether the Gaussian took part.
    """
    scores = [np.log(np.maximum(1.0 - similar.mean(1), 1e-6))]
    gaussian = _gaussian(registry, vectors)
    if gaussian is not None:
        scores.append(np.log(np.maximum(gaussian, 1e-6)))
    away = np.max([robust_deviations(one) for one in scores], axis=0)
    chosen = np.flatnonzero(away > DEVIATIONS)
    order = chosen[np.argsort(-away[chosen], kind="stable")]
    return order, away[order], gaussian is not None


def _gaussian(registry: Registry, vectors: np.ndarray) -> np.ndarray | None:
    """Distances (N,); None where the estimator is not installed or the rows are too few for it."""
    try:
        estimator = build_estimator(registry, GAUSSIAN, {}, GENERIC).estimator
    except RegistryError:
        return None
    batch = FeatureBatch([str(row) for row in range(len(vectors))], np.asarray(vectors, np.float32), None, {})
    try:
        estimator.fit([batch], None)
    except ValueError:  # too few rows, or all equal
        return None
    score = np.asarray(estimator.apply(batch)["score"], np.float64)
    return score if np.isfinite(score).all() else None


def thin_clusters(vectors: np.ndarray, covered: np.ndarray, seed: int = 0) -> list[tuple[np.ndarray, int, int, float]]:
    """Clusters with fewer covered rows than chance gives, the least likely first.

    Args:
        vectors: unit vectors (N, D). covered: rows that are trained on, or labelled, bool (N,).

    Returns:
        rows of the cluster (nearest its centre first), covered rows, rows, and the probability of so few.
    """
    share = float(covered.mean())
    count = max(2, min(MOST_CLUSTERS, len(vectors) // ROWS_A_CLUSTER))
    if len(vectors) < 2 * count or share in (0.0, 1.0):
        return []
    found = KMeans(count, n_init=1, random_state=seed).fit(vectors)
    distance = found.transform(vectors)
    thin = []
    for number in range(count):
        rows = np.flatnonzero(found.labels_ == number)
        if not len(rows):
            continue
        seen = int(covered[rows].sum())
        chance = float(binom.cdf(seen, len(rows), share))
        if chance < DOUBT / count:
            thin.append((rows[np.argsort(distance[rows, number])], seen, len(rows), chance))
    return sorted(thin, key=lambda one: one[3])


def split_words(parts: Sequence[str | None], one: int, other: int) -> str:
    """``train / test`` where two rows stand in different declared parts; empty otherwise."""
    first, second = parts[one], parts[other]
    return f"{first} / {second}" if first and second and first != second else ""
