"""Replay of golden rank metrics through core's evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from repcore.evaluation.ranking import counted, rank_metrics, ranked
from repcore.interfaces import StageResult
from repcore.verification.golden import Golden

REFERENCE = ("ndcg", "map", "recall", "precision")


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    relevance, scores = golden.inputs["relevance"].numpy(), golden.inputs["scores"].numpy()
    order, known = ranked(scores), counted(relevance)
    metrics = rank_metrics(relevance, order, golden.config["cutoffs"])
    yield StageResult("order", {"order": order, "corrected.counted": known})
    per_query = {f"reference.{name}": metrics[name] for name in REFERENCE}
    yield StageResult("per_query", {**per_query, "corrected.mrr": metrics["mrr"]})
    yield StageResult(
        "means",
        {
            **{f"reference.mean.{name}": metrics[name].mean(0) for name in REFERENCE},
            **{f"corrected.mean.{name}": metrics[name][known].mean(0) for name in (*REFERENCE, "mrr")},
        },
    )
