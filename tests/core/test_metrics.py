"""Metrics against slow independent formulas, with missing labels and degenerate test sets."""

from __future__ import annotations

import math

import numpy as np
import pytest

from repcore.errors import ConfigError, DataError
from repcore.evaluation.baselines import constant_predictor
from repcore.evaluation.metrics import (
    classification_scores,
    metric_of,
    multilabel_scores,
    primary_metric,
    regression_scores,
    score_predictions,
)
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec


def slow_auroc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, ties half."""
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[positive] for b in scores[~positive]]
    return float(np.mean(wins))


def slow_average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Sum of precision at each positive, scores without ties."""
    order = np.argsort(-scores)
    hits = np.cumsum(positive[order])
    return float(np.mean([hits[i] / (i + 1) for i in range(len(order)) if positive[order][i]]))


def test_binary_metrics_equal_slow_formulas() -> None:
    generator = np.random.default_rng(0)
    truth = (generator.random(80) < 0.3).astype(float)
    probability = generator.permutation(80) / 80
    scores = classification_scores(truth, np.stack([1 - probability, probability], axis=1))
    positive, chosen = truth == 1, probability > 0.5
    assert scores["auroc"] == pytest.approx(slow_auroc(positive, probability))
    assert scores["average-precision"] == pytest.approx(slow_average_precision(positive, probability))
    assert scores["accuracy"] == pytest.approx(np.mean(chosen == positive))
    recall, precision = (chosen & positive).sum() / positive.sum(), (chosen & positive).sum() / chosen.sum()
    assert scores["balanced-accuracy"] == pytest.approx((recall + (~chosen & ~positive).sum() / (~positive).sum()) / 2)
    assert scores["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_several_classes_are_averaged_over_those_in_the_test_labels() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 90).astype(float)
    probability = generator.dirichlet(np.ones(4), 90)  # class 3 never occurs in test
    scores = classification_scores(truth, probability)
    assert scores["auroc"] == pytest.approx(np.mean([slow_auroc(truth == c, probability[:, c]) for c in range(3)]))
    chosen = probability.argmax(axis=1)
    assert scores["balanced-accuracy"] == pytest.approx(np.mean([(chosen[truth == c] == c).mean() for c in range(3)]))


def test_notes_call_classes_by_their_names() -> None:
    """Class 0 is called "1" here; what is answered beside the labels is named, since F1 does not count it."""
    target = TargetSpec("y", "class", names=("1", "2", "3"))
    truth, answers = np.array([0.0, 0.0, 1.0, 1.0]), np.eye(3)[[0, 2, 1, 1]]
    scores = score_predictions(target, truth, answers)
    assert scores["f1"] == pytest.approx((2 / 3 + 1) / 2)
    left_out = "F1, AUROC and average precision leave out classes that are answered but occur in no label: 3"
    assert scores.notes == (left_out,)
    alone = score_predictions(target, truth[:2], answers[:2])
    assert alone.notes == ("only class 1 among 2 labelled test rows",)


def test_missing_labels_change_nothing() -> None:
    truth, probability = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.2, 0.9, 0.4, 0.6])
    both = np.stack([1 - probability, probability], axis=1)
    with_gap = classification_scores(np.array([0.0, 1.0, np.nan, 1.0, 0.0]), np.insert(both, 2, 0.5, axis=0))
    assert with_gap == classification_scores(truth, both)
    assert regression_scores(np.array([1.0, np.nan, 3.0]), np.array([1.5, 9.0, 2.0])) == regression_scores(
        np.array([1.0, 3.0]), np.array([1.5, 2.0])
    )


