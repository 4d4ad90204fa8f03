"""Few labels: samplers by number and share of labelled rows, protocols of elements, metrics that a domain gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repcore.cli.main import run
from repcore.data.label_budgets import label_budgets, validated_on_itself, within_budget
from repcore.data.split_plans import SplitPlan
from repcore.errors import ConfigError, DataError
from repcore.evaluation.element_metrics import MetricRecord
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.dense import (
    DenseFrequencyProbe,
    DenseLinearConfig,
    DenseLinearProbe,
    DenseNeighbourConfig,
    DenseNeighbourProbe,
    DensePrototypeConfig,
    DensePrototypeProbe,
    ElementProbe,
)
from repcore.evaluation.probes.dense_forest import DenseForestConfig, DenseForestProbe, shifts_for_shares
from repcore.evaluation.probes.dense_mlp import DenseMlpConfig, DenseMlpProbe
from repcore.interfaces import ProbeSplit, Sample

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def plan_of(train: int, test: int, seeds: int = 2) -> SplitPlan:
    rows = np.arange(train + test)
    split = ProbeSplit(rows[:train], rows[train:], validation=rows[:0])
    return SplitPlan("random", ((split,),) * seeds, seeded=False)


def test_small_budgets_lie_within_large_ones_and_test_rows_stay() -> None:
    labelled = np.arange(40) % 4 != 0
    found = [within_budget(plan_of(30, 10), one, labelled, [0, 1]) for one in label_budgets("3,10,50%")]
    parts = [set(one.folds[0][0].train.tolist()) for one in found]
    assert [len(one) for one in parts] == [3, 10, 11]  # 22 of 30 have labels
    assert parts[0] < parts[1] < parts[2]
    assert all(labelled[row] and row < 30 for row in parts[2])
    assert found[0].folds[1][0].train.tolist() != found[0].folds[0][0].train.tolist()
    assert all(one.folds[0][0].test.tolist() == list(range(30, 40)) for one in found)
    assert found[0].folds[0][0].validation is None  # a validation part would be further labels
    assert found[0].title == "random, 3 labelled rows"


def test_classes_take_turns() -> None:
    classes = [(int(row >= 28),) for row in range(30)]
    (budget,) = label_budgets("4")
    train = within_budget(plan_of(30, 0), budget, np.ones(30, bool), [0, 1], classes).folds[0][0].train
    assert sorted(classes[row] for row in train) == [(0,), (0,), (1,), (1,)]
    elements = [(0, 1) if row % 3 == 0 else (0, 2) if row == 7 else (0,) for row in range(30)]
    for seed in range(5):
        plan = within_budget(plan_of(30, 0), budget, np.ones(30, bool), [seed, 9], elements)
        shown = [elements[row] for row in plan.folds[0][0].train]
        assert {one for own in shown for one in own} == {0, 1, 2}


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "200%", "few", "3,,5", "nan"])
def test_words_that_are_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="no list of numbers or shares"):
        label_budgets(text)


def test_too_few_labelled_rows_are_an_error_that_names_them() -> None:
    (budget,) = label_budgets("50")
    with pytest.raises(DataError, match="--labels 50: the training part has 30 labelled rows"):
        within_budget(plan_of(30, 5), budget, np.ones(35, bool), [0, 1])


def test_few_rows_validate_on_themselves() -> None:
    few, many = (
        validated_on_itself(within_budget(plan_of(30, 5), one, np.ones(35, bool), [0, 1])).folds[0][0]
        for one in label_budgets("4,20")
    )
    assert few.validation is few.train
    assert many.validation is None


def rare(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that overlap along one axis; one in ten is of the second."""
    rng = np.random.default_rng(3)
    classes = (rng.random(count) < 0.1).astype(np.int64)
    return rng.normal(size=(count, 3)) + 1.5 * classes[:, None] * np.asarray([1.0, 0.0, 0.0]), classes


