"""Probe protocols: equal to independent formulas, blind to test rows, calm on degenerate data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from repcore.data.batching import label_array
from repcore.errors import ConfigError, DataError, ShapeError
from repcore.evaluation.probes.centred import CentredProbe
from repcore.evaluation.probes.configs import (
    CentredProbeConfig,
    FewShotProbeConfig,
    ForestProbeConfig,
    KernelSvmProbeConfig,
    LinearProbeConfig,
    NeighbourProbeConfig,
    RidgeProbeConfig,
    SvmProbeConfig,
)
from repcore.evaluation.probes.fewshot import FewShotProbe
from repcore.evaluation.probes.forest import ForestProbe
from repcore.evaluation.probes.kernel_svm import KernelSvmProbe
from repcore.evaluation.probes.knn import NeighbourProbe
from repcore.evaluation.probes.linear import LinearProbe
from repcore.evaluation.probes.preparation import Standardiser
from repcore.evaluation.probes.ridge import RidgeProbe
from repcore.evaluation.probes.svm import SvmProbe
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

CLASS, REGRESSION = TargetSpec("c", "class"), TargetSpec("y", "regression", unit="m")
SPLIT = ProbeSplit(train=np.arange(60), test=np.arange(60, 100))
CLASSIFIERS: dict[str, Callable[[], Any]] = {  # Any: scores with predictions, beyond the protocol
    "linear@1": lambda: LinearProbe(LinearProbeConfig()),
    "svm@1": lambda: SvmProbe(SvmProbeConfig()),
    "knn@1": lambda: NeighbourProbe(NeighbourProbeConfig()),
    "fewshot@1": lambda: FewShotProbe(FewShotProbeConfig(ways=2, shots=3, episodes=20)),
}
BOTH: dict[str, Callable[[], Any]] = {
    "centred@1": lambda: CentredProbe(CentredProbeConfig()),
    "forest@1": lambda: ForestProbe(ForestProbeConfig(trees=30)),
}
CLASSIFIERS |= {**BOTH, "rbf-svm@1": lambda: KernelSvmProbe(KernelSvmProbeConfig())}
EVERY: dict[str, Callable[[], Any]] = {**CLASSIFIERS, "ridge@1": lambda: RidgeProbe(RidgeProbeConfig())}


def separable(classes: int = 2, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Features (100, 6) whose first dimensions carry the class."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, 100)
    features = generator.normal(size=(100, 6)) * noise
    features[np.arange(100), labels] += 2.0
    return features, labels.astype(float)


def linear_data() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(100, 8)) * np.arange(1, 9) + 5
    return features, 100 + features @ generator.normal(size=8) + generator.normal(size=100)


def test_ridge_equals_normal_equations_with_brute_force_leave_one_out() -> None:
    features, labels = linear_data()
    scores = RidgeProbe(RidgeProbeConfig()).score(features, labels, REGRESSION, SPLIT, 0)
    train, test = features[:60], features[60:]
    mean, scale = train.mean(0), train.std(0)
    x, z = (train - mean) / scale, (test - mean) / scale
    y = labels[:60]

    def fit(rows: np.ndarray, values: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
        centre = rows.mean(0)
        weights = np.linalg.solve(
            (rows - centre).T @ (rows - centre) + penalty * np.eye(8), (rows - centre).T @ (values - values.mean())
        )
        return weights, values.mean() - centre @ weights

    def left_out_error(penalty: float) -> float:
        errors = []
        for i in range(60):
            keep = np.arange(60) != i
            weights, bias = fit(x[keep], y[keep], penalty)
            errors.append((x[i] @ weights + bias - y[i]) ** 2)
        return float(np.mean(errors))

    penalty = min(np.logspace(-1, 5, 13), key=left_out_error)
    weights, bias = fit(x, y, penalty)
    expected = math.sqrt(np.mean((z @ weights + bias - labels[60:]) ** 2))
    assert scores["rmse"] == pytest.approx(expected, rel=1e-9)


def test_a_spread_that_float32_does_not_know_is_probed() -> None:
    features, labels = linear_data()
    known = RidgeProbe(RidgeProbeConfig()).score(features, labels, REGRESSION, SPLIT, 0)
    for mean, factor in ((1e9, 1.0), (0.0, 1e39), (0.0, 1e-100)):
        column = label_array((mean + factor * labels).tolist(), REGRESSION)
        found = RidgeProbe(RidgeProbeConfig()).score(features, column, REGRESSION, SPLIT, 0)
        assert found["rmse"] / factor == pytest.approx(known["rmse"], rel=1e-5)
        assert found["r2"] == pytest.approx(known["r2"], rel=1e-5)
    for value, words in ((1e308, "label 'y' holds -?1e.308, whose square"), (1e-312, "labels 'y' lie between")):
        with pytest.raises(DataError, match=words):
            RidgeProbe(RidgeProbeConfig()).score(features, np.where(labels > 100, value, -value), REGRESSION, SPLIT, 0)


def test_linear_minimises_the_stated_objective() -> None:
    features, labels = separable()
    scores = LinearProbe(LinearProbeConfig()).score(features, labels, CLASS, SPLIT, 0)
    x = (features - features[:60].mean(0)) / features[:60].std(0)
    sign = 2 * labels[:60] - 1

    def loss(parameters: np.ndarray) -> float:
        margin = sign * (x[:60] @ parameters[:6] + parameters[6])
        return float(0.5 * parameters[:6] @ parameters[:6] + 0.05 * np.logaddexp(0, -margin).sum())

    found = minimize(loss, np.zeros(7), tol=1e-10).x
    expected = 1 / (1 + np.exp(-(x[60:] @ found[:6] + found[6])))
    assert scores.predictions is not None
    np.testing.assert_allclose(scores.predictions[:, 1], expected, atol=1e-3)  # both stop at gradients near 1e-4


def test_knn_equals_a_loop() -> None:
    features, labels = separable(classes=3)
    config = NeighbourProbeConfig(neighbours=5, temperature=0.1)
    scores = NeighbourProbe(config).score(features, labels, CLASS, SPLIT, 0)
    values, target = linear_data()
    regression = NeighbourProbe(config).score(values, target, REGRESSION, SPLIT, 0)
    for data, wanted, got in ((features, np.eye(3)[labels.astype(int)], scores), (values, target[:, None], regression)):
        assert got.predictions is not None
        for position, row in enumerate(range(60, 100)):
            similarity = [data[row] @ data[i] / np.linalg.norm(data[row]) / np.linalg.norm(data[i]) for i in range(60)]
            nearest = sorted(range(60), key=lambda i: -similarity[i])[:5]
            weights = [math.exp(similarity[i] / 0.1) for i in nearest]
            mean = sum(w * wanted[i] for w, i in zip(weights, nearest, strict=True)) / sum(weights)
            np.testing.assert_allclose(got.predictions[position], mean, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_test_rows_and_validation_rows_are_never_fitted(name: str) -> None:
    probe = EVERY[name]()
    features, labels = linear_data() if name == "ridge@1" else separable()
    target = REGRESSION if name == "ridge@1" else CLASS
    split = ProbeSplit(train=np.arange(50), validation=np.arange(50, 60), test=np.arange(60, 80))
    base = probe.score(features, labels, target, split, 0)
    changed, other = features.copy(), labels.copy()
    changed[50:60] = changed[80:] = 1e6
    other[50:60] = other[80:] = 1.0
    assert probe.score(changed, other, target, split, 0) == base
    if base.predictions is not None:
        wrong_test_labels = labels.copy()
        wrong_test_labels[60:80] = wrong_test_labels[60:80][::-1]
        again = probe.score(features, wrong_test_labels, target, split, 0)
        np.testing.assert_array_equal(again.predictions, base.predictions)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classes_are_found_in_features_and_not_in_noise(name: str) -> None:
    features, labels = separable()
    probe = CLASSIFIERS[name]()
    assert probe.score(features, labels, CLASS, SPLIT, 0)["accuracy"] > 0.9
    noise = np.random.default_rng(9).normal(size=features.shape)
    assert abs(probe.score(noise, labels, CLASS, SPLIT, 0)["accuracy"] - 0.5) < 0.25  # 3 sigma of 40 coin flips


@pytest.mark.parametrize("name", EVERY)
def test_same_seed_same_scores_and_constants_are_complete(name: str) -> None:
    features, labels = linear_data() if name == "ridge@1" else separable()
    target = REGRESSION if name == "ridge@1" else CLASS
    first, second = (EVERY[name]().score(features, labels, target, SPLIT, 5) for _ in range(2))
    assert dict(first) == dict(second)
    constants = EVERY[name]().constants()
    assert constants["protocol"] == name
    assert len(constants) >= 4


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_class_in_train_is_reported_not_raised(name: str) -> None:
    features, labels = separable()
    labels[:60] = 1.0
    scores = CLASSIFIERS[name]().score(features, labels, CLASS, SPLIT, 0)
    if name == "knn@1":  # votes need no second class: everything is predicted class 1
        assert scores["auroc"] == pytest.approx(0.5)
    else:
        assert all(math.isnan(value) for value in scores.values())
        assert "class" in scores.notes[0]


@pytest.mark.parametrize("name", [one for one in EVERY if one != "fewshot@1"])
def test_missing_labels_constant_features_and_tiny_data(name: str) -> None:
    probe = EVERY[name]()
    features, labels = linear_data() if name == "ridge@1" else separable()
    target = REGRESSION if name == "ridge@1" else CLASS
    labels = labels.copy()
    labels[::5] = np.nan
    known = np.flatnonzero(~np.isnan(labels))
    dense = ProbeSplit(train=np.searchsorted(known, known[known < 60]), test=np.searchsorted(known, known[known >= 60]))
    assert probe.score(features, labels, target, SPLIT, 0) == probe.score(
        features[known], labels[known], target, dense, 0
    )
    flat = np.full((100, 4), 0.1)
    flat[60:] = 7.0  # constant on train, different on test: must not explode
    for value in probe.score(flat, labels, target, SPLIT, 0).values():
        assert math.isnan(value) or abs(value) < 1e4
    tiny = ProbeSplit(train=np.array([1, 2, 3, 4]), test=np.array([6, 7]))
    probe.score(features, labels, target, tiny, 0)


@pytest.mark.parametrize("name", ["linear@1", "svm@1", "knn@1"])
def test_multilabel_tasks_are_independent(name: str) -> None:
    features, first = separable()
    labels = np.stack([first, 1 - first, np.zeros(100)], axis=1)
    labels[::3, 1] = np.nan
    target = TargetSpec("t", "multilabel", names=("a", "b", "never"))
    probe = CLASSIFIERS[name]()
    scores = probe.score(features, labels, target, SPLIT, 0)
    alone = probe.score(features, labels[:, 0], TargetSpec("t", "multilabel", names=("a",)), SPLIT, 0)
    assert scores.tasks["a"]["auroc"] == pytest.approx(alone["auroc"])
    assert math.isnan(scores.tasks["never"]["auroc"])
    assert any("never" in note for note in scores.notes)
    threshold = 0.0 if name == "svm@1" else 0.5  # margins or probabilities
    chosen = scores.predictions[:, 0] > threshold
    assert scores.tasks["a"]["accuracy"] == pytest.approx(np.mean(chosen == (labels[60:, 0] == 1)))


def test_ridge_targets_with_different_gaps_are_fitted_apart() -> None:
    features, first = linear_data()
    labels = np.stack([first, -first * 3], axis=1)
    labels[:20, 1] = np.nan
    probe = RidgeProbe(RidgeProbeConfig())
    both = probe.score(features, labels, REGRESSION, SPLIT, 0)
    for k in range(2):
        alone = probe.score(features, labels[:, k], REGRESSION, SPLIT, 0)
        assert both.tasks[f"target {k}"]["rmse"] == pytest.approx(alone["rmse"])


def test_ridge_errors_scale_with_the_unit() -> None:
    features, labels = linear_data()
    probe = RidgeProbe(RidgeProbeConfig())
    metres = probe.score(features, labels, REGRESSION, SPLIT, 0)
    millimetres = probe.score(features, labels * 1000, REGRESSION, SPLIT, 0)
    assert millimetres["rmse"] == pytest.approx(1000 * metres["rmse"])
    assert millimetres["r2"] == pytest.approx(metres["r2"])


def test_constant_features_become_zero_and_small_ones_do_not() -> None:
    train = np.stack([np.full(9, 0.1), 1e-12 * np.arange(9.0), np.full(9, 1e6) + 1e-4 * (np.arange(9) % 2)], axis=1)
    standardise = Standardiser.fit(train)
    moved = standardise(train + 5.0)
    assert (moved[:, 0] == 0).all()
    assert (moved[:, 2] == 0).all()  # below float32 resolution of its size
    np.testing.assert_allclose(standardise(train)[:, 1].std(), 1.0)


def test_fewshot_centroid_is_the_nearest_mean_and_ridge_its_primal_form() -> None:
    generator = np.random.default_rng(0)
    shots = [generator.normal(size=(3, 5)) * scale for scale in (0.2, 1.0, 3.0)]
    asked = generator.normal(size=(50, 5)) * 2
    probe = FewShotProbe(FewShotProbeConfig(ways=3, shots=3, penalty=0.7))
    weight, bias = probe._centroid(shots)
    nearest = [min(range(3), key=lambda c: ((x - shots[c].mean(0)) ** 2).sum()) for x in asked]
    np.testing.assert_array_equal((asked @ weight + bias).argmax(1), nearest)
    rows, classes = np.concatenate(shots), np.repeat(np.eye(3), 3, axis=0)
    primal = np.linalg.solve(rows.T @ rows + 0.7 * np.eye(5), rows.T @ classes)
    np.testing.assert_allclose(probe._ridge(shots)[0], primal, atol=1e-9)


def test_fewshot_says_what_an_episode_lacks() -> None:
    features, labels = separable()
    scores = FewShotProbe(FewShotProbeConfig()).score(features, labels, CLASS, SPLIT, 0)
    assert math.isnan(scores["accuracy"])
    assert "ways=5" in scores.notes[0]
    ridge = FewShotProbe(FewShotProbeConfig(ways=2, shots=3, episodes=20, head="ridge"))
    assert ridge.score(features, labels, CLASS, SPLIT, 0)["accuracy"] > 0.9


def test_wrong_use_is_named() -> None:
    features, labels = separable()
    with pytest.raises(ConfigError, match="--protocol ridge@1"):
        LinearProbe(LinearProbeConfig()).score(features, labels, REGRESSION, SPLIT, 0)
    ridge = RidgeProbe(RidgeProbeConfig())
    with pytest.raises(ConfigError, match="a class target"):
        ridge.score(features, labels, CLASS, SPLIT, 0)
    with pytest.raises(ShapeError, match="N=100"):
        ridge.score(features[:50], labels, REGRESSION, SPLIT, 0)
    broken = features.copy()
    broken[61, 0] = np.inf
    with pytest.raises(DataError, match="NaN or Inf in 1 of 100 rows"):
        ridge.score(broken, labels, REGRESSION, SPLIT, 0)
    with pytest.raises(DataError, match="names row 100"):
        ridge.score(features, labels, REGRESSION, ProbeSplit(np.arange(60), np.array([100])), 0)
    with pytest.raises(DataError, match="test split has no labelled row"):
        ridge.score(features, np.where(np.arange(100) < 60, labels, np.nan), REGRESSION, SPLIT, 0)
    with pytest.raises(ConfigError, match="temperature=0"):
        NeighbourProbe(NeighbourProbeConfig(temperature=0))
