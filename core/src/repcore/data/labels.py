"""What kind of label a column holds, decided from all its cells, with the reason in words.

{0, 1}, {-1, 1}, {1, 2} and yes/no are two classes; few words or few whole numbers are classes; several words in a cell
are a multilabel target; other numbers are regression. A cell that is not understood counts as missing and is named. A
column that is no label (constant, identifiers, free text) stays in the result with the reason: nothing vanishes.
Everything can be set: ``kind`` of a column, ``separator`` of labels in a cell, what ``-1`` beside 0 and 1 means.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import (
    EITHER,
    Columns,
    Decimal,
    NumberColumn,
    TableNumbers,
    different,
    first_code,
    first_inexact,
    flat_cells,
    is_missing,
    looks_like,
    numbers_as_written,
    words_of,
)
from repcore.data.companions import AS_WRITTEN, Companions, Found, Meaning, exact_values, find_companions
from repcore.data.expected_labels import WHY, expected, expected_classes, expected_labels
from repcore.data.groups import is_group_name, plain_name
from repcore.data.item_columns import item_columns
from repcore.data.label_column import LabelColumn, LabelKind, natural, number_text, numbered_classes, range_words
from repcore.data.label_names import MOST_LOOKED_AT, calls_classes, identifies, no_label_by_name, odd_identifiers
from repcore.data.measured import read_measured
from repcore.data.several_labels import LIST_SIGN, Lists, read_lists, separator_of
from repcore.data.split_columns import are_parts
from repcore.data.word_labels import multilabel, said_nothing, word_classes, yes_or_no
from repcore.errors import DataError
from repcore.specs import TargetSpec

__all__ = ["LabelColumn", "LabelKind", "natural", "numbered_classes", "read_label", "read_labels"]

Uncertain = Literal["auto", "missing", "positive", "negative", "class"]
MOST_JUDGED = 5000  # columns in which a label is looked for unasked; tables of expression have tens of thousands
MOST_WORD_CLASSES = 50
MOST_NAMED_CLASSES = 1000  # of a column that the user calls a class
MOST_NUMBER_CLASSES = 20
MOST_HIGH_CODES = 5  # codes of classes that begin above 1
MOST_DATES = 0.9  # share of cells from which a column holds dates
LEAST_NUMBERS = 0.5  # share of filled cells that must be numbers for a column of numbers with odd cells
_COUNT_WORDS = frozenset({
    "num", "number", "count", "counts", "age", "year", "score", "mos", "rating", "length", "size", "degree", "weight",
    "width", "height", "duration", "price", "dose", "time", "n", "minimum", "maximum", "mean", "total",
})  # fmt: skip

AS_ASKED = "as asked"
UNREAD_NUMBERS = ("thousands", EITHER, "decimal comma", "underscore digits", "percent")


def read_label(
    name: str,
    cells: Iterable[Any],
    *,
    kind: LabelKind = "auto",
    separator: str = "",
    uncertain: Uncertain = "auto",
    decimal: Decimal | None = None,
    comma: str = "",
    point: Callable[[], str] = str,
    change: str = "label_kind=class|regression|multilabel",
    why: str = AS_ASKED,
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
        point: why a comma stands before thousands (:meth:`repcore.data.cells.TableNumbers.point`).
        change: how a user sets the kind, for the announcement.
        why: who said that it is of ``kind``, for the announcement: the user, or a reader by what it knows.

    Raises:
        DataError: the column cannot be of the kind that was asked for.
    """
    held = flat_cells(cells)
    target = expected(name)
    is_guess = kind == "auto" or why != AS_ASKED
    if target is not None and (is_guess or kind == target.kind):
        answer = _as_expected(target, held, separator, change)
        if answer is not None:
            return answer
    settings: dict[str, Any] = {"separator": separator, "uncertain": uncertain, "decimal": decimal, "comma": comma}
    settings |= {"point": point, "why": why}
    found = _judge(name, held, kind, change, **settings)
    if target is None or target.kind != "regression" or not is_guess:
        return found
    is_known = found.target is not None and found.target.kind == "regression"
    return found if is_known else _judge(name, held, "regression", change, **settings)


