"""What may be wrong with a data set: copies and leaks, outliers, doubtful labels, parts that are thinly covered.

Every finding is a row of one ranked table; people decide, and decisions are carried to the next audit.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import ConfigError, DataError
from repcore.evaluation.probing import build_probe, split_plan
from repcore.explore.answers import FoldAnswers
from repcore.explore.label_errors import doubtful_classes, doubtful_values
from repcore.explore.oddities import centred, near_copies, neighbours, outliers, split_words, thin_clusters
from repcore.explore.rows import SPLIT, Gathered
from repcore.registry import Registry
from repcore.specs import TargetSpec

NEAR = 0.25  # of the median distance to the nearest row: closer pairs count as near copies
FOLDS = 5
PROBES = {"class": "linear@1", "regression": "ridge@1"}
COLUMNS = ("kind", "rank", "id", "score", "partner", "detail", "label", "suggestion", "decision")
KINDS = {
    "leak": "Copies in different declared parts",
    "copy": "Copies and near copies",
    "label": "Labels that contradict the features",
    "outlier": "Outliers",
    "thin": "Clusters that are thinly covered",
}
TRAINED_ON = ("train", "training")


@dataclass(slots=True)
class Finding:
    """One thing to look at.

    Args:
        kind: of ``KINDS``. rank: within its kind, from 1. row: of the vectors. score: larger = surer.
        partner: row of the copy, -1 if none. label / suggestion: given and likelier label.
        decision: what a person wrote.
    """

    kind: str
    rank: int
    row: int
    id: str
    score: float
    partner: int = -1
    partner_id: str = ""
    detail: str = ""
    label: str = ""
    suggestion: str = ""
    decision: str = ""

    def cells(self) -> tuple[Any, ...]:
        """In the order of ``COLUMNS``."""
        return (
            self.kind, self.rank, self.id, f"{self.score:.4f}", self.partner_id, self.detail, self.label,
            self.suggestion, self.decision,
        )  # fmt: skip


@dataclass(slots=True)
class Audit:
    """All findings, and what could not be looked for."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: int = 0
    _ranks: Counter[str] = field(default_factory=Counter)

    def of(self, kind: str) -> list[Finding]:
        return [one for one in self.findings if one.kind == kind]


def audit(
    registry: Registry, given: Gathered, target: TargetSpec | None = None, *, near: float = NEAR, seed: int = 0
) -> Audit:
    """Look for everything that can be looked for.

    Args:
        target: label of items (class or number) that is doubted; None = labels are not looked at.
        near: share of the median distance to the nearest row up to which two rows are near copies.

    Raises:
        ConfigError: a share outside 0 to 1, or a label of another kind. DataError: fewer than three vectors.
    """
    if not 0.0 < near <= 1.0:
        raise ConfigError(f"near={near} is outside 0 < near <= 1")
    rows = given.some(given.usable)
    if len(rows.ids) < 3:
        raise DataError(f"{len(rows.ids)} rows have a vector; at least 3 are audited")
    found = Audit(rows=len(rows.ids))
    vectors = centred(rows.vectors)
    places, similar = neighbours(vectors)
    parts = [None if one is None else str(one) for one in rows.columns.get(SPLIT, [None] * len(rows.ids))]
    _copies(found, rows, near_copies(places, similar, near), parts)
    order, away, whole = outliers(registry, rows.vectors, similar)
    if not whole:
        found.notes.append("outliers by neighbours only: gaussian-anomaly is not installed, or rows are too few for it")
    for row, value in zip(order, away, strict=True):
        _add(found, rows, "outlier", int(row), float(value), f"{value:.1f} robust deviations")
    if target is not None:
        _labels(found, registry, rows, target, seed)
    _thin(found, rows, vectors, parts, target, seed)
    return found


def _add(found: Audit, rows: Gathered, kind: str, row: int, score: float, detail: str, **more: Any) -> None:
    found._ranks[kind] += 1
    found.findings.append(Finding(kind, found._ranks[kind], row, rows.ids[row], score, detail=detail, **more))


def _copies(found: Audit, rows: Gathered, near: list[tuple[int, int, float]], parts: Sequence[str | None]) -> None:
    """Same content first, then near vectors; a pair is told once, as a leak where its parts differ."""
    pairs = dict.fromkeys(_same_content(rows), (1.0, "the same content"))
    for one, other, share in near:
        pairs.setdefault((one, other), (1.0 - share, f"at {share:.3f} of the usual distance to the nearest row"))
    for (one, other), (value, words) in pairs.items():
        across = split_words(parts, one, other)
        kind = "leak" if across else "copy"
        detail = f"{words}, {across}" if across else words
        _add(found, rows, kind, one, value, detail, partner=other, partner_id=rows.ids[other])


def _same_content(rows: Gathered) -> list[tuple[int, int]]:
    """Pairs of a row with the first of the same content (as read, or as prepared where that was looked at)."""
    if rows.labelled is None:
        return []
    first: dict[Any, int] = {}
    pairs = []
    for row, place in enumerate(rows.places):
        keys = [] if place < 0 else [one for one in (rows.labelled.content[place],) if one]
        keys += [] if place < 0 or not rows.labelled.copies else [one for one in (rows.labelled.copies[place],) if one]
        partner = next((first[one] for one in keys if one in first), None)
        if partner is not None:
            pairs.append((partner, row))
        for one in keys:
            first.setdefault(one, row)
    return pairs


