"""The probe table: twins enforced, rows paired, verdicts honest, JSON strict."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from repcore.data.split_plans import SplitInputs, plan_splits
from repcore.errors import ConfigError, DataError, RunError
from repcore.evaluation.comparison import compare, resampled
from repcore.evaluation.metrics import Scores, score_predictions
from repcore.evaluation.probes.configs import LinearProbeConfig, NeighbourProbeConfig, RidgeProbeConfig
from repcore.evaluation.probes.knn import NeighbourProbe
from repcore.evaluation.probes.linear import LinearProbe
from repcore.evaluation.probes.ridge import RidgeProbe
from repcore.evaluation.protocol import ProbeTable, joined_notes, run_probe
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

SEEDS = (0, 1, 2)
REGRESSION = TargetSpec("solubility", "regression", unit="log mol/L")
SPLIT = ProbeSplit(train=np.arange(80), test=np.arange(80, 120))


def data() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Labels that the trained features explain well and three twins explain worse."""
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(120, 4))
    labels = hidden @ np.array([1.0, -2.0, 0.5, 1.5])
    trained = hidden + 0.1 * generator.normal(size=hidden.shape)
    twins = [hidden + generator.normal(size=hidden.shape) for _ in SEEDS]
    return labels, trained, twins


def table(**changes: Any) -> ProbeTable:  # any argument of run_probe
    labels, trained, twins = data()
    arguments: dict[str, Any] = {
        "features_by_name": {"trained": trained, "random-init": twins, "raw": np.abs(twins[0])},
        "labels": labels,
        "target": REGRESSION,
        "splits": SPLIT,
        "probes": {"ridge@1": RidgeProbe(RidgeProbeConfig()), "knn@1": NeighbourProbe(NeighbourProbeConfig())},
        "seeds": SEEDS,
    }
    return run_probe(**{**arguments, **changes})


def test_every_number_has_its_baselines() -> None:
    result = table()
    shown = {(row["features"], row["probe"]) for row in result.rows()}
    expected = {(name, probe) for name in ("trained", "random-init", "raw") for probe in ("ridge@1", "knn@1")}
    assert shown == expected | {("train-mean", "constant")}
    trained, twin = result.value("trained", "ridge@1"), result.value("random-init", "ridge@1")
    assert trained.mean < twin.mean
    assert trained.deviation == pytest.approx(0.0, abs=1e-12)  # one encoder, one split, no randomness
    assert twin.deviation > 0
    assert np.mean(twin.values) == pytest.approx(twin.mean)
    assert result.constants["ridge@1"]["penalties"] == 13


def test_values_equal_single_probe_calls() -> None:
    labels, _, twins = data()
    alone = [RidgeProbe(RidgeProbeConfig()).score(one, labels, REGRESSION, SPLIT, 0)["rmse"] for one in twins]
    assert table().value("random-init", "ridge@1").values == pytest.approx(alone)


def test_verdict_names_direction_seeds_and_unit() -> None:
    sentence = next(one for one in table().verdicts() if one.startswith("ridge@1: trained is better than random-init"))
    assert "on all 3 seeds: RMSE -" in sentence
    assert "log mol/L" in sentence
    assert "includes 0" not in sentence


def test_higher_is_better_for_auroc() -> None:
    labels, trained, twins = data()
    result = table(
        labels=(labels > 0).astype(float),
        target=TargetSpec("c", "class"),
        probes={"linear@1": LinearProbe(LinearProbeConfig())},
        features_by_name={"trained": trained, "random-init": twins},
    )
    (comparison,) = result.comparisons
    assert comparison.metric == "auroc"
    assert comparison.mean > 0
    assert comparison.better_on == 3
    assert comparison.verdict.startswith("better than random-init on all 3 seeds: AUROC +")
    assert comparison.deviation == pytest.approx(statistics.stdev(comparison.differences))
    entry = result.value("random-init", "linear@1")
    assert entry.deviation == pytest.approx(statistics.stdev(entry.values))


def test_equal_encoders_are_not_called_better() -> None:
    generator = np.random.default_rng(5)
    _labels, _, twins = data()
    noisy = [one + 0.01 * generator.normal(size=one.shape) for one in twins]
    result = table(features_by_name={"trained": noisy, "random-init": twins})
    comparison = result.comparisons[0]
    assert abs(comparison.mean) < 0.05
    assert "includes 0" in comparison.verdict or "no clear difference" in comparison.verdict
    same = table(features_by_name={"trained": twins, "random-init": twins})
    assert same.comparisons[0].verdict.startswith("equal to random-init")


