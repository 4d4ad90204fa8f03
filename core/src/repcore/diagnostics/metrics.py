"""Figures that tell a learning representation from a collapsing one, from embeddings Z (N, D) of held-out items.

Everything is computed in float64 on at most ``ROWS`` finite rows. Collapse has several faces, hence several figures:
all items on one point (std, uniformity), items in a thin subspace (RankMe, alpha-ReQ), features switched off (dead
dimensions), different items that became one (duplicates), a few items that are everybody's neighbour (hubness).

Symbols: N rows, D width, s_k singular values, l_k covariance eigenvalues in descending order.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import hyp0f1
from scipy.stats import skew
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from repcore.errors import ShapeError

ROWS = 2048  # sub-sample: enough for every figure here, and seconds rather than minutes for D = 768
EPSILON = 1e-7  # added to each share in the entropies, as in the RankMe paper
DEAD_VARIANCE = 1e-6
SAME_DISTANCE = 1e-4  # between unit vectors; batches of another size move float32 embeddings by less
NEIGHBOURS = 10
ALPHA_FIRST = 3  # first eigenvalue of the fit, counted from 1
ALPHA_LAST_SHARE = 0.5  # last eigenvalue of the fit as a share of the rank
LIDAR_RIDGE = 1e-4


def effective_rank(values: np.ndarray) -> float:
    """exp of the entropy of ``values`` as shares (with ``EPSILON`` each); 1 for all zero.

    Args:
        values: (K,) not negative, singular values or eigenvalues.
    """
    total = float(values.sum())
    if total <= 0.0:
        return 1.0
    shares = values / total + EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))


def rank_me(embeddings: np.ndarray) -> float:
    """Effective rank of Z from its singular values, in [1, min(N, D)].

    Source: Garrido et al. 2023, RankMe (arXiv 2210.02885), eq. 1.

    Args:
        embeddings: (N, D), finite; not centred, as published.
    """
    return effective_rank(np.linalg.svd(embeddings, compute_uv=False))


def alpha_req(eigenvalues: np.ndarray) -> float:
    """Decay exponent of the covariance spectrum: minus the slope of log l_k over log k.

    Least squares over k = 3 .. half the numerical rank. Near 1 is healthy, well above is collapsing, near 0 is white.

    Source: Agrawal et al. 2022, alpha-ReQ.

    Args:
        eigenvalues: l_k (K,), descending.

    Returns:
        alpha, or NaN when the rank leaves fewer than three points.
    """
    largest = float(eigenvalues[0]) if eigenvalues.size else 0.0
    rank = int((eigenvalues > largest * 1e-12).sum()) if largest > 0.0 else 0
    k = np.arange(ALPHA_FIRST, math.floor(ALPHA_LAST_SHARE * rank) + 1)
    if k.size < 3:
        return math.nan
    return -float(np.polyfit(np.log(k), np.log(eigenvalues[k - 1]), 1)[0])


def uniformity(unit: np.ndarray) -> float:
    """log mean exp(-2 |x - y|^2) over all pairs of different rows: 0 when collapsed, lower is more spread.

    Source: Wang and Isola 2020 (arXiv 2005.10242), eq. 2 with t = 2.

    Args:
        unit: (N, D), rows of length 1, N >= 2.
    """
    similarity = unit @ unit.T
    pairs = similarity[np.triu_indices(len(unit), 1)]
    return float(np.log(np.mean(np.exp(-4.0 + 4.0 * pairs))))  # |x - y|^2 = 2 - 2 cos


def uniformity_of_sphere(width: int) -> float:
    """The same for points spread evenly over the sphere in ``width`` dimensions: what uniformity is read against.

    E exp(4 cos) over the uniform sphere is the confluent hypergeometric limit function 0F1(D/2; 4).
    """
    return float(-4.0 + np.log(hyp0f1(width / 2, 4.0)))


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """Mean |x - y|^2 of positive pairs after bringing rows to length 1; 0 when views agree, 2 when unrelated.

    Source: Wang and Isola 2020 (arXiv 2005.10242), eq. 1 with alpha = 2.

    Args:
        first / second: (N, D), row i of both is the same item.

    Raises:
        ShapeError: shapes differ.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ShapeError(f"views have shapes {first.shape} and {second.shape}; expected the same (N, D)")
    difference = normalize(first.astype(np.float64)) - normalize(second.astype(np.float64))
    return float(np.mean((difference**2).sum(axis=1)))


def normalised_deviation(unit: np.ndarray) -> float:
    """Mean standard deviation of the features of unit vectors, times sqrt(D): 1 isotropic, 0 collapsed."""
    return float(unit.std(axis=0).mean() * math.sqrt(unit.shape[1]))


