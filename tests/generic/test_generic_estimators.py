"""Estimators: what they find in planted data, that their state comes back, and that they keep to their model."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from repcore_generic.configs.estimators import (
    ClustersConfig,
    GaussianAnomalyConfig,
    LabelShiftConfig,
    SparseCodesConfig,
)
from repcore_generic.estimators.anomaly import GaussianAnomaly
from repcore_generic.estimators.clusters import Clusters
from repcore_generic.estimators.codes import SparseCodes
from repcore_generic.estimators.discover import LabelShift
from repcore_generic.estimators.gaussian import conformal_threshold, fewest_calibrated
from repcore_generic.estimators.sampling import EvenSample, place_of
from repcore_generic.estimators.shift_controls import DomainClassifier
from sklearn.metrics import roc_auc_score

from repcore import registry
from repcore.cli.estimators import facts_in_words
from repcore.errors import DataError, ShapeError
from repcore.interfaces import FeatureBatch
from repcore.specs import TargetSpec
from tests.core.test_toy_path import run
from tests.toys.toy_run import make_run


def batches(rows: np.ndarray, size: int = 64, **targets: np.ndarray) -> Iterator[FeatureBatch]:
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        ids = [f"i{number}" for number in range(len(rows))[part]]
        yield FeatureBatch(ids, rows[part].astype(np.float32), None, {k: v[part] for k, v in targets.items()})


def whole(rows: np.ndarray) -> FeatureBatch:
    return next(batches(rows, max(1, len(rows))))


def test_planted_anomalies_are_found_and_five_in_a_hundred_normal_items_are_flagged() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 8)) * np.geomspace(1, 0.01, 8)
    normal, fresh = (rng.normal(size=(count, 8)) @ mixing for count in (3000, 3000))
    strange = fresh[:500] + 5 * mixing[7]  # a step along the weakest direction: hardly longer than a normal vector
    found = GaussianAnomaly(GaussianAnomalyConfig()).fit(batches(normal))
    scored = found.apply(whole(fresh))
    assert scored["anomaly"].mean() == pytest.approx(0.05, abs=0.02)
    both = {name: np.concatenate([scored[name], found.apply(whole(strange))[name]]) for name in scored}
    truth = np.repeat([0, 1], [len(fresh), len(strange)])
    auroc = {name: roc_auc_score(truth, both[name]) for name in ("score", "root_mean_square")}
    assert auroc["score"] > 0.95 > auroc["root_mean_square"]
    assert set(scored) == {"score", "p_value", "anomaly", "root_mean_square", "neighbours"}


def test_tokens_of_an_item_score_as_its_strangest_one_and_rows_without_any_have_none() -> None:
    rng = np.random.default_rng(0)
    found = GaussianAnomaly(GaussianAnomalyConfig())
    found.fit(
        FeatureBatch([f"{part}-{n}" for n in range(30)], values, np.repeat(np.arange(30), 3))
        for part, values in enumerate(rng.normal(size=(10, 90, 3)).astype(np.float32))
    )
    tokens = FeatureBatch(["a", "b"], np.asarray([[0, 0, 0], [9, 9, 9]], np.float32), np.asarray([0, 0]))
    scored = found.apply(tokens)
    assert scored["score"][0] == pytest.approx(found.maps(tokens).max())
    assert np.isnan(scored["score"][1])
    assert np.isnan(scored["p_value"][1])
    with pytest.raises(ShapeError, match="width 2; fitted on width 3"):
        found.maps(FeatureBatch(["a"], np.zeros((1, 2), np.float32)))


@pytest.mark.parametrize("components", ["all", "head", "tail"])
def test_state_comes_back(components: str) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 5)) * np.array([5, 3, 1, 0.3, 0.1])
    config = GaussianAnomalyConfig(components=components)  # type: ignore[arg-type]  # a parametrised literal
    fitted = GaussianAnomaly(config).fit(batches(rows))
    again = GaussianAnomaly(config)
    again.load_state(*fitted.state())
    for name, values in fitted.apply(whole(rows)).items():
        assert again.apply(whole(rows))[name] == pytest.approx(values), name


def test_too_little_is_said() -> None:
    with pytest.raises(DataError, match="5 normal items are too few"):
        GaussianAnomaly(GaussianAnomalyConfig()).fit(batches(np.eye(5)))
    with pytest.raises(DataError, match="are equal"):
        GaussianAnomaly(GaussianAnomalyConfig()).fit(batches(np.ones((100, 3))))


def shifted(seed: int, *, trace: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three classes of two distant blobs each, six domains of uneven size with different mixes."""
    rng = np.random.default_rng(seed)
    centres = 8 * rng.normal(size=(3, 2, 16))
    mixes = np.asarray(
        [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1], [0.1, 0.4, 0.5], [0.4, 0.1, 0.5]]
    )
    domains = rng.choice(6, 3000, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    labels = np.asarray([rng.choice(3, p=mixes[one]) for one in domains])
    rows = centres[labels, rng.integers(0, 2, 3000)] + rng.normal(size=(3000, 16))
    offsets = trace * rng.normal(size=(6, 16))
    return rows + offsets[domains], domains, labels


def test_classes_are_found_from_domains_alone_and_traces_of_domains_are_refused() -> None:
    target = TargetSpec("site", "class", names=tuple("abcdef"))
    rows, domains, labels = shifted(0)
    found = LabelShift(LabelShiftConfig(classes=3, starts=5, shuffles=3)).fit(
        batches(rows, site=domains.astype(float)), target
    )
    batch = whole(rows)
    batch.targets = {"site": domains.astype(float)}
    predicted = found.apply(batch)["class"].astype(int)
    table = np.zeros((3, 3))
    np.add.at(table, (predicted, labels), 1)
    assert table.max(1).sum() / len(labels) > 0.85
    again = LabelShift(LabelShiftConfig(classes=3, starts=5, shuffles=3))
    again.load_state(*found.state())
    assert (again.apply(batch)["class"] == predicted).all()
    rows, domains, _ = shifted(0, trace=1.0)
    with pytest.raises(DataError, match="traces of their domain"):
        LabelShift(LabelShiftConfig(classes=3, starts=5, shuffles=3)).fit(
            batches(rows, site=domains.astype(float)), target
        )
    with pytest.raises(DataError, match=r"2 domains .* too few for 3 classes"):
        two = domains % 2
        LabelShift(LabelShiftConfig(classes=3, starts=5, shuffles=3)).fit(batches(rows, site=two.astype(float)), target)


def test_domains_are_held_against_shuffled_ones_and_random_ones_are_refused() -> None:
    target = TargetSpec("site", "class", names=tuple("abcdef"))
    rows, domains, _ = shifted(0)
    rows, domains = rows[:1200], domains[:1200]
    config = LabelShiftConfig(classes=3, starts=5)
    facts = LabelShift(config).fit(batches(rows, site=domains.astype(float)), target).facts
    assert facts["domain_area"] > 0.65 > 0.55 > facts["domain_area_shuffled"]
    assert facts["mix_spread"] > facts["mix_spread_shuffled"] > 0
    assert facts["domain_accuracy"] > facts["domain_accuracy_shuffled"]
    assert facts["stability_halves"] > 0.5 < facts["stability_starts"]
    for seed in range(3):  # classes are there, and sites know nothing of them
        shuffled = np.random.default_rng(seed).permutation(domains).astype(float)
        with pytest.raises(
            DataError, match=r"no better than shuffled [\s\S]* area above 0\.5[\s\S]*more items a domain"
        ):
            LabelShift(config).fit(batches(rows, site=shuffled), target)
    forced = LabelShift(LabelShiftConfig(classes=3, starts=5, force=True))
    with pytest.warns(UserWarning, match="shuffled: classes may be noise|hardly agree on classes"):
        forced.fit(batches(rows, site=shuffled), target)


@pytest.mark.parametrize("many", [False, True])
def test_small_domains_are_named(many: bool) -> None:
    target = TargetSpec("site", "class", names=tuple("abcdef"))
    rows, domains, _ = shifted(0)
    each, last = (100, 100) if many else (100, 30)
    kept = np.concatenate([np.flatnonzero(domains == one)[: last if one == 4 else each] for one in range(5)])
    kept = np.concatenate([kept, np.flatnonzero(domains == 5)[:6]])
    found = LabelShift(LabelShiftConfig(classes=3, starts=5))
    words = "100 items a domain: below 150" if many else r"fewer than 50 items: e \(30\); their mixes are rough"
    with pytest.warns(UserWarning, match=words):
        found.fit(batches(rows[kept], site=domains[kept].astype(float)), target)
    assert found.facts["domains_left_out"] == "f"
    assert found.facts["domains"] == list("abcde")


def test_planted_atoms_are_recovered() -> None:
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(48, 24))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    weights = np.zeros((8000, 48))
    for row in weights:
        row[rng.choice(48, 3, replace=False)] = rng.uniform(0.5, 1.5, 3)
    tokens = (weights @ atoms).astype(np.float32)
    owner = np.arange(8000) // 4
    data = [FeatureBatch([f"i{n}" for n in range(2000)], tokens, owner)]
    config = SparseCodesConfig(features=96, k=3, steps=700, batch_size=256, lr=4e-3)
    found = SparseCodes(config).fit(data)
    columns = found.state()[0]["decoder.weight"]
    cosine = atoms @ columns / np.linalg.norm(columns, axis=0)
    assert (cosine.max(1) > 0.9).mean() > 0.6
    assert found.facts["explained_variance"] > 0.8 > found.facts["explained_by_components"]
    first = found.apply(data[0])
    again = SparseCodes(config)
    again.load_state(*found.state())
    assert (again.apply(data[0])["entry_1"] == first["entry_1"]).all()