def test_worse_is_said_as_plainly() -> None:
    _, trained, _ = data()
    noise = np.random.default_rng(1).normal(size=(120, 4))
    result = table(features_by_name={"trained": noise, "random-init": [trained] * 3})
    assert result.comparisons[0].verdict.startswith("worse than random-init")
    assert result.comparisons[0].better_on == 0


@pytest.mark.parametrize("missing", ["random-init", "trained"])
def test_a_number_without_its_twin_is_refused(missing: str) -> None:
    _labels, trained, twins = data()
    features: dict[str, Any] = {"trained": trained, "random-init": twins}
    del features[missing]
    with pytest.raises(ConfigError, match=missing):
        table(features_by_name=features)


def test_foreign_embeddings_must_be_declared() -> None:
    _, trained, _ = data()
    with pytest.raises(ConfigError, match="external=True"):
        table(features_by_name={"theirs": trained})
    result = table(features_by_name={"theirs": trained}, external=True)
    assert {row["features"] for row in result.rows()} == {"theirs", "train-mean"}


def test_twins_come_one_a_seed() -> None:
    _, trained, twins = data()
    with pytest.raises(DataError, match="one random-init matrix for 3 seeds"):
        table(features_by_name={"trained": trained, "random-init": twins[0]})
    with pytest.raises(DataError, match="2 feature matrices of 'random-init' for 3 seeds"):
        table(features_by_name={"trained": trained, "random-init": twins[:2]})
    with pytest.raises(DataError, match=r"expected \(120, D\)"):
        table(features_by_name={"trained": trained[:50], "random-init": twins})


def test_rows_without_a_label_are_counted_apart() -> None:
    labels, trained, twins = data()
    some, holes = np.array(labels, np.float64), trained.copy()
    some[5:25] = np.nan
    holes[[3, 7]] = np.nan  # the second has no label either
    result = table(features_by_name={"trained": holes, "random-init": twins}, labels=some)
    assert (result.rows_used, result.rows_left_out, result.rows_unlabelled) == (99, 2, 19)


def test_rows_that_one_set_lacks_are_left_out_of_all() -> None:
    _labels, trained, twins = data()
    holes = trained.copy()
    holes[[3, 85]] = np.nan
    result = table(features_by_name={"trained": holes, "random-init": twins})
    assert (result.rows_used, result.rows_left_out) == (118, 2)
    split = ProbeSplit(np.setdiff1d(SPLIT.train, [3]), np.setdiff1d(SPLIT.test, [85]))
    again = table(features_by_name={"trained": trained, "random-init": twins}, splits=split)
    assert result.value("random-init", "ridge@1").values == again.value("random-init", "ridge@1").values
    with pytest.raises(DataError, match="'trained' hold NaN or Inf in every row"):
        table(features_by_name={"trained": np.full_like(trained, np.nan), "random-init": twins})


def test_random_splits_and_folds_give_a_value_a_seed() -> None:
    labels, trained, _ = data()
    inputs = SplitInputs(ids=[str(i) for i in range(120)])
    for word in ("random", "folds:4"):
        result = table(splits=plan_splits(word, inputs, SEEDS))
        assert result.split_seeded
        assert len(set(result.value("trained", "ridge@1").values)) == 3
    plan = plan_splits("folds:4", inputs, SEEDS)
    probe = RidgeProbe(RidgeProbeConfig())
    folds = [probe.score(trained, labels, REGRESSION, one, 0)["rmse"] for one in plan.folds[1]]
    assert table(splits=plan).value("trained", "ridge@1").values[1] == pytest.approx(np.mean(folds))
    with pytest.raises(DataError, match="splits for 3 seeds, but 2 seeds"):
        table(splits=plan, seeds=(0, 1), features_by_name={"theirs": trained}, external=True)


def test_json_is_strict_and_complete() -> None:
    labels, _trained, _twins = data()
    labels = (labels > 0).astype(float)
    labels[:80] = 1.0  # one class in train: NaN everywhere
    result = table(
        labels=labels, target=TargetSpec("c", "class"), probes={"linear@1": LinearProbe(LinearProbeConfig())}
    )
    stored = json.loads(result.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    entry = next(one for one in stored["entries"] if one["features"] == "trained" and one["primary"])
    assert entry["mean"] is None
    assert "only class 1" in entry["notes"][0]
    assert "not comparable" in result.comparisons[0].verdict
    assert stored["target"]["name"] == "c"
    assert result.rows(["accuracy"])[0]["metric"].startswith("accuracy")
    with pytest.raises(RunError, match="no result of nobody"):
        result.value("nobody", "linear@1")


class PluginProbe:
    """What a third party would write: plain numbers under an unknown name."""

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: Any, split: Any, seed: int
    ) -> Mapping[str, float]:
        return {"dice": float(features[split.test].mean()) + 0.01 * seed}

    def constants(self) -> Mapping[str, Any]:
        return {"protocol": "dice@1"}


