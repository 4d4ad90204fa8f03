"""Is one set of features better than another: paired over seeds, and over resampled test rows.

Two sources of doubt are kept apart. *Seeds*: each seed has its own random-init twin (and split, where it is random), so
differences are taken seed by seed. *Test rows*: the same resampled rows score both sides, which gives a 95 % interval
of the seed-mean difference. The verdict is a plain sentence that claims "better" or "worse" only if all seeds agree and
the interval excludes zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from repcore.evaluation.dense_metrics import DENSE_METRICS, dense_values
from repcore.evaluation.metrics import Metric, Scores, described
from repcore.specs import TargetSpec

RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # per cent
SAME = 1e-9  # relative: rounding of a mean over equal differences
LARGEST_BLOCK = 4_000_000  # resampled values held at once


@dataclass(frozen=True, slots=True)
class Comparison:
    """One probe's primary metric on two sets of features.

    Args:
        probe / metric: what was compared.
        features / against: names of the two sets.
        differences: value minus the other's value, one a seed, in the metric's own sign.
        mean / deviation: of these; the deviation is NaN for one seed.
        interval: 95 % interval of the mean difference over resampled test rows; NaN where not available.
        better_on: seeds on which ``features`` is better.
        verdict: one sentence.
    """

    probe: str
    metric: str
    features: str
    against: str
    differences: tuple[float, ...]
    mean: float
    deviation: float
    interval: tuple[float, float]
    better_on: int
    verdict: str


def compare(
    probe: str,
    metric: str,
    sides: tuple[tuple[str, Sequence[Sequence[Scores]]], tuple[str, Sequence[Sequence[Scores]]]],
    target: TargetSpec,
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two sets of features that were probed on the same splits.

    Args:
        probe: protocol name.
        metric: metric name.
        sides: (name, scores of each seed's folds) of the features in question and of those they are held against.
        target: kind and unit of the label.
        generator: of the resampling.
        resamples: number of resampled test sets.
    """
    (name, ours), (other, theirs) = sides
    differences = tuple(seed_value(a, metric) - seed_value(b, metric) for a, b in zip(ours, theirs, strict=True))
    mean, deviation = mean_and_deviation(differences)
    interval = _interval(metric, ours, theirs, target, generator, resamples)
    meaning = described(metric)
    sign = 1.0 if meaning.higher_is_better else -1.0
    better = sum(sign * one > 0 for one in differences)
    unit = target.unit if meaning.has_unit else ""
    verdict = _sentence(meaning, other, differences, (mean, deviation), interval, unit)
    return Comparison(probe, metric, name, other, differences, mean, deviation, interval, better, verdict)


