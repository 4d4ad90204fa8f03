"""Checks of data sets: identity of rows, labels in range, clean splits, content in the fingerprint, errors as rows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from repcore.errors import ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore.testing.check import Check, NotJudgedError, fail
from repcore.testing.subjects import ROWS, DatasetSubject
from repcore.testing.tensors import content_hash, difference

MANY_ROWS = 500
VARIANTS = 6
LOOKED_AT = 3


def readable_samples(reader: Any, count: int) -> list[tuple[int, Sample]]:
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
    rows = readable_samples(reader, ROWS)
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


@dataclass(frozen=True, slots=True)
class Seen:
    """What reading a row showed.

    Args:
        id: of the sample; empty if it cannot be read.
        labels: what is wrong with its labels, in words.
        error: what reading raised.
    """

    row: int
    id: str = ""
    labels: str = ""
    error: Exception | None = None


def survey(subject: DatasetSubject) -> list[Seen]:
    """The first rows, read once for all checks that need no more than these facts."""
    if not subject.seen:
        reader = subject.open()
        specs = {one.name: one for one in reader.targets}
        for row in range(min(len(reader), MANY_ROWS)):
            try:
                sample = reader[row]
            except Exception as error:  # judged by the check it belongs to
                subject.seen.append(Seen(row, error=error))
                continue
            subject.seen.append(Seen(row, sample.id, _labels_in_words(sample, specs)))
    found: list[Seen] = subject.seen
    return found


def ids_unique(subject: DatasetSubject) -> None:
    """Ids name one row each and are the same when the data is opened again."""
    rows = [one for one in survey(subject) if one.error is None]
    counted = Counter(one.id for one in rows)
    doubled = sorted(name for name, count in counted.items() if count > 1)
    if doubled:
        fail(f"{len(doubled)} ids stand twice: {', '.join(doubled[:4])}")
    again = subject.open()
    for one in rows[:: max(1, len(rows) // ROWS)]:
        if again[one.row].id != one.id:
            fail(f"ids change when the data is opened again: row {one.row} was {one.id}, is {again[one.row].id}")


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
    for one in survey(subject):
        error = one.error
        if isinstance(error, ItemError):
            if not error.status or " " in error.status or not error.reason:
                fail(f"row {one.row}: ItemError({error.status!r}, {error.reason!r}) needs a status word and a reason")
        elif error is not None:
            fail(f"row {one.row} raises {type(error).__name__}: {error}; a row that cannot be used raises ItemError")


def labels_in_range(subject: DatasetSubject) -> None:
    """Labels are what their ``TargetSpec`` says, in every row looked at: class numbers below the number of names."""
    for one in survey(subject):
        if one.labels:
            fail(f"row {one.row}, {one.labels}")


def _labels_in_words(sample: Sample, specs: Mapping[str, TargetSpec]) -> str:
    """What is wrong with the labels of a sample."""
    for name, value in sample.targets.items():
        numbers = _numbers(value)
        problem = _out_of_range(specs[name], numbers) if name in specs and numbers is not None else ""
        if problem:
            return f"label {name!r}: {problem}"
    return ""


def _numbers(value: Any) -> np.ndarray | None:
    """A label as numbers without missing ones; None where it is of the domain's own kind."""
    try:
        numbers = np.asarray(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        return None
    return numbers[~np.isnan(numbers)]


def _out_of_range(spec: TargetSpec, numbers: np.ndarray) -> str:
    """What is wrong with known labels, in words."""
    known = numbers if spec.ignore is None else numbers[numbers != spec.ignore]
    if np.isinf(known).any():
        return "an infinite value"
    if spec.kind == "multilabel" and not np.isin(known, (0.0, 1.0)).all():
        return f"{known[~np.isin(known, (0.0, 1.0))][0]:g} in a multilabel target; 0, 1 or missing are due"
    if spec.kind != "class" or not known.size:
        return ""
    if (known != np.round(known)).any() or known.min() < 0:
        return f"{known.min():g} is no class number"
    if spec.names and not spec.ids and known.max() >= len(spec.names):
        return f"class {known.max():g}, but there are {len(spec.names)} names, numbered from 0"
    return ""


def fingerprint_follows_content(subject: DatasetSubject) -> None:
    """Where another setting (a seed, a size) gives other rows, labels or another number of them, the fingerprint is
    another one.

    The files of a reader that comes with an example are changed in copies: rows, labels and fingerprint must follow.
    """
    first, looked = subject.open(), 0
    before = _contents(first)
    for words, changed in subject.variants():
        if _contents(changed) == before:
            continue
        looked += 1
        if changed.fingerprint == first.fingerprint:
            fail(f"{words} gives other rows under the same fingerprint: a cache would hand out the old ones")
        if looked == VARIANTS:
            break
    if not looked:
        raise NotJudgedError("no setting of the data set changes its rows")


def _contents(reader: Any) -> tuple[int, list[tuple[str, bytes]]]:
    """How many rows there are, and id, inputs and labels of a few, first and last."""
    rows = {*range(min(LOOKED_AT, len(reader))), len(reader) // 2, len(reader) - 1}
    found = []
    for row in sorted(rows):
        try:
            sample = reader[row]
        except ItemError as error:
            found.append((error.status, b""))
            continue
        found.append((sample.id, content_hash([sample.inputs, dict(sample.targets), sample.group])))
    return len(reader), found


CHECKS = (
    Check("len-and-index", len_and_index),
    Check("ids-unique", ids_unique),
    Check("splits-disjoint", splits_disjoint),
    Check("splits-share-no-content", splits_share_no_content),
    Check("fingerprint-stable", fingerprint_stable),
    Check("item-errors-only", item_errors_only),
    Check("labels-in-range", labels_in_range),
    Check("fingerprint-follows-content", fingerprint_follows_content),
)
