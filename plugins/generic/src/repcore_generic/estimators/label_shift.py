"""Latent label shift: classes found from nothing but the domain that each item comes from.

Roberts et al. 2022, "Unsupervised Learning under Latent Label Shift", arXiv 2207.13179. (The public repository is
CC BY-NC: formulas only.) If class shares differ between domains and p(x | class) does not, p(domain | x) tells classes.

All float64. Symbols: n items, r domains, k classes, m clusters; p(y | d) is (k, r).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from repcore.errors import DataError

EMPTY_COLUMN = 1e-8
FLOOR = 1e-12


def nearest_clusters(posterior: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number of the nearest centre (squared Euclidean) of each row, (n,)."""
    distance = ((posterior[:, None, :] - centres[None]) ** 2).sum(-1)
    result: np.ndarray = distance.argmin(1)
    return result


def cluster_counts(clusters: np.ndarray, domains: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Items by cluster and domain, (m, r)."""
    counts = np.zeros(shape)
    np.add.at(counts, (clusters, domains), 1.0)
    return counts


@dataclass(frozen=True, slots=True)
class Mixes:
    """A factorisation of p(cluster | domain).

    Args:
        class_given_domain: (k, r), columns sum to 1.
        cluster_given_class: (m, k), columns sum to 1.
        error: squared error of the factorisation.
    """

    class_given_domain: np.ndarray
    cluster_given_class: np.ndarray
    error: float


def rescaled(W: np.ndarray, H: np.ndarray, target: np.ndarray) -> Mixes:
    """Probabilities from factors of the transposed matrix: target (r, m) ~ W (r, k) H (k, m)."""
    size = H.sum(1)
    mixes = (W * size).T
    return Mixes(mixes / mixes.sum(0), (H / size[:, None]).T, float(((target - W @ H) ** 2).sum()))


def multiplicative(target: np.ndarray, W: np.ndarray, H: np.ndarray, updates: int) -> Mixes:
    """Non-negative factorisation by multiplicative updates, first H, then W."""
    for _ in range(updates):
        H = H * (W.T @ target) / np.maximum(W.T @ W @ H, FLOOR)
        W = W * (target @ H.T) / np.maximum(W @ (H @ H.T), FLOOR)
    return rescaled(W, H, target)


def coordinate_descent(target: np.ndarray, W: np.ndarray, H: np.ndarray, updates: int, tolerance: float) -> Mixes:
    """The published solver: scikit-learn's coordinate descent from a given start."""
    import warnings

    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    model = NMF(n_components=W.shape[1], init="custom", max_iter=updates, tol=tolerance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bounded number of updates is the published procedure
        found = model.fit_transform(target.copy(), W=W.copy(), H=H.copy())
    return rescaled(found, model.components_, target)


def domain_given_class(mixes: np.ndarray) -> np.ndarray:
    """p(d | y) for domains of equal size, (r, k): columns of the transposed mixes divided by their sums."""
    result = mixes.T
    total = result.sum(0)
    return np.asarray(result / np.where(total == 0, EMPTY_COLUMN, total))


def flattened(posterior: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """p(d | x) as if all domains had the same size: divided by their shares, normalised."""
    flat = posterior / shares
    return np.asarray(flat / flat.sum(1, keepdims=True))


def class_posteriors(
    posterior: np.ndarray, mixes: np.ndarray, domains: np.ndarray, *, clip: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """p(y | x) and p(y | x, d), both (n, k).

    Args:
        posterior: p(d | x) (n, r), for domains of equal size.
        mixes: p(y | d) (k, r).
        domains: number of each item's domain (n,).
        clip: False: negative entries of the pseudo-inverse stay, as in the published code, and may flip the arg max.
    """
    reverse = domain_given_class(mixes)
    plain = posterior @ np.linalg.pinv(reverse).T
    if clip:
        plain = plain.clip(min=0.0)
        total = plain.sum(1, keepdims=True)
        plain = np.where(total > FLOOR, plain / np.maximum(total, FLOOR), 1.0 / plain.shape[1])
    joint = plain * reverse[domains]
    total = joint.sum(1, keepdims=True)
    if not clip:
        return plain, joint / total
    known = total > FLOOR
    return plain, np.where(known, joint / np.where(known, total, 1.0), mixes[:, domains].T)


def artefact_control(posterior: np.ndarray, domains: np.ndarray, mixes: np.ndarray) -> tuple[float, float]:
    """Accuracy of the domain classifier, and the largest that classes alone allow: above it, domains leave traces.

    Args:
        posterior: p(d | x) of held-out items (n, r).
        domains: their domains (n,).
        mixes: p(y | d) (k, r).
    """
    accuracy = float((posterior.argmax(1) == domains).mean())
    shares = np.bincount(domains, minlength=mixes.shape[1]) / len(domains)
    return accuracy, float((mixes * shares).max(1).sum())


def aligned(predicted: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, float]:
    """Predictions under the best one-to-one renaming, and their accuracy. For evaluation only."""
    table = np.zeros((classes, classes))
    np.add.at(table, (predicted, labels), 1.0)
    rows, columns = linear_sum_assignment(table, maximize=True)
    renamed = np.empty(classes, np.int64)
    renamed[rows] = columns
    result = renamed[predicted]
    return result, float((result == labels).mean())


def check_identifiable(mixes: np.ndarray, most: float = 20.0) -> float:
    """Condition number of p(y | d).

    Raises:
        DataError: domains hardly differ in their mix of classes, so that no class can be told.
    """
    condition = float(np.linalg.cond(mixes))
    if not condition <= most:
        raise DataError(
            f"the domains hardly differ in their mix of classes (condition number {condition:.3g})",
            expected=f"at most {most:g}",
            hint="fewer classes, or domains whose mixes differ more",
        )
    return condition
