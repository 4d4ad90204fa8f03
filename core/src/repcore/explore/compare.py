"""Models side by side on the same rows: probes on the same splits, how alike their vectors are, where they disagree,
and what they cost. The first model is the one that the others are held against.

Symbols: N rows, S test rows of all splits, M models, C classes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from repcore.data.joins import join_rows_by_key
from repcore.errors import ConfigError, DataError, closest
from repcore.evaluation.probing import DEFAULT_PROTOCOL, LabelledRows, build_probe, split_plan
from repcore.evaluation.protocol import ProbeTable, run_probe
from repcore.explore.answers import FoldAnswers
from repcore.explore.rows import Gathered, label_columns
from repcore.explore.similarity import linear_cka, neighbour_overlap
from repcore.registry import Registry
from repcore.specs import TargetSpec

RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # per cent
SHOWN = 12  # items on which models disagree most
QUARTERS = 4
MOST_VALUES = 12  # of a column that test rows are grouped by: the most frequent ones
GROUP = "group"  # names the data's own groups (patients, scaffolds, recordings) where no column does
FEWEST = 5  # test rows of a class or quarter that are worth an interval


@dataclass(frozen=True, slots=True)
class Contender:
    """A model (or a file of its vectors) that is compared.

    Args:
        name: on the page. rows: its vectors. parameters: of the encoder; None where only vectors are known.
    """

    name: str
    rows: Gathered
    parameters: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A group of test rows on which the first model and another differ.

    Args:
        group: a class, or a range of the label. other: name of the other model.
        rows: number of them. first / value: recall (or mean absolute error) of the first model and of the other.
        interval: 95 % of value - first over resampled rows; NaN for few rows.
        verdict: ``better`` and ``worse`` (of the other model) only where the interval excludes 0.
    """

    group: str
    other: str
    rows: int
    first: float
    value: float
    interval: tuple[float, float]
    verdict: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models on all test rows of the first seed: difference (second - first) of accuracy or mean absolute error.

    Args:
        interval: 95 % over resampled rows; NaN for few rows. verdict: of the second, as for a :class:`Difference`.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    verdict: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A test row with the answer of each model, the true one, and how far the models are apart."""

    row: int
    id: str
    truth: str
    answers: Mapping[str, str]
    distance: float


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Everything that was compared.

    Args:
        table: the probes. alike: (name, name, CKA, neighbour overlap). chance: overlap of unrelated vectors.
        costs: name -> parameters, width, milliseconds a row, main figure; None where not known.
        rows: labelled rows of the data. pairs: every model against every other one.
    """

    names: Sequence[str]
    target: TargetSpec
    table: ProbeTable
    alike: Sequence[tuple[str, str, float, float]]
    chance: float
    differences: Sequence[Difference]
    disagreements: Sequence[Disagreement]
    costs: Mapping[str, Mapping[str, float | None]]
    rows: LabelledRows
    pairs: Sequence[Pair] = ()

    def plain(self) -> dict[str, Any]:
        """For programs; NaN becomes None."""
        import json

        return {
            "models": list(self.names), "label": self.target.name, "probes": json.loads(self.table.to_json()),
            "alike": [
                {"first": a, "second": b, "cka": _known(cka), "neighbour_overlap": _known(share)}
                for a, b, cka, share in self.alike
            ],
            "overlap_by_chance": _known(self.chance),
            "groups": [
                {"group": one.group, "model": one.other, "rows": one.rows, "first": one.first, "value": one.value,
                 "interval": [_known(end) for end in one.interval], "verdict": one.verdict}
                for one in self.differences
            ],
            "pairs": [
                {"first": one.first, "second": one.second, "difference": _known(one.difference),
                 "interval": [_known(end) for end in one.interval], "verdict": one.verdict}
                for one in self.pairs
            ],
            "disagreements": [
                {"id": one.id, "truth": one.truth, "answers": dict(one.answers), "distance": one.distance}
                for one in self.disagreements
            ],
            "costs": {name: dict(cost) for name, cost in self.costs.items()},
        }  # fmt: skip


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def compare_models(
    registry: Registry,
    contenders: Sequence[Contender],
    target: TargetSpec,
    *,
    split: str = "random",
    seeds: Sequence[int] = (0, 1, 2),
    protocol: str | None = None,
    by: Sequence[str] = (),
) -> SideBySide:
    """Compare contenders whose rows come from the same data.

    Args:
        by: columns whose values (of numbers: quarters) are further groups of test rows; ``group`` = the data's own.

    Raises:
        ConfigError: fewer than two, a label without a probe, or no such column.
        DataError: no data, or rows that differ.
    """
    if len(contenders) < 2:
        raise ConfigError(f"{len(contenders)} model: at least two are compared")
    names = _names(contenders)
    rows = contenders[0].rows.labelled
    if rows is None:
        raise DataError("labelled data are needed to compare models", hint="name them last")
    grouped = {name: _column_of(name, contenders[0].rows, rows) for name in by}
    matrices = {name: _in_rows(one.rows, rows) for name, one in zip(names, contenders, strict=True)}
    good = np.all([np.isfinite(one).all(1) for one in matrices.values()], axis=0)
    if good.sum() < 3:
        raise DataError(f"{int(good.sum())} of {len(good)} rows have a vector of every model")
    name = protocol or DEFAULT_PROTOCOL.get(target.kind, "")
    if not name:
        raise ConfigError(f"no default probe for {target.kind} labels", hint="--protocol NAME@VERSION")
    probe = build_probe(registry, name, target)
    plan = split_plan(registry, contenders[0].rows.origin.preprocessor, rows, target, split, seeds)
    labels = rows.labels(target)
    table = run_probe(matrices, labels, target, plan, {name: probe}, seeds, external=True)
    answers = _Answers(matrices, labels, target, plan, probe, good, seeds[0])
    every = {key: one[good] for key, one in matrices.items()}
    alike = [
        (a, b, linear_cka(every[a], every[b]), neighbour_overlap(every[a], every[b]))
        for place, a in enumerate(names)
        for b in names[place + 1 :]
    ]
    costs = {key: _cost(one, table, key, name) for key, one in zip(names, contenders, strict=True)}
    return SideBySide(
        names, target, table, alike, min(10, good.sum() - 1) / (good.sum() - 1), answers.differences(grouped),
        answers.disagreements(rows), costs, rows, answers.pairs(),
    )  # fmt: skip


