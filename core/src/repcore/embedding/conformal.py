"""Split-conformal intervals and sets: answers that hold the truth in a stated share of cases.

Source: Vovk et al. 2005; Lei et al. 2018 (absolute residuals); Sadinle et al. 2019 (least ambiguous sets of classes).
With n validation scores and coverage c the threshold is the ceil((n + 1) c)-th smallest score; the truth of a row drawn
from the same population lies within it with probability at least c (and at most c + 1 / (n + 1) without ties). The
scores of all validation rows are kept with the model, so that any coverage can be asked for later.

Scores: regression |y - prediction| in original units, one list a value; class 1 - p(true class); multilabel
1 - p(true answer), one list a task. Missing labels give no score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from repcore.errors import ConfigError, DataError
from repcore.specs import TargetSpec

MOST_SCORES = 4096
"""Kept scores a list; of more, equally spaced order statistics are kept."""


def conformal_scores(target: TargetSpec, truth: np.ndarray, outputs: np.ndarray) -> list[list[float]]:
    """Ascending scores of labelled validation rows.

    Args:
        truth: (n,) or (n, K), NaN = missing: class numbers, 0/1, or values.
        outputs: (n, K) probabilities or values.
    """
    truth = truth.reshape(len(truth), -1).astype(np.float64)
    if target.kind == "class":
        known = ~np.isnan(truth[:, 0]) & np.isfinite(outputs).all(1)
        chosen = outputs[known, truth[known, 0].astype(np.int64)]
        return [_kept(1.0 - chosen)]
    scores = []
    for k in range(outputs.shape[1]):
        known = ~np.isnan(truth[:, k]) & np.isfinite(outputs[:, k])
        y, p = truth[known, k], outputs[known, k]
        scores.append(_kept(np.abs(y - p) if target.kind != "multilabel" else np.where(y > 0.5, 1.0 - p, p)))
    return scores


def _kept(scores: np.ndarray) -> list[float]:
    ordered = np.sort(scores.astype(np.float64))
    if len(ordered) > MOST_SCORES:
        ordered = ordered[np.round(np.linspace(0, len(ordered) - 1, MOST_SCORES)).astype(np.int64)]
    return [float(one) for one in ordered]


def threshold(scores: Sequence[float], coverage: float) -> float:
    """The conformal threshold; infinite where the validation rows are too few for the coverage.

    Raises:
        ConfigError: a coverage outside 0 < coverage < 1.
    """
    if not 0.0 < coverage < 1.0:
        raise ConfigError(f"coverage={coverage} is outside 0 < coverage < 1", hint="--coverage 0.9")
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


def check_coverage(scores: Sequence[Sequence[float]], coverage: float) -> str:
    """What to say of a coverage for which the validation rows are too few; empty where they are enough.

    Raises:
        ConfigError: a coverage outside 0 < coverage < 1. DataError: no scores.
    """
    _need(scores)
    if all(math.isfinite(threshold(one, coverage)) for one in scores):
        return ""
    fewest = min(len(one) for one in scores)
    needed = math.ceil(coverage / (1.0 - coverage) - 1e-9)  # (n + 1) c <= n
    return (
        f"coverage {coverage:g} needs {needed:,} labelled validation rows, the model was calibrated with {fewest:,}: "
        "sets hold every answer and intervals are infinite"
    )


def intervals(scores: Sequence[Sequence[float]], outputs: np.ndarray, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends (n, K) in the units of the outputs."""
    _need(scores)
    width = np.asarray([threshold(one, coverage) for one in scores])
    return outputs - width, outputs + width


def class_sets(scores: Sequence[Sequence[float]], outputs: np.ndarray, coverage: float) -> np.ndarray:
    """Bool (n, K): classes in the set of each row; may be empty where no class is likely enough."""
    _need(scores)
    held: np.ndarray = 1.0 - outputs <= threshold(scores[0], coverage)  # as scores are made: ties are held
    return held


def answer_sets(scores: Sequence[Sequence[float]], outputs: np.ndarray, coverage: float) -> np.ndarray:
    """Multilabel: bool (n, K, 2), whether "no" and "yes" are in the set of each task."""
    _need(scores)
    limits = np.asarray([threshold(one, coverage) for one in scores])
    return np.stack([outputs <= limits, 1.0 - outputs <= limits], axis=-1)


def _need(scores: Sequence[Sequence[float]]) -> None:
    if not scores or not any(len(one) for one in scores):
        raise DataError("this model keeps no conformal scores", hint="fine-tune it with this version of repcore")
