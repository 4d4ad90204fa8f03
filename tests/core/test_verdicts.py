"""A verdict says "better" or "worse" only where its interval leaves 0 out: probes, fine-tuning, labels of elements."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from repcore.diagnostics.verdict import judge
from repcore.evaluation.comparison import Comparison, compare
from repcore.evaluation.metrics import Scores, score_predictions
from repcore.interfaces import ProbeSplit
from repcore.report.collect import RunRecord
from repcore.report.findings import verdict_sentence
from repcore.specs import TargetSpec
from repcore.training.export import AS_MADE
from repcore.training.finetune_plan import MODEL, RANDOM, Part, PartResult, verdict

CLASS = TargetSpec("c", "class", names=("a", "b", "c"))
TWO = TargetSpec("t", "class", names=("a", "b"))
VALUE = TargetSpec("v", "regression", unit="eV")
MANY = TargetSpec("m", "multilabel", names=("x", "y"))


def scores(target: TargetSpec, noise: float, draw: np.random.Generator, rows: int) -> Scores:
    """Predictions as good as ``noise`` is small, scored by the product."""
    if target.kind == "regression":
        truth = np.linspace(-1, 1, rows)
        found = score_predictions(target, truth, (truth + noise * draw.normal(size=rows))[:, None])
    elif target.kind == "multilabel":
        truth = (np.arange(2 * rows).reshape(rows, 2) % 3 == 0).astype(float)
        raw = 2 * truth - 1 + noise * draw.normal(size=truth.shape)
        found = score_predictions(target, truth, 1 / (1 + np.exp(-raw)))
    else:
        truth = np.arange(rows) % len(target.names)
        raw = np.eye(len(target.names))[truth] + noise * draw.normal(size=(rows, len(target.names)))
        found = score_predictions(target, truth.astype(float), np.exp(raw) / np.exp(raw).sum(1, keepdims=True))
    found.rows = np.arange(rows)
    return found


def judged(one: Comparison) -> str:
    """The first word of a verdict, after its interval was held against it."""
    word = one.verdict.split()[0]
    low, high = one.interval
    if word in ("better", "worse"):
        assert not math.isnan(low), one
        assert not low <= 0 <= high, one
        assert "includes 0" not in one.verdict
    elif one.verdict.startswith("no clear"):
        agree = one.better_on in (0, len(one.differences))
        assert low <= 0 <= high or not agree, one
    return word


@pytest.mark.parametrize("target", [CLASS, TWO, VALUE, MANY], ids=lambda one: f"{one.kind}-{len(one.names)}")
def test_no_verdict_claims_what_its_interval_does_not(target: TargetSpec) -> None:
    words = set()
    for seed in range(24):
        draw = np.random.default_rng(seed)
        gap = (0.0, 0.05, 0.2, 1.5)[seed % 4]
        rows = (6, 30)[seed % 2]
        results = [
            PartResult(Part("", start, s, ProbeSplit(np.arange(0), np.arange(0))), Path(),
                       scores(target, 0.8 + gap * (start == RANDOM), draw, rows), {})
            for s in range(1 + seed % 3) for start in (MODEL, RANDOM)
        ]  # fmt: skip
        of_finetuning = verdict(results, target)
        assert of_finetuning is not None
        words.add(judged(of_finetuning))
        sides = tuple(
            (name, [[one.scores] for one in results if one.part.start == start])
            for name, start in (("trained", MODEL), ("random-init", RANDOM))
        )
        of_probe = compare("linear@1", of_finetuning.metric, sides, target, generator=np.random.default_rng(1))  # type: ignore[arg-type]
        words.add(judged(of_probe))
    assert {"better", "no"} <= words, "the cases show one kind of verdict only"


def test_without_an_interval_nothing_is_claimed() -> None:
    draw = np.random.default_rng(0)
    ours, theirs = scores(VALUE, 0.1, draw, 30), scores(VALUE, 3.0, draw, 30)
    theirs.rows = np.arange(1, 31)
    found = compare("p", "rmse", (("a", [[ours]]), ("b", [[theirs]])), VALUE, generator=draw)
    assert found.verdict.startswith("not judged against b, for want of an interval")


def test_a_report_counts_only_clear_verdicts() -> None:
    shown = {"against": "random-init", "better_on": 3, "differences": [0.1, 0.1, 0.1]}
    told = [
        "better than random-init on all 3 seeds: accuracy +0.1",
        "no clear difference from random-init: better on 3",
    ]
    table = {"entries": [], "comparisons": [{**shown, "verdict": one} for one in told]}
    record = RunRecord(Path("r"), {"recipe": "a/b"}, probes={"y": table})
    assert "clearly better than those of the untrained encoder in 1 of 2 probes" in verdict_sentence(record)


def test_dimensions_that_a_network_is_made_with_are_no_finding_before_the_first_step() -> None:
    made = {"dead-dimensions": 197.0, "dimensions": 768.0, "std": 0.8, "rankme-centred": 90.0}
    begun = {name: made[name] for name in AS_MADE}
    assert judge(made, begun).level == "healthy"
    assert judge(made, None).reasons == ("197 of 768 dimensions are constant",)
    assert judge({**made, "dead-dimensions": 390.0}, made).level == "warning"  # more than began with it
    assert judge({**made, "std": 0.01}, begun).level == "collapsed"
