"""One multivariate Gaussian of normal feature vectors: one-pass statistics, shrinkage, distances, components.

Rippel et al. 2020, "Modeling the distribution of normal data in pre-trained deep features for anomaly detection" (their
repository, ORippler/gaussian-ad-mvtec, is AGPL-3.0: formulas only). Ledoit and Wolf 2004 for the shrinkage.

All statistics are float64. Symbols: N rows, D width, k components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import erf
from scipy.stats import chi2

from repcore.errors import DataError

ZERO_VARIANCE = 1e-10  # of the largest: below, a direction holds rounding only
CONSTANT = 1e-6  # of the largest standard deviation
BLOCK = 4096


class Moments:
    """Sums from which mean, covariance and shrinkage follow; one pass, and two of them merge.

    Args:
        shift: subtracted from every row before anything is summed, so that nothing cancels; the mean of the first rows.
    """

    def __init__(self, shift: np.ndarray) -> None:
        width = len(shift)
        self.shift = np.asarray(shift, np.float64)
        self.count = 0
        self.first = np.zeros(width)
        self.second = np.zeros((width, width))
        self.weighted = np.zeros(width)  # sum of |x|^2 x
        self.fourth = 0.0  # sum of |x|^4

    @classmethod
    def of(cls, rows: np.ndarray) -> Moments:
        """Of these rows (N, D), shifted by their own mean."""
        found = cls(np.asarray(rows, np.float64).mean(0))
        found.add(rows)
        return found

    def add(self, rows: np.ndarray) -> None:
        """More rows (N, D)."""
        x = np.asarray(rows, np.float64) - self.shift
        square = np.einsum("nd,nd->n", x, x)
        self.count += len(x)
        self.first += x.sum(0)
        self.second += x.T @ x
        self.weighted += square @ x
        self.fourth += float(square @ square)

    def merge(self, other: Moments) -> None:
        """Take another's rows in, as if they had been added here."""
        d = other.shift - self.shift  # a row is x + d here where it is x there
        n, s, m, u = other.count, other.first, other.second, other.weighted
        dd = float(d @ d)
        trace = float(np.trace(m))
        self.fourth += (
            other.fourth
            + 4 * float(d @ m @ d)
            + n * dd * dd
            + 4 * float(u @ d)
            + 2 * dd * trace
            + 4 * dd * float(s @ d)
        )
        self.weighted += u + 2 * m @ d + dd * s + d * (trace + 2 * float(s @ d) + n * dd)
        self.second += m + np.outer(s, d) + np.outer(d, s) + n * np.outer(d, d)
        self.first += s + n * d
        self.count += n

    @property
    def mean(self) -> np.ndarray:
        """(D,)."""
        return self.shift + self.first / self.count

    def covariance(self) -> np.ndarray:
        """Biased, (D, D)."""
        centre = self.first / self.count
        result: np.ndarray = self.second / self.count - np.outer(centre, centre)
        return result

    def shrinkage(self) -> float:
        """Ledoit and Wolf's share of the scaled identity, in [0, 1]."""
        covariance = self.covariance()
        width, m = len(self.shift), self.first / self.count
        mm = float(m @ m)
        spread = (
            self.fourth - 4 * float(m @ self.weighted) + 4 * float(m @ self.second @ m)
            + 2 * mm * float(np.trace(self.second)) - 4 * mm * float(m @ self.first) + self.count * mm * mm
        )  # fmt: skip  # sum of |x - mean|^4
        norm = float((covariance * covariance).sum())
        scale = float(np.trace(covariance)) / width
        delta = (norm - width * scale * scale) / width
        beta = min((spread / self.count - norm) / (width * self.count), delta)
        return beta / delta if delta > 0 else 0.0

    def shrunk(self) -> tuple[np.ndarray, float]:
        """Covariance after shrinkage (D, D), and the share.

        Raises:
            DataError: fewer than two rows, or rows that are all equal.
        """
        if self.count < 2:
            raise DataError(f"{self.count} rows are too few for a covariance", expected="at least 2 normal items")
        covariance, share = self.covariance(), self.shrinkage()
        scale = float(np.trace(covariance)) / len(covariance)
        if not scale > 0:
            raise DataError("all feature vectors are equal: there is no variance to measure distances by")
        return (1.0 - share) * covariance + share * scale * np.eye(len(covariance)), share


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A fitted Gaussian.

    Args:
        mean: (D,).
        cholesky: lower factor (D, D) of the shrunk covariance.
        shrinkage: share of the scaled identity.
        count: rows that it was fitted on.
    """

    mean: np.ndarray
    cholesky: np.ndarray
    shrinkage: float
    count: int

    @classmethod
    def of(cls, moments: Moments) -> Gaussian:
        """From sums."""
        covariance, share = moments.shrunk()
        return cls(moments.mean, np.linalg.cholesky(covariance), share, moments.count)

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """Mahalanobis distance of each row (N, D) -> (N,)."""
        blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
        found = [
            np.linalg.norm(
                solve_triangular(self.cholesky, (np.asarray(one, np.float64) - self.mean).T, lower=True), axis=0
            )
            for one in blocks
        ]
        return np.concatenate(found) if found else np.zeros(0)


@dataclass(frozen=True, slots=True)
class Components:
    """Principal directions of normal rows.

    Args:
        directions: (k, D), by falling variance.
        mean: (D,) of the rows.
    """

    directions: np.ndarray
    mean: np.ndarray

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Rows (N, D) -> coordinates (N, k)."""
        result: np.ndarray = (np.asarray(rows, np.float64) - self.mean) @ self.directions.T
        return result


