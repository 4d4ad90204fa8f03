"""What should I do next: each sentence is reasoned from figures of the run, and holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.report.advice import NO_WARNING, advice
from repcore.report.collect import RunRecord
from repcore.report.map import raw_layouts
from tests.core.report_pages import data_of, page_of
from tests.toys.toy_run import make_run, probe_table


def record(losses: list[float], **more: Any) -> RunRecord:
    """A finished run with a good probe and these validation losses, one every ten steps."""
    lines = [{"step": 10 * place, "loss": one} for place, one in enumerate(losses)]
    made = RunRecord(Path("r"), {"recipe": "pairs/set-net"}, validation=lines, probes={"kind": probe_table()})
    return replace(made, has_model=True, **more)


LEVEL = [4.0, 2.0, 1.2, 1.05, 1.01, 1.0, 1.0, 1.0, 1.0]


def probed(trained: float, others: dict[str, float], verdict: str = "better than random-init") -> dict[str, Any]:
    table = probe_table()
    first = table["entries"][0]
    table["entries"] = [{**first, "mean": trained}] + [{**first, "features": n, "mean": m} for n, m in others.items()]
    table["comparisons"][0]["verdict"] = verdict
    return {"kind": table}


def test_nothing_to_warn_of_says_what_speaks_for_the_run() -> None:
    (only,) = advice(record(LEVEL))
    assert only.startswith(NO_WARNING)
    assert "from 4 to 1 and has levelled off" in only
    assert "no baseline wins in 1 probe" in only


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5], "loss is still falling: 29% of its whole fall (from 4 to 0.5)"),
        (
            [4.0, 2.0, 1.0, 1.2, 1.6, 2.0, 2.2, 2.5],
            "lowest, 1, at step 20 and has risen to 2.5 since (50% of its fall)",
        ),
        ([4.0, 4.5, 5.0, 5.5, 6.0], "never fell below its first value, 4"),
    ],
)
def test_the_curve_says_whether_to_go_on(losses: list[float], words: str) -> None:
    (only,) = advice(record(losses))
    assert words in only


def test_baselines_that_win_are_named_with_both_figures() -> None:
    (raw,) = advice(record(LEVEL, probes=probed(0.8, {"random-init": 0.7, "bag of symbols": 0.82})))
    assert "The baseline bag of symbols is as good or better: 0.820 against 0.800 (accuracy of kind)" in raw
    layers = {"random-init": 0.7, "layer 3, 8 numbers": 0.9, "trained, own vector": 0.85}
    (fine,) = advice(record(LEVEL, probes=probed(0.8, layers)))
    assert fine.startswith(NO_WARNING), "layers of the model are no baselines"
    other = probed(0.8, {"bag of symbols": 0.95})
    other["kind"]["entries"][-1] |= {"metric": "precision at 10", "probe": "retrieval@1"}
    (fine,) = advice(record(LEVEL, probes=other))
    assert fine.startswith(NO_WARNING), "figures of two metrics are not compared"
    (twin,) = advice(record(LEVEL, probes=probed(0.8, {"random-init": 0.79}, "not distinguishable from random-init")))
    assert "The untrained network is not clearly worse: 0.790 against 0.800" in twin
    lines = [{"step": 10 * place, "loss": one, "loss_baseline": 0.9} for place, one in enumerate(LEVEL)]
    (own,) = advice(replace(record(LEVEL), validation=lines))
    assert "1, is no better than that of the baseline without the encoder, 0.9" in own


def test_collapse_leaks_waiting_and_lost_rows_are_told_gravest_first() -> None:
    health = [
        {"step": 0, "rankme-centred": 60.0, "level": "healthy"},
        {"step": 9, "rankme-centred": 1.2, "level": "collapsed", "reasons": ["features span few directions"]},
    ]
    leak = probe_table() | {"leak": "12 of 100 test rows are copies of training rows"}
    train = [{"step": step, "data_wait_share": 0.6} for step in range(4)]
    rejected = [{"row": row} for row in range(20)]
    found = advice(
        record(
            LEVEL, diagnostics=health, probes={"kind": leak}, train=train, rejected=rejected,
            environment={"rows": {"all": 100}},
        )
    )  # fmt: skip
    starts = [
        "The representation has collapsed",
        "Scores of kind are too good",
        "The device waits",
        "20 of 100 rows (20%)",
    ]
    assert [one[: len(start)] for one, start in zip(found, starts, strict=True)] == starts
    assert "effective rank 60 at first, 1.2 now" in found[0]
    assert "12 of 100 test rows" in found[1]
    assert "60% of the time" in found[2]
    assert "0 probes" in advice(record(LEVEL, probes={}))[0]


def test_raw_inputs_have_maps_of_their_own(toys: None, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 5))
    values[3] = np.nan
    maps = raw_layouts({"moments": values, "sizes": values[:, :2]}, 0)
    assert [one.name for one in maps] == [
        "raw inputs, moments: t-SNE", "raw inputs, moments: PCA", "raw inputs, sizes: PCA",
    ]  # fmt: skip
    assert np.isnan(maps[1].points[3]).all()
    assert np.isfinite(np.delete(maps[1].points, 3, 0)).all()
    make_run(tmp_path / "run", "dataset.items=120")
    page = page_of(tmp_path / "run")
    names = [one["name"] for one in data_of(page)["map"]["layouts"]]
    assert names[:2] == ["t-SNE", "PCA"]
    assert any(one.startswith("raw inputs, ") for one in names)
    assert '<section class="advice"' in page