def test_intercepts_follow_how_often_classes_occur() -> None:
    features, classes = rare(4000)
    drawn = np.concatenate([np.flatnonzero(classes == one)[:200] for one in (0, 1)])
    frequency = {0: int((classes == 0).sum()), 1: int((classes == 1).sum())}
    config = DenseLinearConfig()
    corrected = DenseFrequencyProbe(config).fit(features[drawn], classes[drawn], frequency).predict(features)
    balanced = DenseLinearProbe(config).fit(features[drawn], classes[drawn], frequency).predict(features)
    assert (balanced == 1).mean() > 0.2
    assert 0.01 < (corrected == 1).mean() < 0.1
    assert (corrected == classes).mean() > (balanced == classes).mean() + 0.05
    # the boundary of two equal Gaussians moves by log(9) / 1.5 standard deviations
    moved = features[corrected == 1][:, 0].min() - features[balanced == 1][:, 0].min()
    assert moved == pytest.approx(np.log(9) / 1.5, abs=0.8)


def test_neighbours_vote_with_the_weight_of_their_cosine() -> None:
    """Against a slow formula; a class that is no half-space is found where a linear probe cannot."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 4))
    classes = 3 + (features[:, 0] * features[:, 1] > 0).astype(np.int64)
    probe = DenseNeighbourProbe(DenseNeighbourConfig(neighbours=7)).fit(features, classes)
    asked = rng.normal(size=(50, 4))
    found = probe.predict(asked)
    mean, scale = features.mean(0), features.std(0)
    for row, answer in zip(asked, found, strict=True):
        unit = [one / np.linalg.norm(one) for one in (features - mean) / scale]
        cosine = np.asarray(unit) @ ((row - mean) / scale / np.linalg.norm((row - mean) / scale))
        votes = {3: 0.0, 4: 0.0}
        for one in np.argsort(-cosine)[:7]:
            votes[int(classes[one])] += np.exp(cosine[one] / 0.07)
        assert answer == max(votes, key=votes.__getitem__)
    truth = 3 + (asked[:, 0] * asked[:, 1] > 0)
    linear = DenseLinearProbe(DenseLinearConfig()).fit(features, classes).predict(asked)
    assert (found == truth).mean() > (linear == truth).mean() + 0.1


@pytest.mark.parametrize(
    "probe", [DenseForestProbe(DenseForestConfig(trees=50)), DenseMlpProbe(DenseMlpConfig(epochs=400))]
)
def test_answers_occur_as_often_as_classes_where_lines_do_not_divide(probe: ElementProbe) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6000, 3))
    inside = (np.abs(features[:, :2]) < 0.6).all(1)  # a fifth of all, on no side of any line
    classes = np.where(inside ^ (rng.random(6000) < 0.02), 5, 2)
    drawn = np.concatenate([np.flatnonzero(classes == one)[:200] for one in (2, 5)])
    frequency = {one: int((classes == one).sum()) for one in (2, 5)}
    test = np.setdiff1d(np.arange(6000), drawn)
    linear = DenseFrequencyProbe(DenseLinearConfig())
    answers = [
        one.fit(features[drawn], classes[drawn], frequency).predict(features[test]) == 5 for one in (probe, linear)
    ]
    found, other = answers
    assert found.mean() == pytest.approx((classes[test] == 5).mean(), abs=0.04)  # half of the draw is of this class
    assert (found & inside[test]).sum() / (found | inside[test]).sum() > 0.5
    assert other.mean() < 0.01


def test_shifts_give_the_shares_that_are_wanted() -> None:
    scores = np.log(np.random.default_rng(1).dirichlet([1.0, 1.0, 1.0], 2000))
    weights = np.linspace(0.5, 1.5, 2000)
    wanted = np.asarray([0.9, 0.08, 0.02])
    shift = shifts_for_shares(scores, weights, wanted)
    share = np.bincount((scores + shift).argmax(1), weights, 3) / weights.sum()
    np.testing.assert_allclose(share, wanted, atol=5e-3)


def test_prototypes_are_class_means_by_direction() -> None:
    features = np.asarray([[4.0, 0.0], [6.0, 0.0], [0.0, 2.0], [0.0, 4.0], [-5.0, -3.0], [-5.0, -3.0]])
    classes = np.asarray([4, 4, 7, 7, 9, 9])
    probe = DensePrototypeProbe(DensePrototypeConfig()).fit(features, classes)
    assert probe.predict(np.asarray([[40.0, 1.0], [0.5, 30.0], [-30.0, -20.0]])).tolist() == [4, 7, 9]


class Share:
    name = "share"

    def __call__(self, sample: Sample, truth: np.ndarray, answered: np.ndarray, classes: int) -> np.ndarray:
        return np.asarray(
            [(answered == k)[truth == k].mean() if (truth == k).any() else np.nan for k in range(classes)]
        )


def test_a_domains_metric_is_a_mean_per_item_and_says_what_is_missing() -> None:
    record = MetricRecord([Share()])
    truth = np.asarray([0, 0, 1, 1])
    assert record.add(Sample("a", None), truth, np.asarray([0, 1, 1, 1]), 3) == {"share": 0.75}
    assert record.add(Sample("b", None), np.zeros(4, int), np.zeros(4, int), 3) == {"share": 1.0}
    assert record.add(Sample("c", None), np.full(4, -1), np.zeros(4, int), 3) == {"share": None}
    scores = record.into(Scores({}), ("x", "y", "z"))
    assert scores["share"] == pytest.approx(0.875)
    assert scores.tasks == {"x": {"share": 0.75}, "y": {"share": 1.0}}
    assert scores.notes == ("share: of 3 items these have a figure: x 2, y 1",)
    nothing = MetricRecord([Share()])
    nothing.add(Sample("c", None), np.full(4, -1), np.zeros(4, int), 3)
    assert "no item has a class" in nothing.into(Scores({}), ("x", "y", "z")).notes[0]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=4"]) == 0
    capsys.readouterr()
    return tmp_path


def test_budgets_by_command(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["probe", "runs/r", "--data", "pairs/blobs", "--label", "side", "--ignore", "9", "--level", "point"]
    protocols = ["--protocol", "dense-frequency@1", "--protocol", "dense-prototype@1"]
    assert run([*command, *protocols, "--labels", "1,5", "--seeds", "2", "--json"]) == 0
    out = capsys.readouterr().out
    one, five = json.loads(out[out.index("[") :])
    assert (one["labels"], five["labels"]) == ("1", "5")
    assert five["split"] == "random, 5 labelled rows"
    for table in (one, five):
        named = {(entry["features"], entry["probe"]) for entry in table["entries"]}
        assert {("random-init", "dense-prototype@1"), ("trained", "dense-frequency@1")} <= named
    value = {entry["probe"]: entry["mean"] for entry in five["entries"] if entry["primary"]}
    assert value["dense-frequency@1"] > value["constant"] + 0.1
    assert (trained / "runs" / "r" / "probes" / "side-random-5-labels.json").is_file()
    assert run([*command, "--labels", "99"]) == 2
    assert "--labels 99" in capsys.readouterr().err
    assert run([*command, "--metric", "surface-dice"]) == 2
    assert "no such metric of elements" in capsys.readouterr().err
    items = ["probe", "runs/r", "--data", "pairs/blobs", "--label", "kind", "--labels", "10%", "--seeds", "1", "--json"]
    assert run(items) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("[") :])[0]["labels"] == "10%"


def test_a_fine_tuning_uses_no_label_beyond_its_budget(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pairs", "finetune", "runs/r", "--data", "pairs/blobs", "--label", "side", "--no-twin"]
    assert run([*command, "--name", "f", "--labels", "3", "trainer.epochs=2"]) == 0
    told = json.loads((trained / "runs" / "f" / "finetune.json").read_text())
    assert {name: told["rows"][name] for name in ("train", "validation")} == {"train": 3, "validation": 3}
    assert run([*command, "--name", "g", "--labels", "3,5"]) == 2
    assert "one number of labels" in capsys.readouterr().err