def principal_directions(rows: np.ndarray) -> tuple[Components, np.ndarray]:
    """All directions of centred rows by falling variance, and the share of variance of each."""
    values = np.asarray(rows, np.float64)
    mean = values.mean(0)
    _, singular, directions = np.linalg.svd(values - mean, full_matrices=False)
    variance = singular**2
    return Components(directions, mean), variance / variance.sum()


def head_or_tail(rows: np.ndarray, share: float, which: str, *, published: bool = False) -> Components:
    """Strongest directions up to a share of the variance, or the weakest ones from there on.

    Args:
        rows: normal rows (N, D).
        share: cumulated share of the variance at which the two part; the direction that passes it belongs to both.
        which: ``head`` or ``tail``.
        published: keep what the published code does where it misbehaves: a first direction that alone passes the share
            leaves only the weakest one in the tail, and directions of rounding noise count.
    """
    every, explained = principal_directions(rows)
    directions = every.directions
    if not published:
        real = explained > ZERO_VARIANCE * explained.max()
        directions, explained = directions[real], explained[real]
    passed = np.cumsum(explained) > share
    if passed.any():
        k = int(passed.argmax())
    else:
        k = 0 if published else len(explained) - 1
    if which == "head":
        return Components(directions[: k + 1], every.mean)
    start = k - 1 if published else max(k - 1, 0)
    return Components(directions[start:], every.mean)


def sigma_threshold(sigmas: float, width: int) -> float:
    """Distance that so many sigmas mean for a Gaussian of this width; infinite from 9 on."""
    return float(np.sqrt(chi2.ppf(erf(sigmas / np.sqrt(2.0)), width)))


def conformal_threshold(calibration: np.ndarray, probability: float) -> float:
    """Score below which a new normal item lies with at least this probability; infinite if too few scores are there."""
    ordered = np.sort(np.asarray(calibration, np.float64))
    rank = int(np.ceil((len(ordered) + 1) * probability - 1e-12))
    return float(ordered[rank - 1]) if 1 <= rank <= len(ordered) else float("inf")


def fewest_calibrated(probability: float) -> int:
    """Scores of normal items from which on :func:`conformal_threshold` is finite."""
    return max(1, int(np.ceil(probability / (1.0 - probability) - 1e-9)))


def conformal_p_values(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Share of normal scores at least as large, the item itself counted, (N,); NaN stays NaN."""
    ordered = np.sort(np.asarray(calibration, np.float64))
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.where(np.isfinite(scores), (1.0 + at_least) / (len(ordered) + 1.0), np.nan)
