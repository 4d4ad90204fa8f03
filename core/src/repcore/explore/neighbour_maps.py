"""Maps that keep neighbours together: t-SNE of few rows, UMAP of many.

Vectors are brought to length 1 and to their first principal components, as those of a report are.
McInnes, Healy and Melville 2018, "UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction"
(arXiv:1802.03426), by its authors' library.

Symbols: N rows, D width.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from repcore.errors import PluginError
from repcore.explore.nearest import exact
from repcore.explore.rows import unit
from repcore.report.map import ALIKE, COMPONENTS, FEWEST_FOR_TSNE, MOST_FOR_TSNE, Layout, layouts

NEIGHBOURS, MIN_DISTANCE = 15, 0.1  # UMAP's own defaults
SAMPLED, KEPT = 500, 10  # rows and neighbours by which a map is judged
INSTALL = 'pip install "repcore[umap]"'


def method_for(asked: str, count: int) -> tuple[str, str]:
    """The method that is used (``pca``, ``tsne`` or ``umap``), and what the reader of the page should know of it.

    Args:
        asked: one of ``LAYOUTS``; ``auto`` = t-SNE up to ``MOST_FOR_TSNE`` rows, above UMAP where it is installed.
        count: N.

    Raises:
        PluginError: UMAP is asked for and not installed.
    """
    if asked == "umap":
        _library()
    if asked == "pca" or count < FEWEST_FOR_TSNE:
        return "pca", ""
    if asked == "tsne" and count > MOST_FOR_TSNE:
        return "pca", f"t-SNE is made up to {MOST_FOR_TSNE:,} points; UMAP takes more of them: --layout umap"
    if asked != "auto":
        return asked, ""
    if count <= MOST_FOR_TSNE:
        return "tsne", ""
    try:
        _library()
    except PluginError:
        return "pca", f"Above {MOST_FOR_TSNE:,} points UMAP shows what PCA cannot; it is not installed: {INSTALL}"
    return "umap", ""


def neighbour_map(vectors: np.ndarray, method: str, seed: int) -> Layout | None:
    """The map by ``tsne`` or ``umap``; None for ``pca``, and where all vectors are alike.

    Args:
        vectors: (N, D), finite.
    """
    scaled = unit(vectors)
    if method == "pca" or np.ptp(scaled, axis=0).max() < ALIKE:
        return None
    if method == "tsne":
        return layouts(vectors, seed)[0]
    return _umap(scaled, seed)


def _library() -> Any:  # a module without types
    try:
        import umap
    except ImportError as error:
        raise PluginError("UMAP is not installed", hint=INSTALL) from error
    return umap


def _umap(scaled: np.ndarray, seed: int) -> Layout:
    count = min(COMPONENTS, *scaled.shape)
    reduced = PCA(count, random_state=seed, svd_solver="covariance_eigh").fit_transform(scaled)
    neighbours = min(NEIGHBOURS, len(scaled) - 1)
    maker = _library().UMAP(
        n_neighbors=neighbours, min_dist=MIN_DISTANCE, init="pca", random_state=seed, n_jobs=1, low_memory=True
    )
    with warnings.catch_warnings():  # of numba and of disconnected points: neither is the reader's to mend
        warnings.simplefilter("ignore")
        points = np.asarray(maker.fit_transform(reduced.astype(np.float32)), np.float64)
    lost = ~np.isfinite(points).all(1)
    if lost.any():  # points without a neighbour that is near enough
        points[lost] = points[~lost].mean(0) if (~lost).any() else 0.0
    note = (
        f"UMAP of the first {count} principal components ({neighbours} neighbours, seed {seed}). Of the ten nearest "
        f"rows of a point {_kept(scaled, points):.0%} are among the ten nearest on the map. Sizes of clusters and the "
        "gaps between them mean nothing."
    )
    return Layout("UMAP", points, ("UMAP 1", "UMAP 2"), note)


def _kept(scaled: np.ndarray, points: np.ndarray) -> float:
    """Share of the nearest rows that are nearest on the map, too, of some rows."""
    rows = np.random.default_rng(0).permutation(len(scaled))[:SAMPLED]
    k = min(KEPT, len(scaled) - 1)
    true, _ = exact([scaled], scaled[rows], k + 1)
    drawn = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points[rows], return_distance=False)
    shared = [len(set(a.tolist()) & set(b.tolist()) - {int(row)}) for row, a, b in zip(rows, true, drawn, strict=True)]
    return float(np.mean(shared)) / k