def _as_expected(target: TargetSpec, cells: Sequence[Any], separator: str, change: str) -> LabelColumn | None:
    """A column as the classes or labels of a model; None where the cells alone say how they are read."""
    words = words_of(cells)
    if target.kind == "class":
        return expected_classes(target, words, change) if target.names else None
    if target.kind != "multilabel":
        return None
    lists = read_lists(words, "multilabel")
    if lists is None:
        return expected_labels(target, words, separator, change)
    if lists.labels is not None:
        return expected_labels(target, lists.labels, LIST_SIGN, change)
    if lists.numbers is None or lists.numbers.shape[1] != len(target.names):
        return None
    spec = TargetSpec(target.name, "multilabel", names=target.names)
    return LabelColumn(target.name, spec, lists.numbers, WHY, change=change)


def _judge(
    name: str,
    held: Sequence[Any],
    kind: LabelKind,
    change: str,
    *,
    separator: str,
    uncertain: Uncertain,
    decimal: Decimal | None,
    comma: str,
    point: Callable[[], str],
    why: str,
) -> LabelColumn:
    numbers, said = numbers_as_written(name, held, decimal, comma, point)
    if kind in ("regression", "multilabel") and not separator and numbers.filled and not numbers.number_share:
        lists = read_lists(words_of(held), kind)
        if lists is not None:
            return _of_lists(name, lists, held, change)
    inexact = first_inexact(held)
    if kind == "regression":
        return _regression(numbers, why, _not_exact(said, inexact), change)
    if kind == "multilabel" or separator:
        words = words_of(held)
        return multilabel(name, words, separator or separator_of(words, asked=True) or ",", why, change)
    if kind == "class":
        return _asked_class(numbers, words_of(held), why, change)
    if not numbers.filled:
        return LabelColumn(name, None, numbers.values, "every cell is empty", change=change)
    spelt = yes_or_no(name, words_of(held), change) if numbers.odd_count else None  # numbers are no words
    if spelt is not None:
        return spelt
    if inexact and numbers.number_share >= LEAST_NUMBERS:
        return _of_long_numbers(numbers, words_of(held), inexact, said, change)
    if numbers.number_share >= LEAST_NUMBERS:
        return _with_codes(_of_numbers(numbers, said, uncertain, change), held, change)
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
    decimal: Decimal | None = None,
    meaning: Meaning = AS_WRITTEN,
) -> list[LabelColumn]:
    """Judge and read several columns; groups, split words and identifiers are no labels. Tells ``account``.

    Args:
        columns: cells by column name; without the columns that hold the input, ids and paths.
        kinds: what the user calls some of them; others are of ``kind``.
        group_words: the domain's own words for :func:`repcore.data.groups.is_group_name`.
        id_change: how a user calls rows by a column (``--id-column``); proposed for columns that could.
        beside: further columns of the table, which may show how its decimals are written and what values mean.
        decimal: sign of decimals; found in the cells when None.
        meaning: of columns of relations (``>``), units and quantities beside values.
    """
    asked, group_words = dict(kinds or {}), tuple(group_words)
    columns = _judged(columns, asked, account)
    if uncertain == "auto":
        found_in = [_uncertain_values(cells) for cells in columns.values()]
        is_read = sum(bool(one) for one in found_in) >= 2 and any(len(one) == 3 for one in found_in)
        uncertain = "missing" if is_read else "class"
    found = []
    boxes = {one.name for one in item_columns(list(columns)) if one.role == "box"}
    table = Columns(
        [*columns, *(beside or {})], lambda name: columns[name] if name in columns else (beside or {})[name]
    )
    numbers = TableNumbers(table, decimal)
    around = Found() if meaning.ignore else find_companions(list(table), table.__getitem__, group_words)
    companions = around.of
    means = {column: value for value, found_beside in companions.items() for column in found_beside.columns.values()}
    for name, written in columns.items():
        cells = flat_cells(written)
        why = "" if name in asked or expected(name) else no_label_by_name(name, cells, group_words)
        values = np.full(len(cells), np.nan)
        if name in means and name not in asked:
            why = f"it says how {means[name]!r} is meant"
            one = LabelColumn(name, None, values, why, change=meaning.change or change, by_name=True)
        elif name in around.unclear and name not in asked:
            one = LabelColumn(name, None, values, around.unclear[name], change=meaning.change or change)
        elif name in boxes and name not in asked:
            why = "it says where on an item something lies, and items are taken whole"
            one = LabelColumn(name, None, values, why, change=change)
        elif why:
            odd = [] if is_group_name(name, group_words) else odd_identifiers(name, cells)
            one = LabelColumn(name, None, values, why, odd, change=change, by_name=True)
        else:
            settings: dict[str, Any] = {"kind": asked.get(name, kind), "separator": separator, "uncertain": uncertain}
            settings |= {"decimal": decimal, "comma": numbers.comma_for(cells), "change": change}
            settings["point"] = numbers.point
            one = _as_meant(name, cells, companions.get(name), table, meaning, settings)
        if id_change and one.target is None and name not in companions and _calls_rows(one, cells):
            one.reason, one.change = f"{one.reason}; no cell comes twice", f"{id_change} {name}"
        if account is not None:
            one.tell(account)
        found.append(one)
    return found


