"""Checks of estimators: fitted in one pass, the same for the same features, a row an item, saved whole.

Symbols: n items, D width, S rows of values (items, or tokens of all items).
"""

from __future__ import annotations

import copy
import dataclasses
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from repcore.config.resolve import ResolvedPart
from repcore.errors import RepcoreError
from repcore.estimation.folder import FittedEstimator, load_estimator, save_estimator
from repcore.interfaces import Estimator, FeatureBatch
from repcore.registry import Entry, Registry
from repcore.specs import EstimatorSpec, TargetSpec
from repcore.testing.check import Check, NotJudgedError, SubjectError, fail
from repcore.testing.randomness import untouched
from repcore.testing.tensors import difference

ITEMS, WIDTH, WINDOW = 240, 8, 48
KINDS, GROUPS = 2, 3  # kinds of items, and groups in which they are mixed differently: the drawn label
MIXES = np.array([[0.85, 0.15], [0.5, 0.5], [0.1, 0.9]])
TOKENS = (3, 8)  # an item's, drawn between these
SUMMING = 1e-3  # relative: sums in another order, amplified by what an estimator does with them


@dataclass
class EstimatorSubject:
    """An estimator, and drawn features of two kinds of items."""

    registry: Registry
    entry: Entry[EstimatorSpec]

    @property
    def target(self) -> TargetSpec | None:
        """The drawn label, for estimators that read one."""
        names = tuple(f"group {number}" for number in range(GROUPS))
        return None if self.entry.spec.labels == "none" else TargetSpec("drawn", "class", names=names)

    @cached_property
    def config(self) -> Any:  # the author's dataclass
        """Settings of tiny size."""
        return self.entry.load("example")() if self.entry.spec.example else self.entry.load("config")()

    @cached_property
    def items(self) -> FeatureBatch:
        """All drawn items at the level of the estimator."""
        return drawn_items(self.entry.spec.level)

    def new(self) -> Estimator:
        """Not fitted yet."""
        return cast(Estimator, self.entry.load()(self.config))

    def fit(self, windows: Iterable[FeatureBatch] | None = None) -> Estimator:
        """A new one, fitted to windows of the drawn items."""
        return self.new().fit(cut(self.items) if windows is None else windows, self.target)

    @cached_property
    def fitted(self) -> Estimator:
        """One that several checks look at.

        Raises:
            SubjectError: it cannot be fitted to the drawn features.
        """
        try:
            return self.fit()
        except Exception as error:
            message = f"{self.entry.full_name} cannot be fitted to drawn features: {type(error).__name__}: {error}"
            raise SubjectError(message) from error


def drawn_items(level: str, seed: int = 0) -> FeatureBatch:
    """Items of two kinds, with a label that is sometimes missing and goes together with the kind."""
    rng = np.random.default_rng(seed)
    group = rng.integers(GROUPS, size=ITEMS)
    kind = (rng.random(ITEMS) < MIXES[group, 1]).astype(np.int64)
    owner = np.arange(ITEMS) if level == "item" else np.repeat(np.arange(ITEMS), rng.integers(*TOKENS, size=ITEMS))
    centres = 2.0 * rng.normal(size=(KINDS, WIDTH))
    values = centres[kind[owner]] + rng.normal(size=(len(owner), WIDTH)) * np.linspace(0.5, 1.5, WIDTH)
    labels = group.astype(np.float64)
    labels[::11] = np.nan
    ids = [f"item {number} ü" for number in range(ITEMS)]
    return FeatureBatch(ids, values.astype(np.float32), None if level == "item" else owner, {"drawn": labels})


def chosen(batch: FeatureBatch, numbers: Sequence[int] | np.ndarray) -> FeatureBatch:
    """Some items of a batch, in this order."""
    ids = [batch.ids[number] for number in numbers]
    targets = {name: values[np.asarray(numbers)] for name, values in batch.targets.items()}
    if batch.owner is None:
        return FeatureBatch(ids, batch.values[np.asarray(numbers)], None, targets)
    parts = [batch.values[batch.owner == number] for number in numbers]
    owner = np.repeat(np.arange(len(parts)), [len(one) for one in parts])
    return FeatureBatch(ids, np.concatenate(parts), owner, targets)


def cut(batch: FeatureBatch, size: int = WINDOW) -> Iterator[FeatureBatch]:
    """Windows of so many items; to be gone over once."""
    for start in range(0, len(batch.ids), size):
        yield chosen(batch, range(start, min(start + size, len(batch.ids))))


def fit_deterministic(subject: EstimatorSubject) -> None:
    """Equal features give an equal state bit for bit, whatever the global seed is; fit and apply leave it alone."""
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the legacy state is what an estimator must not read
        with untouched("fit", "take the seed from the config"):
            fitted = subject.fit()
        states.append(fitted.state())
    if where := difference(states[0], states[1]):
        fail(f"two fits on equal features give two states: {where} (a draw that no setting seeds?)")
    with untouched("apply", "take the seed from the config"):
        first = fitted.apply(subject.items)
    if where := difference(dict(first), dict(fitted.apply(subject.items))):
        fail(f"apply twice on equal features: {where}")


