"""Checks of data sets and preprocessors: identity of rows, clean splits, errors as rows, exact save and load."""

from __future__ import annotations

import copy
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from repcore.config.plain import field_types
from repcore.data.stream import EndlessBatches
from repcore.embedding.inference import prepare_row
from repcore.errors import ItemError
from repcore.interfaces import Item, Sample
from repcore.testing.check import Check, fail
from repcore.testing.subjects import ROWS, DatasetSubject, RecipeSubject
from repcore.testing.tensors import content_hash, difference
from repcore.training.loaders import build_loader
from repcore.training.plan import stream_order

MANY_ROWS = 500
LOADED_BATCHES = 3


def _samples(reader: Any, count: int) -> list[tuple[int, Sample]]:
    """The first rows that can be read; anything but :class:`ItemError` is a failure."""
    found = []
    for row in range(min(count, len(reader))):
        try:
            found.append((row, reader[row]))
        except ItemError:
            continue
        except Exception as error:
            fail(f"row {row} raises {type(error).__name__}: {error}; a row that cannot be used raises ItemError")
    if not found:
        fail(f"none of the first {count} rows can be read")
    return found


def len_and_index(subject: DatasetSubject) -> None:
    """Rows are samples, come back by index and by id, and there is an end."""
    reader = subject.open()
    if len(reader) < 1:
        fail("there are no rows")
    rows = _samples(reader, ROWS)
    for row, sample in rows[:8]:
        if not isinstance(sample, Sample) or not isinstance(sample.id, str) or not sample.id:
            fail(f"row {row} is {sample!r}, not a Sample with a text id")
        if difference(reader[row], sample):
            fail(f"row {row} read twice: {difference(reader[row], sample)}")
        if reader.by_id(sample.id).id != sample.id:
            fail(f"by_id({sample.id!r}) gives {reader.by_id(sample.id).id!r}")
    known = {one.name for one in reader.targets}
    surplus = sorted({name for _, sample in rows for name in sample.targets} - known)
    if surplus:
        fail(f"samples carry labels that reader.targets does not name: {', '.join(surplus)}")
    try:
        reader[len(reader)]
    except (IndexError, KeyError):
        return
    except ItemError as error:
        fail(f"index {len(reader)} of {len(reader)} raises {error!r}; a row that does not exist is an IndexError")
    fail(f"index {len(reader)} of {len(reader)} rows gives a sample instead of an IndexError")


def ids_unique(subject: DatasetSubject) -> None:
    """Ids name one row each and are the same when the data is opened again."""
    first = [sample.id for _, sample in _samples(subject.open(), MANY_ROWS)]
    doubled = sorted({one for one in first if first.count(one) > 1})
    if doubled:
        fail(f"{len(doubled)} ids stand twice: {', '.join(doubled[:4])}")
    if [sample.id for _, sample in _samples(subject.open(), MANY_ROWS)] != first:
        fail("ids change when the data is opened again")


def splits_disjoint(subject: DatasetSubject) -> None:
    """Declared splits share no row and no group, and stay inside the data."""
    reader = subject.open()
    splits = {name: np.asarray(rows, np.int64) for name, rows in reader.splits.items()}
    for name, rows in splits.items():
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(reader):
            fail(f"split {name!r} names rows outside 0 to {len(reader) - 1}")
    for (one, left), (other, right) in itertools.combinations(splits.items(), 2):
        shared = np.intersect1d(left, right)
        if len(shared):
            fail(f"splits {one!r} and {other!r} share {len(shared)} rows, for example {int(shared[0])}")
        groups = getattr(reader, "groups", None)
        if groups is not None:
            both = {groups[int(row)] for row in left} & {groups[int(row)] for row in right} - {None}
            if both:
                fail(f"splits {one!r} and {other!r} share groups, for example {sorted(map(str, both))[0]}")