def test_clusters_of_directions() -> None:
    rng = np.random.default_rng(0)
    centres = 5 * np.eye(6)[:4]
    owner = np.arange(400) % 4
    found = Clusters(ClustersConfig(clusters=12, seed=3)).fit(batches(centres[owner] + 0.1 * rng.normal(size=(400, 6))))
    number = found.apply(whole(centres))["cluster"]
    assert len(set(number)) == 4  # with three clusters a direction, none is shared between two
    assert found.apply(whole(3.0 * centres))["cosine"] == pytest.approx(np.ones(4), abs=0.01)
    assert np.isnan(found.apply(whole(np.zeros((1, 6))))["cluster"]).all()
    with pytest.raises(DataError, match="200 clusters of 400 items"):
        Clusters(ClustersConfig(clusters=200)).fit(batches(centres[owner]))


def test_copies_are_no_clusters_and_cosines_stay_below_one() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(3, 6))
    with pytest.raises(DataError, match="all feature vectors are equal"):
        Clusters(ClustersConfig()).fit(batches(np.repeat(kinds[:1], 50, 0)))
    copies = np.repeat(kinds, 20, 0)
    with pytest.warns(UserWarning, match="60 items have 3 different directions: 3 clusters, not 8"):
        found = Clusters(ClustersConfig()).fit(batches(copies))
    scored = found.apply(whole(copies))
    assert len(set(scored["cluster"])) == 3
    assert scored["cosine"].max() <= 1
    assert 0 <= found.inertia < 1e-6
    with pytest.raises(DataError, match=r"5 clusters of vectors with 3 different directions\n[\s\S]*clusters=3"):
        Clusters(ClustersConfig(clusters=5)).fit(batches(copies))


