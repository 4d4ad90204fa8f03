"""``retrieval@1``: how well rows of the same label are found by similarity, without any fitting.

Queries are the test rows, the collection is the train rows, an item is relevant if it has the query's class or shares a
yes with it (multilabel); rows of the query's own group are no items. Ranked by cosine in float32, of equal ones the
later row first; metrics are those of :mod:`repcore.evaluation.ranking` at its cutoffs, means over the queries that have
a relevant item.

Symbols: Q queries, N items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.configs import RetrievalProbeConfig
from repcore.evaluation.probes.preparation import Prepared, constants_of, has_label, prepare, require_kind
from repcore.evaluation.ranking import CUTOFFS, METRICS, counted, rank_metrics, ranked
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

PRIMARY = "ndcg@10"
NAMES = (PRIMARY, *(name for m in METRICS for k in CUTOFFS if (name := f"{m}@{k}") != PRIMARY))
LARGEST_BLOCK = 4_000_000  # similarities held at once


class RetrievalProbe:
    """See the module; an implementation of :class:`repcore.interfaces.Probe` that uses no randomness."""

    uses_seed = False

    def __init__(self, config: RetrievalProbeConfig) -> None:
        self.config = config

    def constants(self) -> Mapping[str, Any]:
        return constants_of(
            "retrieval@1",
            self.config,
            similarity="cosine of raw features in float32; zero vectors are similar to nothing",
            ties="of equal similarities the later row first",
            relevant="same class, or a shared yes; rows of the query's own group are no items",
            cutoffs=", ".join(map(str, CUTOFFS)),
            definitions="trec_eval 9: linear gain, MAP over all relevant items, P over k; queries without a relevant "
            "item are left out",
        )

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Scores:
        """Metrics of the test rows as queries; ``rows`` and ``per_row`` hold those that count.

        See :meth:`repcore.interfaces.Probe.score`.
        """
        require_kind("retrieval@1", target, ("class", "multilabel"), "knn@1")
        data = prepare(features, labels, target, split)
        queries, items = (normalize(one.astype(np.float32)) for one in (data.test, data.train))
        groups = _groups(split, data.test_rows, labels, target)
        found: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
        kept: list[np.ndarray] = []
        step = max(1, LARGEST_BLOCK // max(1, len(items)))
        for first in range(0, len(queries), step):
            part = slice(first, first + step)
            similarity, relevant = queries[part] @ items.T, _relevant(data, part, target)
            if groups is not None:  # last, and never a hit
                own = (groups[0][part, None] == groups[1]) & (groups[1] >= 0)
                similarity, relevant = np.where(own, -np.inf, similarity), relevant & ~own
            counts = counted(relevant)
            kept.append(counts)
            metrics = rank_metrics(relevant[counts], ranked(similarity[counts]))
            for name in NAMES:
                metric, _, cutoff = name.partition("@")
                found[name].append(metrics[metric][:, CUTOFFS.index(int(cutoff))])
        return _scores({name: np.concatenate(values) for name, values in found.items()}, np.concatenate(kept), data)


def _relevant(data: Prepared, part: slice, target: TargetSpec) -> np.ndarray:
    """Bool (Q, N)."""
    queries, items = data.test_labels[part], data.train_labels
    if target.kind == "class":
        same: np.ndarray = queries == items[:, 0]
        return same
    shared: np.ndarray = (np.nan_to_num(queries) @ np.nan_to_num(items).T) > 0
    return shared


def _groups(
    split: ProbeSplit, tested: np.ndarray, labels: np.ndarray, target: TargetSpec
) -> tuple[np.ndarray, np.ndarray] | None:
    """Group numbers of the queries (Q,) and of the items (N,); None where there are no groups."""
    if split.groups is None:
        return None
    train = np.asarray(split.train, np.int64)
    return split.groups[tested], split.groups[train[has_label(labels, target)[train]]]


def _scores(values: Mapping[str, np.ndarray], kept: np.ndarray, data: Prepared) -> Scores:
    lonely = int((~kept).sum())
    notes = [f"{lonely} of {len(kept)} queries have no relevant item and are left out"] if lonely else []
    if not kept.any():
        return Scores.undefined(NAMES, notes[0])
    scores = Scores({name: one.mean() for name, one in values.items()}, notes)
    scores.rows, scores.per_row = data.test_rows[kept], values
    return scores
