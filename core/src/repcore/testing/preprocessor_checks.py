"""Checks of preprocessors and their baselines: fitted on the training split, a function of the content, saved whole."""

from __future__ import annotations

import copy
import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.config.plain import field_types
from repcore.data.stream import EndlessBatches
from repcore.embedding.inference import prepare_row
from repcore.errors import ItemError
from repcore.interfaces import Batch, Item, Sample
from repcore.testing import fit_checks
from repcore.testing.check import Check, NotJudgedError, fail
from repcore.testing.data_checks import readable_samples
from repcore.testing.randomness import untouched
from repcore.testing.subjects import RecipeSubject
from repcore.testing.tensors import content_hash, difference
from repcore.training.loaders import build_loader
from repcore.training.plan import stream_order

LOADED_BATCHES = 3
BASELINE_ROWS = 12
BASELINE_SHARE = 0.5
BASELINE_ROUNDING = 1e-6  # of a row computed alone and among others
LABELLED = 3
SMALLER = 0.5  # a window of less than half the cost covers less of its sample


def worker_count_invariant(subject: RecipeSubject) -> None:
    """Training batches are the same bit for bit with 0 and with 2 loader processes."""
    parts = subject.parts
    loaded = []
    for workers in (0, 2):
        batches = EndlessBatches(stream_order(parts), start=0, accumulate=1, total_steps=LOADED_BATCHES)
        loader = build_loader(
            parts.items(parts.train), batches, parts.reader.targets,
            domain=subject.resolved.domain, workers=workers, pin_memory=False,
        )  # fmt: skip
        loaded.append([one.batch for one in itertools.islice(loader, LOADED_BATCHES)])
    where = difference(*loaded)
    if where:
        fail(f"with 0 and 2 workers: {where} (a draw that does not come from the given generator?)")


def deterministic_prepare(subject: RecipeSubject) -> None:
    """The same sample gives the same items, and is not changed by it."""
    parts = subject.parts
    for row, sample in readable_samples(parts.reader, 8):
        kept = copy.deepcopy(sample)
        if not prepare_row(parts.reader, parts.preprocessor, row).items:
            continue
        first, second = parts.preprocessor.prepare(sample), parts.preprocessor.prepare(sample)
        where = difference(first, second)
        if where:
            fail(f"sample {sample.id} prepared twice: {where}")
        if difference(kept, sample):
            fail(f"prepare changed sample {sample.id}: {difference(kept, sample)}")


def prepare_reads_no_label(subject: RecipeSubject) -> None:
    """What the encoder gets is of the input alone: without labels, with others, and in another group it is the same."""
    for _, sample in readable_samples(subject.parts.reader, LABELLED):
        given = sample if sample.targets else replace(sample, targets={"drawn": 1.0})
        try:
            seen = _collated(subject, given)
        except ItemError:
            continue
        others = {name: _other_label(value) for name, value in given.targets.items()}
        for words, changed in {
            "without its labels": replace(given, targets={}, group=None),
            "with other labels": replace(given, targets=others, group="another"),
        }.items():
            try:
                found = _collated(subject, changed)
            except Exception as error:
                fail(f"sample {sample.id} {words}: {type(error).__name__}: {error}; labels are always optional")
            if where := subject.encoder_sees_apart(seen, found):
                fail(f"sample {sample.id} {words} gives the encoder another input: {where}; labels belong to targets")


def _collated(subject: RecipeSubject, sample: Sample) -> Batch:
    preprocessor = subject.parts.preprocessor
    return preprocessor.collate(preprocessor.prepare(sample))


def _other_label(value: Any) -> Any:  # of any kind and shape
    """Another label: the classes of elements one further round, a number one larger."""
    if isinstance(value, str):
        return f"{value} again"
    changed = np.array(value, copy=True)
    if changed.dtype.kind not in "biuf":
        return value
    if not changed.ndim:
        return float(changed) + 1.0
    return np.roll(changed.reshape(-1), 1).reshape(changed.shape)