def _as_meant(
    name: str,
    cells: Sequence[Any],
    companions: Companions | None,
    table: Columns,
    meaning: Meaning,
    settings: Mapping[str, Any],
) -> LabelColumn:
    """A column read with those that say how its values are meant."""
    if companions is None:
        return read_label(name, cells, **settings)
    exact = exact_values(companions, cells, table.__getitem__, meaning)
    if exact.why:
        values = np.full(len(cells), np.nan)
        return LabelColumn(name, None, values, exact.why, exact.odd, change=meaning.change or settings["change"])
    one = read_label(name, exact.cells, **settings)
    one.odd = [*exact.odd, *one.odd]
    if exact.unit and one.target is not None and one.target.kind == "regression":
        one.target = replace(one.target, unit=exact.unit)
        one.reason += f"; in {exact.unit} by column {companions.columns['unit']!r}"
    return one


def _judged(
    columns: Mapping[str, Sequence[Any]], asked: Mapping[str, LabelKind], account: Accounting | None
) -> Mapping[str, Sequence[Any]]:
    """The columns that are looked at: all of a usual table, of a very wide one those that were asked for and the first
    ones."""
    if len(columns) <= MOST_JUDGED + len(asked):
        return columns
    first = set(islice((name for name in columns if name not in asked), MOST_JUDGED))
    first |= {name for name in columns if expected(name) is not None}
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
            name, None, values, f"every filled cell is {number_text(found[0])}", numbers.sentences(), change=change
        )
    beside = set(found) in ({-1.0, 1.0}, {-1.0, 0.0}) and uncertain in ("missing", "positive", "negative")
    if whole and (beside or (set(found) == {-1.0, 0.0, 1.0} and uncertain != "class")):
        return _uncertain(numbers, uncertain, change)
    if whole and set(found) in ({0.0, 1.0}, {-1.0, 1.0}, {1.0, 2.0}, {0.0}, {1.0}):
        names = found if len(found) == 2 else np.asarray([0.0, 1.0])
        only = f"; only {number_text(found[0])} stands in it" if len(found) == 1 else ""
        why = f"cells are {number_text(names[0])} and {number_text(names[1])}{only}"
        return _classes(numbers, names, why, change)
    if whole and len(values) > 2 and _is_running(values):
        return LabelColumn(name, None, values, "running numbers", numbers.sentences(), change=change)
    if whole and _few_whole(name, found, counts):
        return _classes(numbers, found, f"{len(found)} different whole numbers", change)
    why = f"numbers {range_words(found[0], found[-1])}"
    return _regression(numbers, why, said, change)


