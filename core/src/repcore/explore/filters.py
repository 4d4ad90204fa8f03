"""``--where "column=value"``: rows by what stands in their columns."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repcore.errors import ConfigError, closest

_FORM = re.compile(r"(?P<column>.+?)\s*(?P<sign>!=|<=|>=|=|<|>)\s*(?P<value>.*)", re.DOTALL)
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on a column; rows without a value there fulfil none but the empty one (``column=``)."""

    column: str
    sign: str
    value: str

    def holds(self, cells: Sequence[Any]) -> np.ndarray:
        """Bool (N,).

        Raises:
            ConfigError: an order is asked of words.
        """
        if not self.value and self.sign in ("=", "!="):
            return np.asarray([_is_empty(one) == (self.sign == "=") for one in cells], bool)
        number = _number(self.value)
        numeric = number is not None and all(_number(one) is not None for one in cells if one is not None)
        if self.sign in _ORDER:
            if not numeric:
                shown = next((one for one in cells if one is not None and _number(one) is None), self.value)
                raise ConfigError(
                    f"{self.column}{self.sign}{self.value}: {shown!r} is no number", hint="= and != compare words"
                )
            order = _ORDER[self.sign]
            return np.asarray([one is not None and order(_number(one), number) for one in cells], bool)
        wanted = self.sign == "="
        if numeric:
            return np.asarray([one is not None and (_number(one) == number) == wanted for one in cells], bool)
        return np.asarray([one is not None and (str(one) == self.value) == wanted for one in cells], bool)


def conditions(texts: Sequence[str]) -> list[Condition]:
    """Conditions as they were typed.

    Raises:
        ConfigError: one is not of the form ``column=value``.
    """
    found = []
    for text in texts:
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ConfigError(f"--where {text!r} is no condition", expected="column=value, with = != < <= > or >=")
        found.append(Condition(match["column"].strip(), match["sign"], match["value"].strip()))
    return found


def fulfilled(asked: Sequence[Condition], columns: Mapping[str, Sequence[Any]], count: int) -> np.ndarray | None:
    """Rows that fulfil every condition, bool (N,); None without conditions.

    Raises:
        ConfigError: no such column, or no row fulfils them all.
    """
    if not asked:
        return None
    kept = np.ones(count, bool)
    for one in asked:
        if one.column not in columns:
            raise ConfigError(
                f"--where {one.column}{one.sign}{one.value}: there is no column {one.column!r}",
                did_you_mean=closest(one.column, columns), columns=", ".join(columns) or "none",
            )  # fmt: skip
        kept &= one.holds(columns[one.column])
    if not kept.any():
        words = ", ".join(f"{one.column}{one.sign}{one.value}" for one in asked)
        raise ConfigError(f"--where {words}: none of {count:,} rows", hint="fewer conditions, or another value")
    return kept


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and np.isnan(cell))


def _number(value: Any) -> float | None:  # a cell of any column
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return None if np.isnan(found) else found
