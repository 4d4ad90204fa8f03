"""From a user's words (``random``, ``group``, ``column:NAME``, ...) or a plugin's function to splits, one a seed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repcore.data.splits import (
    DEFAULT_FRACTIONS,
    Fractions,
    check_leakage,
    declared_split,
    fold_splits,
    group_split,
    named_split,
    random_split,
    stratified_split,
)
from repcore.errors import ConfigError, DataError, closest
from repcore.interfaces import ProbeSplit

SPLIT_WORDS = (
    "random",
    "stratified",
    "group",
    "declared",
    "folds:K",
    "stratified-folds:K",
    "group-folds:K",
    "column:NAME",
    "held-out:NAME,NAME",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitInputs:
    """What splits are made from; only what the chosen one needs has to be there.

    Args:
        ids: one a row; equal ids must not be on two sides.
        groups: leakage key of each row, None where a row has none; empty when the data has no groups.
        labels: of the probed target, for stratified splits.
        columns: column name -> one cell a row, for ``column:NAME``.
        declared: part name -> rows, as the reader declares them.
        samples: whatever a plugin's split function works on (for example SMILES), one a row.
    """

    ids: Sequence[str]
    groups: Sequence[Hashable | None] = ()
    labels: Sequence[Any] | np.ndarray = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    declared: Mapping[str, Sequence[int]] = field(default_factory=dict)
    samples: Sequence[Any] = ()


SplitFunction = Callable[[SplitInputs, int], "ProbeSplit | Sequence[ProbeSplit]"]
"""A domain's own split, ``fn(inputs, seed)``, such as molecules' balanced scaffold split."""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Splits of one evaluation: for each seed one split, or several folds whose mean is that seed's value.

    Args:
        title: what was asked for, for result files.
        folds: one tuple of splits a seed.
        seeded: False when every seed has the same split; then seeds vary only the encoder and the probe.
    """

    title: str
    folds: tuple[tuple[ProbeSplit, ...], ...]
    seeded: bool

    @classmethod
    def fixed(cls, split: ProbeSplit | Sequence[ProbeSplit], seeds: int, title: str = "given") -> SplitPlan:
        """The same split or folds for every seed."""
        folds = (split,) if isinstance(split, ProbeSplit) else tuple(split)
        return cls(title, (folds,) * seeds, seeded=False)


def plan_splits(
    split: str | SplitFunction,
    inputs: SplitInputs,
    seeds: Sequence[int],
    *,
    fractions: Fractions = DEFAULT_FRACTIONS,
    allow_shared_groups: bool = False,
) -> SplitPlan:
    """Leakage-checked splits for every seed.

    Args:
        split: one of ``random``, ``stratified``, ``group``, ``declared``, ``folds:K``, ``stratified-folds:K``,
            ``group-folds:K``, ``column:NAME``, or a function ``(inputs, seed)``.
        inputs: ids and whatever the split needs.
        seeds: one split for each; fixed splits are repeated.
        fractions: train, validation and test share, where shares apply.
        allow_shared_groups: accept a declared, column or function split in which a group straddles (some published
            splits do).

    Raises:
        ConfigError: unknown word.
        DataError: the data lacks what the split needs, is too small, or ids or groups straddle two parts.
    """
    if not seeds:
        raise ConfigError("no seeds given for the split", hint="seeds=(0, 1, 2)")
    drawn = [_draw(split, inputs, seed, fractions) for seed in seeds]
    groups = inputs.groups or None
    title = split if isinstance(split, str) else getattr(split, "__name__", "function").replace("_", "-")
    # only a split that promises whole groups, or comes from outside, is held to them: a random one says what it is
    outside = not isinstance(split, str) or split.startswith(("declared", "column"))
    held_to_groups = (outside and not allow_shared_groups) or title.startswith("group")
    for folds in drawn[: 1 if _all_equal(drawn) else None]:
        for one in folds:
            check_leakage(one, ids=inputs.ids, groups=groups if held_to_groups else None)
    return SplitPlan(title, tuple(drawn), seeded=not _all_equal(drawn))


def order_by_id(ids: Sequence[str]) -> np.ndarray:
    """Row numbers by id (numbers by size, paths by their parts): the same rows in any file order give the same splits.

    Ids that are not unique say nothing: then rows keep their order.
    """
    if len(set(ids)) < len(ids):
        return np.arange(len(ids))
    if all(name.isdecimal() for name in ids):
        return np.asarray(sorted(range(len(ids)), key=lambda row: (int(ids[row]), ids[row])), np.int64)
    return np.asarray(sorted(range(len(ids)), key=lambda row: ids[row].split("/")), np.int64)


