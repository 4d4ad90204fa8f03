"""Metrics of answers about elements, from confusion counts of each item; elements without label or answer take no part.

``miou`` and ``dice`` are means over the classes that occur in the labels of all test items, ``dice-per-item`` the mean
over items of the mean over the item's own classes, ``element-accuracy`` the share of labelled elements that are right.

Symbols: n items, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repcore.evaluation.metrics import Scores, regression_scores

DENSE_METRICS = ("miou", "dice", "dice-per-item", "element-accuracy")


def confusion(truth: np.ndarray, answered: np.ndarray, classes: int) -> np.ndarray:
    """Counts (K, K + 1), rows = truth, last column = labelled elements without an answer.

    Args:
        truth: class numbers of any shape; negative = no label.
        answered: class numbers of the same shape; negative = no answer.
    """
    known = truth.reshape(-1) >= 0
    rows = truth.reshape(-1)[known].astype(np.int64)
    columns = answered.reshape(-1)[known].astype(np.int64)
    columns = np.where(columns < 0, classes, columns)
    counts = np.bincount(rows * (classes + 1) + columns, minlength=classes * (classes + 1))
    return counts.reshape(classes, classes + 1)


def overlaps(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU and Dice of each class (..., K) from counts (..., K, K + 1); NaN where no answered element has the class."""
    hit = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    own, said = counts[..., :-1].sum(-1), counts[..., :-1].sum(-2)
    occurs = own > 0
    union, both = own + said - hit, own + said
    iou = np.divide(hit, union, out=np.full(hit.shape, np.nan), where=occurs)
    dice = np.divide(2 * hit, both, out=np.full(hit.shape, np.nan), where=occurs)
    return iou, dice


def dense_values(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of draws of items: counts (..., n, K, K + 1) -> name -> (...,)."""
    whole = counts.sum(-3)
    iou, dice = overlaps(whole)
    _, each = overlaps(counts)
    hit, total = np.diagonal(whole, axis1=-2, axis2=-1).sum(-1), whole[..., :-1].sum((-2, -1))
    return {
        "miou": _mean(iou),
        "dice": _mean(dice),
        "dice-per-item": _mean(_mean(each)),
        "element-accuracy": np.divide(hit, total, out=np.full(np.shape(total), np.nan), where=np.asarray(total) > 0),
    }


def _mean(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(-1)
    number = known.sum(-1)
    return np.asarray(np.divide(total, number, out=np.full(np.shape(total), np.nan), where=np.asarray(number) > 0))


def dense_scores(counts: np.ndarray, names: Sequence[str], rows: np.ndarray) -> Scores:
    """Scores of test items, with IoU and Dice of each class under ``tasks``.

    Args:
        counts: (n, K, K + 1) of :func:`confusion`.
        names: K class names.
        rows: row numbers of the items.
    """
    scores = Scores({name: float(value) for name, value in dense_values(counts).items()})
    iou, dice = overlaps(counts.sum(0))
    scores.tasks = {name: {"miou": float(iou[k]), "dice": float(dice[k])} for k, name in enumerate(names)}
    absent = [name for k, name in enumerate(names) if np.isnan(iou[k])]
    scores.notes = (f"classes without a labelled test element: {', '.join(absent)}",) if absent else ()
    scores.notes += unanswered_note(int(counts[..., -1].sum()), int(counts.sum()))
    said = counts[..., :-1].sum((0, 1)) > 0
    wrong = [name for k, name in enumerate(names) if np.isnan(iou[k]) and said[k]]
    if wrong:
        scores.notes += (
            f"mIoU and Dice leave out classes that are answered but occur in no label: {', '.join(wrong)}",
        )
    scores.confusions, scores.rows = counts, rows
    return scores


def unanswered_note(without: int, labelled: int) -> tuple[str, ...]:
    """A sentence on labelled elements without an answer; none where all have one."""
    return (f"{without:,} of {labelled:,} labelled elements have no answer and are not scored",) if without else ()


def dense_regression_scores(truth: Sequence[np.ndarray], answered: Sequence[np.ndarray], rows: np.ndarray) -> Scores:
    """RMSE, MAE, R2 and Spearman over all labelled elements of all items."""
    flat_truth = np.concatenate([one.reshape(-1) for one in truth])
    flat = np.concatenate([one.reshape(-1) for one in answered])
    known = ~np.isnan(flat_truth) & np.isfinite(flat)
    scores = regression_scores(flat_truth[known], flat[known])
    scores.rows = rows
    labelled = int((~np.isnan(flat_truth)).sum())
    scores.notes = (*scores.notes, *unanswered_note(labelled - int(known.sum()), labelled))
    return scores
