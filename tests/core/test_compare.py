"""Models side by side: figures of known vectors, groups, disagreements, the Pareto drawing, and the commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repcore import registry
from repcore.cli.main import run
from repcore.errors import ConfigError
from repcore.evaluation.probing import read_rows
from repcore.explore.compare import Contender, compare_models
from repcore.explore.pareto import pareto, undominated
from repcore.explore.rows import Gathered, Origin
from repcore.explore.similarity import linear_cka, neighbour_overlap
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from tests.toys.toy_run import make_run


def test_cka_is_that_of_the_gram_matrices_and_ignores_rotation() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(40, 5)), draw.normal(size=(40, 7))
    centre = np.eye(40) - 1 / 40
    one, other = centre @ first @ first.T @ centre, centre @ second @ second.T @ centre
    by_gram = (one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum())
    assert linear_cka(first, second) == pytest.approx(by_gram, rel=1e-9)
    turned = 3 * first @ np.linalg.qr(draw.normal(size=(5, 5)))[0] + 2
    assert linear_cka(first, turned) == pytest.approx(1.0, abs=1e-9)
    assert np.isnan(linear_cka(first, np.ones((40, 2))))


def test_overlap_of_neighbours_counts_shared_ones() -> None:
    draw = np.random.default_rng(0)
    first = draw.normal(size=(300, 8))
    assert neighbour_overlap(first, 5 * first) == 1.0
    assert neighbour_overlap(first, draw.normal(size=(300, 8))) < 0.1
    assert neighbour_overlap(np.eye(4)[:3] + 0.1, np.eye(4)[:3] + 0.1, k=10) == 1.0, "fewer rows than neighbours"


class Labelled:
    """Rows of two classes whose names stand in the data."""

    targets = (TargetSpec("kind", "class", names=("low", "high")),)
    splits: dict[str, list[int]] = {}  # noqa: RUF012
    fingerprint = "x"

    def __len__(self) -> int:
        return 240

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"r{index}", index, {"kind": index % 2})


def contender(name: str, vectors: np.ndarray) -> Contender:
    rows = read_rows(Labelled())  # type: ignore[arg-type]
    origin = Origin(encoder="pairs/set-net")
    places = np.arange(len(vectors))
    return Contender(name, Gathered(rows.ids, vectors, [""] * len(vectors), {}, origin, rows, places, seconds=0.24))


def test_better_is_said_where_the_interval_says_so_and_a_flipped_item_divides_the_models() -> None:
    draw = np.random.default_rng(0)
    kind = np.arange(240) % 2
    good = draw.normal(size=(240, 4)).astype(np.float32)
    good[:, 0] += 6.0 * kind
    blind = draw.normal(size=(240, 4)).astype(np.float32)
    target = Labelled.targets[0]
    sides = [contender("blind", blind), contender("good", good), contender("good", good)]
    found = compare_models(registry.default(), sides, target, seeds=[0])
    assert found.names == ["blind", "good", "good (2)"]
    verdict = {one.against: one.verdict for one in found.table.comparisons}
    assert verdict["good"].startswith("worse than good on both 2 seeds") or verdict["good"].startswith(
        "worse than good"
    )
    assert {(one.group, one.other): one.verdict for one in found.differences} == {
        (group, other): "better" for group in ("low", "high") for other in ("good", "good (2)")
    }
    alike = {(a, b): (cka, share) for a, b, cka, share in found.alike}
    assert alike["good", "good (2)"] == pytest.approx((1.0, 1.0))
    assert alike["blind", "good"][1] < 0.15
    assert {(one.first, one.second): one.verdict for one in found.pairs} == {
        ("blind", "good"): "better", ("blind", "good (2)"): "better", ("good", "good (2)"): "no clear difference",
    }  # fmt: skip
    pair = found.pairs[0]
    assert pair.interval[0] < pair.difference < pair.interval[1]
    assert pair.difference > 0.3
    first = found.disagreements[0]
    assert first.answers["good"] == first.answers["good (2)"]
    assert first.answers["good"].startswith(first.truth)
    assert found.costs["good"]["milliseconds_a_row"] == pytest.approx(1.0)
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["models"] == found.names

    same = compare_models(registry.default(), [sides[1], sides[2]], target, seeds=[0])
    assert {one.verdict for one in same.differences} == {"no clear difference"}
    assert same.disagreements == []
    with pytest.raises(ConfigError, match="at least two"):
        compare_models(registry.default(), sides[:1], target)


def test_groups_of_a_column_are_compared_and_an_unknown_one_is_named() -> None:
    draw = np.random.default_rng(0)
    kind, site = np.arange(240) % 2, np.arange(240) // 120
    good = draw.normal(size=(240, 4)).astype(np.float32)
    good[:, 0] += 6.0 * kind
    partly = np.where(site[:, None] == 0, good, draw.normal(size=(240, 4))).astype(np.float32)
    sides = [contender("good", good), contender("partly", partly)]
    further = {"site": [f"s{one}" for one in site], "size": [float(row) for row in range(240)]}
    sides = [replace(one, rows=replace(one.rows, columns=further)) for one in sides]
    found = compare_models(registry.default(), sides, Labelled.targets[0], seeds=[0], by=["site", "size"])
    verdicts = {one.group: one.verdict for one in found.differences}
    assert verdicts["site=s0"] != "worse"
    assert verdicts["site=s1"] == "worse"
    rows = [one.rows for one in found.differences if one.group.startswith("size ")]
    assert len(rows) == 4
    assert sum(rows) == sum(one.rows for one in found.differences if one.group.startswith("site="))
    with pytest.raises(ConfigError, match="--by sight") as wrong:
        compare_models(registry.default(), sides, Labelled.targets[0], seeds=[0], by=["sight"])
    assert "site" in str(wrong.value)


def test_the_drawing_joins_those_that_no_other_beats() -> None:
    points = {"slow": (10.0, 0.9), "fast": (1.0, 0.8), "bad <b>": (5.0, 0.7)}
    assert undominated(points, True) == ["slow", "fast"]
    assert undominated(points, False) == ["fast", "bad <b>"]
    drawn = pareto(points, ("ms", "AUROC"), True)
    assert "<b>" not in drawn.html
    assert drawn.html.count('fill="#1f5fa8" stroke') == 2
    assert "fast: ms 1, AUROC 0.8" in drawn.alt


def test_the_commands_compare_and_runs(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "runs" / "first")
    make_run(tmp_path / "runs" / "second", "trainer.seed=3")
    (tmp_path / "runs" / "notes").mkdir()
    models = [str(tmp_path / "runs" / name) for name in ("first", "second")]
    page = tmp_path / "compare.html"
    asked = ["compare", *models, "pairs/blobs", "--label", "kind", "--seeds", "2", "-o", str(page), "--json"]
    assert run(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == models
    assert found["costs"][models[0]]["parameters"] > 100
    assert {one["group"] for one in found["groups"]} == {"line", "ring", "cloud"}
    text = page.read_text()
    assert text.count('<div class="picture"') == len(found["disagreements"]) + 1, "items, and the drawing of costs"
    assert "default-src 'none'" in text
    assert "Every model against every other" in text
    assert run([*asked, "--reference", models[1]]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == models[::-1]
    assert run([*asked, "--reference", "third"]) == 2
    assert "none of the models" in capsys.readouterr().err
    assert run(["compare", models[0], "pairs/blobs", "--label", "kind"]) == 2
    assert "two models and the data" in capsys.readouterr().err

    assert run(["runs", str(tmp_path / "runs"), "--json"]) == 0
    listed = {one["run"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(listed) == {"first", "second"}
    assert listed["first"]["steps"] == 30
    assert listed["first"]["representation"] == "warning"
    assert listed["first"]["best_probe"] == "kind accuracy 0.850 (random-init 0.700)"
    (tmp_path / "runs" / "first" / "config.json").write_text("{")
    assert run(["runs", str(tmp_path / "runs")]) == 0
    assert "is not a run folder" in capsys.readouterr().out
    assert run(["runs", str(tmp_path / "nothing")]) == 2
