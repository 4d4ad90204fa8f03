"""Probing a model on labels of elements: the encoder, its random-init twins and raw-input baselines on the same
elements of the same rows, read and prepared once a fold, however many protocols and label budgets there are.

Symbols: E elements of a sample, D width, K classes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from repcore.data.batching import plain_batch
from repcore.data.divided import whole_samples
from repcore.data.guard import item_guard
from repcore.data.label_budgets import LabelBudget, within_budget
from repcore.data.seeds import generator
from repcore.data.split_plans import SplitPlan
from repcore.embedding.dense import DensePlace, covering, dense_row, element_features, find_place
from repcore.embedding.inference import InferenceOptions, windows_of
from repcore.embedding.model import Model
from repcore.embedding.windows import PreparedRow, prepared_windows
from repcore.errors import ConfigError, DataError, ItemError, closest
from repcore.evaluation.baselines import CONSTANT, constants, predictor_title
from repcore.evaluation.dense_answers import class_numbers
from repcore.evaluation.dense_metrics import confusion, dense_scores
from repcore.evaluation.element_metrics import ElementMetric, MetricRecord
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.dense import ElementProbe
from repcore.evaluation.probing import LabelledRows, build_probe, classes_shown
from repcore.evaluation.protocol import JOINED, RANDOM_INIT, TRAINED, ProbeTable, comparisons_of, entries_of
from repcore.interfaces import DatasetReader, Preprocessor, ProbeSplit
from repcore.reporting import Reporter
from repcore.specs import TargetSpec

PROTOCOL = "dense-linear@1"
PRIMARY = "miou"
TRIED_ROWS = 64
CALIBRATED_ON = 8  # rows that give a random encoder its running statistics
FeaturesOf = Callable[[PreparedRow], np.ndarray]
EVERYTHING = LabelBudget("all", share=1.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ElementProbing:
    """What is asked of the elements.

    Args:
        protocols: names of probes that learn from elements.
        budgets: of labelled training rows; a table each.
        share: of the labelled training elements of every class, instead of so many.
        metrics: of the domain, beside IoU and Dice.
        tokens: of the encoder, by name; those that fit the level when None.
        joined: raw-input features of the domain, by name, that the encoder's and its twin's get beside their own.
    """

    protocols: Sequence[str] = (PROTOCOL,)
    budgets: Sequence[LabelBudget] = (EVERYTHING,)
    share: float | None = None
    metrics: Sequence[ElementMetric] = ()
    tokens: str | None = None
    joined: Sequence[str] = ()


@dataclasses.dataclass(slots=True)
class _Run:
    """What stays the same over seeds and folds."""

    model: Model
    rows: LabelledRows
    target: TargetSpec
    values: tuple[int, ...]
    options: InferenceOptions
    asked: ElementProbing
    held: tuple[PreparedRow, Mapping[str, FeaturesOf], dict[str, np.ndarray]] | None = None

    def probe(self, protocol: str) -> ElementProbe:
        """A fresh probe.

        Raises:
            ConfigError: it does not learn from elements.
        """
        found = build_probe(self.model.registry, protocol, self.target)
        if not (hasattr(found, "fit") and hasattr(found, "predict")):
            known = [one.full_name for one in self.model.registry.entries("probe") if "dense" in one.spec.name]
            raise ConfigError(f"--protocol {protocol} is not for elements", expected=", ".join(known))
        return cast(ElementProbe, found)


Scored = dict[str, dict[str, Scores]]
"""Protocol -> feature set -> scores."""


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
    asked: ElementProbing,
) -> list[ProbeTable]:
    """One target under protocols for elements: a table a label budget.

    Args:
        rows: of the data with this target only.
        target: of a level below the item, named classes.
        values: the data's number of each class.

    Raises:
        ConfigError: no class target, no protocol of elements, or no such features to join. DataError: no labelled
            element in a part.
    """
    if target.kind != "class":
        raise ConfigError(f"{PROTOCOL} is for class labels; {target.name!r} is {target.kind}", hint="finetune")
    run = _Run(model, rows, target, values, options, asked)
    for protocol in asked.protocols:
        run.probe(protocol)
    baselines = _baselines(run)
    labelled, shown = rows.labelled(target), classes_shown(rows, target)
    plans = [plan if one is EVERYTHING else within_budget(plan, one, labelled, seeds, shown) for one in asked.budgets]
    place = _place(run)
    scored: list[dict[str, dict[str, list[list[Scores]]]]] = [{} for _ in plans]
    total, done = sum(len(folds) for folds in plan.folds), 0
    for number, seed in enumerate(seeds):
        encoders = {TRAINED: model.encoder, RANDOM_INIT: calibrated(model.random_twin(seed), model, rows, target)}
        sets = {name: _of_encoder(run, encoder, place) for name, encoder in encoders.items()} | baselines
        for fold in range(len(plan.folds[number])):
            found = _fold(run, sets, [one.folds[number][fold] for one in plans], seed)
            for table, own in zip(scored, found, strict=True):
                _collect(table, own, number)
            done += 1
            reporter.progress("probing", done, total, f"seed {seed}")
    tables = [_table(run, one, own, seeds) for one, own in zip(scored, plans, strict=True)]
    words = ["" if one is EVERYTHING else one.word for one in asked.budgets]
    return [dataclasses.replace(one, labels=word) for one, word in zip(tables, words, strict=True)]


def _collect(table: dict[str, dict[str, list[list[Scores]]]], found: Scored, seed: int) -> None:
    for protocol, sets in found.items():
        for name, scores in sets.items():
            per_seed = table.setdefault(protocol, {}).setdefault(name, [])
            per_seed.extend([] for _ in range(seed + 1 - len(per_seed)))
            per_seed[seed].append(scores)


def _place(run: _Run) -> DensePlace:
    labelled = np.flatnonzero(run.rows.labelled(run.target))[:TRIED_ROWS]
    tried = rows_one_by_one(run.rows.reader, run.model.preprocessor, labelled)
    model, tokens = run.model, run.asked.tokens
    return find_place(model.encoder, model.preprocessor, tried, run.target.level, model.device, tokens)


def rows_one_by_one(
    reader: DatasetReader, preprocessor: Preprocessor, rows: Sequence[int] | np.ndarray
) -> Iterator[PreparedRow]:
    """Prepared whole samples behind rows, each only when it is asked for."""
    whole = whole_samples(reader, rows)
    for row in whole.behind:
        yield from next(prepared_windows(whole.reader, covering(preprocessor), [row]), [])


def _of_encoder(run: _Run, encoder: nn.Module, place: DensePlace) -> FeaturesOf:
    function = element_features(encoder.eval(), place)
    model, level = run.model, run.target.level
    preprocessor = covering(model.preprocessor)

    def features(row: PreparedRow) -> np.ndarray:
        found = dense_row(function, preprocessor, row, run.options, level, model.domain)
        if found.answer is None:
            raise ItemError(found.status, found.reason)
        return found.answer.outputs.reshape(-1, found.answer.outputs.shape[-1])

    return features


def _baselines(run: _Run) -> dict[str, FeaturesOf]:
    """Raw-input features of elements that the preprocessor's spec names.

    Raises:
        ConfigError: it names no such features to join.
    """
    entry = run.model.registry.preprocessor(run.model.folder.preprocessor_name)
    for word in run.asked.joined:
        if word not in entry.spec.dense_baselines:
            raise ConfigError(
                f"--with {word!r}: {entry.full_name} has no such features of elements",
                did_you_mean=closest(word, entry.spec.dense_baselines),
                known=", ".join(entry.spec.dense_baselines) or "none",
            )
    preprocessor = covering(run.model.preprocessor)

    def of(name: str) -> FeaturesOf:
        function = entry.load("dense_baselines", name)

        def features(row: PreparedRow) -> np.ndarray:
            with item_guard(function, name):
                values = function(preprocessor, row.sample, row.items, run.target.level)
            return np.asarray(values, np.float64).reshape(-1, np.shape(values)[-1])

        return features

    return {name: of(name) for name in entry.spec.dense_baselines}


def _fold(run: _Run, sets: Mapping[str, FeaturesOf], splits: Sequence[ProbeSplit], seed: int) -> list[Scored]:
    """Scores of one fold under each budget; the splits differ in their training rows only, each in those of a larger.

    The first key of each result beside the protocols is the predictor that ignores its input.
    """
    drawn = _drawn(run, sets, splits, seed)
    fitted: list[dict[tuple[str, str], ElementProbe | int]] = []
    for (classes, parts), split in zip(drawn, splits, strict=True):
        frequency = {k: _totals(run, split.train).get(value, 0) for k, value in enumerate(run.values)}
        probes: dict[tuple[str, str], ElementProbe | int] = {
            (protocol, name): run.probe(protocol).fit(own, classes, frequency)
            for protocol in run.asked.protocols
            for name, own in parts.items()
        }
        fitted.append({(CONSTANT, CONSTANT): _majority(run, split.train), **probes})
    counts: list[dict[tuple[str, str], list[np.ndarray]]] = [{} for _ in splits]
    records = [{key: MetricRecord(run.asked.metrics) for key in own} for own in fitted]
    tested: list[int] = []
    for number, row, labels in _labelled(run, splits[0].test):
        found = _of_all(run, sets, row)
        shared = _answered(found)  # every set is judged by the same elements
        tested.append(number)
        for own, told, record in zip(fitted, counts, records, strict=True):
            for key, probe in own.items():
                answered = _answers(probe, found.get(key[1]), np.where(shared, labels, -1))
                told.setdefault(key, []).append(confusion(labels, answered, len(run.values)))
                _measure(run, record[key], row, labels, answered)
    if not tested:
        raise DataError(f"no test row has an element with a label {run.target.name!r}", rows=len(splits[0].test))
    return [_scores(run, told, record, tested) for told, record in zip(counts, records, strict=True)]


def _drawn(
    run: _Run, sets: Mapping[str, FeaturesOf], splits: Sequence[ProbeSplit], seed: int
) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Classes and features of the training elements of each split; a row is read once for all of them."""
    parts: list[dict[str, list[np.ndarray]]] = [{name: [] for name in sets} for _ in splits]
    classes: list[list[np.ndarray]] = [[] for _ in splits]
    chances = [_chances(run, split.train) for split in splits]
    members = [set(np.asarray(split.train).tolist()) for split in splits]
    for number, row, labels in _labelled(run, np.unique(np.concatenate([split.train for split in splits]))):
        draw = generator(seed, PROTOCOL, number).random(len(labels))
        found: dict[str, np.ndarray] = {}
        for place, chance in enumerate(chances):
            chosen = np.flatnonzero(draw < chance[labels]) if number in members[place] else np.zeros(0, np.int64)
            if not len(chosen):
                continue
            found = found or _of_all(run, sets, row)
            chosen = chosen[_answered(found)[chosen]]
            classes[place].append(labels[chosen])
            for name, values in found.items():
                parts[place][name].append(values[chosen].astype(np.float32))
    if not all(classes):
        raise DataError(f"no training row has an element with a label {run.target.name!r}", rows=len(splits[0].train))
    return [
        (np.concatenate(known), {name: np.concatenate(own) for name, own in part.items()})
        for known, part in zip(classes, parts, strict=True)
    ]


