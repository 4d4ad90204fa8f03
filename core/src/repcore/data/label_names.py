"""What names of columns say that keeps them from being labels: identifiers, groups, folds, parts of a split, visits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from repcore.data.cells import is_missing, looks_like, words_of
from repcore.data.groups import is_group_name, plain_name
from repcore.data.split_columns import SURELY_SPLIT, are_parts, unknown_parts

_JA = ("ja", "oui", "wahr", "vrai")
_NEIN = ("nein", "nee", "nej", "non", "falsch", "faux")
YES = frozenset({"true", "yes", "y", "t", "positive", "pos", "active", "+", *_JA})
NO = frozenset({"false", "no", "n", "f", "negative", "neg", "inactive", "-", *_NEIN})
_IDENTIFIER = re.compile(
    r"(^|_)(id|sid|result_tag|idx|index|no|nr|row|uid|uuid|guid|key|name|title|accession|barcode|cas|cid|doi|url|filename|file|path)$"
    r"|^unnamed|^column_?\d+$|^$"
)
_INVENTED = re.compile(r"^column_?\d+$")  # of a column without a name in the file
_CLASS_NAME = re.compile(
    r"(^|_)(class|label|category|species|type|diagnosis|disease|finding|tissue|organ|target|group|scientific|common|latin|"
    r"vernacular|taxon)_(name|title|key)$"
)
_FLAG = re.compile(
    r"^((is|in)_?)?(test|train|training|val|valid|validation)(_?set)?$|^(test|train|training|validation)_?(set|flag)$"
)
_FOLD = re.compile(
    r"^((cv_?|k_?|outer_?|inner_?)?folds?|cv|cross_?val(idation)?)(_?(id|no|nr|num|number|index|split|set))?$"
)
_OCCASION = re.compile(r"^(follow_?up|visit|time_?point|wave|occasion|examination)(_(no|nr|num|number|index|code))?$")
_ROWS = frozenset({"id", "image_id", "scan_id", "case_id", "file", "file_name", "filename", "image", "scan"})
MOST_FOLDS = 20
PADDED = 4  # digits
MOST_LOOKED_AT = 5000  # identifiers


def no_label_by_name(name: str, cells: Sequence[Any], group_words: tuple[str, ...]) -> str:
    """Why a column is no label by its name or its words; empty where nothing of that speaks against it."""
    if is_group_name(name, group_words):
        return "its name says where a row comes from: a group of rows"
    if _INVENTED.search(plain_name(name)):
        if _tell_rows_apart(cells):
            return "no header names it, and no cell comes twice: it may identify rows"
    elif identifies(name) and not _CLASS_NAME.search(plain_name(name)):
        return "its name says that it identifies rows"
    if _OCCASION.search(plain_name(name)):
        return "its name says on which occasion a row was taken"
    words = {word.lower() for word in words_of(cells[:1000]) if word is not None}
    if _FOLD.search(plain_name(name)) and _are_folds(cells):
        return "its name says in which fold a row is: --split column:NAME"
    if _FLAG.search(plain_name(name)) and words and words <= YES | NO | {"0", "1", "0.0", "1.0"}:
        return "its name says which rows belong to a part of a split: --split column:NAME"
    if are_parts(cells[:1000]) and are_parts(cells):
        return "its words name parts of a split"
    if plain_name(name) in SURELY_SPLIT and _are_folds(cells):
        return "its name says in which part of a split a row is: --split column:NAME"
    if unknown_parts(name, cells):
        return "its name says in which part of a split a row is"
    return ""


def _tell_rows_apart(cells: Sequence[Any]) -> bool:
    """Whether no cell comes twice and they are texts or whole numbers."""
    words = [word for word in words_of(cells) if word is not None]
    if not words:
        return True
    whole = all(re.fullmatch(r"[+-]?\d+(\.0*)?", word) for word in words)
    return len(set(words)) == len(words) and (whole or any(looks_like(word) == "text" for word in words))


def _are_folds(cells: Sequence[Any]) -> bool:
    """Whether cells count folds: few whole numbers."""
    found = {str(cell).strip().removesuffix(".0") for cell in cells if not is_missing(cell)}
    return 2 <= len(found) <= MOST_FOLDS and all(one.isdecimal() for one in found)


def odd_identifiers(name: str, cells: Sequence[Any]) -> list[str]:
    """Identifiers that a spreadsheet has turned into dates (MARCH1 -> 1-Mar), ids that stand more than once, and words
    of a split that nobody knows.
    """
    words = [word for word in words_of(cells[:MOST_LOOKED_AT]) if word is not None]
    said = [one for one in (unknown_parts(name, cells),) if one]
    dates = [word for word in words if looks_like(word) == "date"]
    if 0 < len(dates) < 0.9 * len(words):
        shown = ", ".join(map(repr, dates[:3]))
        count = f"{len(dates):,} of {len(words):,} identifiers"
        said.append(f"column {name!r}: {count} look like dates ({shown}), as spreadsheets make them")
    twice = [word for word, count in Counter(words).items() if count > 1]
    if plain_name(name).split("_")[-1] in ("id", "uid", "uuid", "key") and twice:
        said.append(f"column {name!r}: {len(twice):,} identifiers stand more than once, first {twice[0]!r}")
    return said


def are_class_numbers(name: str, cells: Sequence[Any], columns: Sequence[str]) -> bool:
    """Whether whole numbers are rather classes than names of files called 0, 1, 2: they come again and again, or come
    again at all, or are few, where another column is called like one of identifiers or groups.

    Args:
        name: of the column.
        columns: all names of the table.
    """
    words = [word for word in words_of(cells) if word is not None]
    if not words or not all(re.fullmatch(r"\d+(\.0*)?", word) for word in words):
        return False
    if len({len(word) for word in words}) == 1 and len(words[0]) >= PADDED and any(word[0] == "0" for word in words):
        return False  # 00017: padded to one width, as names of files are and classes are not
    if len(set(words)) <= 0.5 * len(words):
        often = Counter(words).most_common(1)[0][1]  # numbers of two sites, a row a side: more numbers than repeats
        return plain_name(name) not in _ROWS or len(set(words)) <= often
    if names_rows(name):
        return False
    return len(set(words)) < len(words) or any(names_rows(one) for one in columns)


def calls_classes(name: str) -> bool:
    """Whether a name says that a column holds classes, however few rows there are."""
    plain = plain_name(name)
    return plain in ("label", "class", "category", "target", "species", "diagnosis") or bool(_CLASS_NAME.search(plain))


def identifies(name: str) -> bool:
    """Whether a name says that a column tells rows apart."""
    return bool(_IDENTIFIER.search(plain_name(name)))


def names_rows(name: str) -> bool:
    """Whether a name says that a column tells rows, or groups of them, apart."""
    return identifies(name) or is_group_name(name)