def _column_of(name: str, given: Gathered, rows: LabelledRows) -> Sequence[Any]:
    """One value a labelled row: a label, the declared split, a column of a file of vectors, or the data's group."""
    there: dict[str, Sequence[Any]] = {GROUP: rows.groups, **label_columns(rows)}
    for column, cells in given.columns.items():
        if column not in there:
            own = dict(zip(given.places.tolist(), cells, strict=True))
            there[column] = [own.get(row) for row in range(len(rows.ids))]
    if name not in there or all(one is None for one in there[name]):
        known = [column for column, cells in there.items() if any(one is not None for one in cells)]
        raise ConfigError(
            f"--by {name}: the data have no such values", did_you_mean=closest(name, known),
            columns=", ".join(known) or "none",
        )  # fmt: skip
    return there[name]


def _names(contenders: Sequence[Contender]) -> list[str]:
    """Names that differ: a number goes behind those that do not."""
    found: list[str] = []
    for one in contenders:
        taken = sum(other == one.name or other.startswith(f"{one.name} (") for other in found)
        found.append(f"{one.name} ({taken + 1})" if taken else one.name)
    return found


def _in_rows(found: Gathered, rows: LabelledRows) -> np.ndarray:
    """Vectors float64 (N, D) in the order of the labelled rows."""
    matrix = np.full((len(rows.ids), found.vectors.shape[1]), np.nan)
    if found.labelled is not None and list(found.labelled.ids) == list(rows.ids):
        there = found.places >= 0
        matrix[found.places[there]] = found.vectors[there]
        return matrix
    place = join_rows_by_key(found.ids, rows.ids, partial=True)
    matrix[place >= 0] = found.vectors[place[place >= 0]]
    return matrix


def _cost(one: Contender, table: ProbeTable, name: str, probe: str) -> dict[str, float | None]:
    entry = table.value(name, probe)
    seconds = one.rows.seconds
    return {
        "quality": _known(entry.mean),
        "parameters": one.parameters,
        "width": one.rows.vectors.shape[1],
        "milliseconds_a_row": 1000 * seconds / max(1, len(one.rows.ids)) if seconds else None,
    }


