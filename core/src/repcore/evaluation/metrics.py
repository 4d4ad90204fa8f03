"""Metrics of predictions, from probabilities and in original units; missing labels are masked.

Every function returns :class:`Scores`: metric name -> value, and the reasons for values that are NaN. A metric that is
undefined (one class only in the test labels, fewer than two rows, ...) is NaN with a reason, never an exception and
never a made-up 0.5. Multilabel and multi-target values are unweighted means over the tasks where they are defined.

Differs from common practice in chemistry toolkits: AUROC uses probabilities (not thresholded classes), regression
errors are in the units of the data (not of a scaler), and a missing label is no negative.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn import metrics as sk

from repcore.errors import ConfigError, DataError, closest
from repcore.specs import TargetKind, TargetSpec

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Metric:
    """Name, reading direction and label for people."""

    name: str
    title: str
    higher_is_better: bool
    has_unit: bool = False  # carries the target's unit


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("auroc", "AUROC", True),
        Metric("average-precision", "average precision", True),
        Metric("accuracy", "accuracy", True),
        Metric("balanced-accuracy", "balanced accuracy", True),
        Metric("f1", "F1", True),
        Metric("rmse", "RMSE", False, has_unit=True),
        Metric("mae", "MAE", False, has_unit=True),
        Metric("r2", "R2", True),
        Metric("spearman", "Spearman", True),
        Metric("miou", "mean IoU", True),
        Metric("dice", "Dice", True),
        Metric("dice-per-item", "Dice per item", True),
        Metric("element-accuracy", "accuracy of elements", True),
    )
}

SHOWN_TASKS = 8
CLASS_METRICS = ("auroc", "average-precision", "accuracy", "balanced-accuracy", "f1")
REGRESSION_METRICS = ("rmse", "mae", "r2", "spearman")


class Scores(dict[str, float]):
    """Metric name -> value, with what a reader must know beside it.

    Args:
        values: metric name -> value; NaN where undefined.
        notes: reasons for NaN and other remarks.
        tasks: task name -> its own metrics, for targets with several tasks.
        truth / predictions: test labels (n, K) and predictions (n, C or K) behind the values, for resampling.
        rows: row numbers of these in the data.
        confusions: (n, K, K + 1) counts of each test item, for labels of elements.
        per_row: metric name -> value of each of ``rows`` (n,), where the metric is their mean.
    """

    def __init__(self, values: Mapping[str, float], notes: Sequence[str] = ()) -> None:
        super().__init__({name: float(value) for name, value in values.items()})
        self.notes: tuple[str, ...] = tuple(dict.fromkeys(notes))
        self.tasks: dict[str, dict[str, float]] = {}
        self.truth: np.ndarray | None = None
        self.predictions: np.ndarray | None = None
        self.rows: np.ndarray | None = None
        self.confusions: np.ndarray | None = None
        self.per_row: Mapping[str, np.ndarray] = {}

    @classmethod
    def undefined(cls, names: Sequence[str], reason: str) -> Scores:
        """NaN for every metric, with the reason."""
        return cls(dict.fromkeys(names, math.nan), [reason])


def metric_of(name: str) -> Metric:
    """The metric with this name.

    Raises:
        ConfigError: there is none; the nearest names are given.
    """
    if name not in METRICS:
        raise ConfigError(
            f"no metric {name!r}", did_you_mean=closest(name.replace("_", "-"), METRICS), known=", ".join(METRICS)
        )
    return METRICS[name]


def described(name: str) -> Metric:
    """The metric, or a plain higher-is-better one for a name that only a plugin's probe knows."""
    return METRICS.get(name, Metric(name, name, True))


def primary_metric(kind: TargetKind, class_count: int = 2) -> str:
    """The metric that a comparison is made by: AUROC, accuracy (three classes or more), or RMSE."""
    if kind in ("regression", "landmark"):
        return "rmse"
    return "accuracy" if kind == "class" and class_count > 2 else "auroc"


@dataclass(slots=True)
class _OneTask:
    """Binary metrics of one task and why some are missing."""

    values: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CLASS_METRICS, math.nan))
    note: str = ""