def _with_codes(one: LabelColumn, cells: Sequence[Any], change: str) -> LabelColumn:
    """Codes that only look like numbers: ``007`` and ``7`` are two classes; as values their spelling is said."""
    code = first_code(cells)
    if not code or one.target is None:
        return one
    words = words_of(cells)
    if one.target.kind == "class" and len(set(words)) <= MOST_WORD_CLASSES:
        missing = _said_missing(cells)
        said = [f"column {one.name!r}: {missing}"] if missing else []  # what is odd among numbers is a class of words
        return word_classes(one.name, words, f"codes such as {code!r}, kept as they are written", said, change)
    one.reason += f"; cells such as {code!r} are read as numbers, --read label_kind=class takes them for codes"
    return one


def _of_long_numbers(
    numbers: NumberColumn, words: Sequence[str | None], example: str, said: str, change: str
) -> LabelColumn:
    """Whole numbers that float64 rounds: classes by their digits where they repeat, identifiers where none does."""
    name, filled = numbers.name, [word for word in words if word is not None]
    found, why = set(filled), f"whole numbers such as {example}, more than float64 tells apart"
    if 1 < len(found) <= MOST_WORD_CLASSES and len(filled) >= 2 * len(found):
        return word_classes(name, words, f"{why}: codes, kept as they are written", [], change)
    if len(found) == 1 or len(found) == len(filled):
        why = f"every filled cell is {example}" if len(found) == 1 else f"{why}, none twice: identifiers"
        return LabelColumn(name, None, np.full(len(words), math.nan), why, change=change)
    known = numbers.values[~np.isnan(numbers.values)]
    return _regression(numbers, f"numbers {range_words(known.min(), known.max())}", _not_exact(said, example), change)


def _not_exact(said: str, example: str) -> str:
    """What is said of a column's numbers, with the first of those that float64 rounds."""
    words = f"cells such as {example} are rounded: if they are identifiers, label_kind=class keeps them as written"
    return "; ".join(filter(None, (said, words if example else "")))


def _few_whole(name: str, found: np.ndarray, counts: np.ndarray) -> bool:
    """Whether whole numbers are codes of classes: few, close together, each several times, no count by its name."""
    if set(plain_name(name).split("_")) & _COUNT_WORDS or len(found) > MOST_NUMBER_CLASSES:
        return False
    if found[0] > 1 and len(found) > MOST_HIGH_CODES:  # 32 to 43: a size or an age; codes count from 0 or 1
        return False
    close = found[-1] - found[0] < 2 * len(found)
    return bool(close and counts.mean() >= (2 if calls_classes(name) else 3) and np.median(counts) >= 2)


def _classes(numbers: NumberColumn, found: np.ndarray, why: str, change: str) -> LabelColumn:
    place = {value: float(number) for number, value in enumerate(found.tolist())}
    values = np.asarray([place.get(value, math.nan) for value in numbers.values.tolist()], np.float64)
    target = TargetSpec(numbers.name, "class", names=tuple(number_text(value) for value in found))
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
    found = set(filled)
    measured = _measured(numbers, words, change)
    if measured is not None:
        return measured
    if len(numbers.odd.get("date", ())) >= MOST_DATES * len(filled):
        return LabelColumn(name, None, np.full(len(words), np.nan), "its cells are dates", change=change, by_name=True)
    listed = read_lists(words)
    if listed is not None:
        return _of_lists(name, listed, words, change)
    separator = separator_of(words)
    if separator:
        return multilabel(name, words, separator, f"cells hold several labels separated by {separator!r}", change)
    if len(found) == 1:
        why = "; ".join(filter(None, (f"every filled cell is {filled[0]!r}", missing)))
        return LabelColumn(name, None, np.full(len(words), np.nan), why, change=change)
    if are_parts(found):
        return LabelColumn(name, None, np.full(len(words), np.nan), "its words name parts of a split", change=change)
    is_called = calls_classes(name) and len(filled) > len(found)
    if len(found) <= MOST_WORD_CLASSES and (is_called or len(filled) >= 2 * len(found)):
        said = [f"column {name!r}: {missing}"] if missing else []
        said += said_nothing(name, words)
        return word_classes(name, words, f"{len(found)} different words", said, change)
    looks = ", ".join(f"{len(rows):,} look like {kind}" for kind, rows in list(numbers.odd.items())[:3])
    why = f"{len(found):,} different texts in {len(filled):,} filled cells ({looks}), first {filled[0][:40]!r}"
    return LabelColumn(name, None, np.full(len(words), np.nan), why, change=change)


