"""Labels that are words: the answers yes and no, classes, several classes in a cell."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from repcore.data.label_column import LabelColumn, natural
from repcore.data.label_names import NO, YES
from repcore.data.several_labels import split_cell
from repcore.specs import TargetSpec

MOST_SPELLINGS = 8  # of yes and no
SAY_NOTHING = frozenset({
    "unknown", "unk", "not tested", "untested", "inconclusive", "indeterminate", "undetermined", "not determined",
    "not available", "not applicable", "not measured", "not done", "not assessed", "not reported", "not evaluated",
    "unspecified", "not specified", "no data", "n d", "nd", "n t", "nt", "n m", "k a", "tbd", "pending", "equivocal",
    "uncertain", "unclear", "unsure", "unbekannt", "keine angabe", "nicht bestimmt", "inconnu", "desconocido",
    "sconosciuto", "desconhecido", "onbekend",
})  # fmt: skip
"""Words that may say that nothing is known, and may as well be a class."""


def yes_or_no(name: str, words: Sequence[str | None], change: str) -> LabelColumn | None:
    """Yes and no in words, also beside 1 and 0; several spellings of one answer count only where they are words."""
    kinds = set(words) - {None}
    plain = {str(word).lower().removesuffix(".0") for word in kinds} if len(kinds) <= 2**MOST_SPELLINGS else set()
    if not plain or len(plain) > MOST_SPELLINGS or plain <= {"0", "1"}:
        return None
    spelt: dict[str, str] = {}
    for word in words:
        if word is not None:
            spelt[word.lower().removesuffix(".0")] = word
    is_yes = {word: word in YES or word == "1" for word in spelt}
    if not set(spelt) <= YES | NO | {"0", "1"} or set(spelt) <= {"0", "1"} or len(set(is_yes.values())) < 2:
        return None
    if len(spelt) > 2 and any(len(word) == 1 and not word.isdecimal() for word in spelt):
        return None
    answers = ({word for word in spelt if not is_yes[word]}, {word for word in spelt if is_yes[word]})
    names = tuple(spelt[min(one, key=lambda word: (word.isdecimal(), word))] for one in answers)
    why = f"cells are {names[0]!r} and {names[1]!r}"
    if len(spelt) > 2:
        why += f", spelt {', '.join(repr(spelt[word]) for word in sorted(spelt))}"
    values = [math.nan if word is None else float(is_yes[word.lower().removesuffix(".0")]) for word in words]
    target = TargetSpec(name, "class", names=names)
    return LabelColumn(name, target, np.asarray(values, np.float64), why, change=change)


def said_nothing(name: str, words: Sequence[str | None]) -> list[str]:
    """A sentence on words that may say that nothing is known; they are a class until somebody says so."""
    found = Counter(word for word in words if word and " ".join(re.findall(r"[^\W_]+", word.lower())) in SAY_NOTHING)
    shown = " and ".join(map(repr, sorted(found)[:3]))
    if not found or len(found) == len(set(words) - {None}):
        return []
    many = f"{found.total():,} cells {shown}"
    return [f"column {name!r}: {many} may mean that nothing is known, and are classes: empty cells count as missing"]


def word_classes(name: str, words: Sequence[str | None], why: str, odd: list[str], change: str) -> LabelColumn:
    """A class for each different word; words that differ only in spelling are said."""
    names = tuple(sorted({word for word in words if word is not None}, key=natural))
    place = {word: float(number) for number, word in enumerate(names)}
    values = np.asarray([math.nan if word is None else place[word] for word in words], np.float64)
    similar = [group for group in _alike(names) if len(group) > 1]
    if similar:
        why += f"; {' and '.join(map(repr, similar[0]))} differ only in spelling"
    return LabelColumn(name, TargetSpec(name, "class", names=names), values, why, odd, change=change)


def multilabel(name: str, words: Sequence[str | None], separator: str, why: str, change: str) -> LabelColumn:
    """Zeros and ones (N, K) of the K labels that stand in cells."""
    split = [None if word is None else split_cell(word, separator) for word in words]
    names = tuple(sorted({one for cell in split if cell is not None for one in cell}, key=natural))
    place = {one: number for number, one in enumerate(names)}
    values = np.full((len(words), max(len(names), 1)), np.nan)
    for row, cell in enumerate(split):
        if cell is not None:
            values[row] = 0.0
            values[row, [place[one] for one in cell]] = 1.0
    target = TargetSpec(name, "multilabel", names=names)
    return LabelColumn(name, target, values, why, separator=separator, change=f"{change}, label_separator=TEXT")


def _alike(names: Sequence[str]) -> list[list[str]]:
    by_plain: dict[str, list[str]] = {}
    for name in names:
        by_plain.setdefault(re.sub(r"[^a-z0-9]+", "", name.lower()) or name, []).append(name)
    return list(by_plain.values())
