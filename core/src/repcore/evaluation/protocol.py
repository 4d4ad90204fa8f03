"""One table of probe results in which no number stands alone.

:func:`run_probe` scores every feature set x probe x seed: the trained encoder, its random-init twin (one a seed), any
raw-input baselines, and the predictor that ignores its input. A trained encoder without its twin is refused; embeddings
of foreign origin have no twin and must be declared ``external=True``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from repcore.data.guard import named_guard
from repcore.data.split_plans import SplitPlan
from repcore.errors import ConfigError, DataError, PluginError, RunError
from repcore.evaluation.baselines import CONSTANT, constant_predictor, constants, predictor_title
from repcore.evaluation.comparison import Comparison, compare, mean_and_deviation, seed_value
from repcore.evaluation.metrics import Scores, described, metric_of, primary_metric
from repcore.evaluation.probes.preparation import has_label
from repcore.interfaces import Probe, ProbeSplit
from repcore.specs import TargetSpec

TRAINED = "trained"
RANDOM_INIT = "random-init"
JOINED = "joined_to_encoders"  # constant of a probe: raw features that both have beside their own

FeatureMatrices = np.ndarray | Sequence[np.ndarray]
"""Features (N, D) for all seeds, or one matrix a seed."""


Trial = list[list[Scores]] | PluginError
"""Scores of each seed's folds, or what the probe's own code failed with."""


@dataclass(frozen=True, slots=True)
class ProbeEntry:
    """One metric of one feature set under one probe.

    ``values`` holds one number a seed (the mean over folds); ``deviation`` is the standard deviation over seeds, NaN
    for one seed.
    """

    features: str
    probe: str
    metric: str
    higher_is_better: bool
    unit: str
    values: tuple[float, ...]
    mean: float
    deviation: float
    primary: bool
    notes: tuple[str, ...] = ()
    tasks: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class ProbeTable:
    """All results of one target.

    Args:
        target: name, kind and unit of the label.
        seeds / split: of the evaluation; ``split_seeded`` says whether the split changes with the seed.
        rows_used / rows_left_out: labelled rows with finite features in every set, and rows without such features.
        entries: results; comparisons: trained against each other set, by the primary metric.
        constants: everything that fixes each probe.
        labels: budget of labelled training rows as it was given; empty = all.
        labelled: False for protocols without labels, whose name is that of the target.
        leak: a sentence on test rows whose copy is trained on; empty = none was found or looked for.
        rows_unlabelled: rows with features whose label is missing: no part of any training or test.
    """

    target: TargetSpec
    seeds: tuple[int, ...]
    split: str
    split_seeded: bool
    rows_used: int
    rows_left_out: int
    entries: tuple[ProbeEntry, ...]
    comparisons: tuple[Comparison, ...]
    constants: Mapping[str, Mapping[str, Any]]
    labels: str = ""
    labelled: bool = True
    leak: str = ""
    rows_unlabelled: int = 0

    def rows(self, metrics: Sequence[str] | None = None) -> list[dict[str, str]]:
        """Cells for printing, one row a feature set and probe; the primary metric unless others are named."""
        reported = {one.metric for one in self.entries}  # a domain's own are known by their entries only
        wanted = None if metrics is None else {name if name in reported else metric_of(name).name for name in metrics}
        shown = [one for one in self.entries if (one.primary if wanted is None else one.metric in wanted)]
        return [
            {
                "features": one.features,
                "probe": one.probe,
                "metric": described(one.metric).title
                + (f" ({one.unit})" if one.unit else "")
                + (" up" if one.higher_is_better else " down"),
                "mean": _figure(one.mean),
                "sd": _figure(one.deviation),
                "seeds": str(len(one.values)),
                "note": "; ".join(one.notes),
            }
            for one in shown
        ]

    def verdicts(self) -> list[str]:
        """One sentence a comparison."""
        return [f"{one.probe}: {one.features} is {one.verdict}" for one in self.comparisons]

    def value(self, features: str, probe: str, metric: str | None = None) -> ProbeEntry:
        """One entry; the primary metric if none is named.

        Raises:
            RunError: there is no such result.
        """
        for one in self.entries:
            wanted = one.primary if metric is None else one.metric == metric
            if wanted and (one.features, one.probe) == (features, probe):
                return one
        raise RunError(f"no result of {features} under {probe}", metric=metric)

    def to_json(self) -> str:
        """Everything, as strict JSON (NaN becomes null)."""
        return json.dumps(_strict(asdict(self)), indent=1, allow_nan=False)


def run_probe(
    features_by_name: Mapping[str, FeatureMatrices],
    labels: np.ndarray,
    target: TargetSpec,
    splits: SplitPlan | ProbeSplit,
    probes: Mapping[str, Probe],
    seeds: Sequence[int],
    *,
    external: bool = False,
    metric: str | None = None,
    forms: Mapping[str, Mapping[str, Probe]] = MappingProxyType({}),
) -> ProbeTable:
    """Probe every feature set on the same rows, splits and seeds.

    Args:
        features_by_name: ``"trained"``, ``"random-init"`` (one matrix a seed, each from an encoder initialised with
            that seed) and any number of raw-input baselines under their own names; (N, D) each. Rows with NaN in any
            set (items that could not be embedded) are left out of all.
        labels: (N,) or (N, K), NaN = missing.
        target: kind, task names and unit of the label.
        splits: of ``seeds`` (see :func:`repcore.data.split_plans.plan_splits`), or one split for all.
        probes: protocol name -> probe.
        seeds: at least one; three or more make a claim.
        external: the features come from elsewhere and have no random-init twin.
        metric: compare by this one instead of the primary metric of the target.
        forms: name of a feature set -> further probes that it alone is tried with. What is compared with it is compared
            with its best form, so that a raw input is never held down by a probe that does not suit it.

    Raises:
        ConfigError: no probes or seeds, or a trained encoder without its twin.
        DataError: matrices do not fit the labels, each other, or the seeds; or no row is left.
    """
    seeds = tuple(seeds)
    if not probes or not seeds:
        raise ConfigError(f"{len(probes)} probes and {len(seeds)} seeds: at least one of each is needed")
    _require_twin(features_by_name, external)
    truth = np.asarray(labels, dtype=np.float64)
    matrices = {name: _per_seed(name, given, len(truth), seeds) for name, given in features_by_name.items()}
    usable = _finite_rows(matrices, len(truth))
    labelled = has_label(truth, target)
    plan = _restricted(_plan_of(splits, len(seeds)), usable)
    chosen = metric_of(metric).name if metric else primary_metric(target.kind, _class_count(truth, target))
    entries = list(entries_of(predictor_title(target), CONSTANT, _floor(truth, target, plan), target, chosen))
    comparisons: list[Comparison] = []

    def tries(probe: Probe, names: Iterable[str]) -> dict[str, Trial]:
        # features are small: BLAS threads cost more than they bring, and many times more on a busy machine
        with threadpool_limits(1, user_api="blas"):
            score = partial(_scored, probe, truth=truth, target=target, plan=plan, seeds=seeds)
            return {name: _tried(probe, partial(score, matrices[name])) for name in names}

    used = {form: probe for own in forms.values() for form, probe in own.items()} | dict(probes)
    further: dict[str, dict[str, Trial]] = {}
    for name, own in forms.items():
        further[name] = {form: tries(probe, [name])[name] for form, probe in own.items() if form not in probes}
    for protocol, probe in probes.items():
        tried = tries(probe, matrices)
        entries += _entries_of_all(protocol, tried, target, chosen)
        comparisons += comparisons_of(protocol, _at_their_best(tried, further, chosen), target, chosen)
    for name, tried_forms in further.items():
        for form, result in tried_forms.items():
            entries += _entries_of_all(form, {name: result}, target, chosen)
    return ProbeTable(
        target=target,
        seeds=seeds,
        split=plan.title,
        split_seeded=plan.seeded,
        rows_used=int((usable & labelled).sum()),
        rows_left_out=int((~usable).sum()),
        entries=tuple(entries),
        comparisons=tuple(comparisons),
        constants={CONSTANT: constants(), **{name: dict(probe.constants()) for name, probe in used.items()}},
        rows_unlabelled=int((usable & ~labelled).sum()),
    )


def _plan_of(splits: SplitPlan | ProbeSplit, seeds: int) -> SplitPlan:
    plan = SplitPlan.fixed(splits, seeds) if isinstance(splits, ProbeSplit) else splits
    if len(plan.folds) != seeds:
        raise DataError(f"splits for {len(plan.folds)} seeds, but {seeds} seeds")
    return plan


def _require_twin(features: Mapping[str, FeatureMatrices], external: bool) -> None:
    if external:
        if not features:
            raise ConfigError("no features to probe")
        return
    if TRAINED not in features or RANDOM_INIT not in features:
        missing = RANDOM_INIT if TRAINED in features else TRAINED
        raise ConfigError(
            f"features of {missing!r} are missing",
            got=", ".join(features) or "none",
            meaning="a probe number means little without the same encoder before training",
            hint="external=True for embeddings of foreign origin",
        )


def _per_seed(name: str, given: FeatureMatrices, count: int, seeds: Sequence[int]) -> tuple[np.ndarray, ...]:
    """One matrix a seed; a single matrix serves all seeds, except for the random-init twin."""
    if isinstance(given, np.ndarray):
        if name == RANDOM_INIT and len(seeds) > 1:
            raise DataError(
                f"one random-init matrix for {len(seeds)} seeds", expected="one a seed, each freshly initialised"
            )
        given = [given] * len(seeds)
    if len(given) != len(seeds):
        raise DataError(f"{len(given)} feature matrices of '{name}' for {len(seeds)} seeds")
    for one in given:
        if one.ndim != 2 or len(one) != count:
            raise DataError(f"features of '{name}' have shape {one.shape}; expected ({count}, D), one row a label")
    return tuple(given)


def _finite_rows(matrices: Mapping[str, Sequence[np.ndarray]], count: int) -> np.ndarray:
    """Rows that every feature set has (bool, N): comparisons are paired, so all sets use the same rows."""
    usable = np.ones(count, dtype=bool)
    for name, given in matrices.items():
        finite = np.ones(count, dtype=bool)
        for one in {id(matrix): matrix for matrix in given}.values():
            finite &= np.isfinite(one).all(axis=1)
        if not finite.any():
            raise DataError(f"features of '{name}' hold NaN or Inf in every row")
        usable &= finite
    return usable


def _restricted(plan: SplitPlan, usable: np.ndarray) -> SplitPlan:
    def keep(rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= usable.size):
            raise DataError(f"the split names row {int(rows.max())}, but there are {usable.size} rows")
        return rows[usable[rows]]

    folds = tuple(
        tuple(replace(one, train=keep(one.train), test=keep(one.test), validation=None) for one in seed_folds)
        for seed_folds in plan.folds
    )
    return SplitPlan(plan.title, folds, plan.seeded)


def _class_count(truth: np.ndarray, target: TargetSpec) -> int:
    return max(len(target.names), np.unique(truth[~np.isnan(truth)]).size) if target.kind == "class" else 2


def _floor(truth: np.ndarray, target: TargetSpec, plan: SplitPlan) -> list[list[Scores]]:
    """The constant predictor on every split."""
    return [[constant_predictor(truth, target, one) for one in folds] for folds in plan.folds]


def _scored(
    probe: Probe,
    matrices: Sequence[np.ndarray],
    truth: np.ndarray,
    target: TargetSpec,
    plan: SplitPlan,
    seeds: Sequence[int],
) -> list[list[Scores]]:
    """Scores of each seed's folds; computed once where neither features, split nor probe depend on the seed."""
    depends_on_seed = plan.seeded or getattr(probe, "uses_seed", True)
    done: dict[tuple[int, int], list[Scores]] = {}
    result = []
    for position, (matrix, folds, seed) in enumerate(zip(matrices, plan.folds, seeds, strict=True)):
        key = (id(matrix), position if depends_on_seed else 0)
        if key not in done:
            done[key] = [_as_scores(probe.score(matrix, truth, target, one, seed)) for one in folds]
        result.append(done[key])
    return result


