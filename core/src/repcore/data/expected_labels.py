"""Labels whose meaning is known before the data is opened: those that a model answers, and those that it reads.

Within :func:`expecting` the columns that are called like one of the targets, or like one of the yes/no questions of a
multilabel one, are read as the model answers, whatever their cells alone would be taken for: a few whole numbers as
values, codes as the classes that they are, one label a row as one of several.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from repcore.data.cells import first_inexact
from repcore.data.label_column import LabelColumn, natural, number_text
from repcore.data.label_names import NO, YES
from repcore.data.several_labels import LIST_SIGN, SEPARATORS, split_cell
from repcore.specs import TargetSpec

_EXPECTED: ContextVar[tuple[TargetSpec, ...]] = ContextVar("expected labels", default=())
YES_NO = ("0", "1")
WHY = "as the model answers"


@contextmanager
def expecting(*targets: TargetSpec) -> Iterator[None]:
    """Read labels as these targets of a model, beside those that are expected already, while data is opened."""
    token = _EXPECTED.set((*_EXPECTED.get(), *targets))
    try:
        yield
    finally:
        _EXPECTED.reset(token)


def expected(name: str) -> TargetSpec | None:
    """What a column of this name is expected to be; None where nothing is known of it."""
    known = _EXPECTED.get()
    for target in known:
        if target.name == name:
            return target
    asked = any(one.kind == "multilabel" and name in one.names for one in known)
    return TargetSpec(name, "class", names=YES_NO) if asked else None


def expected_classes(target: TargetSpec, words: Sequence[str | None], change: str) -> LabelColumn:
    """Class numbers of the model; words that it does not know become further classes behind its own."""
    own = {str(name): number for number, name in enumerate(target.names)}
    different = {word for word in words if word is not None}
    answers = _answers(list(own), different)
    found: dict[str, str] = {}  # word -> class
    for word in different:
        known = (one for one in (word, _as_number(word), answers.get(_plain(word))) if one in own)
        found[word] = next(known, word) or word
    further = sorted(set(found.values()) - set(own), key=natural)
    place = {**own, **{name: len(own) + number for number, name in enumerate(further)}}
    values = np.asarray([math.nan if word is None else place[found[word]] for word in words], np.float64)
    odd = [f"column {target.name!r}: {word!r} is read as the class {one!r}" for word, one in sorted(found.items())
           if word != one and _as_number(word) != one]  # fmt: skip
    spec = TargetSpec(target.name, "class", names=(*map(str, target.names), *further))
    return LabelColumn(target.name, spec, values, WHY, odd, change=change)


def _as_number(word: str) -> str | None:
    """A number as names of classes are written: ``2.0`` and ``2`` are one class; ``02`` is a code of its own, and so is
    what float64 rounds."""
    if (word[:1] == "0" and len(word) > 1 and word.isdecimal()) or first_inexact([word]):
        return None
    try:
        value = float(word)
    except ValueError:
        return None
    return number_text(value) if math.isfinite(value) else None


def _plain(word: str) -> str:
    return word.lower().removesuffix(".0")


def _answers(own: Sequence[str], words: Iterable[str]) -> dict[str, str]:
    """Words for no and yes -> the two classes of the model that say so; empty where its classes say something else.

    -1 is no where none of the words in the data is no, or undecided.
    """
    no, yes = NO | {"0"}, YES | {"1"}
    plain = [_plain(one) for one in own]
    if len(plain) != 2 or len(set(plain) & yes) != 1 or len(set(plain) & (no | {"-1"})) != 1:
        return {}
    said_no, said_yes = own if plain[1] in yes else reversed(own)
    is_no = set(no) | ({"-1"} if not {_plain(word) for word in words} & no else set())
    return {**dict.fromkeys(is_no, said_no), **dict.fromkeys(yes, said_yes)}


def expected_labels(target: TargetSpec, words: Sequence[str | None], separator: str, change: str) -> LabelColumn | None:
    """Zeros and ones (N, K) of a multilabel model from cells that name labels, one or several; None where they are
    rather zeros and ones themselves."""
    own = [str(name) for name in target.names]
    filled = [word for word in words if word is not None]
    if own == [str(number) for number in range(len(own))] and set(filled) <= set(YES_NO):
        return None
    signs = [separator] if separator else [LIST_SIGN, *SEPARATORS]
    sign = max(signs, key=lambda one: sum(part in set(own) for word in filled for part in split_cell(word, one)))
    cells = [None if word is None else [word] if word in own else split_cell(word, sign) for word in words]
    further = sorted({part for cell in cells if cell is not None for part in cell} - set(own), key=natural)
    place = {name: number for number, name in enumerate((*own, *further))}
    values = np.full((len(cells), len(place)), np.nan)
    for row, cell in enumerate(cells):
        if cell is not None:
            values[row] = 0.0
            values[row, [place[one] for one in cell]] = 1.0
    spec = TargetSpec(target.name, "multilabel", names=tuple(place))
    return LabelColumn(target.name, spec, values, WHY, separator=sign, change=change)
