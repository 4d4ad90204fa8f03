"""``repcore generic contrast``: a planted layer is found, the others are not, and the command shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from repcore_generic.configs.estimators import SparseCodesConfig
from repcore_generic.estimators.layer_contrast import contrast_layers, positives

from repcore.errors import ConfigError, DataError
from repcore.specs import TargetSpec
from tests.core.test_toy_path import run

TINY = ("data.limit=40", "encoder.hidden_width=32", "encoder.feed_forward_width=32", "encoder.layers=2",
        "trainer.steps=1", "data.batch_size=4", "objective=vicreg")  # fmt: skip


def test_the_layer_that_shows_the_attribute_is_found() -> None:
    rng = np.random.default_rng(0)
    has = np.arange(60) % 2 == 1
    vectors = rng.normal(size=(3, 60, 8)) * np.asarray([1.0, 30.0, 0.1])[:, None, None] + 5.0
    vectors[1] += 300 * np.where(has, 1.0, -1.0)[:, None] * np.eye(8)[0]
    labels = has.astype(np.float64)
    labels[7] = np.nan  # left out
    found = contrast_layers([0, 1, 2], vectors, labels, has, SparseCodesConfig(k=1, features=16, steps=200), 199)
    assert found.rows.tolist() == [one for one in range(60) if one != 7]
    assert found.table()[0][0] == "1"
    assert found.adjusted[1] == pytest.approx(3 / 200)  # the smallest possible, of three layers
    assert min(found.adjusted[0], found.adjusted[2]) > 0.05
    shown = found.examples(1)
    assert set(shown) <= set(np.flatnonzero(has).tolist())
    assert len(shown) / found.is_positive.sum() == pytest.approx(found.scores.edges[1, 1])


def test_what_an_attribute_is() -> None:
    classes = TargetSpec("kind", "class", names=("a", "b", "c"))
    labels = np.asarray([0.0, 2.0, np.nan, 1.0])
    assert positives(labels, classes, "c")[0].tolist() == [False, True, False, False]
    assert positives(labels, TargetSpec("x", "class"), "2")[0].tolist() == [False, True, False, False]
    chosen, words = positives(labels, TargetSpec("y", "regression"), None)
    assert (chosen.tolist(), words) == ([False, True, False, False], "y above 1")
    with pytest.raises(ConfigError, match="--positive d: kind has no such class"):
        positives(labels, classes, "d")
    with pytest.raises(DataError, match="label 'm' is multilabel"):
        positives(labels, TargetSpec("m", "multilabel"), None)
    few = np.arange(9) < 2
    with pytest.raises(DataError, match="2 rows have the attribute and 7 do not"):
        contrast_layers([0], np.ones((1, 9, 4)), few.astype(float), few, SparseCodesConfig(), 9)


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{'C' * (2 + number % 9)}{'O' if number % 2 else 'N'},{number % 2}" for number in range(48)]
    Path("ends.csv").write_text("\n".join(["smiles,alcohol", *rows]), encoding="utf-8")
    assert run(["molecules", "train", "selformer", "--name", "r", *TINY]) == 0
    capsys.readouterr()
    asked = [
        "generic",
        "contrast",
        "runs/r",
        "ends.csv",
        "--label",
        "alcohol",
        "--steps",
        "100",
        "--permutations",
        "99",
    ]
    assert run([*asked, "-o", "layers.html"]) == 0
    out = capsys.readouterr().out
    assert "alcohol = 1: 24 rows have it, 24 do not" in out
    page = Path("layers.html").read_text(encoding="utf-8")
    assert all(f"<td>{layer}</td>" in page for layer in range(3))
    assert "p-value (Holm)" in page
    assert run([*asked, "--positive", "7"]) == 2
    assert "has no such class" in capsys.readouterr().err