def test_regression_metrics_equal_slow_formulas_per_target() -> None:
    generator = np.random.default_rng(2)
    truth, predicted = generator.normal(size=(40, 2)), generator.normal(size=(40, 2))
    truth[::7, 1] = np.nan
    scores = regression_scores(truth, predicted)
    expected = {"rmse": [], "mae": [], "r2": [], "spearman": []}  # type: dict[str, list[float]]
    for k in range(2):
        known = ~np.isnan(truth[:, k])
        t, p = truth[known, k], predicted[known, k]
        expected["rmse"].append(math.sqrt(sum((a - b) ** 2 for a, b in zip(t, p, strict=True)) / len(t)))
        expected["mae"].append(sum(abs(a - b) for a, b in zip(t, p, strict=True)) / len(t))
        expected["r2"].append(1 - ((t - p) ** 2).sum() / ((t - t.mean()) ** 2).sum())
        expected["spearman"].append(np.corrcoef(t.argsort().argsort(), p.argsort().argsort())[0, 1])
    for name, values in expected.items():
        assert scores[name] == pytest.approx(np.mean(values))
    assert set(scores.tasks) == {"target 0", "target 1"}


def test_multilabel_is_the_mean_over_tasks_with_both_classes() -> None:
    truth = np.array([[0, 1, np.nan], [1, 1, np.nan], [0, 1, np.nan], [1, 1, np.nan]], dtype=float)
    probability = np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.1], [0.4, 0.3, 0.2], [0.3, 0.9, 0.4]])
    scores = multilabel_scores(truth, probability, names=("first", "second", "third"))
    assert scores["auroc"] == pytest.approx(0.75)  # first task: 3 of 4 pairs right; the others are undefined
    assert scores.notes == ("second: only class 1 among 4 labelled test rows", "third: no labelled test row",
                            "scored are 2 of 3 tasks: first, second")  # fmt: skip
    many = np.hstack([truth[:, :1], np.full((4, 20), np.nan)])
    told = multilabel_scores(many, np.full((4, 21), 0.5), names=tuple("abcdefghijklmnopqrstu")).notes
    assert told == ("b, c, d, e, f, g, h, i, ... (20): no labelled test row", "scored are 1 of 21 tasks: a")


@pytest.mark.parametrize("labels", [[1.0, 1.0], [np.nan, np.nan]])
def test_undefined_is_nan_with_a_reason(labels: list[float]) -> None:
    scores = classification_scores(np.array(labels), np.array([[0.3, 0.7], [0.6, 0.4]]))
    assert math.isnan(scores["auroc"])
    assert scores.notes


def test_constant_prediction_has_no_rank_correlation_but_an_error() -> None:
    scores = regression_scores(np.array([1.0, 2.0, 4.0]), np.full(3, 2.0))
    assert scores["rmse"] == pytest.approx(math.sqrt(5 / 3))
    assert math.isnan(scores["spearman"])
    assert "all predictions are equal" in scores.notes[0]


def test_names_and_primary_metrics() -> None:
    assert not metric_of("rmse").higher_is_better
    with pytest.raises(ConfigError, match="balanced-accuracy"):
        metric_of("balanced_acuracy")
    assert primary_metric("class", 2) == "auroc"
    assert primary_metric("class", 10) == "accuracy"
    assert primary_metric("multilabel") == "auroc"
    assert primary_metric("regression") == "rmse"
    with pytest.raises(DataError, match="3 predictions for 2 labels"):
        regression_scores(np.zeros(2), np.zeros(3))


def test_constant_predictor_knows_train_only() -> None:
    split = ProbeSplit(train=np.array([0, 1, 2, 3]), test=np.array([4, 5]))
    labels = np.array([1.0, 3.0, np.nan, 2.0, 10.0, 12.0])
    scores = constant_predictor(labels, TargetSpec("y", "regression"), split)
    assert scores["mae"] == pytest.approx(9.0)  # train mean 2 against 10 and 12
    classes = np.array([1.0, 1.0, 0.0, np.nan, 1.0, 0.0])
    majority = constant_predictor(classes, TargetSpec("c", "class"), split)
    assert majority.predictions is not None
    np.testing.assert_allclose(majority.predictions, [[1 / 3, 2 / 3]] * 2)
    assert majority["auroc"] == pytest.approx(0.5)
    tasks = np.array([[1, np.nan], [0, np.nan], [1, np.nan], [1, np.nan], [1, 1], [0, 0]], dtype=float)
    share = constant_predictor(tasks, TargetSpec("t", "multilabel"), split)
    assert share["auroc"] == pytest.approx(0.5)