def lidar(embeddings: np.ndarray, items: Sequence[Hashable]) -> float:
    """Effective rank of the between-item scatter after whitening by the scatter of views of one item.

    Source: Thilak et al. 2024, LiDAR (arXiv 2312.04000), eq. 1 to 4, with ridge 1e-4. Rows are grouped by item id,
    never by their position, which is where implementations go wrong.

    Args:
        embeddings: (N, D), several views an item.
        items: item id of each row; items with one view are left out.

    Returns:
        The score, or NaN with fewer than two items of two views.

    Raises:
        ShapeError: not one id a row.
    """
    if len(items) != len(embeddings):
        raise ShapeError(f"{len(items)} item ids for {len(embeddings)} rows")
    rows_of: dict[Hashable, list[int]] = {}
    for row, item in enumerate(items):
        rows_of.setdefault(item, []).append(row)
    groups = [embeddings[rows].astype(np.float64) for rows in rows_of.values() if len(rows) > 1]
    if len(groups) < 2:
        return math.nan
    centres = np.stack([group.mean(axis=0) for group in groups])  # (n, D)
    spread = centres - centres.mean(axis=0)
    between = spread.T @ spread / len(groups)
    within = sum((g - g.mean(axis=0)).T @ (g - g.mean(axis=0)) / len(g) for g in groups) / len(groups)
    values, vectors = np.linalg.eigh(within + LIDAR_RIDGE * np.eye(embeddings.shape[1]))
    whiten = (vectors / np.sqrt(values)) @ vectors.T
    return effective_rank(np.linalg.eigvalsh(whiten @ between @ whiten).clip(min=0.0))


def neighbour_figures(unit: np.ndarray) -> tuple[float, float]:
    """Share of rows that have a twin in feature space, and hubness (skew of how often rows are neighbours).

    Hubness near 0 is even; above about 5 a few items are the neighbour of everybody.

    Args:
        unit: (N, D), rows of length 1, N >= 3.
    """
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    closest = 2.0 - 2.0 * similarity.max(axis=1)  # squared distance
    duplicates = float(np.mean(closest < SAME_DISTANCE**2))
    count = min(NEIGHBOURS, len(unit) - 1)
    nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    in_degree = np.bincount(nearest.ravel(), minlength=len(unit))
    return duplicates, float(skew(in_degree)) if np.ptp(in_degree) else 0.0


def diagnose(
    embeddings: np.ndarray,
    *,
    generator: np.random.Generator,
    items: Sequence[Hashable] | None = None,
    rows: int = ROWS,
) -> dict[str, float]:
    """All figures of one feature matrix by name.

    Args:
        embeddings: (N, D) of held-out items, encoder in eval mode.
        generator: of the sub-sample; give the same state at every call, so that figures follow the same items.
        items: item id of each row, when several rows are views of one item: adds ``lidar``.
        rows: sub-sample size.

    Returns:
        ``rows``, ``dimensions``, ``nonfinite`` (number of NaN and Inf), ``rankme``, ``rankme-share`` (of min(N, D)),
        ``rankme-centred``, ``alpha-req``, ``uniformity``, ``uniformity-of-sphere``, ``std``, ``dead-dimensions``,
        ``duplicates``, ``hubness``; NaN where fewer than three finite rows are left.

    Raises:
        ShapeError: not (N, D).
    """
    if embeddings.ndim != 2 or not embeddings.size:
        raise ShapeError(f"embeddings have shape {embeddings.shape}; expected (N, D) with at least one row")
    chosen = _chosen_rows(np.flatnonzero(np.isfinite(embeddings).all(axis=1)), rows, items, generator)
    values = embeddings[chosen].astype(np.float64)
    figures = {
        "rows": float(chosen.size),
        "dimensions": float(embeddings.shape[1]),
        "nonfinite": float((~np.isfinite(embeddings)).sum()),
    }
    names = ("rankme", "rankme-share", "rankme-centred", "alpha-req", "uniformity", "uniformity-of-sphere", "std",
             "dead-dimensions", "duplicates", "hubness")  # fmt: skip
    figures |= dict.fromkeys(names, math.nan)
    if chosen.size < 3:
        return figures
    with threadpool_limits(1):  # matrices of hundreds of rows: threads would wait longer than they work
        figures |= _spread_figures(values)
    if items is not None:
        figures["lidar"] = lidar(values, [items[int(row)] for row in chosen])
    return figures


def _spread_figures(values: np.ndarray) -> dict[str, float]:
    """What :func:`diagnose` says of at least three finite rows (N, D), float64."""
    unit = normalize(values)
    spectrum = np.linalg.svd(values - values.mean(axis=0), compute_uv=False)
    rank = rank_me(values)
    duplicates, hubness = neighbour_figures(unit)
    return {
        "rankme": rank,
        "rankme-share": rank / min(values.shape),
        "rankme-centred": effective_rank(spectrum),
        "alpha-req": alpha_req(spectrum**2 / (len(values) - 1)),
        "uniformity": uniformity(unit),
        "uniformity-of-sphere": uniformity_of_sphere(values.shape[1]),
        "std": normalised_deviation(unit),
        "dead-dimensions": float((values.var(axis=0) < DEAD_VARIANCE).sum()),
        "duplicates": duplicates,
        "hubness": hubness,
    }


def _chosen_rows(
    finite: np.ndarray, rows: int, items: Sequence[Hashable] | None, generator: np.random.Generator
) -> np.ndarray:
    """At most ``rows`` of the finite rows; views of one item stay together."""
    if finite.size <= rows:
        return finite
    if items is None:
        return np.sort(generator.choice(finite, rows, replace=False))
    rows_of: dict[Hashable, list[int]] = {}
    for row in finite:
        rows_of.setdefault(items[int(row)], []).append(int(row))
    groups = list(rows_of.values())
    chosen: list[int] = []
    for position in generator.permutation(len(groups)):
        if len(chosen) + len(groups[position]) > rows:
            break
        chosen += groups[position]
    return np.array(sorted(chosen), dtype=np.int64)
