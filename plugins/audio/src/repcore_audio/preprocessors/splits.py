"""Audio's own ways to split: the folds that a data set declares, and one group (speaker, source) left out at a time."""

from __future__ import annotations

import numpy as np

from repcore.data.split_plans import SplitInputs
from repcore.errors import DataError
from repcore.interfaces import ProbeSplit

PREFIX = "fold-"


def declared_folds(inputs: SplitInputs, seed: int) -> list[ProbeSplit]:
    """Split ``declared-folds``: each declared fold is tested once, as in the published protocol of ESC-50.

    Raises:
        DataError: the data declares fewer than two folds.
    """
    del seed  # the folds are the data's own
    names = sorted((name for name in inputs.declared if name.startswith(PREFIX)), key=lambda name: (len(name), name))
    if len(names) < 2:
        raise DataError(
            "declared-folds needs data with folds",
            declared=", ".join(inputs.declared) or "no split at all",
            hint="--split folds:5",
        )
    return _each_tested_once([np.asarray(inputs.declared[name], np.int64) for name in names])


def leave_one_group_out(inputs: SplitInputs, seed: int) -> list[ProbeSplit]:
    """Split ``leave-one-group-out``: each group is tested once, for example each speaker; rows without one only train.

    Raises:
        DataError: fewer than two groups.
    """
    del seed  # nothing is drawn
    names = sorted({str(group) for group in inputs.groups if group is not None})
    if len(names) < 2:
        raise DataError(
            f"leave-one-group-out needs two groups or more; the data has {len(names)}", hint="--split random"
        )
    groups = np.asarray(["" if group is None else f"g{group}" for group in inputs.groups])
    folds = _each_tested_once([np.flatnonzero(groups == f"g{name}") for name in names])
    alone = np.flatnonzero(groups == "")
    return [ProbeSplit(train=np.sort(np.concatenate([one.train, alone])), test=one.test) for one in folds]


def _each_tested_once(parts: list[np.ndarray]) -> list[ProbeSplit]:
    return [
        ProbeSplit(train=np.sort(np.concatenate([*parts[:number], *parts[number + 1 :]])), test=part)
        for number, part in enumerate(parts)
    ]
