"""Rank metrics of core's evaluation, verified against trec_eval."""

from __future__ import annotations

from repcore.specs import SystemSpec

PACKAGE = "repcore_generic"

SYSTEMS = (
    SystemSpec(
        name="rank-metrics",
        summary="nDCG, average precision, recall, precision and reciprocal rank as trec_eval defines them",
        paper="trec_eval 9; Thakur et al. 2021 (BEIR), arXiv 2104.08663",
        licence="Apache-2.0 (this implementation)",
        replay=f"{PACKAGE}.verification.rank_metrics:replay",
        differences=(("queries without a relevant item", "count as 0", "left out, their number printed", ""),),
    ),
)