def test_a_plugin_probe_with_its_own_metric_is_shown() -> None:
    result = table(probes={"dice@1": PluginProbe()})
    entry = result.value("trained", "dice@1")
    assert entry.metric == "dice"
    assert entry.values[2] - entry.values[0] == pytest.approx(0.02)  # seeds reach the probe
    assert math.isnan(result.comparisons[0].interval[0])


@pytest.mark.parametrize("metric", ["auroc", "rmse", "accuracy", "multilabel"])
def test_vectorised_resampling_equals_the_metric(metric: str) -> None:
    generator = np.random.default_rng(0)
    kind = {"auroc": "class", "accuracy": "class", "rmse": "regression", "multilabel": "multilabel"}[metric]
    target = TargetSpec("x", kind)  # type: ignore[arg-type]
    truth = generator.normal(size=(40, 2)) if kind == "regression" else generator.integers(0, 2, (40, 2)).astype(float)
    truth[::9] = np.nan
    if kind == "class":
        truth = truth[:, :1]
    scores = score_predictions(target, truth, generator.random((40, 2)).round(1))  # ties
    name = "auroc" if metric == "multilabel" else metric
    draws = generator.integers(0, 40, (7, 40))
    fast = resampled(name, target, scores, draws)
    assert fast is not None
    assert scores.predictions is not None
    slow = [score_predictions(target, truth[rows], scores.predictions[rows])[name] for rows in draws]
    np.testing.assert_allclose(fast, slow)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Two predictors of equal quality: the 95 % interval of their difference misses 0 in about 5 % of data sets."""
    generator = np.random.default_rng(0)
    missed = 0
    for _ in range(200):
        truth = generator.normal(size=(60, 1))
        sides = [score_predictions(REGRESSION, truth, truth + generator.normal(size=(60, 1))) for _ in range(2)]
        for one in sides:
            one.rows = np.arange(60)
        result = compare(
            "p", "rmse", (("a", [[sides[0]]]), ("b", [[sides[1]]])), REGRESSION, generator=generator, resamples=200
        )
        missed += not result.interval[0] <= 0 <= result.interval[1]
    assert 2 <= missed <= 24  # binomial(200, 0.05..0.06), four standard deviations


def test_rounding_keeps_no_zero_out_of_an_interval() -> None:
    """The same three seeds in another order: every resampled difference is 0, summed in another order."""
    generator = np.random.default_rng(3)
    seeds = []
    for share in (0.31, 0.57, 0.83):
        one = Scores({"accuracy": share})
        one.rows, one.truth = np.arange(90), np.zeros((90, 1))
        one.per_row = {"accuracy": (generator.random(90) < share).astype(float)}
        seeds.append([one])
    sides = (("a", seeds), ("b", [seeds[1], seeds[2], seeds[0]]))
    target = TargetSpec("y", "class", names=("0", "1"))
    result = compare("p", "accuracy", sides, target, generator=np.random.default_rng(0), resamples=200)
    assert result.interval == (0.0, 0.0)


def test_scores_without_predictions_have_no_interval() -> None:
    pair = (("a", [[Scores({"rmse": 1.0})]]), ("b", [[Scores({"rmse": 2.0})]]))
    result = compare("p", "rmse", pair, REGRESSION, generator=np.random.default_rng(0))
    assert result.verdict == "not judged against b, for want of an interval over test rows: RMSE -1 log mol/L"


def test_folds_that_say_the_same_of_other_names_say_it_once() -> None:
    notes = [
        "left out: bell",
        "left out: drum, bell",
        "only class a",
        "left out: x, ...",
        "left out: harp",
        "only class a",
    ]
    assert joined_notes(notes) == ("left out: bell, drum, x, harp, ...", "only class a")
    assert joined_notes(["task y: no label, 3 rows", "a: b: c"]) == ("task y: no label, 3 rows", "a: b: c")
    assert joined_notes([]) == ()