def in_rows(plan: SplitPlan, order: np.ndarray) -> SplitPlan:
    """A plan drawn over rows in ``order`` as one over the rows themselves; each part keeps the order of ids."""

    def moved(split: ProbeSplit) -> ProbeSplit:
        validation = None if split.validation is None else order[np.asarray(split.validation, np.int64)]
        train, test = (order[np.asarray(part, np.int64)] for part in (split.train, split.test))
        return ProbeSplit(train=train, test=test, validation=validation)

    return SplitPlan(plan.title, tuple(tuple(moved(one) for one in folds) for folds in plan.folds), plan.seeded)


def _draw(split: str | SplitFunction, inputs: SplitInputs, seed: int, fractions: Fractions) -> tuple[ProbeSplit, ...]:
    if not isinstance(split, str):
        made = split(inputs, seed)
        return (made,) if isinstance(made, ProbeSplit) else tuple(made)
    count, generator = len(inputs.ids), np.random.default_rng(seed)
    word, _, detail = split.partition(":")
    if word == "random" and not detail:
        return (random_split(count, generator=generator, fractions=fractions),)
    if word == "stratified" and not detail:
        return (stratified_split(_labels(inputs, split), generator=generator, fractions=fractions),)
    if word == "group" and not detail:
        return (group_split(_groups(inputs, split), generator=generator, fractions=fractions),)
    if word == "declared" and not detail:
        return (declared_split(inputs.declared),)
    if word == "held-out":
        return (_held_out(inputs, detail),)
    if word == "column":
        return tuple(named_split(_column(inputs, detail), source=detail))
    if word in ("folds", "stratified-folds", "group-folds") and detail.isdigit():
        labels = _labels(inputs, split) if word.startswith("stratified") else None
        groups = _groups(inputs, split) if word.startswith("group") else None
        return tuple(fold_splits(count, int(detail), generator=generator, labels=labels, groups=groups))
    near = closest(word, [one.split(":")[0] for one in SPLIT_WORDS])
    raise ConfigError(f"no split {split!r}", did_you_mean=near, known=", ".join(SPLIT_WORDS))


def _labels(inputs: SplitInputs, split: str) -> Sequence[Any] | np.ndarray:
    labels = np.asarray(inputs.labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if len(labels) != len(inputs.ids) or labels.ndim != 1:
        raise DataError(
            f"split={split} needs one class label for each of {len(inputs.ids)} rows",
            got=f"labels of shape {labels.shape}",
            hint="--split random (with train: data.split=random)",
        )
    return labels


def _groups(inputs: SplitInputs, split: str) -> Sequence[Hashable | None]:
    if len(inputs.groups) != len(inputs.ids) or all(one is None for one in inputs.groups):
        raise DataError(
            f"split={split} needs groups, but the data has none",
            meaning="a group is a speaker, patient, scaffold, ...: the reader sets Sample.group",
            hint="--split random (with train: data.split=random)",
        )
    return inputs.groups


def _column(inputs: SplitInputs, name: str) -> Sequence[Any]:
    if name not in inputs.columns:
        raise DataError(
            f"no column '{name}' for the split",
            did_you_mean=closest(name, inputs.columns),
            columns=", ".join(inputs.columns) or "none",
        )
    return inputs.columns[name]


def _held_out(inputs: SplitInputs, detail: str) -> ProbeSplit:
    """Rows whose group or id is named are tested, the others are for training."""
    names = [one.strip() for one in detail.split(",") if one.strip()]
    groups = [str(one) for one in inputs.groups] if len(inputs.groups) else [""] * len(inputs.ids)
    known = {*groups, *inputs.ids} - {"", "None"}
    absent = [one for one in names if one not in known]
    if absent or not names:
        raise DataError(
            f"split=held-out:{detail}: " + (f"no group or id {absent[0]!r}" if absent else "nothing is named"),
            did_you_mean=closest(absent[0], sorted(known)) if absent else None,
            groups=", ".join(sorted(set(groups) - {"", "None"})[:20]) or "none",
        )
    tested = np.asarray([group in names or one in names for group, one in zip(groups, inputs.ids, strict=True)])
    if tested.all():
        raise DataError(f"split=held-out:{detail} leaves no row for training", rows=len(tested))
    return ProbeSplit(train=np.flatnonzero(~tested), test=np.flatnonzero(tested))


def _all_equal(drawn: Sequence[tuple[ProbeSplit, ...]]) -> bool:
    """Whether every seed has the same train and test rows."""
    first = drawn[0]
    return all(
        len(folds) == len(first)
        and all(
            np.array_equal(one.train, other.train) and np.array_equal(one.test, other.test)
            for one, other in zip(folds, first, strict=True)
        )
        for folds in drawn[1:]
    )
