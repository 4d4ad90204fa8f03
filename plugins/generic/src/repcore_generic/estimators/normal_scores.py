"""Scores of unlikeness that stand beside the Mahalanobis distance, and maps of it over tokens.

Symbols: N rows, D width, T token places.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import OneClassSVM

from repcore_generic.estimators.gaussian import CONSTANT, Gaussian, Moments


def root_mean_square_distances(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Root mean square difference from the mean, (N,)."""
    result: np.ndarray = np.sqrt(((np.asarray(rows, np.float64) - mean) ** 2).mean(1))
    return result


def diagonal_distances(rows: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Root mean square of standardised differences from the mean, (N,)."""
    result: np.ndarray = np.sqrt((((np.asarray(rows, np.float64) - mean) / spread) ** 2).mean(1))
    return result


def neighbour_distances(rows: np.ndarray, normal: np.ndarray, count: int = 5) -> np.ndarray:
    """Mean Euclidean distance to the nearest normal rows, (N,)."""
    index = NearestNeighbors(n_neighbors=min(count, len(normal))).fit(normal)
    found: np.ndarray = index.kneighbors(rows)[0].mean(1)
    return found


def one_class_svm(normal: np.ndarray, nu: float = 0.5) -> OneClassSVM:
    """The published baseline: radial basis functions, gamma = 1 / (D x variance of all entries)."""
    return OneClassSVM(kernel="rbf", gamma="scale", nu=nu).fit(normal)


def standardised(normal: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Normal rows with mean 0 and standard deviation 1 in each varying dimension, and the same change for others."""
    mean, spread = normal.mean(0), normal.std(0)
    varies = spread > CONSTANT * spread.max()

    def apply(rows: np.ndarray) -> np.ndarray:
        result: np.ndarray = ((np.asarray(rows, np.float64) - mean) / np.where(varies, spread, 1.0))[:, varies]
        return result

    return apply(normal), apply


def shared_map(normal: np.ndarray, fitted: np.ndarray, tokens: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Distance of every valid token from one Gaussian of all normal tokens, (N, T); invalid ones hold 0.

    Args:
        normal / fitted: normal tokens (N, T, D) and which are real, bool (N, T).
        tokens / valid: tokens that are scored.
    """
    gaussian = Gaussian.of(Moments.of(normal[fitted]))
    scores = np.zeros(valid.shape)
    scores[valid] = gaussian.distances(tokens[valid])
    return scores


def position_map(
    normal: np.ndarray, fitted: np.ndarray, tokens: np.ndarray, valid: np.ndarray, *, ridge: float = 0.01, ddof: int = 1
) -> np.ndarray:
    """As :func:`shared_map` with one Gaussian a token place: for aligned places, and many more items than dimensions.

    Args:
        ridge: added to the diagonal of each covariance.
        ddof: 1 = unbiased covariance.
    """
    scores = np.zeros(valid.shape)
    for place in range(tokens.shape[1]):
        rows = normal[fitted[:, place], place]
        covariance = np.cov(rows, rowvar=False, ddof=ddof) + ridge * np.eye(rows.shape[1])
        gaussian = Gaussian(rows.mean(0), np.linalg.cholesky(covariance), 0.0, len(rows))
        real = valid[:, place]
        scores[real, place] = gaussian.distances(tokens[real, place])
    return scores