def test_a_threshold_that_nothing_can_pass_is_said_at_fit_and_at_apply() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4))
    found = GaussianAnomaly(GaussianAnomalyConfig(probability=0.999, neighbours=500))
    words = r"threshold is infinite.* were held out, probability=0.999 needs 999 \(about 4,995 normal items in all\)"
    with (
        pytest.warns(UserWarning, match=words),
        pytest.warns(UserWarning, match=r"neighbours=500 of (\d+) .*all \1 are"),
    ):
        found.fit(batches(rows))
    with pytest.warns(UserWarning, match=words):
        assert not found.apply(whole(rows))["anomaly"].any()
    for probability in (0.5, 0.9, 0.95, 0.99):
        needed = fewest_calibrated(probability)
        assert np.isfinite(conformal_threshold(np.arange(needed), probability))
        assert np.isinf(conformal_threshold(np.arange(needed - 1), probability))


def test_an_even_sample_is_even_and_ids_keep_their_place() -> None:
    kept = np.zeros(1000)
    for seed in range(200):
        sample = EvenSample(100, seed)
        for start in range(0, 1000, 37):
            sample.add(np.arange(1000.0)[start : start + 37, None])
        assert sample.rows.shape == (100, 1)
        assert len(set(sample.rows[:, 0])) == 100
        kept[sample.rows[:, 0].astype(int)] += 1
    assert np.mean(kept[:300]) == pytest.approx(np.mean(kept[700:]), rel=0.1)
    assert place_of("a", 0) == place_of("a", 0) != place_of("a", 1)


