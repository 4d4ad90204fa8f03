"""The parts of a fine-tuning: which labelled rows train, choose, calibrate and test, and which rows have no label."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from repcore.data.seeds import generator
from repcore.errors import DataError
from repcore.evaluation.probing import LabelledRows
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

VALIDATION_SHARE = 0.1
LEAST_APART = 20
"""Validation rows of each half, for choosing and for calibrating; with fewer the same rows do both."""


def with_validation(split: ProbeSplit, rows: LabelledRows, target: TargetSpec, seed: int) -> ProbeSplit:
    """The split with labelled rows only, and with a validation part: its own, or a tenth of train. What else belongs
    to the training part, and shares no group with the others, is ``unlabelled``.

    Groups (speaker, patient, scaffold) of the data stay together, unless the split itself has rows of one group both in
    train and in test: then validation rows are drawn as the test rows were, or intervals calibrated on unseen groups
    would be too wide for seen ones.

    Raises:
        DataError: a part has no labelled row.
    """
    labelled = rows.labelled(target)
    train, test = _labelled(split.train, labelled, "train"), np.asarray(split.test, np.int64)
    mixed = _share_a_group(train, test, rows.groups)
    if split.validation is not None and len(split.validation):
        validation = _labelled(split.validation, labelled, "validation")
    else:
        train, validation = _held_out(train, [None] * len(rows.ids) if mixed else rows.groups, seed)
    free = _unlabelled(split, rows, labelled, [] if mixed else [validation, test])
    free = np.setdiff1d(free, np.concatenate([train, validation, test]))
    return ProbeSplit(train, _labelled(test, labelled, "test") if len(test) else test, validation, unlabelled=free)


def _unlabelled(split: ProbeSplit, rows: LabelledRows, labelled: np.ndarray, apart: Sequence[np.ndarray]) -> np.ndarray:
    """Readable rows of the training part whose labels are missing or hidden, of no group that is in the parts apart."""
    part = np.asarray(split.train, np.int64)
    further = np.zeros(0, np.int64) if split.unlabelled is None else np.asarray(split.unlabelled, np.int64)
    groups = rows.groups
    taken = {groups[row] for one in apart for row in one} - {None}
    chosen = np.union1d(part[~labelled[part]], further)
    kept = [row for row in chosen.tolist() if rows.samples[row] is not None and groups[row] not in taken]
    return np.asarray(kept, np.int64)


def calibration_apart(split: ProbeSplit, seed: int) -> tuple[ProbeSplit, np.ndarray]:
    """The split whose validation part chooses the weights and the temperature, and the rows that intervals are from.

    Residuals of rows by which the weights were chosen are smaller than those of new rows: intervals and sets made of
    them hold too little (FSDD: 86 % instead of 90 %). So each gets one half, where both would have ``LEAST_APART``
    rows; of fewer rows both get all.
    """
    assert split.validation is not None
    rows = np.asarray(split.validation, np.int64)
    if len(rows) < 2 * LEAST_APART:
        return split, rows
    mixed = generator(seed, "finetune-calibration").permutation(rows)
    half = len(rows) // 2
    return dataclasses.replace(split, validation=np.sort(mixed[:half])), np.sort(mixed[half:])


def _share_a_group(train: np.ndarray, test: np.ndarray, groups: Sequence[str | None]) -> bool:
    """Whether some group lies on both sides of the split."""
    sides = [{groups[row] for row in part} - {None} for part in (train, test)]
    return bool(sides[0] & sides[1])


def _labelled(part: np.ndarray, labelled: np.ndarray, word: str) -> np.ndarray:
    kept = np.asarray(part, np.int64)[labelled[part]]
    if len(kept) == 0:
        raise DataError(f"the {word} part of the split has no labelled row", rows=len(part))
    return kept


def _held_out(train: np.ndarray, groups: Sequence[str | None], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train without, and, a tenth of its rows in whole groups; a row without a group is one of its own."""
    wanted = max(1, len(train) // round(1 / VALIDATION_SHARE))
    names = np.asarray([f"row:{row}" if groups[row] is None else f"group:{groups[row]}" for row in train])
    if np.unique(names).size < 2:
        raise DataError(
            f"all {len(train)} training rows belong to one group; nothing is left for validation",
            hint="--split random, or data with a validation part",
        )
    chosen = np.zeros(len(train), bool)
    for name in generator(seed, "finetune-validation").permutation(np.unique(names)):
        members = names == name
        if not chosen.any() or chosen.sum() + members.sum() <= 1.5 * wanted:
            chosen |= members
        if chosen.sum() >= wanted:
            break
    if chosen.all():  # the one group that was drawn first is all there is but a few rows
        raise DataError("the validation part would take all training rows", rows=len(train))
    return train[~chosen], train[chosen]
