"""Rank metrics of retrieval: nDCG, average precision, recall, precision and reciprocal rank at cutoffs.

Definitions of trec_eval 9, as BEIR uses it: gain is the grade itself, average precision divides by all relevant items,
precision by k even where fewer items exist, and of items with equal scores the one with the higher number comes first.

Symbols: Q queries, N items, K cutoffs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from repcore.errors import ShapeError

CUTOFFS = (1, 3, 5, 10, 100)
METRICS = ("ndcg", "map", "recall", "precision", "mrr")


def ranked(scores: np.ndarray) -> np.ndarray:
    """Item numbers by falling score, int64 (Q, N); of equal scores the higher number first. NaN comes last."""
    values = np.asarray(scores)
    numbers = np.broadcast_to(-np.arange(values.shape[1]), values.shape)
    order: np.ndarray = np.lexsort((numbers, -values), axis=1)
    return order


def rank_metrics(
    relevance: np.ndarray, order: np.ndarray, cutoffs: Sequence[int] = CUTOFFS
) -> Mapping[str, np.ndarray]:
    """Metrics of every query at every cutoff, name -> (Q, K).

    Args:
        relevance: grades (Q, N); above 0 is relevant, below 0 counts as 0.
        order: item numbers by rank (Q, M), best first; the leading M <= N of :func:`ranked`.

    Raises:
        ShapeError: the two do not fit.
    """
    grades = np.maximum(np.asarray(relevance, np.float64), 0.0)
    if order.ndim != 2 or grades.ndim != 2 or len(order) != len(grades) or order.shape[1] > grades.shape[1]:
        raise ShapeError(f"ranking {order.shape} does not fit relevance {grades.shape}", expected="(Q, M) and (Q, N)")
    gains = np.take_along_axis(grades, order, axis=1)
    hits = gains > 0
    total = (grades > 0).sum(1)
    found = np.cumsum(hits, axis=1)
    precision = found / np.arange(1, order.shape[1] + 1)
    discount = 1.0 / np.log2(np.arange(2, grades.shape[1] + 2))
    gained = np.cumsum(gains * discount[: order.shape[1]], axis=1)
    best = np.cumsum(-np.sort(-grades, axis=1) * discount, axis=1)
    averaged = np.cumsum(np.where(hits, precision, 0.0), axis=1)
    first = np.where(hits.any(1), hits.argmax(1) + 1, np.iinfo(np.int64).max)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
    for k in cutoffs:
        at, ideal = min(k, order.shape[1]) - 1, best[:, min(k, grades.shape[1]) - 1]
        columns["ndcg"].append(_share(gained[:, at], ideal))
        columns["map"].append(_share(averaged[:, at], total))
        columns["recall"].append(_share(found[:, at], total))
        columns["precision"].append(found[:, at] / k)
        columns["mrr"].append(np.where(first <= k, 1.0 / first, 0.0))
    return {name: np.stack(values, axis=1) for name, values in columns.items()}


def counted(relevance: np.ndarray) -> np.ndarray:
    """Queries with at least one relevant item, bool (Q,): the others say nothing about a ranking."""
    return np.asarray((np.asarray(relevance) > 0).any(axis=1))


def _share(value: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.divide(value, of, out=np.zeros(len(value)), where=np.asarray(of) > 0)