def read(path: Path) -> Sequence[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_fit_and_apply_from_the_command_line(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "r")
    make_run(tmp_path / "runs" / "other", "trainer.seed=1")
    assert run(["fit", "gaussian-anomaly", "runs/r", "pairs/blobs", "neighbours=3", "-o", "detector", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["fitted_on"] + facts["calibration_items"] == facts["rows"]
    assert run(["apply", "detector", "pairs/blobs", "-o", "scores.csv"]) == 0
    rows = read(tmp_path / "scores.csv")
    assert len(rows) == facts["rows"] + facts["left_out"]
    assert all(float(row["score"]) >= 0 and 0 < float(row["p_value"]) <= 1 for row in rows)
    assert run(["apply", "detector", "pairs/blobs", "-o", "scores.csv"]) == 2  # never overwritten unasked
    assert run(["apply", "detector", "pairs/blobs", "-o", "other.csv", "--model", "runs/other"]) == 2
    assert "fitted on features of another model" in capsys.readouterr().err
    assert run(["fit", "gaussian-anomaly", "runs/r", "pairs/blobs", "-o", "again"]) == 0
    said = capsys.readouterr().out
    held = facts["calibration_items"]
    assert f"held out for threshold and p-values: {held:,} items" in said
    assert "calibration_items" not in said
    assert run(["fit", "label-shift", "runs/r", "pairs/blobs", "-o", "shift"]) == 2
    assert "needs a label" in capsys.readouterr().err
    assert run(["fit", "gaussian-anomaly-tokens", "runs/r", "pairs/blobs", "-o", "tokens"]) == 0
    assert run(["apply", "tokens", "pairs/blobs", "-o", "tokens.csv"]) == 0
    assert len(read(tmp_path / "tokens.csv")) == len(rows)
    page = tmp_path / "scores.html"
    assert run(["apply", "detector", "pairs/blobs", "-o", "shown.csv", "--report", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    scores = [float(row["score"]) for row in rows if row["score"]]
    strangest = int(np.argmax([float(row["score"]) if row["score"] else -1.0 for row in rows]))
    assert f"row {strangest}: score {max(scores):.4g}" in text
    assert text.count('class="picture"') == 10  # drawn by the domain's renderer
    assert text.count("<figure>") == 10
    assert "too few were held out for a threshold" in text  # twelve, for one in twenty
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert run(["apply", "tokens", "pairs/blobs", "-o", "shown-tokens.csv", "--report", str(page)]) == 0
    assert page.read_text(encoding="utf-8").count('class="heat"') == 10
    assert run(["fit", "clusters", "runs/r", "pairs/blobs", "clusters=4", "-o", "groups"]) == 0
    assert run(["apply", "groups", "pairs/blobs", "-o", "groups.csv", "--report", str(page)]) == 2
    assert "nothing to show on a page" in capsys.readouterr().err
    state = tmp_path / "detector" / "state.safetensors"
    whole_state = state.read_bytes()
    state.write_bytes(whole_state[:-1] + bytes([whole_state[-1] ^ 1]))  # another number, still a readable file
    assert run(["apply", "detector", "pairs/blobs", "-o", "again.csv"]) == 2
    assert "state.safetensors is not the file that was fitted" in capsys.readouterr().err
    notes = tmp_path / "detector" / "estimator.json"
    record = json.loads(notes.read_text(encoding="utf-8"))
    del record["state_sha256"]  # of a version that had none
    notes.write_text(json.dumps(record), encoding="utf-8")
    state.write_bytes(whole_state)
    assert run(["apply", "detector", "pairs/blobs", "-o", "earlier.csv"]) == 0
    assert (tmp_path / "earlier.csv").read_text() == (tmp_path / "scores.csv").read_text()
    state.write_bytes(b"damaged")
    assert run(["apply", "detector", "pairs/blobs", "-o", "again.csv"]) == 2
    assert "damaged estimator" in capsys.readouterr().err


def test_facts_are_said_in_words_with_units() -> None:
    words = {"kept": "items kept | items", "share": "share of the rest"}
    facts = {"kept": 12345, "share": 0.123456, "other_name": "none"}
    assert facts_in_words(facts, words) == [
        "items kept: 12,345 items", "share of the rest: 0.1235", "other name: none",
    ]  # fmt: skip
    for entry in registry.default().entries("estimator", "generic"):
        assert entry.spec.facts, entry.full_name


def test_softmax_of_two_domains_is_the_logistic_function() -> None:
    """scikit-learn keeps one row for two classes; ours are two rows with the same posterior."""
    rng = np.random.default_rng(0)
    rows, domains = rng.normal(size=(200, 3)), rng.integers(0, 2, 200)
    rows[:, 0] += 2 * domains
    posterior = DomainClassifier.fit(rows, domains, 2).posterior(rows)
    assert ((posterior[:, 1] > 0.5) == domains).mean() > 0.8