def seed_value(folds: Sequence[Scores], metric: str) -> float:
    """A seed's value: the mean over its folds; NaN if a fold has none."""
    return float(np.mean([fold.get(metric, math.nan) for fold in folds]))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) over seeds; the standard deviation of one value is NaN."""
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else math.nan


def _sentence(
    metric: Metric,
    other: str,
    differences: Sequence[float],
    spread: tuple[float, float],
    interval: tuple[float, float],
    unit: str,
) -> str:
    """``better than random-init on all 3 seeds: RMSE -0.05 +- 0.01 (...)``."""
    if any(math.isnan(one) for one in differences):
        return f"not comparable with {other}: {metric.title} is undefined on some seeds"
    sign = 1.0 if metric.higher_is_better else -1.0
    count = len(differences)
    better, worse = sum(sign * one > 0 for one in differences), sum(sign * one < 0 for one in differences)
    mean, deviation = spread
    figure = f"{metric.title} {mean:+.3g}"
    varies = count > 1 and deviation > SAME * max(abs(mean), 1.0)
    figure += (f" +- {deviation:.2g}" if varies else "") + (f" {unit}" if unit else "")
    if not any(differences):
        return f"equal to {other}"
    known = not math.isnan(interval[0])
    includes_zero = known and interval[0] <= 0 <= interval[1]
    agree = better == count or worse == count
    if agree and known and not includes_zero:
        seeds = "on the one seed" if count == 1 else f"on {'both' if count == 2 else f'all {count}'} seeds"
        if count > 1 and not varies:
            seeds = "(the seed changes neither)"
        text = f"{'better' if better else 'worse'} than {other} {seeds}: {figure}"
    elif agree and not known:
        text = f"not judged against {other}, for want of an interval over test rows: {figure}"
    else:
        text = f"no clear difference from {other}: better on {better} of {count} seeds, {figure}"
    if not math.isnan(interval[0]):
        text += f" (95 % over test rows {interval[0]:+.3g} to {interval[1]:+.3g}"
        text += ", includes 0)" if includes_zero else ")"
    return text


def _interval(
    metric: str,
    ours: Sequence[Sequence[Scores]],
    theirs: Sequence[Sequence[Scores]],
    target: TargetSpec,
    generator: np.random.Generator,
    resamples: int,
) -> tuple[float, float]:
    """95 % interval of the seed-mean difference when test rows are drawn again with replacement.

    Where seeds share their test rows the same draw serves all of them, so agreement between seeds cannot make the
    interval narrower than one test set allows.
    """
    nothing = (math.nan, math.nan)
    draws: dict[bytes, np.ndarray] = {}
    total, largest = np.zeros(resamples), 0.0
    for our_folds, their_folds in zip(ours, theirs, strict=True):
        for a, b in zip(our_folds, their_folds, strict=True):
            if a.rows is None or b.rows is None or not np.array_equal(a.rows, b.rows):
                return nothing
            key = a.rows.tobytes()
            if key not in draws:
                draws[key] = generator.integers(0, len(a.rows), (resamples, len(a.rows)), dtype=np.int32)
            for sign, one in ((1.0, a), (-1.0, b)):
                values = resampled(metric, target, one, draws[key])
                if values is None:
                    return nothing
                total += sign * values / len(our_folds)
                largest = max(largest, float(np.abs(values[np.isfinite(values)]).max(initial=0.0)))
    total = total[np.isfinite(total)] / len(ours)
    total[np.abs(total) <= SAME * largest] = 0.0  # equal sides, summed in another order
    if total.size < resamples / 2:  # most draws miss a class: no honest interval
        return nothing
    low, high = np.percentile(total, INTERVAL)
    return float(low), float(high)


def resampled(metric: str, target: TargetSpec, scores: Scores, draws: np.ndarray) -> np.ndarray | None:
    """A metric on resampled test rows (R,); None for metrics without a vectorised form.

    Args:
        draws: row positions (R, n) within the test part.
    """
    truth, predictions = scores.truth, scores.predictions
    if scores.confusions is not None and metric in DENSE_METRICS:
        return dense_values(scores.confusions[draws])[metric]
    step = max(1, LARGEST_BLOCK // max(1, draws.shape[1]))
    blocks = [draws[i : i + step] for i in range(0, len(draws), step)]
    if metric in scores.per_row:
        return np.concatenate([scores.per_row[metric][block].mean(axis=1) for block in blocks])
    if truth is None or predictions is None:
        return None
    if metric == "accuracy" and target.kind == "class":
        hit = np.where(np.isnan(truth[:, 0]), np.nan, predictions.argmax(axis=1) == truth[:, 0])
        return np.concatenate([np.nanmean(hit[block], axis=1) for block in blocks])
    if metric == "rmse":
        squares = list(((predictions - truth) ** 2).T)  # K arrays (n,)
        return np.concatenate([_mean_columns([_root(square[block]) for square in squares]) for block in blocks])
    if metric == "auroc" and target.kind == "class" and predictions.shape[1] == 2:
        return np.concatenate([_auroc(truth[:, 0][block], predictions[:, 1][block]) for block in blocks])
    if metric == "auroc" and target.kind == "multilabel":
        columns = [k for k in range(truth.shape[1]) if not np.isnan(predictions[:, k]).any()]
        return np.concatenate(
            [_mean_columns([_auroc(truth[:, k][block], predictions[:, k][block]) for k in columns]) for block in blocks]
        )
    return None


def _root(square: np.ndarray) -> np.ndarray:
    known = ~np.isnan(square)
    total = np.where(known, square, 0.0).sum(axis=1)
    mean = np.divide(total, known.sum(axis=1), out=np.full(len(square), np.nan), where=known.any(axis=1))
    root: np.ndarray = np.sqrt(mean)
    return root


def _auroc(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUROC of each row of (R, n) by the rank-sum formula; NaN where a class is missing."""
    known = ~np.isnan(truth)
    # unlabelled rows rank below all others and are taken out of every rank
    ranks = rankdata(np.where(known, scores, -np.inf), axis=1) - (~known).sum(axis=1, keepdims=True)
    positive = truth == 1
    ones, zeros = positive.sum(axis=1), (truth == 0).sum(axis=1)
    rank_sum = np.where(positive, ranks, 0.0).sum(axis=1)
    pairs = (ones * zeros).astype(np.float64)
    auroc: np.ndarray = np.divide(
        rank_sum - ones * (ones + 1) / 2, pairs, out=np.full(len(truth), np.nan), where=pairs > 0
    )
    return auroc


def _mean_columns(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over tasks (R,), leaving out tasks that a draw leaves undefined."""
    stacked = np.stack(columns) if columns else np.full((1, 1), np.nan)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    mean: np.ndarray = np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0))
    return mean
