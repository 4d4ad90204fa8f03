"""Check of what a preprocessor learns: from the training rows of the reader that it is given, and from nothing else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import ItemError
from repcore.interfaces import Sample
from repcore.testing.check import Check, fail
from repcore.testing.randomness import untouched
from repcore.testing.subjects import RecipeSubject
from repcore.testing.tensors import content_hash
from repcore.testing.watching import opened_below

SHOWN = 2  # samples whose items tell what was learned


class Guarded:
    """A reader that remembers which rows were asked for, of it and around it.

    Args:
        reader: the author's own.
        train: rows that may be asked for.
        altered: whether attributes with an entry a row (costs, groups) say something else of all other rows.
    """

    def __init__(self, reader: Any, train: np.ndarray, *, altered: bool) -> None:  # see above
        self.inner, self._train, self._altered = reader, train, altered
        self.asked: set[int] = set()
        self.own = 0  # reads that go through here, at this moment

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not self._altered or not isinstance(value, list | tuple | np.ndarray) or len(value) != len(self.inner):
            return value
        outside = np.setdiff1d(np.arange(len(value)), self._train)
        changed = value.copy() if isinstance(value, np.ndarray) else list(value)
        for row in outside.tolist():
            changed[row] = value[int(self._train[0])]
        return changed

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Sample:
        self.asked.add(int(index))
        return self._read(lambda: self.inner[index])

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def by_id(self, sample_id: str) -> Sample:
        self.asked.update(row for row in range(len(self)) if self._id(row) == sample_id)
        return self._read(lambda: self.inner.by_id(sample_id))

    def _read(self, work: Callable[[], Sample]) -> Sample:
        self.own += 1
        try:
            return work()
        finally:
            self.own -= 1

    def _id(self, row: int) -> str:
        try:
            return self._read(lambda: self.inner[row]).id
        except ItemError:
            return ""


@contextmanager
def _watched(kind: type, name: str, guard: Guarded, around: list[int | str]) -> Iterator[None]:
    """A method of a class notes its argument in ``around``, unless the guard called it."""
    owner = next(one for one in kind.__mro__ if name in vars(one))
    original = vars(owner)[name]

    def noted(self: Any, index: Any) -> Any:
        if not guard.own and self is guard.inner and isinstance(index, int | np.integer):
            guard.asked.add(int(index))  # by a method of the reader
        elif not guard.own:
            around.append(index)
        return original(self, index)

    setattr(owner, name, noted)
    try:
        yield
    finally:
        setattr(owner, name, original)


def fit_sees_training_rows_only(subject: RecipeSubject) -> None:
    """``fit`` reads no row outside the training split, of the reader it gets or of the data opened again; fitted twice
    it is the same, also where costs and groups of other rows are others."""
    train = np.asarray(subject.parts.train)[: max(2, len(subject.parts.train) // 2)]
    first = _fitted(subject, train, altered=False)
    second = _fitted(subject, train, altered=True)
    if first == second:
        return
    if first != _fitted(subject, train, altered=False):
        fail("fitted twice on the same rows, the saved state, the facts or the items differ")
    fail("what fit learns changes with costs, groups or other entries of rows outside the training rows")


def _fitted(subject: RecipeSubject, train: np.ndarray, *, altered: bool) -> tuple[str, bytes]:
    """A new preprocessor after ``fit``, in a form that can be compared."""
    part, reader = subject.resolved.preprocessor, subject.parts.reader
    new, guard = part.entry.load()(part.config), Guarded(reader, train, altered=altered)
    around: list[int | str] = []
    path = getattr(subject.resolved.dataset.config, "path", None)
    files = opened_below(Path(path), lambda: _shown(subject.parts.preprocessor, reader, train)) if path else set()
    with ExitStack() as stack:
        for kind in {type(reader), type(subject.reader)}:
            for name in ("__getitem__", "by_id"):
                stack.enter_context(_watched(kind, name, guard, around))
        with untouched("fit", "what it learns is a function of the rows"):
            opened = opened_below(Path(path), lambda: new.fit(guard, train)) if path else new.fit(guard, train)
    outside = sorted(guard.asked - {int(row) for row in train})
    if outside:
        fail(f"fit reads {len(outside)} rows outside the {len(train)} training rows, for example row {outside[0]}")
    if around:
        fail(
            f"fit reads rows around the reader that it is given ({len(around)}, for example {around[0]!r}): the data "
            "opened again has test rows, too"
        )
    surplus = sorted((opened or set()) - files)
    if surplus:
        fail(f"fit opens {Path(surplus[0]).name}, which no training row lies in; it has its rows from the reader")
    with tempfile.TemporaryDirectory() as name:
        state = json.dumps([dict(new.save(Path(name))), dict(new.facts())], sort_keys=True, default=repr)
    return state, _shown(new, reader, train)


def _shown(preprocessor: Any, reader: Any, rows: Sequence[int] | np.ndarray) -> bytes:
    """Hash of the items of a few rows."""
    found: list[Any] = []
    for row in rows:
        try:
            found.append([item.values for item in preprocessor.prepare(reader[int(row)])])
        except ItemError:
            continue
        if len(found) == SHOWN:
            break
    return content_hash(found)


CHECKS = (Check("fit-sees-training-rows-only", fit_sees_training_rows_only),)
