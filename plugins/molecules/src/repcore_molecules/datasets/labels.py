"""Label cells as numbers: what is missing, what is a class, what cannot be read."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from repcore.data.tables import number
from repcore_molecules.datasets.columns import TargetColumn, class_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadLabels:
    """A column of labels.

    Attributes:
        values: float64 (N,); index of the class, or the number itself; NaN where missing or unreadable.
        unreadable: row -> the cell that is neither missing nor a label.
    """

    values: np.ndarray
    unreadable: dict[int, object]


def read_labels(column: TargetColumn, cells: Iterable[object]) -> ReadLabels:
    """Read a whole column; cells that cannot be read are logged once, with their number and the first of them."""
    index = {name: float(place) for place, name in enumerate(column.classes)}
    values = array("d")  # a list of numbers would take four times the memory
    unreadable: dict[int, object] = {}
    for row, cell in enumerate(cells):
        try:
            values.append(_label(cell, index))
        except (TypeError, ValueError):
            values.append(float("nan"))
            unreadable[row] = cell
    if unreadable:
        row, cell = next(iter(unreadable.items()))
        wanted = "one of " + ", ".join(column.classes[:6]) if index else "a number"
        log.warning(
            "label %r: %d cells are not %s and count as missing; first: %r in row %d",
            column.name,
            len(unreadable),
            wanted,
            cell,
            row,
        )
    return ReadLabels(np.frombuffer(values, np.float64), unreadable)


def _label(cell: object, index: dict[str, float]) -> float:
    """A cell as a number; NaN when missing.

    Raises:
        ValueError: it is neither missing nor readable.
    """
    text = str(cell).strip()
    if text in index:
        return index[text]
    value = number(cell)
    if value is None:
        return float("nan")
    if abs(value) == float("inf"):
        raise ValueError(f"{cell!r} is not finite")
    if not index:
        return value
    name = class_name(value)  # 1.0 and 1 are one class
    if name not in index:
        raise ValueError(f"class {cell!r} is not among those of the column")
    return index[name]