def save_load_roundtrip(subject: RecipeSubject) -> None:
    """A preprocessor loaded from what it saved makes equal batches, and its state is JSON."""
    parts = subject.parts
    samples = [sample for _, sample in readable_samples(parts.reader, 8)]
    with tempfile.TemporaryDirectory() as name:
        state = parts.preprocessor.save(Path(name))
        try:
            json.dumps(dict(state))
        except (TypeError, ValueError) as error:
            fail(f"what save returned is not JSON: {error}")
        part = subject.resolved.preprocessor
        loaded = part.entry.load().load(part.config, Path(name))
        batches = []
        for one in (parts.preprocessor, loaded):
            items: list[Item] = []
            for sample in samples:
                try:
                    items.extend(one.prepare(sample))
                except ItemError:
                    continue
            batches.append(one.collate(items))
    where = difference(*batches)
    if where:
        fail(f"after save and load, batches differ: {where}")
    if json.dumps(dict(loaded.facts()), sort_keys=True) != json.dumps(dict(parts.preprocessor.facts()), sort_keys=True):
        fail(f"after save and load, facts differ: {dict(loaded.facts())} instead of {dict(parts.preprocessor.facts())}")


def facts_complete(subject: RecipeSubject) -> None:
    """Facts are JSON, and each one fills a field of the encoder, the objective or the views."""
    facts = dict(subject.parts.preprocessor.facts())
    try:
        json.dumps(facts)
    except (TypeError, ValueError) as error:
        fail(f"facts are not JSON: {error}")
    resolved = subject.resolved
    parts = [part for part in (resolved.encoder, resolved.objective, resolved.views) if part is not None]
    known = {name for part in parts for name in field_types(type(part.config))}
    if facts and not known & set(facts):
        fail(f"no config has a field for any of the facts {sorted(facts)}")
    empty = sorted(name for name, value in facts.items() if value is None)
    if empty:
        fail(f"facts without a value: {', '.join(empty)}")


def collate_counts_items(subject: RecipeSubject) -> None:
    """``collate`` says how many items it joined, and costs are whole numbers from 0."""
    parts = subject.parts
    items = [item for _, item in subject.pieces]
    for chosen in (items[:1], items[:5], items[-5:]):
        batch = parts.preprocessor.collate(chosen)
        if batch.size != len(chosen):
            fail(f"collate of {len(chosen)} items says size {batch.size}")
    costs = [parts.preprocessor.cost(item.meta) for item in items]
    if any(not isinstance(cost, int) or cost < 0 for cost in costs):
        fail(f"costs are {costs}; whole numbers from 0 are needed")


def caches_know_their_source(subject: RecipeSubject) -> None:
    """A sample with an id seen before and other content is prepared anew: nothing is remembered by id."""
    part, parts = subject.resolved.preprocessor, subject.parts
    samples = [sample for _, sample in readable_samples(parts.reader, 8)]
    with tempfile.TemporaryDirectory() as name:
        parts.preprocessor.save(Path(name))
        fresh = part.entry.load().load(part.config, Path(name))
    for one, other in itertools.pairwise(samples):
        if content_hash(one.inputs) == content_hash(other.inputs):
            continue
        impostor = replace(other, id=one.id)
        try:
            own, due = parts.preprocessor.prepare(one), fresh.prepare(impostor)
            got = parts.preprocessor.prepare(impostor)
        except ItemError:
            continue
        values = [item.values for item in got]
        kept = not difference(values, [item.values for item in own])  # also where all preprocessors share one memory
        its_own = [item.values for item in parts.preprocessor.prepare(other)]
        if difference(got, due) or (kept and difference(values, its_own)):
            fail(
                f"sample {one.id} with the content of {other.id} gives the items of {one.id}: they are kept by id alone"
            )


def window_weights(subject: RecipeSubject) -> None:
    """Weights of a sample's windows are finite shares above zero, smaller for a window that covers much less."""
    several = 0
    for row in subject.usable:
        weights = [item.weight for item in row.items]
        if not np.isfinite(weights).all() or min(weights) <= 0:
            fail(f"sample {row.id} has windows of weight {weights}; each is its share of the sample, above 0")
        if len(weights) < 2:
            continue
        several += 1
        costs = [subject.parts.preprocessor.cost(item.meta) for item in row.items]
        for (cost, weight), (more, heavier) in itertools.permutations(zip(costs, weights, strict=True), 2):
            if (cost < SMALLER * more and weight >= heavier) or (cost < more and weight > 1.001 * heavier):
                fail(
                    f"sample {row.id}: a window of cost {cost} weighs {weight:.3g}, one of cost {more} {heavier:.3g}; "
                    "core averages windows by weight"
                )
    if not several:
        raise NotJudgedError("no sample of the recipe is prepared into several windows")


