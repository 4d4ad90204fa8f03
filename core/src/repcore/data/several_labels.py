"""Several labels in one cell: the sign that separates them, and lists as Python or JSON writes them."""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_LISTS = 0.5  # share of filled cells; the others are labels that stand alone
MOST_UNASKED = 50  # numbers of a cell that may be a label though nobody says so
LEAST_ALONE = 0.5  # share of the parts of joined cells that stand alone in others
LIST_SIGN = "\x1f"
SEPARATORS = ("|", ";", ",", "/", "+", " & ")
LIST_CELL = re.compile(r"\[.*\]|\(.*\)|\{.*\}", re.DOTALL)  # as Python or JSON writes several
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ARRAY_CELL = re.compile(rf"\[\s*{_NUMBER.pattern}(\s+{_NUMBER.pattern})+\s*\]")  # as NumPy writes it


def split_cell(cell: str, separator: str) -> list[str]:
    """Labels of one cell, trimmed, empty ones left out."""
    return [word.strip() for word in cell.split(separator) if word.strip()]


@dataclass(frozen=True, slots=True)
class Lists:
    """What cells that are lists hold; exactly one of ``labels``, ``numbers`` and ``odd`` is filled.

    Args:
        labels: each cell's texts joined by :data:`LIST_SIGN`; None where it is missing.
        numbers: float64 (N, K), rows of NaN where a cell is missing.
        marks: the numbers say of each of K things whether it is there.
        odd: why the lists are no label.
    """

    labels: list[str | None] | None = None
    numbers: np.ndarray | None = None
    marks: bool = False
    odd: str = ""


def read_lists(words: Sequence[str | None], kind: str = "auto") -> Lists | None:
    """Cells as Python, JSON or NumPy write lists, and bare rows of numbers (``0,1,1``); None where they are none.

    Texts are labels, as many as there are. Zeros and ones of one length mark which of K things are there. Whole numbers
    of several lengths name classes. Other numbers of one length are values.

    Args:
        kind: what the user calls the column; decides what whole numbers of one length are.
    """
    cells = [None if word is None else _parsed(word) for word in words]
    filled = [cell for cell in cells if cell is not None]
    lists = [cell for cell in filled if isinstance(cell, list)]
    if len(lists) < LEAST_LISTS * len(filled):
        return _bare(words)
    if not lists or not any(lists):
        return None
    if all(isinstance(one, str) for cell in lists for one in cell):
        joined = [
            None if cell is None else LIST_SIGN.join(cell) if isinstance(cell, list) else str(cell) for cell in cells
        ]
        return Lists(labels=joined)
    example = next(word for word, cell in zip(words, cells, strict=True) if isinstance(cell, list) and cell)
    if len(lists) < len(filled) or not all(isinstance(one, int | float) for cell in lists for one in cell):
        return Lists(odd=f"its cells hold nested or mixed values such as {str(example)[:60]!r}, which are no labels")
    return _of_numbers([cell if isinstance(cell, list) else None for cell in cells], kind, str(example))


def _of_numbers(cells: Sequence[list[Any] | None], kind: str, example: str) -> Lists:
    filled = [cell for cell in cells if cell is not None]
    lengths = {len(cell) for cell in filled}
    width = max(lengths)
    values = np.array([[math.nan] * width if cell is None else [*cell, *[math.nan] * (width - len(cell))]
                       for cell in cells], np.float64)  # fmt: skip
    known = values[~np.isnan(values)]
    whole = bool((known == np.round(known)).all())
    named = whole and bool((known >= 0).all()) and all(len(set(cell)) == len(cell) for cell in filled)
    if len(lengths) > 1:
        if named and kind != "regression":
            return Lists(
                labels=[None if cell is None else LIST_SIGN.join(f"{one:g}" for one in cell) for cell in cells]
            )
        shown = f"{min(lengths)} to {width} numbers"
        return Lists(odd=f"its cells are lists of {shown} such as {example[:60]!r}; values need one length")
    if width > MOST_UNASKED and kind == "auto":
        return Lists(odd=f"its cells are lists of {width:,} numbers, more than {MOST_UNASKED}, taken when asked for")
    if width > 1 and kind != "regression" and set(known.tolist()) <= {0.0, 1.0}:
        return Lists(numbers=values, marks=True)
    if named and kind == "multilabel":
        return Lists(labels=[None if cell is None else LIST_SIGN.join(f"{one:g}" for one in cell) for cell in cells])
    if whole and width > 1 and kind == "auto":
        return Lists(odd=f"its cells are lists of {width} whole numbers such as {example[:60]!r}: values, or classes")
    return Lists(numbers=values)


def _bare(words: Sequence[str | None]) -> Lists | None:
    """Rows of numbers of one length without brackets; a number that stands twice in a cell tells them from classes."""
    filled = [word for word in words if word is not None]
    for sign in (",", ";", "|", None):
        rows = [None if word is None else word.split(sign) for word in words]
        lengths = {len(row) for row in rows if row is not None}
        if len(lengths) != 1 or lengths == {1}:
            continue
        if not all(_NUMBER.fullmatch(one.strip()) for row in rows if row is not None for one in row):
            continue
        if all(len(set(row)) == len(row) for row in rows if row is not None):
            continue
        return _of_numbers([None if row is None else list(map(float, row)) for row in rows], "auto", filled[0])
    return None


def _parsed(word: str) -> list[Any] | str:
    """A cell that is a list (or a structure, as a list that holds it), or the cell itself."""
    text = word.strip()
    if not LIST_CELL.fullmatch(text):
        return word
    if _ARRAY_CELL.fullmatch(text):
        return [float(one) for one in text[1:-1].split()]
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        try:
            held = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return word
    if isinstance(held, dict):
        return [held]
    return list(held) if isinstance(held, list | tuple) else sorted(held) if isinstance(held, set) else word


def separator_of(words: Sequence[str | None], asked: bool = False) -> str:
    """The sign that separates several labels in a cell, if splitting by it gives fewer, repeated labels.

    A comma inside one class name does not make a set multilabel: parts must come again on their own or in other
    combinations.
    """
    filled = [word for word in words if word is not None]
    found_alone = set(filled)
    for sign in SEPARATORS:
        joined = [word for word in filled if len(split_cell(word, sign)) > 1]
        inside = {part for word in joined for part in split_cell(word, sign)}
        if sign == "|" and joined and all(word.strip(sign) == word for word in joined):
            return sign  # a bar stands in no name of a class: "Mass|Nodule" beside "Effusion"
        if sign in ",;" and len(joined) > 1 and len(inside & found_alone) >= LEAST_ALONE * len(inside) > 0:
            return sign  # "music,speech" beside "music", but not "salt, other" beside "acid"
        if not joined or (len(joined) < 2 and not asked):
            continue
        parts = Counter(part for word in filled for part in set(split_cell(word, sign)))
        combinations: dict[str, set[str]] = {}
        for word in set(filled):
            for part in split_cell(word, sign):
                combinations.setdefault(part, set()).add(word)
        shared = sum(len(combinations[part]) > 1 for part in inside)
        short = all(len(part) <= 40 and len(part.split()) <= 4 for part in parts)
        if short and len(parts) < max(len(set(filled)), 3) + 1 and shared >= 0.6 * len(inside) and len(set(joined)) > 1:
            return sign
    return ""
