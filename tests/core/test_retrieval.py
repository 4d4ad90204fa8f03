"""``retrieval@1``: test rows find train rows of their label; by hand, with groups, and beside twin and raw input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repcore.cli.main import run
from repcore.errors import ConfigError
from repcore.evaluation.comparison import resampled
from repcore.evaluation.probes.configs import RetrievalProbeConfig
from repcore.evaluation.probes.retrieval import NAMES, RetrievalProbe
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

CLASS = TargetSpec("c", "class")
ANGLES = np.radians([0, 10, 20, 30, 5, 180])  # four items, two queries
FEATURES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)
LABELS = np.asarray([0.0, 1, 0, 1, 1, 7])
SPLIT = ProbeSplit(train=np.arange(4), test=np.arange(4, 6))


def probe() -> RetrievalProbe:
    return RetrievalProbe(RetrievalProbeConfig())


def test_rows_without_a_label_are_neither_queries_nor_items() -> None:
    """As if they were not there: a twin of the query without a label is no wrong hit, and asks nothing."""
    features = np.concatenate([FEATURES, FEATURES[4:5], FEATURES[4:5]])
    labels = np.asarray([*LABELS, np.nan, np.nan])
    split = ProbeSplit(train=np.asarray([0, 1, 2, 3, 6]), test=np.asarray([4, 5, 7]))
    scores = probe().score(features, labels, CLASS, split, 0)
    assert dict(scores) == dict(probe().score(FEATURES, LABELS, CLASS, SPLIT, 0))
    assert scores.rows is not None
    assert scores.rows.tolist() == [4]
    ignored = TargetSpec("c", "class", ignore=-1)
    assert dict(probe().score(features, np.asarray([*LABELS, -1, -1]), ignored, split, 0)) == dict(scores)


def test_by_hand() -> None:
    """The query at 5 degrees, class 1: items 1 and 0 are equally near (the later one first), then 2 and 3."""
    scores = probe().score(FEATURES, LABELS, CLASS, SPLIT, 0)
    assert set(scores) == set(NAMES)
    assert next(iter(scores)) == "ndcg@10"
    ideal = 1 + 1 / np.log2(3)
    assert scores["ndcg@10"] == pytest.approx((1 + 1 / np.log2(5)) / ideal)
    assert scores["map@10"] == pytest.approx((1 + 2 / 4) / 2)
    assert (scores["recall@1"], scores["recall@10"], scores["mrr@10"]) == (0.5, 1.0, 1.0)
    assert scores["precision@5"] == pytest.approx(0.4)
    assert scores.notes == ("1 of 2 queries have no relevant item and are left out",)
    assert scores.rows is not None
    assert scores.rows.tolist() == [4]
    draws = np.zeros((3, 1), np.int64)
    again = resampled("map@10", CLASS, scores, draws)
    assert again is not None
    assert again.tolist() == pytest.approx([0.75] * 3)


def test_rows_of_the_own_group_are_no_items() -> None:
    groups = np.asarray([0, 1, 0, -1, 1, -1])  # the nearest item is of the query's own group
    split = ProbeSplit(train=np.arange(4), test=np.arange(4, 6), groups=groups)
    scores = probe().score(FEATURES, LABELS, CLASS, split, 0)
    assert scores["mrr@10"] == pytest.approx(1 / 3)  # 0, 2, 3
    assert scores["recall@3"] == 1.0
    missing = np.asarray([0.0, 1, np.nan, 1, 1, 7])  # an unlabelled row keeps the places of the others
    assert probe().score(FEATURES, missing, CLASS, split, 0)["mrr@10"] == pytest.approx(1 / 2)


def test_several_labels_are_relevant_by_a_shared_yes() -> None:
    labels = np.asarray([[1, 0], [0, 1], [np.nan, 1], [0, 0], [0, 1], [0, 0]], float)
    scores = probe().score(FEATURES, labels, TargetSpec("m", "multilabel"), SPLIT, 0)
    assert scores["map@10"] == pytest.approx((1 + 2 / 3) / 2)
    with pytest.raises(ConfigError, match=r"knn@1"):
        probe().score(FEATURES, LABELS, TargetSpec("y", "regression"), SPLIT, 0)
    nothing = probe().score(FEATURES, np.asarray([0.0, 0, 0, 0, 1, 2]), CLASS, SPLIT, 0)
    assert np.isnan(nothing["ndcg@10"])
    assert "2 of 2 queries" in nothing.notes[0]


def test_random_features_give_the_expected_precision() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4.0), 300)
    order = generator.permutation(1200)
    split = ProbeSplit(train=order[:800], test=order[800:])
    drawn = probe().score(generator.normal(size=(1200, 8)), labels, CLASS, split, 0)
    assert drawn["precision@10"] == pytest.approx(0.25, abs=0.03)
    perfect = probe().score(np.eye(4)[labels.astype(int)], labels, CLASS, split, 0)
    assert perfect["ndcg@10"] == perfect["mrr@1"] == perfect["precision@100"] == 1.0


def test_the_command_shows_twin_and_raw_input_with_an_interval(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=4"]) == 0
    capsys.readouterr()
    command = ["probe", "runs/r", "--data", "pairs/blobs", "--label", "kind", "--protocol", "retrieval@1"]
    assert run([*command, "--device", "cpu", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)[0]
    shown = {entry["features"] for entry in table["entries"] if entry["metric"] == "ndcg@10" and entry["primary"]}
    assert {"trained", "random-init"} < shown
    assert len(shown) >= 3, "no raw-input baseline"
    assert all(one["metric"] == "ndcg@10" for one in table["comparisons"])
    assert all(one["interval"][0] is not None for one in table["comparisons"])