def baselines_per_row(subject: RecipeSubject) -> None:
    """Baselines give finite numbers, a row a sample, each from its own sample, the same every time."""
    for name in subject.resolved.preprocessor.entry.spec.baselines:
        samples = _baseline_samples(subject)
        with untouched(f"baseline {name}", "a baseline is a function of the sample"):
            whole = _baseline(subject, name, samples)
        if whole.ndim != 2 or len(whole) != len(samples) or not whole.shape[1]:
            fail(f"baseline {name!r} gives shape {whole.shape} for {len(samples)} samples; (N, D) is due")
        if not (np.isfinite(whole).all(1) | np.isnan(whole).all(1)).all():
            fail(f"baseline {name!r} has values that are not finite; a row that cannot be computed is NaN throughout")
        _says_something(name, whole, samples)
        turned = _baseline(subject, name, samples[::-1])[::-1]
        middle = len(samples) // 2
        halves = [_baseline(subject, name, part) for part in (samples[:middle], samples[middle:])]
        others = {"in another order": turned}
        if halves[0].shape[1] == halves[1].shape[1] == whole.shape[1]:  # columns may be what occurs in the samples
            others["in two halves"] = np.concatenate(halves)
        for words, other in others.items():
            if not np.allclose(whole, other, atol=BASELINE_ROUNDING, rtol=BASELINE_ROUNDING, equal_nan=True):
                fail(f"baseline {name!r} gives other rows for the same samples {words}; a row is of its own sample")


def _says_something(name: str, rows: np.ndarray, samples: list[Sample]) -> None:
    """Most rows are there, and those of different samples are not all the same: else any encoder looks good beside."""
    there = np.isfinite(rows).all(1)
    if there.sum() < BASELINE_SHARE * len(rows):
        fail(f"baseline {name!r} gives numbers for {there.sum()} of {len(rows)} samples that can be used")
    different = len({content_hash(one.inputs) for one, kept in zip(samples, there, strict=True) if kept}) > 1
    if different and (rows[there] == rows[there][0]).all():
        fail(f"baseline {name!r} gives the same row for all of {there.sum()} samples: it says nothing about them")


def baselines_read_no_label(subject: RecipeSubject) -> None:
    """Baselines are raw-input features: without labels, groups and ids they are the same."""
    for name in subject.resolved.preprocessor.entry.spec.baselines:
        samples = _baseline_samples(subject)
        blind = [replace(one, id=f"row-{row}", targets={}, group=None) for row, one in enumerate(samples)]
        try:
            without = _baseline(subject, name, blind)
        except Exception as error:
            fail(f"baseline {name!r} fails on samples without labels: {type(error).__name__}: {error}")
        if difference(_baseline(subject, name, samples), without):
            fail(f"baseline {name!r} changes when labels, groups and ids are taken away: it is not of the input alone")


def _baseline_samples(subject: RecipeSubject) -> list[Sample]:
    rows = zip(subject.parts.train, subject.all_rows, strict=False)
    return [subject.reader[int(row)] for row, one in rows if one.items][:BASELINE_ROWS]


def _baseline(subject: RecipeSubject, name: str, samples: list[Sample]) -> np.ndarray:
    function = subject.resolved.preprocessor.entry.load("baselines", name)
    return np.asarray(function(subject.parts.preprocessor, samples), dtype=np.float64)


CHECKS = (
    Check("deterministic-prepare", deterministic_prepare),
    Check("prepare-reads-no-label", prepare_reads_no_label),
    Check("save-load-roundtrip", save_load_roundtrip),
    Check("facts-complete", facts_complete),
    Check("collate-counts-items", collate_counts_items),
    Check("worker-count-invariant", worker_count_invariant),
    *fit_checks.CHECKS,
    Check("caches-know-their-source", caches_know_their_source),
    Check("window-weights", window_weights),
)
BASELINE_CHECKS = (
    Check("baseline-row-by-row", baselines_per_row),
    Check("baseline-reads-no-label", baselines_read_no_label),
)  # due where the preprocessor names baselines