def one_pass(subject: EstimatorSubject) -> None:
    """Features are gone over once and stay as they are; how rows are cut into windows changes nothing."""
    kept = copy.deepcopy(subject.items)
    windows = list(cut(subject.items))
    again = subject.fit(windows)
    if where := difference(subject.fitted.state(), again.state()):
        fail(f"fitted on windows that can be gone over once, and on a list of them: {where}; fit must take one pass")
    again.apply(windows[0])
    if where := difference(windows, list(cut(kept))):
        fail(f"fit or apply changes the features it is given: {where}")
    other = subject.fit(cut(subject.items, 2 * WINDOW + 7))
    _same_columns(subject.fitted.apply(kept), other.apply(kept), "fitted on windows of another size")
    merge = getattr(subject.fitted, "merge", None)
    if merge is not None:
        _check_merged(subject, kept)


def _check_merged(subject: EstimatorSubject, items: FeatureBatch) -> None:
    """An estimator with ``merge``: two halves put together are the whole."""
    half = len(items.ids) // 2
    first, second = (subject.fit(cut(chosen(items, part))) for part in (range(half), range(half, len(items.ids))))
    merged: Any = first
    found = merged.merge(second)
    whole = merged if found is None else found
    _same_columns(subject.fitted.apply(items), whole.apply(items), "two halves put together by merge")


def a_row_an_item(subject: EstimatorSubject) -> None:
    """apply gives one value an item in every column, in the order of the items, whoever stands beside them."""
    fitted, items = subject.fitted, subject.items
    whole = _columns(fitted.apply(items), len(items.ids))
    first = next(iter(whole))
    if not np.isfinite(whole[first].astype(np.float64)).all():
        bad = int(np.flatnonzero(~np.isfinite(whole[first].astype(np.float64)))[0])
        fail(f"column {first!r}, the first, is not finite for item {bad}, whose features are")
    _tells_items_apart(whole)
    infinite = [name for name, values in whole.items() if values.dtype.kind == "f" and np.isinf(values).any()]
    if infinite:
        fail(f"infinite values in column {infinite[0]!r}")
    order = np.random.default_rng(1).permutation(len(items.ids))[:WINDOW]
    few = _columns(fitted.apply(chosen(items, order)), len(order))
    expected = {name: values[order] for name, values in whole.items()}
    _same_columns(expected, few, "the same items in another order and company")
    alone = _columns(fitted.apply(chosen(items, order[:1])), 1)
    _same_columns({name: values[:1] for name, values in expected.items()}, alone, "an item alone")
    _check_maps(subject)


def _tells_items_apart(columns: Mapping[str, np.ndarray]) -> None:
    """Some column has different values for different items; an answer that is always the same was not fitted."""
    for values in columns.values():
        rows = np.ascontiguousarray(values.reshape(len(values), -1))
        if len(np.unique(rows.astype(str), axis=0)) > 1:
            return
    first = next(iter(columns.values())).reshape(len(next(iter(columns.values()))), -1)[0]
    fail(
        f"all of {ITEMS} items of {KINDS} kinds have the same values ({', '.join(map(str, first[:3]))}) in every column"
    )


def _check_maps(subject: EstimatorSubject) -> None:
    maps = getattr(subject.fitted, "maps", None)
    if maps is None:
        return
    rows = np.asarray(maps(subject.items))
    if len(rows) != len(subject.items.values):
        fail(f"maps gives {len(rows)} rows for {len(subject.items.values)} rows of features")
    order = np.random.default_rng(1).permutation(len(subject.items.ids))[:WINDOW]
    few = chosen(subject.items, order)
    owner = np.arange(len(subject.items.ids)) if subject.items.owner is None else subject.items.owner
    places = np.concatenate([np.flatnonzero(owner == number) for number in order])
    _same_columns({"maps": rows[places]}, {"maps": np.asarray(maps(few))}, "maps of the same items in another order")


def failed_rows(subject: EstimatorSubject) -> None:
    """An item without features (its row failed) keeps its place and gets no value; the others keep theirs."""
    fitted, few = subject.fitted, chosen(subject.items, range(6))
    expected = _columns(fitted.apply(few), 6)
    if few.owner is None:
        values = few.values.copy()
        values[2] = np.nan
        damaged = dataclasses.replace(few, values=values)
    else:
        kept = few.owner != 2
        damaged = dataclasses.replace(few, values=few.values[kept], owner=few.owner[kept])
    found = _columns(fitted.apply(damaged), 6)
    for name, column in found.items():
        if column.dtype.kind == "f" and np.isfinite(column[2]):
            fail(f"column {name!r} has {column[2]:.4g} for an item without features; NaN is due")
    others = [0, 1, 3, 4, 5]
    _same_columns(
        {name: column[others] for name, column in expected.items()},
        {name: column[others] for name, column in found.items()},
        "beside an item without features",
    )