def _measure(run: _Run, record: MetricRecord, row: PreparedRow, labels: np.ndarray, answered: np.ndarray) -> None:
    if not run.asked.metrics:
        return
    assert row.sample is not None
    shape = np.shape(row.sample.targets[run.target.name])
    judged = np.where(answered >= 0, labels, -1)
    record.add(row.sample, judged.reshape(shape), answered.reshape(shape), len(run.values))


def _scores(
    run: _Run,
    counts: Mapping[tuple[str, str], list[np.ndarray]],
    records: Mapping[tuple[str, str], MetricRecord],
    tested: list[int],
) -> Scored:
    found: Scored = {}
    rows = np.asarray(tested, np.int64)
    for (protocol, name), own in counts.items():
        scores = dense_scores(np.stack(own), run.target.names, rows)
        found.setdefault(protocol, {})[name] = records[protocol, name].into(scores, run.target.names)
    return found


def _of_all(run: _Run, sets: Mapping[str, FeaturesOf], row: PreparedRow) -> dict[str, np.ndarray]:
    """Features of a sample, made once for the groups that it is divided into, which come one after the other."""
    if run.held is None or run.held[0] is not row or run.held[1] is not sets:
        found = {name: function(row) for name, function in sets.items()}
        if run.asked.joined:
            raw = [found[name] for name in run.asked.joined]
            found |= {name: np.concatenate([found[name], *raw], axis=1) for name in (TRAINED, RANDOM_INIT)}
        run.held = (row, sets, found)
    return run.held[2]


