"""Raw inputs are never held down by a probe that does not suit them: other forms are tried, the best one counts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from repcore.evaluation.probes.centred import RIDGE_PENALTIES, CentredProbe
from repcore.evaluation.probes.configs import (
    CentredProbeConfig,
    ForestProbeConfig,
    KernelSvmProbeConfig,
    RidgeProbeConfig,
)
from repcore.evaluation.probes.forest import ForestProbe
from repcore.evaluation.probes.kernel_svm import KernelSvmProbe
from repcore.evaluation.probes.ridge import RidgeProbe
from repcore.evaluation.protocol import run_probe
from repcore.interfaces import Probe, ProbeSplit
from repcore.specs import TargetSpec

SPLIT = ProbeSplit(train=np.arange(150), test=np.arange(150, 220))
REGRESSION, CLASS = TargetSpec("y", "regression"), TargetSpec("c", "class")
SEEDS = (0, 1, 2)


def rare_counts() -> tuple[np.ndarray, np.ndarray]:
    """A few counts that carry the label among many rare bits that say nothing."""
    generator = np.random.default_rng(0)
    counts = generator.poisson(3.0, (220, 5)).astype(float)
    bits = (generator.random((220, 400)) < 0.02).astype(float)
    return np.concatenate([counts, bits], 1), counts @ np.asarray([2.0, -1.0, 0.5, 1.0, -2.0])


def test_the_best_form_of_a_raw_input_is_what_counts() -> None:
    raw, labels = rare_counts()
    generator = np.random.default_rng(1)
    trained = labels[:, None] + generator.normal(size=(220, 3)) * 0.8
    probes: dict[str, Probe] = {"ridge@1": RidgeProbe(RidgeProbeConfig())}
    own: dict[str, Probe] = {
        "centred@1": CentredProbe(CentredProbeConfig()),
        "forest@1": ForestProbe(ForestProbeConfig(trees=20)),
    }
    features = {"trained": trained, "random-init": [generator.normal(size=(220, 3)) for _ in SEEDS], "raw": raw}
    plain = run_probe(features, labels, REGRESSION, SPLIT, probes, SEEDS)
    table = run_probe(features, labels, REGRESSION, SPLIT, probes, SEEDS, forms={"raw": own})
    centred, forest = table.value("raw", "centred@1").mean, table.value("raw", "forest@1").mean
    assert centred < table.value("trained", "ridge@1").mean < table.value("raw", "ridge@1").mean
    assert centred < forest
    assert table.value("raw", "ridge@1") == plain.value("raw", "ridge@1")
    assert [one.against for one in plain.comparisons] == ["random-init", "raw"]
    assert [one.against for one in table.comparisons] == ["random-init", "raw (centred@1)"]
    assert plain.comparisons[1].verdict.startswith("better than raw")
    assert table.comparisons[1].verdict.startswith("worse than raw (centred@1)")
    assert "trees" in table.constants["forest@1"]
    with pytest.raises(Exception, match="no result of trained under forest@1"):
        table.value("trained", "forest@1")


def test_a_form_that_is_no_better_changes_nothing() -> None:
    generator = np.random.default_rng(2)
    hidden = generator.normal(size=(220, 3))
    labels = hidden @ np.asarray([1.0, 2.0, -1.0])
    features = {"trained": hidden, "random-init": [generator.normal(size=(220, 3))] * 3, "raw": hidden}
    probes: dict[str, Probe] = {"ridge@1": RidgeProbe(RidgeProbeConfig())}
    forest: dict[str, Probe] = {"forest@1": ForestProbe(ForestProbeConfig(trees=10))}
    table = run_probe(features, labels, REGRESSION, SPLIT, probes, SEEDS, forms={"raw": forest})
    assert [one.against for one in table.comparisons] == ["random-init", "raw"]


def test_centred_ridge_is_ridge_on_centred_features_with_the_best_leave_one_out_error() -> None:
    raw, labels = rare_counts()
    scores = CentredProbe(CentredProbeConfig()).score(raw, labels, REGRESSION, SPLIT, 0)
    train, test = raw[:150], raw[150:]
    mean, scale = train.mean(0), np.sqrt(train.var(0).mean())
    inputs, others = (train - mean) / scale, (test - mean) / scale
    centre, deviation = labels[:150].mean(), labels[:150].std()
    goal = (labels[:150] - centre) / deviation
    errors = []
    for penalty in RIDGE_PENALTIES:
        with_line = np.concatenate([inputs, np.ones((150, 1))], 1)
        hat = with_line @ np.linalg.pinv(with_line.T @ with_line + np.diag([*[penalty] * 405, 0.0])) @ with_line.T
        errors.append(np.mean(((goal - hat @ goal) / (1 - np.diag(hat))) ** 2))
    model = Ridge(alpha=RIDGE_PENALTIES[int(np.argmin(errors))]).fit(inputs, goal)
    wrong = model.predict(others) * deviation + centre - labels[150:]
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean(wrong**2)), rel=1e-4)


def test_a_kernel_tells_a_ring_from_its_middle_and_a_large_set_is_cut_with_a_word() -> None:
    generator = np.random.default_rng(3)
    radius = np.concatenate([generator.random(110), 2 + generator.random(110)])
    angle = generator.random(220) * 2 * np.pi
    order = generator.permutation(220)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)[order]
    labels = (radius > 1.5).astype(float)[order]
    kernel = KernelSvmProbe(KernelSvmProbeConfig())
    linear = CentredProbe(CentredProbeConfig())
    assert kernel.score(points, labels, CLASS, SPLIT, 0)["accuracy"] > 0.98
    assert linear.score(points, labels, CLASS, SPLIT, 0)["accuracy"] < 0.75
    few = KernelSvmProbe(KernelSvmProbeConfig(most_rows=40)).score(points, labels, CLASS, SPLIT, 0)
    assert few.notes[0] == "fitted on 40 of 150 training rows"
    assert few["accuracy"] > 0.95
