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
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        return None
    if value.ndim not in (1, 2) or (not np.issubdtype(value.dtype, np.number) and value.dtype != np.bool_):
        raise ItemError("no_series", f"{value.dtype} {value.shape} is not one series of numbers (T,) or (T, C)")
    channels = 1 if value.ndim == 1 else value.shape[1]
    known = columns or (names if len(names) == channels else ())
    return Series.of(value, known or None)