def _labels(found: Audit, registry: Registry, rows: Gathered, target: TargetSpec, seed: int) -> None:
    """Out-of-fold answers of the default probe against given labels; copies stay in one fold."""
    name = PROBES.get(target.kind)
    if name is None or target.level != "item":
        raise ConfigError(
            f"label {target.name!r} is {target.kind} of {target.level}s", expected="a class or number of items"
        )
    labelled = rows.labelled
    if labelled is None:
        raise DataError(f"--label {target.name}: labelled data are needed beside the vectors", hint="name them, too")
    matrix = np.full((len(labelled.ids), rows.vectors.shape[1]), np.nan)
    matrix[rows.places[rows.places >= 0]] = rows.vectors[rows.places >= 0]
    good, labels = np.isfinite(matrix).all(1), labelled.labels(target)
    known = labels[good & labelled.labelled(target)]
    if target.kind == "class":
        fewest = min((known == one).sum() for one in np.unique(known)) if len(known) else 0
        if len(np.unique(known)) < 2 or fewest < FOLDS:
            found.notes.append(f"labels not looked at: a class has {fewest} rows; {FOLDS} of each are needed")
            return
    word = f"stratified-folds:{FOLDS}" if target.kind == "class" else f"folds:{FOLDS}"
    plan = split_plan(registry, "", labelled, target, word, [seed])
    answers = FoldAnswers({"": matrix}, labels, target, plan, build_probe(registry, name, target), good, seed)
    if labels.ndim > 1 and labels.shape[1] > 1:
        found.notes.append(f"labels not looked at: {target.name} has {labels.shape[1]} numbers a row")
        return
    back = {int(place): row for row, place in enumerate(rows.places) if place >= 0}
    said, truth = answers.predictions[""], answers.truth[:, 0]
    if target.kind == "class":
        names = [target.name_of(int(one)) for one in answers.classes]
        order, likelier, margin = doubtful_classes(said, truth.astype(np.int64))
        for place, other, value in zip(order, likelier, margin, strict=True):
            words = f"probability {said[place, other]:.2f} against {said[place, int(truth[place])]:.2f}"
            row = back[int(answers.rows[place])]
            _add(
                found, rows, "label", row, float(value), words, label=names[int(truth[place])], suggestion=names[other]
            )
        return
    order, away = doubtful_values(said[:, 0], truth)
    for place, value in zip(order, away, strict=True):
        row, given, likely = back[int(answers.rows[place])], f"{truth[place]:.4g}", f"{said[place, 0]:.4g}"
        _add(found, rows, "label", row, float(value), f"{value:.1f} robust deviations", label=given, suggestion=likely)


def _thin(
    found: Audit, rows: Gathered, vectors: np.ndarray, parts: Sequence[str | None], target: TargetSpec | None, seed: int
) -> None:
    """Clusters with few rows that are trained on; without declared parts, with few labelled rows."""
    covered, word = np.asarray([one in TRAINED_ON for one in parts]), "trained on"
    if not covered.any() and target is not None and target.name in rows.columns:
        covered, word = np.asarray([one is not None for one in rows.columns[target.name]]), "labelled"
    if not covered.any() or covered.all():
        found.notes.append("coverage not looked at: no declared training part, and no row without a label")
        return
    for members, seen, count, chance in thin_clusters(vectors, covered, seed):
        words = f"{seen} of {count} rows like this are {word} (all: {covered.mean():.0%}; by chance {chance:.1g})"
        _add(found, rows, "thin", int(members[0]), float(-np.log10(max(chance, 1e-300))), words)


GONE = "no longer found"


def with_decisions(found: Audit, path: Path) -> tuple[int, list[tuple[str, ...]]]:
    """Take over decisions of an earlier table.

    Returns:
        how many findings got one; and the cells, in the order of ``COLUMNS``, of decided findings that are not found
        any more: what a person wrote stays in the table.

    Raises:
        DataError: it is no table of findings.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            earlier = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}", expected="the csv of an audit") from error
    if earlier and not {"kind", "id", "decision"} <= set(earlier[0]):
        raise DataError(f"{str(path)!r} is no table of findings", expected=", ".join(COLUMNS))
    known = {(one["kind"], one["id"], one.get("partner") or ""): one["decision"] for one in earlier if one["decision"]}
    taken = 0
    for finding in found.findings:
        finding.decision = known.pop((finding.kind, finding.id, finding.partner_id), "")
        taken += bool(finding.decision)
    gone = []
    for one in earlier:
        if (one["kind"], one["id"], one.get("partner") or "") in known:
            words = (one.get("detail") or "").removeprefix(GONE).removeprefix("; ")
            cells = {**one, "rank": "", "detail": f"{GONE}; {words}" if words else GONE}
            gone.append(tuple(cells.get(column) or "" for column in COLUMNS))
    return taken, gone