def _binary(truth: np.ndarray, scores: np.ndarray, threshold: float) -> _OneTask:
    """Metrics of 0/1 ``truth`` (n,) without missing values."""
    result = _OneTask()
    if truth.size == 0:
        result.note = "no labelled test row"
        return result
    predicted = scores > threshold
    positive = truth > 0.5
    result.values["accuracy"] = float(np.mean(predicted == positive))
    if positive.all() or not positive.any():
        result.note = f"only class {int(positive[0])} among {truth.size} labelled test rows"
        return result
    result.values["auroc"] = float(sk.roc_auc_score(positive, scores))
    result.values["average-precision"] = float(sk.average_precision_score(positive, scores))
    result.values["balanced-accuracy"] = float((predicted[positive].mean() + (~predicted[~positive]).mean()) / 2)
    result.values["f1"] = float(sk.f1_score(positive, predicted, zero_division=0.0))
    return result


def classification_scores(truth: np.ndarray, predictions: np.ndarray, *, names: Sequence[str] = ()) -> Scores:
    """Metrics of one categorical target.

    With two classes AUROC, average precision and F1 are those of class 1; with more, the unweighted mean over classes
    one against the rest, over the classes that occur in the test labels together with others. Classes that are answered
    but occur in no label are named.

    Args:
        truth: class numbers (n,), NaN = missing.
        predictions: probabilities or margins (n, C), column = class number.
        names: C class names, for the notes; numbers when empty.
    """
    truth, predictions = _aligned(truth, predictions)
    labels = truth[:, 0]
    keep = ~np.isnan(labels)
    labels, predictions = labels[keep].astype(np.int64), predictions[keep]
    count = predictions.shape[1]
    if labels.size == 0:
        return Scores.undefined(CLASS_METRICS, "no labelled test row")
    chosen = predictions.argmax(axis=1)
    present = np.unique(labels)
    values = dict.fromkeys(CLASS_METRICS, math.nan)
    values["accuracy"] = float(np.mean(chosen == labels))
    if present.size < 2:
        only = _class_name(names, present[0], count)
        return Scores(values, [f"only class {only} among {labels.size} labelled test rows"])
    values["balanced-accuracy"] = float(np.mean([(chosen[labels == one] == one).mean() for one in present]))
    columns = [1] if count == 2 else [int(one) for one in present]
    pairs = [(labels == column, predictions[:, column], chosen == column) for column in columns]  # one against the rest
    values["auroc"] = _mean([sk.roc_auc_score(one, score) for one, score, _ in pairs])
    values["average-precision"] = _mean([sk.average_precision_score(one, score) for one, score, _ in pairs])
    values["f1"] = _mean([sk.f1_score(one, hit, zero_division=0.0) for one, _, hit in pairs])
    absent = [_class_name(names, one, count) for one in np.setdiff1d(chosen, present)] if count > 2 else []
    said = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
    left_out = f"F1, AUROC and average precision leave out classes that are answered but occur in no label: {said}"
    return Scores(values, [left_out] if absent else [])


def _class_name(names: Sequence[str], number: int, count: int) -> str:
    """A class as it is called in the data; its number where classes have no names."""
    return str(names[number]) if len(names) == count else str(number)


def multilabel_scores(
    truth: np.ndarray, predictions: np.ndarray, *, names: Sequence[str] = (), threshold: float = 0.5
) -> Scores:
    """Unweighted mean over tasks of the binary metrics; a task without both classes is left out and named.

    Args:
        truth: 0/1 labels (n, K), NaN = missing.
        predictions: probabilities (n, K), or margins with ``threshold=0``; a NaN column is a task that could not be
            fitted.
        names: K task names.
    """
    truth, predictions = _aligned(truth, predictions)
    return _over_tasks(truth, predictions, names, CLASS_METRICS, lambda t, p: _binary(t, p, threshold), "task")


def regression_scores(truth: np.ndarray, predictions: np.ndarray, *, names: Sequence[str] = ()) -> Scores:
    """RMSE, MAE, R2 and Spearman in the units of the data, unweighted mean over targets.

    Args:
        truth / predictions: (n,) or (n, K); NaN labels are left out.
    """
    truth, predictions = _aligned(truth, predictions)
    return _over_tasks(truth, predictions, names, REGRESSION_METRICS, _continuous, "target")


