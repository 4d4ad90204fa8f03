"""Probing a model on labels of elements: the encoder, its random-init twins and raw-input baselines on the same
elements of the same rows, read and prepared once a fold.

Symbols: E elements of a sample, D width, K classes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from repcore.data.batching import plain_batch
from repcore.data.divided import whole_samples
from repcore.data.guard import item_guard
from repcore.data.seeds import generator
from repcore.data.split_plans import SplitPlan
from repcore.embedding.dense import DensePlace, dense_row, element_features, find_place
from repcore.embedding.inference import InferenceOptions, windows_of
from repcore.embedding.model import Model
from repcore.embedding.windows import PreparedRow, prepared_windows
from repcore.errors import ConfigError, DataError, ItemError
from repcore.evaluation.baselines import CONSTANT, constants, predictor_title
from repcore.evaluation.dense_answers import class_numbers
from repcore.evaluation.dense_metrics import confusion, dense_scores
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.dense import DenseLinearConfig, DenseLinearProbe
from repcore.evaluation.probing import LabelledRows
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED, ProbeTable, comparisons_of, entries_of
from repcore.interfaces import DatasetReader, Preprocessor, ProbeSplit
from repcore.reporting import Reporter
from repcore.specs import TargetSpec

PROTOCOL = "dense-linear@1"
PRIMARY = "miou"
TRIED_ROWS = 64
CALIBRATED_ON = 8  # rows that give a random encoder its running statistics
FeaturesOf = Callable[[PreparedRow], np.ndarray]


@dataclasses.dataclass(slots=True)
class _Run:
    """What stays the same over seeds and folds."""

    model: Model
    rows: LabelledRows
    target: TargetSpec
    values: tuple[int, ...]
    options: InferenceOptions
    config: DenseLinearConfig
    share: float | None


def probe_elements(
    model: Model,
    rows: LabelledRows,
    target: TargetSpec,
    plan: SplitPlan,
    seeds: Sequence[int],
    options: InferenceOptions,
    reporter: Reporter,
    *,
    values: tuple[int, ...],
    share: float | None = None,
    config: DenseLinearConfig | None = None,
) -> ProbeTable:
    """``dense-linear@1`` of one target.

    Args:
        rows: of the data with this target only.
        target: of a level below the item, named classes.
        values: the data's number of each class.
        share: of the labelled training elements of every class, instead of so many.

    Raises:
        ConfigError: no class target. DataError: no labelled element in a part.
    """
    if target.kind != "class":
        raise ConfigError(f"{PROTOCOL} is for class labels; {target.name!r} is {target.kind}", hint="finetune")
    run = _Run(model, rows, target, values, options, config or DenseLinearConfig(), share)
    place = _place(run)
    baselines = _baselines(run)
    scored: dict[str, list[list[Scores]]] = {}
    total = sum(len(folds) for folds in plan.folds)
    done = 0
    for seed, folds in zip(seeds, plan.folds, strict=True):
        encoders = {TRAINED: model.encoder, RANDOM_INIT: calibrated(model.random_twin(seed), model, rows, target)}
        sets = {name: _of_encoder(run, encoder, place) for name, encoder in encoders.items()} | baselines
        found: dict[str, list[Scores]] = {}
        for fold in folds:
            for name, scores in _fold(run, sets, fold, seed).items():
                found.setdefault(name, []).append(scores)
            done += 1
            reporter.progress("probing", done, total, f"seed {seed}")
        for name, each in found.items():
            scored.setdefault(name, []).append(each)
    return _table(run, scored, plan, seeds)


def _place(run: _Run) -> DensePlace:
    labelled = np.flatnonzero(run.rows.labelled(run.target))[:TRIED_ROWS]
    tried = rows_one_by_one(run.rows.reader, run.model.preprocessor, labelled)
    return find_place(run.model.encoder, run.model.preprocessor, tried, run.target.level, run.model.device)


def rows_one_by_one(
    reader: DatasetReader, preprocessor: Preprocessor, rows: Sequence[int] | np.ndarray
) -> Iterator[PreparedRow]:
    """Prepared whole samples behind rows, each only when it is asked for."""
    whole = whole_samples(reader, rows)
    for row in whole.behind:
        yield from next(prepared_windows(whole.reader, preprocessor, [row]), [])


def _of_encoder(run: _Run, encoder: nn.Module, place: DensePlace) -> FeaturesOf:
    function = element_features(encoder.eval(), place)
    model, level = run.model, run.target.level

    def features(row: PreparedRow) -> np.ndarray:
        found = dense_row(function, model.preprocessor, row, run.options, level, model.domain)
        if found.answer is None:
            raise ItemError(found.status, found.reason)
        return found.answer.outputs.reshape(-1, found.answer.outputs.shape[-1])

    return features


def _baselines(run: _Run) -> dict[str, FeaturesOf]:
    """Raw-input features of elements that the preprocessor's spec names."""
    entry = run.model.registry.preprocessor(run.model.folder.preprocessor_name)

    def of(name: str) -> FeaturesOf:
        function = entry.load("dense_baselines", name)

        def features(row: PreparedRow) -> np.ndarray:
            with item_guard(function, name):
                values = function(run.model.preprocessor, row.sample, row.items, run.target.level)
            return np.asarray(values, np.float64).reshape(-1, np.shape(values)[-1])

        return features

    return {name: of(name) for name in entry.spec.dense_baselines}


