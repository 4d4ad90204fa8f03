"""What a task learns from validation rows after training: a temperature, and conformal scores.

Source of temperature scaling: Guo et al. 2017 (arXiv 1706.04599). One number divides all outputs of all members; it
minimises the negative log-likelihood of the validation labels, and of one answer more that was wrong (Laplace's rule of
succession), under the mean of the members' probabilities, so that ranks of a single network do not change.

Symbols: n rows, M members, K outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax

from repcore.embedding.conformal import conformal_scores
from repcore.specs import TargetSpec

FEWEST_ROWS = 20
"""Labelled validation rows below which outputs are left as they are: one number would follow the noise."""
LOG_RANGE = (-2.5, 5.0)  # temperatures from 0.08 to 148
LEAST_CHANCE = 1e-300


def temperature_of(target: TargetSpec, truth: np.ndarray, raw: np.ndarray) -> float:
    """The calibrated temperature; 1 for other kinds of targets and for too few rows.

    Args:
        truth: class numbers (n,), or 0/1 (n, K); NaN = missing.
        raw: outputs of the head (n, M, K), not finite where a row failed.
    """
    if target.kind not in ("class", "multilabel"):
        return 1.0
    truth = truth.reshape(len(truth), -1)
    good = np.isfinite(raw).all((1, 2)) & ~np.isnan(truth).all(1)
    if good.sum() < FEWEST_ROWS:
        return 1.0
    y, outputs = truth[good], raw[good].astype(np.float64)
    if target.kind == "class" and np.unique(y).size < 2:
        return 1.0
    chances = _class_chances if target.kind == "class" else _multilabel_chances

    def loss(log: float) -> float:
        return _cost(*chances(y, outputs / np.exp(log)))

    return float(np.exp(minimize_scalar(loss, bounds=LOG_RANGE, method="bounded").x))


def _cost(true: np.ndarray, other: np.ndarray) -> float:
    """Negative log-likelihood with the rule of succession: n labels and one more answer that was wrong.

    Without it the likelihood of rows that are all answered rightly has no maximum: probabilities would become 0 and 1,
    however few the rows are.

    Args:
        true / other: probability of the labels (n, K), of everything else; NaN where a label is missing.
    """
    rows = np.isfinite(true).sum() / true.shape[1]
    share = 1.0 / (rows + 2.0)
    logs = (1.0 - share) * np.log(np.maximum(true, LEAST_CHANCE)) + share * np.log(np.maximum(other, LEAST_CHANCE))
    return -float(np.nanmean(logs))


def _class_chances(y: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = softmax(outputs, axis=-1).mean(1)
    labelled = np.arange(p.shape[1]) == y[:, :1]
    return np.where(labelled, p, 0.0).sum(1)[:, None], np.where(labelled, 0.0, p).sum(1)[:, None]


def _multilabel_chances(y: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    yes, no = expit(outputs).mean(1), expit(-outputs).mean(1)
    known = ~np.isnan(y)
    return np.where(known, np.where(y > 0.5, yes, no), np.nan), np.where(known, np.where(y > 0.5, no, yes), np.nan)


def calibration_error(truth: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of the answered class, equal-width bins (Guo et al. 2017, eq. 3).

    Args:
        truth: class numbers (n,). probabilities: (n, K).
    """
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == truth
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    error = 0.0
    for one in range(bins):
        inside = place == one
        if inside.any():
            error += inside.mean() * abs(float(confidence[inside].mean()) - float(hit[inside].mean()))
    return float(error)


def task_facts(target: TargetSpec, truth: np.ndarray, outputs: np.ndarray, temperature: float) -> dict[str, Any]:
    """Facts that are stored with the task.

    Args:
        truth: labels of the validation rows, NaN = missing.
        outputs: (n, K) answers of the calibrated task on them.
    """
    facts: dict[str, Any] = {"conformal": conformal_scores(target, truth, outputs)}
    if target.kind in ("class", "multilabel"):
        facts["temperature"] = temperature
    if target.kind == "multilabel":
        facts["thresholds"] = [0.5] * outputs.shape[1]
    return facts
