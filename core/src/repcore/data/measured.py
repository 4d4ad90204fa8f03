"""Numbers with a unit behind them: one unit for a whole column, ages as DICOM writes them, or several units, said."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repcore.data.cells import numbers_as_written

LEAST_DIFFERENT = 3  # numbers of a column of values; 1a, 1b are codes
YEARS: dict[str, float] = {"Y": 1.0, "M": 1.0 / 12.0, "W": 7.0 / 365.25, "D": 1.0 / 365.25}
"""Years of one unit of a DICOM age string (PS3.5, value representation AS)."""
KNOWN_UNITS = frozenset({
    "fm", "pm", "nm", "um", "mm", "cm", "m", "km", "ng", "ug", "mg", "g", "kg", "ns", "us", "ms", "s", "sec", "min",
    "h", "hr", "hours", "d", "day", "days", "w", "wk", "week", "weeks", "mo", "mon", "month", "months", "y", "yr",
    "yrs", "year", "years", "hz", "khz", "mhz", "db", "ml", "l", "ul", "%", "\u00b0c", "\u00b0f",
    "k", "v", "mv", "pa", "kpa", "usd", "eur",
})  # fmt: skip
_MICRO = str.maketrans({"\u00b5": "u", "\u03bc": "u"})
_AGE = re.compile(r"(\d{3})([YMWD])")
_SIGNS = "[$\u20ac\u00a3\u00a5\u20b9]"
_CURRENCY = re.compile(rf"([+-]?)\s*({_SIGNS})\s*([\d.,]+)|([+-]?[\d.,]+)\s*({_SIGNS})")
_WITH_UNIT = re.compile(r"([+-]?\d[\d.,]*|[+-]?[.,]\d+)(\s*(?:%|[a-zA-Z\u00b5\u03bc\u00b0][a-zA-Z/%^\u00b0]{0,7}))")


@dataclass(frozen=True, slots=True)
class Measured:
    """A column of numbers with units.

    Args:
        values: float64 (N,), NaN where a cell is missing; None where the units differ.
        unit: of all values.
        why: what was found.
    """

    values: np.ndarray | None
    unit: str
    why: str


def read_measured(words: Sequence[str | None]) -> Measured | None:
    """Numbers each of which has a unit; None where a filled cell is anything else."""
    filled = [word for word in words if word is not None]
    ages = [_AGE.fullmatch(word) for word in filled]
    if filled and all(ages) and len({one[2] for one in ages if one is not None}) > 1:
        years = [math.nan if word is None else int(word[:3]) * YEARS[word[3]] for word in words]
        counted = Counter(word[3] for word in filled)
        shown = ", ".join(f"{count:,} in {unit}" for unit, count in counted.most_common())
        return Measured(np.asarray(years, np.float64), "years", f"ages as DICOM writes them ({shown}), read as years")
    money = [_CURRENCY.fullmatch(word) for word in filled]
    if filled and all(money):
        signs = {one[2] or one[5] for one in money if one is not None}
        texts = iter([(one[1] or "") + one[3] if one[2] else one[4] for one in money if one is not None])
        return _of_one_unit([None if word is None else next(texts) for word in words], signs)
    parts = [_WITH_UNIT.fullmatch(word) for word in filled]
    found = [part for part in parts if part is not None]
    if not filled or len(found) < len(filled) or len({part[1] for part in found}) < LEAST_DIFFERENT:
        return None
    units = Counter(part[2] for part in found)
    if len(units) == 1:
        unit = next(iter(units))
        return _of_one_unit([None if word is None else word[: -len(unit)] for word in words], {unit})
    if {unit.strip().lower().translate(_MICRO) for unit in units} <= KNOWN_UNITS:
        shown = ", ".join(f"{count:,} in {unit.strip()!r}" for unit, count in units.most_common(4))
        return Measured(None, "", f"its numbers have several units ({shown}), which are not one target")
    return None


def _of_one_unit(texts: Sequence[str | None], units: set[str]) -> Measured | None:
    """Numbers without their unit, decimals as the column writes them; None where some are not understood."""
    unit = units.pop()
    if units:
        return Measured(
            None, "", f"its numbers have several units ({unit!r}, {units.pop()!r}), which are not one target"
        )
    numbers, written = numbers_as_written("", texts)
    if numbers.odd_count:
        return None
    why = "; ".join(filter(None, (f"numbers with the unit {unit!r}, which is left out", written)))
    return Measured(numbers.values, unit, why)
