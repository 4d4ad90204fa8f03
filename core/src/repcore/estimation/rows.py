"""What every estimator has to do with the rows it is given: put them together, and refuse those of another model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from repcore.errors import DataError, ShapeError
from repcore.interfaces import FeatureBatch


def gathered(features: Iterable[FeatureBatch]) -> FeatureBatch:
    """All windows as one, for estimators that need every row at once.

    Args:
        features: windows; gone over once.

    Raises:
        DataError: there is no row.
    """
    windows = [one for one in features if len(one.values)]
    if not windows:
        raise DataError("no row of the data has features to fit on", hint="repcore inspect DATA says why rows fail")
    ids = [one for window in windows for one in window.ids]
    owner = None
    if windows[0].owner is not None:
        starts = np.cumsum([0, *(len(one.ids) for one in windows[:-1])])
        owner = np.concatenate(
            [one.owner + start for one, start in zip(windows, starts, strict=True) if one.owner is not None]
        )
    targets = {name: np.concatenate([one.targets[name] for one in windows]) for name in windows[0].targets}
    return FeatureBatch(ids, np.concatenate([one.values for one in windows]), owner, targets)


def check_width(features: FeatureBatch, width: int) -> None:
    """Features of another width come from another model.

    Raises:
        ShapeError: names both widths.
    """
    if features.values.size and features.values.shape[1] != width:
        raise ShapeError(f"features of width {features.values.shape[1]}; fitted on width {width}")