def _tried(probe: Probe, score: Callable[[], list[list[Scores]]]) -> Trial:
    """Scores, or the named failure of the probe's own code on these features: others keep their numbers."""
    try:
        with named_guard(probe, "scoring"):
            return score()
    except PluginError as error:
        return error


def _at_their_best(
    tried: Mapping[str, Trial], further: Mapping[str, Mapping[str, Trial]], metric: str
) -> dict[str, list[list[Scores]]]:
    """Scores by feature set, those with further forms by the best of them, which is then named; failures left out."""
    sign = 1.0 if described(metric).higher_is_better else -1.0

    def quality(scores: list[list[Scores]]) -> float:
        value = sign * float(np.mean([seed_value(folds, metric) for folds in scores]))
        return -math.inf if math.isnan(value) else value

    found = {}
    for name, result in tried.items():
        if isinstance(result, PluginError):
            continue
        forms = {f"{name} ({form})": one for form, one in further.get(name, {}).items()}
        known = {title: one for title, one in forms.items() if not isinstance(one, PluginError)}
        best = max(known, key=lambda title: quality(known[title]), default=name)
        comparable = metric in result[0][0]  # a probe with metrics of its own is held against itself
        if best != name and comparable and quality(known[best]) > quality(result):
            found[best] = known[best]
        else:
            found[name] = result
    return found