def state_saved(subject: EstimatorSubject) -> None:
    """Saved and loaded, it has the same state bit for bit and gives the same columns; fitted goes on as before."""
    part = ResolvedPart(subject.entry, subject.config)
    fitted = FittedEstimator(part, subject.fitted, "model", "0" * 64, {"pool": None}, "data", "")
    with tempfile.TemporaryDirectory() as name:
        save_estimator(Path(name) / "fitted", fitted)
        loaded = load_estimator(subject.registry, Path(name) / "fitted")
    if where := difference(_plain(subject.fitted.state()), _plain(loaded.estimator.state())):
        fail(f"the state is another one after saving and loading: {where}")
    first, second = subject.fitted.apply(subject.items), loaded.estimator.apply(subject.items)
    if list(first) != list(second):
        fail(f"columns {', '.join(first)} become {', '.join(second)} after loading")
    if where := difference(dict(first), dict(second)):
        fail(f"apply gives other values after saving and loading: {where}; what fit learned is not all in state()")


def other_width(subject: EstimatorSubject) -> None:
    """Features of another width belong to another model: a RepcoreError says so, nothing is computed."""
    few = chosen(subject.items, range(6))
    for width in (WIDTH - 1, 1, WIDTH + 3):
        other = dataclasses.replace(few, values=np.ones((len(few.values), width), np.float32))
        try:
            subject.fitted.apply(other)
        except RepcoreError:
            continue
        except Exception as error:
            fail(f"features of width {width}, fitted on {WIDTH}: {type(error).__name__}; a ShapeError is due")
        fail(f"features of width {width} are taken by an estimator fitted on width {WIDTH}")


def nothing_to_fit(subject: EstimatorSubject) -> None:
    """No window, or windows without rows (all failed), are a RepcoreError, never a crash or an empty estimator."""
    empty = FeatureBatch([], np.zeros((0, WIDTH), np.float32), None, {"drawn": np.zeros(0)})
    if subject.entry.spec.level == "token":
        empty = dataclasses.replace(empty, owner=np.zeros(0, np.int64))
    for what, windows in (("no window", []), ("a window without rows", [empty])):
        try:
            subject.fit(windows)
        except RepcoreError:
            continue
        except Exception as error:
            fail(f"fit on {what}: {type(error).__name__}: {error}; a DataError that says what is missing is due")
        fail(f"fit on {what} ends as if it had learned something")


def labels_as_declared(subject: EstimatorSubject) -> None:
    """Labels are asked for where the spec says required, and change nothing where it says none."""
    labels = subject.entry.spec.labels
    if labels == "optional":
        raise NotJudgedError("may read labels or leave them")
    if labels == "required":
        try:
            subject.new().fit(cut(subject.items), None)
        except RepcoreError:
            return
        except Exception as error:
            fail(f"fit without the label it needs: {type(error).__name__}: {error}; a DataError is due")
        fail("the spec says that labels are required, but fit does without")
    turned = {name: values[::-1].copy() for name, values in subject.items.targets.items()}
    other = subject.fit(cut(dataclasses.replace(subject.items, targets=turned)))
    if where := difference(subject.fitted.state(), other.state()):
        fail(f"the spec says labels='none', but other labels give another state: {where}")


def _plain(state: tuple[Mapping[str, np.ndarray], Mapping[str, Any]]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts as they lie on disk: contiguous, tuples as lists."""
    return {name: np.ascontiguousarray(value) for name, value in state[0].items()}, json.loads(json.dumps(state[1]))


def _columns(found: Mapping[str, np.ndarray], items: int) -> dict[str, np.ndarray]:
    """Columns as arrays of one value an item."""
    if not found:
        fail("apply gives no column")
    columns = {name: np.asarray(values) for name, values in found.items()}
    for name, values in columns.items():
        if len(values) != items or values.ndim > 2:
            fail(f"column {name!r} has shape {values.shape} for {items} items")
    return columns


def _same_columns(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], what: str) -> None:
    if list(one) != list(other):
        fail(f"{what}: columns {', '.join(other)} instead of {', '.join(one)}")
    for name in one:
        first, second = np.asarray(one[name]), np.asarray(other[name])
        if first.dtype.kind == "f" and second.dtype.kind == "f":
            scale = float(np.nanmax(np.abs(first), initial=1e-6))
            same = first.shape == second.shape and np.allclose(
                first, second, rtol=SUMMING, atol=SUMMING * scale, equal_nan=True
            )
        else:
            same = np.array_equal(first, second)
        if not same:
            fail(f"{what}: {name!r} is another one")


CHECKS = (
    Check("estimator-deterministic", fit_deterministic),
    Check("estimator-one-pass", one_pass),
    Check("estimator-row-an-item", a_row_an_item),
    Check("estimator-failed-rows", failed_rows),
    Check("estimator-state-saved", state_saved),
    Check("estimator-other-width", other_width),
    Check("estimator-nothing-to-fit", nothing_to_fit),
    Check("estimator-labels", labels_as_declared),
)
