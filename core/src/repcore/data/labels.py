"""What kind of label a column holds, decided from all its cells, with the reason in words.

{0, 1}, {-1, 1}, {1, 2} and yes/no are two classes; few words or few whole numbers are classes; several words in a cell
are a multilabel target; other numbers are regression. A cell that is not understood counts as missing and is named. A
column that is no label (constant, identifiers, free text) stays in the result with the reason: nothing vanishes.
Everything can be set: ``kind`` of a column, ``separator`` of labels in a cell, what ``-1`` beside 0 and 1 means.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import (
    Decimal,
    NumberColumn,
    decimal_comma_of,
    grouped_rows,
    is_missing,
    looks_like,
    numbers_as_written,
    words_of,
)
from repcore.data.groups import is_group_name, plain_name
from repcore.data.item_columns import item_columns
from repcore.data.label_names import (
    MOST_LOOKED_AT,
    NO,
    YES,
    calls_classes,
    identifies,
    no_label_by_name,
    odd_identifiers,
)
from repcore.data.several_labels import LIST_SIGN, listed_labels, separator_of, split_cell
from repcore.data.split_columns import are_parts
from repcore.errors import DataError
from repcore.specs import TargetSpec

MOST_NUMBERED = 100_000  # classes without names

LabelKind = Literal["auto", "class", "regression", "multilabel"]
Uncertain = Literal["auto", "missing", "positive", "negative", "class"]
MOST_JUDGED = 5000  # columns in which a label is looked for unasked; tables of expression have tens of thousands
MOST_WORD_CLASSES = 50
MOST_NAMED_CLASSES = 1000  # of a column that the user calls a class
MOST_NUMBER_CLASSES = 20
MOST_HIGH_CODES = 5  # codes of classes that begin above 1
MOST_SPELLINGS = 8  # of yes and no
MOST_DATES = 0.9  # share of cells from which a column holds dates
LEAST_NUMBERS = 0.5  # share of filled cells that must be numbers for a column of numbers with odd cells
_COUNT_WORDS = frozenset({
    "num", "number", "count", "counts", "age", "year", "score", "mos", "rating", "length", "size", "degree", "weight",
    "width", "height", "duration", "price", "dose", "time", "n", "minimum", "maximum", "mean", "total",
})  # fmt: skip

_WITH_UNIT = re.compile(r"([+-]?\d+(?:\.\d+)?)(\s*(?:%|[a-zA-Z\u00b5\u03bc\u00b0][a-zA-Z/%^\u00b0]{0,7}))")
UNREAD_NUMBERS = ("thousands", "decimal comma", "underscore digits", "percent")


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
            return value.astype(np.float32).tolist()
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


def read_label(
    name: str,
    cells: Iterable[Any],
    *,
    kind: LabelKind = "auto",
    separator: str = "",
    uncertain: Uncertain = "auto",
    decimal: Decimal | None = None,
    comma: str = "",
    change: str = "label_kind=class|regression|multilabel",
) -> LabelColumn:
    """Judge and read one column.

    Args:
        name: of the column.
        cells: all of them, in row order.
        kind: ``auto``, or what the user calls it.
        separator: of several labels in a cell; found in the cells when empty.
        uncertain: what -1 beside 0 and 1 means. ``auto`` = missing where all of -1, 0, 1 stand in the column and the
            caller knows of other such columns (:func:`read_labels`), else three classes.
        decimal: sign of decimals; found in the cells when None.
        comma: why decimals of the whole table have a comma (:func:`repcore.data.cells.decimal_comma_of`).
        change: how a user sets the kind, for the announcement.

    Raises:
        DataError: the column cannot be of the kind that was asked for.
    """
    held = list(cells)
    numbers, said = numbers_as_written(name, held, decimal, comma)
    if kind == "regression":
        return _regression(numbers, "as asked", said, change)
    if kind == "multilabel" or separator:
        words = words_of(held)
        return _multilabel(name, words, separator or separator_of(words, asked=True) or ",", "as asked", change)
    if kind == "class":
        return _asked_class(numbers, words_of(held), change)
    if not numbers.filled:
        return LabelColumn(name, None, numbers.values, "every cell is empty", change=change)
    spelt = _yes_no(name, words_of(held), change)
    if spelt is not None:
        return spelt
    if numbers.number_share >= LEAST_NUMBERS:
        return _of_numbers(numbers, said, uncertain, change)
    return _of_words(numbers, words_of(held), change, _said_missing(held))


def read_labels(
    columns: Mapping[str, Sequence[Any]],
    *,
    kinds: Mapping[str, LabelKind] | None = None,
    kind: LabelKind = "auto",
    separator: str = "",
    uncertain: Uncertain = "auto",
    group_words: Iterable[str] = (),
    change: str = "label_kind=class|regression|multilabel",
    id_change: str = "",
    account: Accounting | None = None,
    beside: Mapping[str, Sequence[Any]] | None = None,
) -> list[LabelColumn]:
    """Judge and read several columns; groups, split words and identifiers are no labels. Tells ``account``.

    Args:
        columns: cells by column name; without the columns that hold the input, ids and paths.
        kinds: what the user calls some of them; others are of ``kind``.
        group_words: the domain's own words for :func:`repcore.data.groups.is_group_name`.
        id_change: how a user calls rows by a column (``--id-column``); proposed for columns that could.
        beside: further columns of the table, which may show how its decimals are written.
    """
    asked, group_words = dict(kinds or {}), tuple(group_words)
    columns = _judged(columns, asked, account)
    if uncertain == "auto":
        found_in = [_uncertain_values(cells) for cells in columns.values()]
        is_read = sum(bool(one) for one in found_in) >= 2 and any(len(one) == 3 for one in found_in)
        uncertain = "missing" if is_read else "class"
    found = []
    boxes = {one.name for one in item_columns(list(columns)) if one.role == "box"}
    grouped = any(grouped_rows(cells) for cells in columns.values())
    comma = decimal_comma_of({**(beside or {}), **columns}) if grouped else ""
    for name, cells in columns.items():
        why = "" if name in asked else no_label_by_name(name, cells, group_words)
        if name in boxes and name not in asked:
            values = np.full(len(cells), np.nan)
            why = "it says where on an item something lies, and items are taken whole"
            one = LabelColumn(name, None, values, why, change=change)
        elif why:
            values = np.full(len(cells), np.nan)
            odd = [] if is_group_name(name, group_words) else odd_identifiers(name, cells)
            one = LabelColumn(name, None, values, why, odd, change=change, by_name=True)
        else:
            one = read_label(
                name,
                cells,
                kind=asked.get(name, kind),
                separator=separator,
                uncertain=uncertain,
                comma=comma,
                change=change,
            )
        if id_change and one.target is None and _calls_rows(one, cells):
            one.reason, one.change = f"{one.reason}; no cell comes twice", f"{id_change} {name}"
        if account is not None:
            one.tell(account)
        found.append(one)
    return found


def _judged(
    columns: Mapping[str, Sequence[Any]], asked: Mapping[str, LabelKind], account: Accounting | None
) -> Mapping[str, Sequence[Any]]:
    """The columns that are looked at: all of a usual table, of a very wide one those that were asked for and the first
    ones."""
    if len(columns) <= MOST_JUDGED + len(asked):
        return columns
    first = set(islice((name for name in columns if name not in asked), MOST_JUDGED))
    if account is not None:
        account.note(
            f"labels are looked for in the first {MOST_JUDGED:,} of {len(columns):,} columns; others have to be named: "
            "labels=[NAME]"
        )
    return {name: columns[name] for name in columns if name in asked or name in first}


def _calls_rows(one: LabelColumn, cells: Sequence[Any]) -> bool:
    """Whether rows could be called by the cells: all filled, none twice, and no label by its name or its texts."""
    if one.by_name and not identifies(one.name):
        return False
    words = words_of(cells)
    if not one.by_name and any(word is None or looks_like(word) != "text" for word in words[:MOST_LOOKED_AT]):
        return False
    return len(words) > 1 and None not in words and len(set(words)) == len(words)


# ------------------------------------------------------------------------------------------------ kinds


def _regression(numbers: NumberColumn, why: str, said: str, change: str) -> LabelColumn:
    reason = "; ".join(part for part in (why, said) if part)
    return LabelColumn(
        numbers.name, TargetSpec(numbers.name, "regression"), numbers.values, reason, numbers.sentences(), change=change
    )


def _of_numbers(numbers: NumberColumn, said: str, uncertain: Uncertain, change: str) -> LabelColumn:
    values = numbers.values
    known = values[~np.isnan(values)]
    found, counts = np.unique(known, return_counts=True)
    whole = bool(len(found)) and bool((found == np.round(found)).all())
    name = numbers.name
    if len(found) == 1 and not set(found) <= {0.0, 1.0}:
        return LabelColumn(
            name, None, values, f"every filled cell is {_text(found[0])}", numbers.sentences(), change=change
        )
    beside = set(found) in ({-1.0, 1.0}, {-1.0, 0.0}) and uncertain in ("missing", "positive", "negative")
    if whole and (beside or (set(found) == {-1.0, 0.0, 1.0} and uncertain != "class")):
        return _uncertain(numbers, uncertain, change)
    if whole and set(found) in ({0.0, 1.0}, {-1.0, 1.0}, {1.0, 2.0}, {0.0}, {1.0}):
        names = found if len(found) == 2 else np.asarray([0.0, 1.0])
        only = f"; only {_text(found[0])} stands in it" if len(found) == 1 else ""
        why = f"cells are {_text(names[0])} and {_text(names[1])}{only}"
        return _classes(numbers, names, why, change)
    if whole and len(values) > 2 and _is_running(values):
        return LabelColumn(name, None, values, "running numbers", numbers.sentences(), change=change)
    if whole and _few_whole(name, found, counts):
        return _classes(numbers, found, f"{len(found)} different whole numbers", change)
    why = f"numbers from {_text(found[0])} to {_text(found[-1])}"
    return _regression(numbers, why, said, change)


def _few_whole(name: str, found: np.ndarray, counts: np.ndarray) -> bool:
    """Whether whole numbers are codes of classes: few, close together, each several times, no count by its name."""
    if set(plain_name(name).split("_")) & _COUNT_WORDS or len(found) > MOST_NUMBER_CLASSES:
        return False
    if found[0] > 1 and len(found) > MOST_HIGH_CODES:  # 32 to 43: a size or an age; codes count from 0 or 1
        return False
    close = found[-1] - found[0] < 2 * len(found)
    return bool(close and counts.mean() >= 3 and np.median(counts) >= 2)


def _classes(numbers: NumberColumn, found: np.ndarray, why: str, change: str) -> LabelColumn:
    place = {value: float(number) for number, value in enumerate(found.tolist())}
    values = np.asarray([place.get(value, math.nan) for value in numbers.values.tolist()], np.float64)
    target = TargetSpec(numbers.name, "class", names=tuple(_text(value) for value in found))
    return LabelColumn(numbers.name, target, values, why, numbers.sentences(), change=change)


def _uncertain(numbers: NumberColumn, meaning: Uncertain, change: str) -> LabelColumn:
    """-1 beside 0 and 1, as in CheXpert and MIMIC-CXR: not decided by the radiologist."""
    values = numbers.values.copy()
    unsure = values == -1.0
    values[unsure] = {"positive": 1.0, "negative": 0.0}.get(meaning, math.nan)
    taken = {"positive": "taken for 1", "negative": "taken for 0"}.get(meaning, "taken for missing")
    why = f"cells are 0 and 1; -1 ({int(unsure.sum()):,} cells) is uncertain and {taken}"
    target = TargetSpec(numbers.name, "class", names=("0", "1"))
    words = f"{change}, uncertain=missing|positive|negative|class"
    return LabelColumn(
        numbers.name, target, values, why, numbers.sentences(), uncertain=int(unsure.sum()), change=words
    )


def _said_missing(cells: Sequence[Any]) -> str:
    """Words such as None and NA, which count as missing but may be meant as a class; empty where there is none."""
    found = Counter(
        str(cell).strip() for cell in cells if isinstance(cell, str) and cell.strip().isalpha() and is_missing(cell)
    )
    shown = " and ".join(map(repr, sorted(found)[:3]))
    return (
        f"{found.total():,} cells {shown} count as missing: another word for them makes them a class" if found else ""
    )


def _of_words(numbers: NumberColumn, words: Sequence[str | None], change: str, missing: str = "") -> LabelColumn:
    name, filled = numbers.name, [word for word in words if word is not None]
    odd = numbers.sentences() if numbers.number_share > 0.0 else []
    found = set(filled)
    measured = _measured(numbers, words, change)
    if measured is not None:
        return measured
    if len(numbers.odd.get("date", ())) >= MOST_DATES * len(filled):
        return LabelColumn(name, None, np.full(len(words), np.nan), "its cells are dates", change=change, by_name=True)
    listed = listed_labels(words)
    if listed is not None:
        why = f"cells hold lists of labels, such as {filled[0][:40]!r}"
        return _multilabel(name, listed, LIST_SIGN, why, change)
    separator = separator_of(words)
    if separator:
        return _multilabel(name, words, separator, f"cells hold several labels separated by {separator!r}", change)
    if len(found) == 1:
        why = "; ".join(filter(None, (f"every filled cell is {filled[0]!r}", missing)))
        return LabelColumn(name, None, np.full(len(words), np.nan), why, change=change)
    if are_parts(found):
        return LabelColumn(name, None, np.full(len(words), np.nan), "its words name parts of a split", change=change)
    is_called = calls_classes(name) and len(filled) > len(found)
    if len(found) <= MOST_WORD_CLASSES and (is_called or len(filled) >= 2 * len(found)):
        said = [f"column {name!r}: {missing}"] if missing else []
        return _word_classes(name, words, f"{len(found)} different words", said, change)
    looks = ", ".join(f"{len(rows):,} look like {kind}" for kind, rows in list(numbers.odd.items())[:3])
    why = f"{len(found):,} different texts in {len(filled):,} filled cells ({looks}), first {filled[0][:40]!r}"
    return LabelColumn(name, None, np.full(len(words), np.nan), why, odd, change=change)


def _measured(numbers: NumberColumn, words: Sequence[str | None], change: str) -> LabelColumn | None:
    """A column of numbers that all have the same unit as values; one of numbers that cannot be read as no label."""
    filled = [word for word in words if word is not None]
    parts = [_WITH_UNIT.fullmatch(word) for word in filled]
    units = {part[2] for part in parts if part is not None}
    if all(parts) and len(units) == 1 and len({part[1] for part in parts if part is not None}) > 2:
        values = [math.nan if word is None else float(word[: -len(next(iter(units)))]) for word in words]
        reason = f"numbers with the unit {next(iter(units))!r}, which is left out"
        target = TargetSpec(numbers.name, "regression", unit=next(iter(units)))
        return LabelColumn(numbers.name, target, np.asarray(values, np.float64), reason, change=change)
    odd = sum(len(numbers.odd.get(kind, ())) for kind in UNREAD_NUMBERS)
    if odd < LEAST_NUMBERS * len(filled):
        return None
    reason = f"{odd:,} of {len(filled):,} filled cells look like numbers that are not understood"
    values_missing = np.full(len(words), math.nan)
    return LabelColumn(numbers.name, None, values_missing, reason, numbers.sentences(), change=change)


def _yes_no(name: str, words: Sequence[str | None], change: str) -> LabelColumn | None:
    """Yes and no in words, also beside 1 and 0; several spellings of one answer count only where they are words."""
    spelt: dict[str, str] = {}
    for word in words:
        if word is not None:
            spelt[word.lower().removesuffix(".0")] = word
            if len(spelt) > MOST_SPELLINGS:
                return None
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


def _word_classes(name: str, words: Sequence[str | None], why: str, odd: list[str], change: str) -> LabelColumn:
    names = tuple(sorted({word for word in words if word is not None}, key=natural))
    place = {word: float(number) for number, word in enumerate(names)}
    values = np.asarray([math.nan if word is None else place[word] for word in words], np.float64)
    similar = [group for group in _alike(names) if len(group) > 1]
    if similar:
        why += f"; {' and '.join(map(repr, similar[0]))} differ only in spelling"
    return LabelColumn(name, TargetSpec(name, "class", names=names), values, why, odd, change=change)


def _asked_class(numbers: NumberColumn, words: Sequence[str | None], change: str) -> LabelColumn:
    found = {word for word in words if word is not None}
    if not 1 <= len(found) <= MOST_NAMED_CLASSES:
        raise DataError(
            f"column {numbers.name!r} has {len(found):,} distinct values, which is no class label",
            expected=f"1 to {MOST_NAMED_CLASSES}",
            hint="label_kind=regression for numbers",
        )
    if numbers.odd_count:
        return _word_classes(numbers.name, words, "as asked", [], change)
    known = np.unique(numbers.values[~np.isnan(numbers.values)])
    return _classes(numbers, known, "as asked", change)


def _multilabel(name: str, words: Sequence[str | None], separator: str, why: str, change: str) -> LabelColumn:
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


def _uncertain_values(cells: Sequence[Any]) -> set[str]:
    """-1 and which of 0 and 1 a column holds, if that is all; empty for other columns."""
    found: set[str] = set()
    for start in range(0, len(cells), 1000):
        found |= {str(cell).strip().removesuffix(".0") for cell in cells[start : start + 1000] if not is_missing(cell)}
        if len(found) > 3:
            return set()
    return found if "-1" in found and found <= {"-1", "0", "1"} and len(found) > 1 else set()


def _is_running(values: np.ndarray) -> bool:
    """Whether the cells count the rows: 0 to N-1 or 1 to N in order (ages 30, 31, 32, ... do not)."""
    return bool(values[0] in (0.0, 1.0) and (np.diff(values) == 1.0).all())


def _alike(names: Sequence[str]) -> list[list[str]]:
    by_plain: dict[str, list[str]] = {}
    for name in names:
        by_plain.setdefault(re.sub(r"[^a-z0-9]+", "", name.lower()) or name, []).append(name)
    return list(by_plain.values())


def natural(text: str) -> tuple[int, float, str]:
    """Sorting key: numbers by size, then words."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6g}"


def numbered_classes(highest: int) -> tuple[str, ...]:
    """Names ``0`` to ``highest`` of classes that have none.

    Raises:
        DataError: more than labels can mean; a damaged number would otherwise take all memory.
    """
    if highest >= MOST_NUMBERED:
        raise DataError(f"label {highest} cannot be the number of a class", expected=f"less than {MOST_NUMBERED:,}")
    return tuple(map(str, range(highest + 1)))
