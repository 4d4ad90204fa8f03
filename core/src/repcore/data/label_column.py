"""A column judged as a label: what it is, its values, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from repcore.data.accounting import Accounting
from repcore.errors import DataError
from repcore.specs import TargetSpec

LabelKind = Literal["auto", "class", "regression", "multilabel"]
MOST_NUMBERED = 100_000  # classes without names


@dataclass(slots=True)
class LabelColumn:
    """A column judged as a label.

    Args:
        name: of the column.
        target: what it is; None = no label, for ``reason``.
        values: one a row: float64 (N,), or (N, K) for multilabel; class numbers for classes; NaN = missing.
        reason: why it was taken for this, in words.
        odd: sentences on cells that count as missing though they are filled.
        separator: of several labels in a cell.
        change: how to set it otherwise.
        by_name: no label because its name or its words say what else it is (identifier, group, part of a split).
    """

    name: str
    target: TargetSpec | None
    values: np.ndarray
    reason: str
    odd: list[str] = field(default_factory=list)
    separator: str = ""
    uncertain: int = 0
    change: str = ""
    by_name: bool = False

    @property
    def is_binary(self) -> bool:
        """Two classes that say no and yes: a task of a multilabel set."""
        return self.target is not None and self.target.kind == "class" and self.target.names in BINARY_NAMES

    def value(self, row: int) -> Any:
        """A row's value for ``Sample.targets``: int class, float, list of floats, or NaN."""
        value = self.values[row]
        if self.values.ndim == 2:
            return value.tolist()
        if self.target is not None and self.target.kind == "class" and not math.isnan(value):
            return int(value)
        return float(value)

    def tell(self, account: Accounting) -> None:
        """Say what the column was taken for."""
        if self.target is None:
            account.guess(f"column {self.name!r}", "no label", self.reason, self.change, is_loss=not self.by_name)
        else:
            names = self.target.names
            shown = f" ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})" if names else ""
            account.guess(f"label {self.name!r}", f"{self.target.kind}{shown}", self.reason, self.change)
        account.odd_cells += [text for text in self.odd if text not in account.odd_cells]


BINARY_NAMES = (("0", "1"), ("-1", "1"), ("no", "yes"), ("false", "true"))


def natural(text: str) -> tuple[int, float, str]:
    """Sorting key: numbers by size, then words."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def number_text(value: float) -> str:
    """A number as a name of a class is written: whole ones without a point."""
    return str(int(value)) if value == int(value) else f"{value:.6g}"


LONGEST_WHOLE = 1e15


def range_words(low: float, high: float) -> str:
    """``from 1 to 2``: as many digits as tell the two well apart, six at least, and no more than can be taken in."""
    texts: list[str] = []
    for digits in range(6, 18):
        texts = [
            str(int(one)) if one == int(one) and abs(one) < LONGEST_WHOLE else f"{one:.{digits}g}"
            for one in (low, high)
        ]
        if all(abs(float(text) - one) <= 0.01 * (high - low) for text, one in zip(texts, (low, high), strict=True)):
            break
    return "from " + " to ".join(texts)


def numbered_classes(highest: int) -> tuple[str, ...]:
    """Names ``0`` to ``highest`` of classes that have none.

    Raises:
        DataError: more than labels can mean; a damaged number would otherwise take all memory.
    """
    if highest >= MOST_NUMBERED:
        raise DataError(f"label {highest} cannot be the number of a class", expected=f"less than {MOST_NUMBERED:,}")
    return tuple(map(str, range(highest + 1)))