def _entries_of_all(protocol: str, tried: Mapping[str, Trial], target: TargetSpec, metric: str) -> Iterator[ProbeEntry]:
    """What one protocol gave on every feature set, failures among them."""
    for name, result in tried.items():
        if isinstance(result, PluginError):
            yield _no_entry(name, protocol, result, metric)
        else:
            yield from entries_of(name, protocol, result, target, metric)


def _no_entry(name: str, protocol: str, error: PluginError, metric: str) -> ProbeEntry:
    meaning = described(metric)
    return ProbeEntry(
        features=name,
        probe=protocol,
        metric=metric,
        higher_is_better=meaning.higher_is_better,
        unit="",
        values=(),
        mean=math.nan,
        deviation=math.nan,
        primary=True,
        notes=(f"{error.summary} (in {error.facts.get('code', '?')})",),
    )


def _as_scores(given: Mapping[str, float]) -> Scores:
    """A plugin's probe may return a plain mapping."""
    return given if isinstance(given, Scores) else Scores(given)


def joined_notes(notes: Sequence[str]) -> tuple[str, ...]:
    """Each note once; those that say the same of different names, after a last colon, become one with all names."""
    found: dict[str, dict[str, None]] = {}
    for note in notes:
        said, colon, names = note.rpartition(": ")
        found.setdefault(said if colon else note, {}).update(dict.fromkeys(names.split(", ") if colon else ()))
    more = "..."
    listed = {said: [*(one for one in names if one != more), *([more] if more in names else [])]
              for said, names in found.items()}  # fmt: skip
    return tuple(f"{said}: {', '.join(names)}" if names else said for said, names in listed.items())


