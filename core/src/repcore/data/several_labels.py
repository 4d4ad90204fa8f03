"""Several labels in one cell: the sign that separates them, and lists as Python or JSON writes them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence

LEAST_ALONE = 0.5  # share of the parts of joined cells that stand alone in others
LIST_SIGN = "\x1f"
SEPARATORS = ("|", ";", ",", "/", "+", " & ")
LIST_CELL = re.compile(r"\[.*\]|\(.*\)|\{[^:]*\}", re.DOTALL)  # labels as Python or JSON writes several


def split_cell(cell: str, separator: str) -> list[str]:
    """Labels of one cell, trimmed, empty ones left out."""
    return [word.strip() for word in cell.split(separator) if word.strip()]


def listed_labels(words: Sequence[str | None]) -> list[str | None] | None:
    """Cells that are lists of texts as Python or JSON writes them, their texts joined by a sign; None if any is not."""
    found: list[str | None] = []
    for word in words:
        if word is None:
            found.append(None)
            continue
        if not LIST_CELL.fullmatch(word):
            return None
        try:
            held = list(ast.literal_eval(word))
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
        if not all(isinstance(one, str) for one in held):
            return None
        found.append(LIST_SIGN.join(held))
    return found if any(found) else None


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