def _answered(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """Elements (E,) that every set of features knows."""
    return np.asarray(np.all([np.isfinite(values).all(1) for values in found.values()], axis=0))


def _answers(probe: ElementProbe | int, values: np.ndarray | None, labels: np.ndarray) -> np.ndarray:
    """Class of every labelled element with features, or everywhere the one class; -1 elsewhere."""
    answered = np.full(len(labels), -1, np.int64)
    if isinstance(probe, int):
        answered[labels >= 0] = probe
        return answered
    assert values is not None  # every probe learned from a set of features
    asked = (labels >= 0) & np.isfinite(values).all(1)
    if asked.any():
        answered[asked] = probe.predict(values[asked])
    return answered


def _labelled(run: _Run, part: np.ndarray) -> Iterator[tuple[int, PreparedRow, np.ndarray]]:
    """Usable rows of a part with the class number of every element, -1 = none.

    A sample that is divided into groups is read and prepared once, and comes once for each of them.
    """
    chosen = np.asarray(part, np.int64)[run.rows.labelled(run.target)[part]]
    whole = whole_samples(run.rows.reader, chosen)
    behind = iter(whole.behind.values())
    for window in windows_of(
        covering(run.model.preprocessor), whole.reader, run.options, list(whole.behind), whole=True
    ):
        for row in window:
            for number in next(behind):
                if row.items and row.sample is not None:
                    labels = whole.labels(number, row.sample.targets[run.target.name])
                    yield number, row, class_numbers(labels.astype(np.float64), run.target, run.target, run.values)


def _chances(run: _Run, train: np.ndarray) -> np.ndarray:
    """Chance of an element of each class to be drawn; the last entry, which -1 reaches, is 0."""
    total = _totals(run, train)
    per_class = run.probe(run.asked.protocols[0]).config.per_class
    wanted = [run.asked.share or per_class / max(1, total.get(value, 0)) for value in run.values]
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


def _table(
    run: _Run, scored: Mapping[str, Mapping[str, list[list[Scores]]]], plan: SplitPlan, seeds: Sequence[int]
) -> ProbeTable:
    target = run.target
    entries = list(entries_of(predictor_title(target), CONSTANT, scored[CONSTANT][CONSTANT], target, PRIMARY))
    comparisons, fixed = [], {CONSTANT: dict(constants())}
    for protocol in run.asked.protocols:
        for name, found in scored[protocol].items():
            entries += entries_of(name, protocol, found, target, PRIMARY)
        comparisons += comparisons_of(protocol, scored[protocol], target, PRIMARY)
        fixed[protocol] = dict(run.probe(protocol).constants())
        if run.asked.share is not None:
            fixed[protocol]["elements_per_class"] = f"{run.asked.share:g} of all"
        if run.asked.tokens is not None:
            fixed[protocol]["tokens"] = run.asked.tokens
        if run.asked.joined:
            fixed[protocol][JOINED] = ", ".join(run.asked.joined)
    labelled = run.rows.labelled(target)
    return ProbeTable(
        target=target,
        seeds=tuple(seeds),
        split=plan.title,
        split_seeded=plan.seeded,
        rows_used=int(labelled.sum()),
        rows_left_out=int((~labelled).sum()),
        entries=tuple(entries),
        comparisons=tuple(comparisons),
        constants=fixed,
    )