def entries_of(
    name: str, protocol: str, scores: Sequence[Sequence[Scores]], target: TargetSpec, primary: str
) -> list[ProbeEntry]:
    """One entry a metric, means over seeds; notes and per-task means once."""
    flat = [one for folds in scores for one in folds]
    notes = joined_notes([note for one in flat for note in one.notes])
    metrics = list(dict.fromkeys(metric for one in flat for metric in one))
    # a probe that does not report the primary metric is shown by its first
    shown = primary if primary in metrics else (metrics[0] if metrics else primary)
    result = []
    for metric in metrics:
        values = tuple(seed_value(folds, metric) for folds in scores)
        mean, deviation = mean_and_deviation(values)
        meaning = described(metric)
        tasks = {task: _task_mean(flat, task, metric) for one in flat for task in one.tasks}
        result.append(
            ProbeEntry(
                features=name,
                probe=protocol,
                metric=metric,
                higher_is_better=meaning.higher_is_better,
                unit=target.unit if meaning.has_unit else "",
                values=values,
                mean=mean,
                deviation=deviation,
                primary=metric == shown,
                notes=notes,
                tasks=tasks or None,
            )
        )
    return result


def _task_mean(scores: Sequence[Scores], task: str, metric: str) -> float:
    values = np.array([one.tasks[task].get(metric, math.nan) for one in scores if task in one.tasks])
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def comparisons_of(
    protocol: str, scored: Mapping[str, Sequence[Sequence[Scores]]], target: TargetSpec, metric: str
) -> list[Comparison]:
    """The trained encoder (or the first external set) against every other set."""
    if not scored:
        return []
    first = TRAINED if TRAINED in scored else next(iter(scored))
    if first == RANDOM_INIT:  # nothing of one's own to compare
        return []
    reported = scored[first][0][0]
    shown = metric if metric in reported else next(iter(reported), metric)
    others = sorted((name for name in scored if name != first), key=lambda name: name != RANDOM_INIT)
    return [
        compare(
            protocol,
            shown,
            ((first, scored[first]), (other, scored[other])),
            target,
            generator=np.random.default_rng(0),  # the same resampled test rows in every comparison and every run
        )
        for other in others
    ]


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def _strict(value: Any) -> Any:  # any JSON value
    """NumPy numbers to Python's, NaN and Inf to null."""
    if isinstance(value, Mapping):
        return {str(key): _strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
