"""What a task learns from validation rows after training: a temperature, and conformal scores.

Source of temperature scaling: Guo et al. 2017 (arXiv 1706.04599). One number divides all outputs of all members; it
minimises the negative log-likelihood of the validation labels under the mean of the members' probabilities, so that
ranks of a single network do not change.

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
LOG_RANGE = (-2.5, 2.5)  # temperatures from 0.08 to 12


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
    loss = _class_loss if target.kind == "class" else _multilabel_loss
    found = minimize_scalar(lambda log: loss(y, outputs / np.exp(log)), bounds=LOG_RANGE, method="bounded")
    return float(np.exp(found.x))


def _class_loss(y: np.ndarray, outputs: np.ndarray) -> float:
    chosen = softmax(outputs, axis=-1).mean(1)[np.arange(len(y)), y[:, 0].astype(np.int64)]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def _multilabel_loss(y: np.ndarray, outputs: np.ndarray) -> float:
    p = np.clip(expit(outputs).mean(1), 1e-12, 1 - 1e-12)
    return float(-np.nanmean(np.where(np.isnan(y), np.nan, y * np.log(p) + (1 - y) * np.log(1 - p))))


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