def splits_share_no_content(subject: DatasetSubject) -> None:
    """No row of one declared split is a copy of a row of another under a different id."""
    reader = subject.open()
    owner: dict[bytes, tuple[str, str]] = {}
    for name, rows in reader.splits.items():
        for row in list(rows)[:MANY_ROWS]:
            try:
                sample = reader[int(row)]
            except ItemError:
                continue
            other, twin = owner.setdefault(content_hash(sample.inputs), (name, sample.id))
            if other != name:
                fail(f"{sample.id} of split {name!r} has the same content as {twin} of split {other!r}")


def fingerprint_stable(subject: DatasetSubject) -> None:
    """The fingerprint is a text that is the same when nothing changed."""
    first, second = subject.open().fingerprint, subject.open().fingerprint
    if not isinstance(first, str) or len(first) < 8:
        fail(f"fingerprint is {first!r}; a hash as text is needed")
    if first != second:
        fail("the fingerprint changes when the data is opened again, so nothing is ever found in the cache")


def item_errors_only(subject: DatasetSubject) -> None:
    """Every row is either a sample or an ItemError with a status word and a reason."""
    reader = subject.open()
    for row in range(min(len(reader), MANY_ROWS)):
        try:
            reader[row]
        except ItemError as error:
            if not error.status or " " in error.status or not error.reason:
                fail(f"row {row}: ItemError({error.status!r}, {error.reason!r}) needs a status word and a reason")
        except Exception as error:
            fail(f"row {row} raises {type(error).__name__}: {error}; a row that cannot be used raises ItemError")


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
    for row, sample in _samples(parts.reader, 8):
        kept = copy.deepcopy(sample)
        if not prepare_row(parts.reader, parts.preprocessor, row).items:
            continue
        first, second = parts.preprocessor.prepare(sample), parts.preprocessor.prepare(sample)
        where = difference(first, second)
        if where:
            fail(f"sample {sample.id} prepared twice: {where}")
        if difference(kept, sample):
            fail(f"prepare changed sample {sample.id}: {difference(kept, sample)}")


def caches_know_their_source(subject: RecipeSubject) -> None:
    """Another sample with the same id gives its own items: what is remembered is keyed by content, not by id."""
    prepare = subject.parts.preprocessor.prepare
    known: list[tuple[Sample, list[Item]]] = []
    for _, sample in _samples(subject.parts.reader, 8):
        try:
            known.append((sample, prepare(sample)))
        except ItemError:
            continue
    for (first, items), (second, others) in itertools.pairwise(known):
        if not difference([one.values for one in items], [one.values for one in others]):
            continue
        planted = Sample(first.id, second.inputs, second.targets, second.group, second.meta)
        got = prepare(planted)
        if not difference([one.values for one in got], [one.values for one in items]):
            fail(
                f"the content of sample {second.id} under the id {first.id} gives the items of {first.id}: a cache is "
                "keyed by the id alone, so that a second folder with the same names gets the first one's vectors"
            )


def save_load_roundtrip(subject: RecipeSubject) -> None:
    """A preprocessor loaded from what it saved makes equal batches, and its state is JSON."""
    parts = subject.parts
    samples = [sample for _, sample in _samples(parts.reader, 8)]
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
    items = [one.items[0] for one in subject.usable[:5]]
    batch = parts.preprocessor.collate(items)
    if batch.size != len(items):
        fail(f"collate of {len(items)} items says size {batch.size}")
    costs = [parts.preprocessor.cost(item.meta) for item in items]
    if any(not isinstance(cost, int) or cost < 0 for cost in costs):
        fail(f"costs are {costs}; whole numbers from 0 are needed")


DATASET_CHECKS = (
    Check("len-and-index", len_and_index),
    Check("ids-unique", ids_unique),
    Check("splits-disjoint", splits_disjoint),
    Check("splits-share-no-content", splits_share_no_content),
    Check("fingerprint-stable", fingerprint_stable),
    Check("item-errors-only", item_errors_only),
)
PREPROCESSOR_CHECKS = (
    Check("deterministic-prepare", deterministic_prepare),
    Check("caches-know-their-source", caches_know_their_source),
    Check("save-load-roundtrip", save_load_roundtrip),
    Check("facts-complete", facts_complete),
    Check("collate-counts-items", collate_counts_items),
    Check("worker-count-invariant", worker_count_invariant),
)
