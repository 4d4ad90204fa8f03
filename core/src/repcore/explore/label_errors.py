"""Labels that contradict what features say: confident learning for classes, residuals for numbers.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 70): an item
given class i is counted as class j if its out-of-fold probability of j is at least the mean probability of j among
items that were given j. Formulas only; their library (cleanlab) is not used: these lines are all that is needed of it.

Symbols: N rows, C classes.
"""

from __future__ import annotations

import numpy as np

DEVIATIONS = 3.5  # robust standard deviations beyond which a residual is strange (Iglewicz and Hoaglin 1993)
MAD = 1.4826  # of a normal distribution: standard deviations in a median absolute deviation


def class_thresholds(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Mean probability of each class among the items given it, (C,); 1 for a class that no item has."""
    return np.asarray(
        [
            probabilities[given == one, one].mean() if (given == one).any() else 1.0
            for one in range(probabilities.shape[1])
        ]
    )


def doubtful_classes(probabilities: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items whose class is doubtful, most doubtful first.

    Args:
        probabilities: out of fold, (N, C). given: class numbers (N,).

    Returns:
        row numbers (n,), the class that is likelier (n,), and its probability less that of the given class (n,) > 0.
    """
    limits = class_thresholds(probabilities, given)
    confident = np.where(probabilities >= limits, probabilities, -1.0)
    likelier = confident.argmax(1)
    rows = np.arange(len(given))
    margin = probabilities[rows, likelier] - probabilities[rows, given]
    chosen = np.flatnonzero((confident.max(1) >= 0) & (likelier != given) & (margin > 0))
    order = chosen[np.argsort(-margin[chosen], kind="stable")]
    return order, likelier[order], margin[order]


def robust_deviations(values: np.ndarray) -> np.ndarray:
    """(values - median) in robust standard deviations, (N,); 0 where all are alike."""
    away = np.asarray(values, np.float64) - np.median(values)
    spread = MAD * float(np.median(np.abs(away)))
    deviations: np.ndarray = away / spread if spread > 0 else np.zeros(len(away))
    return deviations


def doubtful_values(predicted: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items whose value lies far from its out-of-fold prediction, farthest first.

    Returns:
        row numbers (n,) and robust deviations of their residuals (n,).
    """
    away = np.abs(robust_deviations(given - predicted))
    chosen = np.flatnonzero(away > DEVIATIONS)
    order = chosen[np.argsort(-away[chosen], kind="stable")]
    return order, away[order]
