"""``repcore probe --layers``: a weighted sum over layers, learned on training rows alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repcore.evaluation.layer_mix import LayerStack, MixedProbe, learned_weights, with_weights
from repcore.evaluation.probes.configs import LinearProbeConfig, RidgeProbeConfig
from repcore.evaluation.probes.linear import LinearProbe
from repcore.evaluation.probes.preparation import Standardiser, prepare
from repcore.evaluation.probes.ridge import RidgeProbe
from repcore.evaluation.protocol import ProbeEntry, ProbeTable
from repcore.interfaces import Probe, ProbeSplit
from repcore.specs import TargetSpec
from tests.core.test_toy_path import run
from tests.toys.toy_run import make_run

CLASS, REGRESSION = TargetSpec("c", "class"), TargetSpec("y", "regression")
SEVERAL = TargetSpec("m", "multilabel", names=("a", "b"))
SPLIT = ProbeSplit(train=np.arange(80), test=np.arange(80, 120))
LAYERS, WIDTH = 4, 5


def layers_with_label_in(layer: int) -> tuple[np.ndarray, np.ndarray]:
    """(120, 4 * 5) of noise, large in scale where nothing is known, and classes that one layer tells."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 120)
    values = generator.normal(size=(120, LAYERS, WIDTH)) * np.asarray([50.0, 1.0, 8.0, 20.0])[:, None] + 3
    values[np.arange(120), layer, labels] += 4 * (50.0, 1.0, 8.0, 20.0)[layer]
    return values.reshape(120, -1), labels.astype(float)


def stacked(values: np.ndarray, mix: str = "learned") -> LayerStack:
    return LayerStack.of(values, range(LAYERS), mix)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_the_layer_that_knows_the_label_gets_the_weight_whatever_its_scale(layer: int) -> None:
    values, labels = layers_with_label_in(layer)
    stack = stacked(values)
    mixed = MixedProbe(LinearProbe(LinearProbeConfig())).score(stack, labels, CLASS, SPLIT, 0)
    (weights,) = stack.weights
    assert weights.argmax() == layer
    assert weights[layer] > 0.7
    assert weights.sum() == pytest.approx(1)
    alone = LinearProbe(LinearProbeConfig()).score(
        values.reshape(120, LAYERS, WIDTH)[:, (layer + 1) % LAYERS], labels, CLASS, SPLIT, 0
    )
    assert mixed["accuracy"] > 0.85 > 0.6 > alone["accuracy"]


@pytest.mark.parametrize("target", [CLASS, REGRESSION, SEVERAL], ids=lambda target: target.kind)
def test_weights_see_no_test_row_and_leave_missing_labels_out(target: TargetSpec) -> None:
    values, labels = layers_with_label_in(2)
    truth = np.stack([labels > 0, labels > 1], 1).astype(float) if target is SEVERAL else labels
    changed, other = values.copy(), truth.copy()
    changed[80:] = changed[80:][::-1] * 7
    other[80:] = other[80:][::-1]
    first = learned_weights(prepare(values, truth, target, SPLIT), target, LAYERS)
    np.testing.assert_array_equal(learned_weights(prepare(changed, other, target, SPLIT), target, LAYERS), first)
    assert first.argmax() == 2
    truth = truth.copy()
    truth[3:9] = np.nan
    if target is SEVERAL:
        truth[20:30, 1] = np.nan
    left = ProbeSplit(train=np.setdiff1d(SPLIT.train, np.arange(3, 9)), test=SPLIT.test)
    missing = learned_weights(prepare(values, truth, target, SPLIT), target, LAYERS)
    np.testing.assert_array_equal(missing, learned_weights(prepare(values, truth, target, left), target, LAYERS))
    assert np.isfinite(missing).all()


def test_the_mean_is_the_mean_of_standardised_layers_and_other_features_stay_what_they_are() -> None:
    values, labels = layers_with_label_in(1)
    probe: Probe = RidgeProbe(RidgeProbeConfig())
    mixed = MixedProbe(probe)
    even = np.asarray(Standardiser.fit(values[:80])(values)).reshape(120, LAYERS, WIDTH).mean(1)
    by_hand = probe.score(even, labels, REGRESSION, SPLIT, 0)
    assert mixed.score(stacked(values, "mean"), labels, REGRESSION, SPLIT, 0)["rmse"] == pytest.approx(by_hand["rmse"])
    plain = probe.score(values, labels, REGRESSION, SPLIT, 0)
    assert mixed.score(values, labels, REGRESSION, SPLIT, 0)["rmse"] == plain["rmse"]
    assert "layers" in mixed.constants()
    assert "layers" not in probe.constants()


def test_the_table_says_the_mean_weight_of_each_layer_once() -> None:
    stack = stacked(np.zeros((2, LAYERS * WIDTH)))
    stack.weights += [np.asarray([0.1, 0.6, 0.2, 0.1]), np.asarray([0.05, 0.8, 0.1, 0.05])]
    entries = tuple(
        ProbeEntry(name, "ridge@1", "r2", True, "", (0.5,), 0.5, 0.0, True) for name in ("trained", "counts")
    )
    table = ProbeTable(REGRESSION, (0,), "random", True, 9, 0, entries, (), {})
    told = with_weights(table, {"trained": stack, "counts": np.zeros((2, 3))})
    assert [one.notes for one in told.entries] == [("layer 1: 0.70, layer 2: 0.15, 2 more: 0.15",), ()]
    assert with_weights(table, {"trained": stack}) == table, "weights of one label are not told of the next"


def test_layers_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{'C' * (3 + number % 7)}{'O' * (1 + number // 7)},{number % 7}.5" for number in range(40)]
    Path("chains.csv").write_text("\n".join(["smiles,carbons", *rows]), encoding="utf-8")
    tiny = ("data.limit=40", "encoder.hidden_width=32", "encoder.feed_forward_width=32", "encoder.layers=2",
            "trainer.steps=1", "data.batch_size=4")  # fmt: skip
    assert run(["molecules", "train", "selformer", "--name", "r", *tiny]) == 0
    capsys.readouterr()
    asked = ["probe", "runs/r", "--data", "chains.csv", "--seeds", "2"]
    assert run([*asked, "--layers", "all", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    primary = {one["features"]: one for one in table["entries"] if one["primary"]}
    assert {"trained", "random-init", "trained, own vector"} < set(primary)
    assert primary["trained"]["notes"][0].startswith("layer ")
    assert not primary["trained, own vector"]["notes"]
    assert run([*asked, "--json"]) == 0
    (plain,) = json.loads(capsys.readouterr().out)
    own = next(one for one in plain["entries"] if one["primary"] and one["features"] == "trained")
    assert primary["trained, own vector"]["values"] == pytest.approx(own["values"], abs=1e-6)
    assert len(list(Path("runs/r/probes").glob("carbons-random-layers.json"))) == 1
    for words, told in (
        (["--layers", "7"], "no layer '7'"),
        (["--layers", "1", "--grid"], "--grid and --layers were both given"),
        (["--mix", "mean"], "--mix mean without --layers"),
    ):
        assert run([*asked, *words]) == 2
        assert told in capsys.readouterr().err


def test_an_encoder_without_layers_is_named(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "r")
    assert run(["probe", "runs/r", "--data", "pairs/blobs", "--layers", "all"]) == 2
    assert "gives no layers" in capsys.readouterr().err