def _fold(run: _Run, sets: Mapping[str, FeaturesOf], split: ProbeSplit, seed: int) -> dict[str, Scores]:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in sets}
    classes: list[np.ndarray] = []
    chance = _chances(run, split.train)
    for row, own in _labelled(run, split.train):
        drawn = [
            np.flatnonzero(generator(seed, PROTOCOL, number).random(len(each)) < chance[each]) for number, each in own
        ]
        chosen = np.concatenate(drawn)
        if not len(chosen):
            continue
        labels = np.concatenate([each[rows] for (_, each), rows in zip(own, drawn, strict=True)])
        found = _of_all(sets, row)
        usable = np.all([np.isfinite(one[chosen]).all(1) for one in found.values()], axis=0)
        chosen = chosen[usable]
        classes.append(labels[usable])
        for name, values in found.items():
            parts[name].append(values[chosen].astype(np.float32))
    if not classes:
        raise DataError(f"no training row has an element with a label {run.target.name!r}", rows=len(split.train))
    known = np.concatenate(classes)
    probes = {name: DenseLinearProbe(run.config).fit(np.concatenate(own), known) for name, own in parts.items()}
    majority = _majority(run, split.train)
    counts: dict[str, list[np.ndarray]] = {name: [] for name in (*sets, CONSTANT)}
    tested: list[int] = []
    for row, own in _labelled(run, split.test):
        found = _of_all(sets, row)
        for number, labels in own:
            tested.append(number)
            for name, values in found.items():
                counts[name].append(confusion(labels, _answers(probes[name], values, labels), len(run.values)))
            counts[CONSTANT].append(confusion(labels, np.full(len(labels), majority), len(run.values)))
    if not tested:
        raise DataError(f"no test row has an element with a label {run.target.name!r}", rows=len(split.test))
    rows = np.asarray(tested, np.int64)
    return {name: dense_scores(np.stack(own), run.target.names, rows) for name, own in counts.items()}


def _of_all(sets: Mapping[str, FeaturesOf], row: PreparedRow) -> dict[str, np.ndarray]:
    return {name: function(row) for name, function in sets.items()}


