"""Labels that are numbers, between the data and what learns from them.

They stay float64 until they are standardised: in float32 a time stamp is known to two minutes, and nothing is left of
a small spread about a large mean. Squares of numbers must be numbers, too: labels are refused where these would be
infinite, or all be zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from repcore.errors import DataError
from repcore.specs import TargetSpec

LARGEST = 1e150
LEAST_SPREAD = 1e-140
RESOLUTION = 1e-14
"""Of the size of labels: a spread below it is what rounding of float64 makes of equal ones."""


def label_type(kind: str) -> type[np.floating]:
    """Number format of labels: float64, in which numbers and class numbers are themselves; yes and no in float32."""
    return np.float32 if kind == "multilabel" else np.float64


def as_floating(values: npt.ArrayLike) -> np.ndarray:
    """Labels of elements as floating numbers, so that NaN can stand for a missing one: float64, or float32 where that
    holds every number of their format.

    Args:
        values: of any shape and number format.
    """
    found = np.asarray(values)
    return found.astype(np.promote_types(found.dtype, np.float32), copy=False)


def check_size(values: np.ndarray, target: TargetSpec) -> None:
    """Whether labels can be squared and added up.

    Args:
        values: float64, of any shape; NaN = missing.

    Raises:
        DataError: one is larger, or infinite; names it.
    """
    if target.kind not in ("regression", "landmark"):
        return
    wrong = np.abs(values) > LARGEST
    if wrong.any():
        raise DataError(
            f"label {target.name!r} holds {float(values[wrong].flat[0])!r}, whose square is no number",
            expected=f"numbers up to {LARGEST:g}",
            hint="a cell that stands for a missing label is better left empty; else give the column another unit",
        )


def mean_and_deviation(values: np.ndarray, name: str) -> tuple[float, float]:
    """Mean and standard deviation (population) of labels without NaN; the deviation is 0 where all are equal.

    Args:
        values: float64 (n,), n > 0, of a size that :func:`check_size` lets through.
        name: of the label.

    Raises:
        DataError: they differ by so little that the squares of what they differ by are zero.
    """
    spread = float(np.ptp(values))
    if spread <= RESOLUTION * float(np.abs(values).max()):
        return float(values[0]), 0.0
    if spread < LEAST_SPREAD:
        raise DataError(
            f"labels {name!r} lie between {float(values.min())!r} and {float(values.max())!r}: squares of what they "
            "differ by are no numbers",
            hint="give the column another unit",
        )
    return float(values.mean()), float(values.std())


def labels_for(task: object, labels: Tensor) -> Tensor:
    """Labels as a task's ``loss`` takes them: float64 if its attribute ``takes_float64`` says so, else float32."""
    return labels if getattr(task, "takes_float64", False) or labels.dtype != torch.float64 else labels.float()