def _interval(gap: np.ndarray, draw: np.random.Generator) -> tuple[float, float]:
    """95 % of the mean of differences over resampled rows; NaN for few rows."""
    if len(gap) < FEWEST:
        return math.nan, math.nan
    means = np.concatenate([gap[draw.integers(0, len(gap), (10, len(gap)))].mean(1) for _ in range(RESAMPLES // 10)])
    low, high = np.percentile(means, INTERVAL)
    return float(low), float(high)


def quarters(values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Rows by quarters of their values (N,), NaN in none: the range in words, and which rows (N,)."""
    known = values[np.isfinite(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, QUARTERS + 1))) if len(known) else np.zeros(0)
    found = []
    for low, high in pairwise(edges):
        inside = (values >= low) & ((values < high) | (values == high) & (high == edges[-1]))
        found.append((f"{low:.4g} to {high:.4g}", inside))
    return found


class _Answers(FoldAnswers):
    """Where the answers differ."""

    def _figure(self, name: str) -> np.ndarray:
        """One number a test row (S,): whether the class is right, or the absolute error."""
        found = self.predictions[name]
        if self.target.kind == "class":
            return (found.argmax(1) == self.truth[:, 0]).astype(np.float64)
        wrong: np.ndarray = np.nanmean(np.abs(found - self.truth), axis=1)
        return wrong

    def _groups(self) -> list[tuple[str, np.ndarray]]:
        """Test rows by class, or by quarter of the label."""
        if self.target.kind == "class":
            return [
                (self.target.name_of(int(value)), self.truth[:, 0] == place) for place, value in enumerate(self.classes)
            ]
        if self.target.kind != "regression" or self.truth.shape[1] != 1 or not len(self.truth):
            return []
        return quarters(self.truth[:, 0])

    def _by(self, name: str, column: Sequence[Any]) -> list[tuple[str, np.ndarray]]:
        """Test rows by the values of a column."""
        cells = [column[int(row)] for row in self.rows]
        counts = Counter(one for one in cells if one is not None)
        if len(counts) > MOST_VALUES and all(isinstance(one, int | float) for one in counts):
            values = np.asarray([np.nan if one is None else float(one) for one in cells])
            return [(f"{name} {words}", inside) for words, inside in quarters(values)]
        return [
            (f"{name}={value}", np.asarray([one == value for one in cells], bool))
            for value, _ in counts.most_common(MOST_VALUES)
        ]

    def differences(self, grouped: Mapping[str, Sequence[Any]]) -> list[Difference]:
        """Of every group and every model but the first; ``grouped``: further columns, one value a row of the data."""
        draw = np.random.default_rng(0)
        figures = {name: self._figure(name) for name in self.names}
        first, *others = self.names
        found = []
        further = [group for name, column in grouped.items() for group in self._by(name, column)]
        for group, inside in [*self._groups(), *further]:
            count = int(inside.sum())
            for other in others if count else ():
                interval = _interval(figures[other][inside] - figures[first][inside], draw)
                own, value = (float(figures[name][inside].mean()) for name in (first, other))
                found.append(Difference(group, other, count, own, value, interval, self._verdict(interval)))
        return found

    def pairs(self) -> list[Pair]:
        """Every model against every other one, on all test rows."""
        draw = np.random.default_rng(0)
        figures = {name: self._figure(name) for name in self.names}
        found = []
        for first, second in combinations(self.names, 2) if len(self.rows) else ():
            gap = figures[second] - figures[first]
            interval = _interval(gap, draw)
            found.append(Pair(first, second, float(gap.mean()), interval, self._verdict(interval)))
        return found

    def _verdict(self, interval: tuple[float, float]) -> str:
        low, high = interval
        if math.isnan(low):
            return "too few rows"
        if low <= 0 <= high:
            return "no clear difference"
        return "better" if (low > 0) == (self.target.kind == "class") else "worse"

    def disagreements(self, rows: LabelledRows) -> list[Disagreement]:
        """Test rows whose answers are furthest apart, furthest first."""
        if not len(self.rows):
            return []
        stacked = np.stack([self.predictions[name] for name in self.names])  # (M, S, C)
        apart = np.nan_to_num(np.ptp(stacked, axis=0), nan=0.0).max(1)
        order = np.argsort(-apart, kind="stable")[:SHOWN]
        return [
            Disagreement(
                int(self.rows[place]), rows.ids[int(self.rows[place])], self._word(self.truth[place], of_truth=True),
                {name: self._word(self.predictions[name][place]) for name in self.names}, float(apart[place]),
            )
            for place in order
            if apart[place] > 0
        ]  # fmt: skip

    def _word(self, values: np.ndarray, *, of_truth: bool = False) -> str:
        if self.target.kind != "class":
            return ", ".join(f"{one:.4g}" for one in values)
        place = int(values[0]) if of_truth else int(values.argmax())
        name = self.target.name_of(int(self.classes[place]))
        return name if of_truth else f"{name} ({values[place]:.2f})"
