"""What people hold in Python, as a series."""

from __future__ import annotations

from typing import Any

import numpy as np

from repcore.errors import ItemError
from repcore_timeseries.formats.series import Series


def series_from(value: Any, names: tuple[str, ...] = ()) -> Series | None:
    """A series of an array (T,) or (T, C), a tensor, or a data frame; None for other kinds.

    Args:
        names: channels of the model, taken for arrays with as many columns.

    Raises:
        ItemError: ``no_series``: an array that is not one series of numbers.
    """
    if isinstance(value, Series):
        return value
    columns = tuple(map(str, getattr(value, "columns", ())))
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        return None
    if value.ndim not in (1, 2) or (not np.issubdtype(value.dtype, np.number) and value.dtype != np.bool_):
        raise ItemError("no_series", f"{value.dtype} {value.shape} is not one series of numbers (T,) or (T, C)")
    channels = 1 if value.ndim == 1 else value.shape[1]
    known = columns or (names if len(names) == channels else ())
    return Series.of(value, known or None)


def holds_several(value: Any, names: tuple[str, ...] = ()) -> bool:
    """Whether an array or tensor is several series: (N, T) of one channel, or (N, T, C), as files of arrays hold them.

    A table of numbers could as well be one series (T, C). It is one where its second axis has as many columns as the
    model has channels, or one column; everything else with two axes is (N, T). Lists, whose entries are (T,) or (T, C),
    and data frames, which are one series, leave no doubt.

    Args:
        names: channels of the model; empty before it is fitted.

    Raises:
        ItemError: ``other_channels``, (N, T) for a model of several channels.
    """
    if not (isinstance(value, np.ndarray) or (hasattr(value, "detach") and hasattr(value, "numpy"))):
        return False
    shape = tuple(value.shape)
    if len(shape) != 2:
        return len(shape) == 3
    if shape[1] == 1 or (len(names) > 1 and shape[1] == len(names)):
        return False
    if len(names) > 1:
        raise ItemError(
            "other_channels",
            f"an array {shape} is {shape[0]} series (N, T) of one channel, and the model has {len(names)}: "
            "give (N, T, C), one series (T, C), or a list of them",
        )
    return True
