"""A value from Python before a domain looks at it: hidden entries are missing, and NumPy can hold it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from repcore.data.cells import MISSING_TYPES
from repcore.errors import ItemError

PARTS = 8  # entries of a tuple or dict that may hold the values of one input

REFUSED = "cmM"  # kinds of NumPy: complex, durations, times
INSTEAD = (
    "its .real or abs() (complex), or its times or durations as numbers of one unit: array / np.timedelta64(1, 's')"
)


def readable(value: Any) -> Any:
    """The value with NaN (None among objects) where a masked array hides an entry, None for the missing value of
    pandas, and bfloat16 tensors as float32; of a short tuple or dict, its parts so.

    Raises:
        ItemError: ``sparse``, a sparse matrix or tensor, of which nobody asked that it be filled up; ``no_numbers``, an
            array of complex numbers, times or durations, whose parts or units nobody may drop.
    """
    if type(value).__name__ in MISSING_TYPES:
        return None
    if isinstance(value, tuple) and len(value) <= PARTS and type(value) is tuple:
        return tuple(map(readable, value))
    if isinstance(value, Mapping) and type(value) is dict and len(value) <= PARTS:
        return {name: readable(one) for name, one in value.items()}
    if isinstance(value, np.ma.MaskedArray):
        return _unmasked(value) if value.ndim or not value.mask else None  # a hidden cell of a column is a missing one
    if is_sparse(value):
        raise ItemError("sparse", f"{type(value).__name__} is sparse; give {_dense_call(value)}")
    kind = getattr(value, "dtype", None)
    if getattr(value, "ndim", 0) and (getattr(kind, "kind", "-") in REFUSED or getattr(kind, "is_complex", False)):
        raise ItemError("no_numbers", f"an array of {kind} holds no plain numbers; give what is meant: {INSTEAD}")
    if hasattr(value, "detach") and str(getattr(value, "dtype", "")) == "torch.bfloat16":
        return value.float()
    return value


def is_sparse(value: Any) -> bool:
    """Whether this is a sparse matrix of SciPy or a sparse tensor of torch."""
    if hasattr(value, "detach"):
        return "sparse" in str(getattr(value, "layout", ""))
    return hasattr(value, "nnz") and hasattr(value, "toarray")


def is_ragged(value: Any) -> bool:
    """Whether this is a nested tensor of torch: tensors of different lengths."""
    return hasattr(value, "unbind") and getattr(value, "is_nested", False) is True


def as_numbers(value: Any) -> np.ndarray | None:
    """A list of numbers, or of equally long lists of them, as an array; None for everything else."""
    if not isinstance(value, list) or not value:
        return None
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "fiub" else None


def has_numbers(column: Any) -> bool:
    """Whether a column of pandas, polars or Arrow holds numbers."""
    kind = column.dtype if hasattr(column, "dtype") else column.type
    return bool(re.match(r"(u?int|float|half|double|bool)\d*$", str(kind).lower()))


def _dense_call(value: Any) -> str:
    return "its to_dense()" if hasattr(value, "to_dense") else "its toarray()"


def _unmasked(value: np.ma.MaskedArray) -> np.ndarray:
    if not np.ma.is_masked(value):
        return np.asarray(value.data)
    is_whole, is_number = value.dtype.kind in "biu", value.dtype.kind in "biufc"
    plain = np.asarray(value.data).astype(np.float64 if is_whole else value.dtype if is_number else object)
    plain[np.ma.getmaskarray(value)] = np.nan if is_number else None
    return plain