def _continuous(truth: np.ndarray, predicted: np.ndarray) -> _OneTask:
    result = _OneTask(dict.fromkeys(REGRESSION_METRICS, math.nan))
    if truth.size == 0:
        result.note = "no labelled test row"
        return result
    error = predicted - truth
    result.values["rmse"] = float(np.sqrt(np.mean(error**2)))
    result.values["mae"] = float(np.mean(np.abs(error)))
    if truth.size < 2 or np.ptp(truth) == 0:
        result.note = f"R2 and Spearman need two different labels; {truth.size} test row(s) have one value"
        return result
    result.values["r2"] = float(sk.r2_score(truth, predicted))
    if np.ptp(predicted) == 0:
        result.note = "Spearman is undefined: all predictions are equal"
        return result
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # near-constant input: the value is NaN and says so
        result.values["spearman"] = float(spearmanr(truth, predicted).statistic)
    return result


def _over_tasks(
    truth: np.ndarray,
    predictions: np.ndarray,
    names: Sequence[str],
    metrics: Sequence[str],
    one: Callable[[np.ndarray, np.ndarray], _OneTask],
    word: str,
) -> Scores:
    """Score each column on its labelled rows and average; columns whose prediction is NaN were not fitted."""
    titles = [names[k] if k < len(names) else f"{word} {k}" for k in range(truth.shape[1])]
    tasks: dict[str, dict[str, float]] = {}
    reasons: dict[str, list[str]] = {}
    for k, title in enumerate(titles):
        keep = ~np.isnan(truth[:, k])
        if np.isnan(predictions[keep, k]).any():
            tasks[title] = dict.fromkeys(metrics, math.nan)
            continue
        scored = one(truth[keep, k], predictions[keep, k])
        tasks[title] = scored.values
        if scored.note:
            reasons.setdefault(scored.note, []).append(title)
    notes = [note if len(titles) == 1 else f"{_some(own)}: {note}" for note, own in reasons.items()]
    scored_tasks = [title for title, own in tasks.items() if not all(map(math.isnan, own.values()))]
    if 0 < len(scored_tasks) < len(titles):
        notes.append(f"scored are {len(scored_tasks):,} of {len(titles):,} {word}s: {_some(scored_tasks)}")
    result = Scores({name: _mean([task[name] for task in tasks.values()]) for name in metrics}, notes)
    if len(titles) > 1:
        result.tasks = tasks
    return result


def _some(names: Sequence[str]) -> str:
    """The first few of many names, and how many there are."""
    if len(names) <= SHOWN_TASKS:
        return ", ".join(names)
    return f"{', '.join(names[:SHOWN_TASKS])}, ... ({len(names):,})"


def score_predictions(
    target: TargetSpec, truth: np.ndarray, predictions: np.ndarray, *, threshold: float = 0.5
) -> Scores:
    """Metrics of any item-level target, by its kind; what probes, fine-tuning and baselines share.

    Args:
        target: says the kind and the task names.
        truth: (n,) or (n, K) with NaN = missing.
        predictions: class: (n, C); multilabel: (n, K) probabilities, or margins with ``threshold=0``;
            regression: (n, K) in original units.
    """
    if target.kind == "class":
        scores = classification_scores(truth, predictions, names=target.names)
    elif target.kind == "multilabel":
        scores = multilabel_scores(truth, predictions, names=target.names, threshold=threshold)
    else:
        scores = regression_scores(truth, predictions, names=target.names)
    scores.truth, scores.predictions = _aligned(truth, predictions)
    return scores


def _mean(values: Sequence[float]) -> float:
    """Mean over defined values; NaN if there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def _aligned(truth: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (n, K); the same number of rows."""
    first, second = np.asarray(truth, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    first = first[:, None] if first.ndim == 1 else first
    second = second[:, None] if second.ndim == 1 else second
    if len(first) != len(second):
        raise DataError(f"{len(second)} predictions for {len(first)} labels")
    return first, second