def _of_lists(name: str, lists: Lists, cells: Sequence[Any], change: str) -> LabelColumn:
    """Lists of labels, marks of which of K things are there, or values."""
    example = repr(next(str(cell) for cell in cells if not is_missing(cell))[:40])
    if lists.labels is not None:
        return multilabel(name, lists.labels, LIST_SIGN, f"cells hold lists of labels, such as {example}", change)
    if lists.numbers is None:
        return LabelColumn(name, None, np.full(len(cells), math.nan), lists.odd, change=change)
    width = lists.numbers.shape[1]
    if width == 1:
        return read_label(name, lists.numbers[:, 0].tolist(), change=change)
    kind: Literal["multilabel", "regression"] = "multilabel" if lists.marks else "regression"
    what = "zeros and ones, each of which says whether something is there" if lists.marks else "values"
    target = TargetSpec(name, kind, names=tuple(map(str, range(width))))
    return LabelColumn(
        name, target, lists.numbers, f"cells are lists of {width} {what}, such as {example}", change=change
    )


def _measured(numbers: NumberColumn, words: Sequence[str | None], change: str) -> LabelColumn | None:
    """A column of numbers that all have the same unit as values; one of numbers that cannot be read as no label."""
    filled = [word for word in words if word is not None]
    found = read_measured(words)
    if found is not None and found.values is not None:
        target = TargetSpec(numbers.name, "regression", unit=found.unit)
        return LabelColumn(numbers.name, target, found.values, found.why, change=change)
    if found is not None:
        return LabelColumn(numbers.name, None, np.full(len(words), math.nan), found.why, change=change)
    odd = sum(len(numbers.odd.get(kind, ())) for kind in UNREAD_NUMBERS)
    if odd < LEAST_NUMBERS * len(filled):
        return None
    reason = f"{odd:,} of {len(filled):,} filled cells look like numbers that are not understood"
    values_missing = np.full(len(words), math.nan)
    return LabelColumn(numbers.name, None, values_missing, reason, numbers.sentences(), change=change)


def _asked_class(numbers: NumberColumn, words: Sequence[str | None], why: str, change: str) -> LabelColumn:
    found = {word for word in words if word is not None}
    if not 1 <= len(found) <= MOST_NAMED_CLASSES:
        raise DataError(
            f"column {numbers.name!r} has {len(found):,} distinct values, which is no class label",
            expected=f"1 to {MOST_NAMED_CLASSES}",
            hint="label_kind=regression for numbers" if found else "fill in labels of some rows, or another --label",
        )
    if numbers.odd_count or first_code(words) or first_inexact(words):
        return word_classes(numbers.name, words, why, [], change)
    known = np.unique(numbers.values[~np.isnan(numbers.values)])
    return _classes(numbers, known, why, change)


def _uncertain_values(cells: Sequence[Any]) -> set[str]:
    """-1 and which of 0 and 1 a column holds, if that is all; empty for other columns."""
    found: set[str] = set()
    for start in range(0, len(cells), 1000):
        some = different(cells[start : start + 1000])
        found |= {str(cell).strip().removesuffix(".0") for cell in some if not is_missing(cell)}
        if len(found) > 3:
            return set()
    return found if "-1" in found and found <= {"-1", "0", "1"} and len(found) > 1 else set()


def _is_running(values: np.ndarray) -> bool:
    """Whether the cells count the rows: 0 to N-1 or 1 to N in order (ages 30, 31, 32, ... do not)."""
    return bool(values[0] in (0.0, 1.0) and (np.diff(values) == 1.0).all())