def _answers(probe: DenseLinearProbe, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Class of every labelled element with features; -1 elsewhere."""
    answered = np.full(len(labels), -1, np.int64)
    asked = (labels >= 0) & np.isfinite(values).all(1)
    if asked.any():
        answered[asked] = probe.predict(values[asked])
    return answered


def _labelled(run: _Run, part: np.ndarray) -> Iterator[tuple[PreparedRow, list[tuple[int, np.ndarray]]]]:
    """Usable whole samples of a part, with the rows of each and the class number of every element, -1 = none.

    A sample that is divided into groups is read, prepared and run once.
    """
    chosen = np.asarray(part, np.int64)[run.rows.labelled(run.target)[part]]
    whole = whole_samples(run.rows.reader, chosen)
    behind = iter(whole.behind.values())
    for window in windows_of(run.model.preprocessor, whole.reader, run.options, list(whole.behind), whole=True):
        for row in window:
            numbers = next(behind)
            if row.items and row.sample is not None:
                labels = row.sample.targets[run.target.name]
                yield row, [(number, _classes(run, whole.labels(number, labels))) for number in numbers]


def _classes(run: _Run, labels: np.ndarray) -> np.ndarray:
    return class_numbers(labels.astype(np.float64), run.target, run.target, run.values)


def _chances(run: _Run, train: np.ndarray) -> np.ndarray:
    """Chance of an element of each class to be drawn; the last entry, which -1 reaches, is 0."""
    total = _totals(run, train)
    wanted = [run.share or run.config.per_class / max(1, total.get(value, 0)) for value in run.values]
    return np.asarray([*(min(1.0, one) for one in wanted), 0.0])


def _totals(run: _Run, part: np.ndarray) -> Counter[int]:
    total: Counter[int] = Counter()
    for row in part:
        total.update(run.rows.dense[run.target.name][row])
    return total


def _majority(run: _Run, train: np.ndarray) -> int:
    total = _totals(run, train)
    return int(np.argmax([total.get(value, 0) for value in run.values]))


@torch.no_grad()
def calibrated(encoder: nn.Module, model: Model, rows: LabelledRows, target: TargetSpec) -> nn.Module:
    """A random encoder with running statistics of the data: without them its normalisation is a handicap.

    Args:
        model: whose preprocessor and device count.
        rows: a few labelled ones are run.
    """
    norms = [one for one in encoder.modules() if getattr(one, "running_mean", None) is not None]
    if not norms:
        return encoder
    momenta = [one.momentum for one in norms]
    for one in norms:
        one.reset_running_stats()  # type: ignore[operator]
        one.momentum = None  # type: ignore[assignment]  # cumulative mean
    encoder.train()
    usable = np.flatnonzero(rows.labelled(target))[:CALIBRATED_ON]
    for row in rows_one_by_one(rows.reader, model.preprocessor, usable):
        if row.items:
            sample: Any = row.sample
            encoder(plain_batch(model.preprocessor, row.items[:1], [sample], (), "").to(model.device))
    for one, momentum in zip(norms, momenta, strict=True):
        one.momentum = momentum
    return encoder.eval()


def _table(run: _Run, scored: Mapping[str, list[list[Scores]]], plan: SplitPlan, seeds: Sequence[int]) -> ProbeTable:
    entries = list(entries_of(predictor_title(run.target), CONSTANT, scored[CONSTANT], run.target, PRIMARY))
    sets = {name: found for name, found in scored.items() if name != CONSTANT}
    for name, found in sets.items():
        entries += entries_of(name, PROTOCOL, found, run.target, PRIMARY)
    labelled = run.rows.labelled(run.target)
    fixed = dict(DenseLinearProbe(run.config).constants())
    if run.share is not None:
        fixed = {**fixed, "elements_per_class": f"{run.share:g} of all"}
    return ProbeTable(
        target=run.target,
        seeds=tuple(seeds),
        split=plan.title,
        split_seeded=plan.seeded,
        rows_used=int(labelled.sum()),
        rows_left_out=int((~labelled).sum()),
        entries=tuple(entries),
        comparisons=tuple(comparisons_of(PROTOCOL, sets, run.target, PRIMARY)),
        constants={CONSTANT: constants(), PROTOCOL: fixed},
    )
