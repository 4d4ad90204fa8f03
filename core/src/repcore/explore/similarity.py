"""How alike two sets of vectors of the same rows are.

Linear CKA of Kornblith et al. 2019 (ICML) in its feature form: 1 where one is a rotation and scaling of the other; with
fewer rows than numbers a vector it comes out too high. Neighbour overlap counts what a search would show.

Symbols: N rows, D and E widths.
"""

from __future__ import annotations

import numpy as np

from repcore.explore.nearest import exact
from repcore.explore.rows import unit


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """In [0, 1]; NaN where one set of vectors is constant.

    Args:
        first / second: (N, D) and (N, E), finite.
    """
    one, other = (np.asarray(each, np.float64) - np.mean(each, axis=0) for each in (first, second))
    shared = float(((one.T @ other) ** 2).sum())
    own = float(np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other))
    return shared / own if own > 0 else float("nan")


def neighbour_overlap(first: np.ndarray, second: np.ndarray, k: int = 10, *, most: int = 2000) -> float:
    """Mean share of the k nearest neighbours by cosine that both sets name for a row; k / (N - 1) by chance.

    Args:
        most: rows that are asked about, evenly spread; neighbours are sought among all.
    """
    k = min(k, len(first) - 1)
    if k < 1:
        return float("nan")
    asked = np.unique(np.linspace(0, len(first) - 1, min(most, len(first))).astype(int))
    named = [_others(unit(each), asked, k) for each in (first, second)]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(*named, strict=True)]))


def _others(vectors: np.ndarray, asked: np.ndarray, k: int) -> list[np.ndarray]:
    found, _ = exact([vectors], vectors[asked], k + 1)
    return [row[row != own][:k] for row, own in zip(found, asked, strict=True)]
