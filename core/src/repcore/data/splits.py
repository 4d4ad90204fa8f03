"""Train, validation and test rows: random, stratified, group-aware, k-fold, from a column, or declared by the data.

A group (speaker, patient, scaffold) never straddles two parts; :func:`check_leakage` says so for splits made elsewhere.
Everything works on row numbers; :mod:`repcore.data.split_plans` turns a user's words into splits for several seeds and
:mod:`repcore.data.split_files` keeps them in files by id.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from repcore.data.groups import plain_name
from repcore.errors import DataError
from repcore.interfaces import ProbeSplit

Fractions = tuple[float, float, float]
PARTS = ("train", "validation", "test")
DEFAULT_FRACTIONS: Fractions = (0.8, 0.1, 0.1)
PART_NAMES: Mapping[str, str] = {
    "train": "train", "training": "train", "fit": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Words that columns and readers use, in lower case."""
_IN_COLUMNS: Mapping[str, str] = {
    "tr": "train", "te": "test", "va": "validation", "ext": "test",
    "trn": "train", "learn": "train", "learning": "train", "vld": "validation", "tst": "test",
    "holdout": "test", "hold_out": "test", "held_out": "test", "heldout": "test", "external": "test", "blind": "test",
}  # fmt: skip
"""Words that name parts in a column, and may be anything else in the name of a folder."""


_FOLD_FOLDER = re.compile(r"(?:k?folds?|cv|split)[-_ ]?(\d{1,3})")


def part_of(cell: Any) -> str | None:
    """Part of a split that a cell names (``Training set``, ``hold-out``, ``val``); None where it names none."""
    plain = plain_name(str(cell))
    plain = next((plain.removesuffix(end) for end in ("_set", "_data", "_split") if plain.endswith(end)), plain)
    return PART_NAMES.get(plain) or _IN_COLUMNS.get(plain)


def folder_part(name: str) -> str | None:
    """Part of a split that a folder is called by: train, test, ..., or ``fold-3`` for Fold3, fold_03, cv3 and split-3;
    None where it names none.
    """
    fold = _FOLD_FOLDER.fullmatch(name.strip().lower())
    return f"fold-{int(fold[1])}" if fold else PART_NAMES.get(name.strip().lower())


def sibling_parts(names: Iterable[str]) -> dict[str, str | None]:
    """Parts of folders beside each other: by their whole names, else where names differ in the word of a part only
    (``FSD50K.dev_audio`` beside ``FSD50K.eval_audio``); None for the others.
    """
    different = sorted(set(names))
    found: dict[str, str | None] = {one: folder_part(one) for one in different}
    if any(found.values()) or len(different) < 2:
        return found
    words = {one: [word for word in re.split(r"[^a-z]+", one.lower()) if word in PART_NAMES] for one in different}
    if any(len(one) != 1 for one in words.values()):
        return found
    rests = {one.lower().replace(words[one][0], "", 1) for one in different}
    parts = {one: PART_NAMES[words[one][0]] for one in different}
    return {**parts} if len(rests) == 1 and len(set(parts.values())) == len(different) else found


def parts_in_names(stems: Sequence[str]) -> list[str | None]:
    """Parts that names of files begin or end with (``train_0``, ``3-test``), where all do and one of them is train.

    Else None for every file.
    """
    found: list[str | None] = []
    for stem in stems:
        words = [word for word in re.split(r"[^a-z]+", stem.lower()) if word]
        ends = {PART_NAMES[word] for word in {*words[:1], *words[-1:]} if word in PART_NAMES}
        found.append(ends.pop() if len(ends) == 1 else None)
    is_declared = None not in found and "train" in found and len(set(found)) > 1
    return found if is_declared else [None] * len(stems)


def random_split(count: int, *, generator: np.random.Generator, fractions: Fractions = DEFAULT_FRACTIONS) -> ProbeSplit:
    """Rows at random, in the given shares.

    Raises:
        DataError: too few rows for a part with a share above 0, or the shares do not add to 1.
    """
    sizes = _sizes(count, fractions)
    order = generator.permutation(count)
    first, second = sizes[0], sizes[0] + sizes[1]
    return _split(order[:first], order[first:second], order[second:])


def stratified_split(
    labels: Sequence[Any] | np.ndarray,
    *,
    generator: np.random.Generator,
    fractions: Fractions = DEFAULT_FRACTIONS,
) -> ProbeSplit:
    """Random rows with the same class shares in every part, as nearly as whole rows allow.

    Rows without a label (NaN or None) are a class of their own. Whole rows that a class leaves over
    go to the part that is furthest behind.

    Raises:
        DataError: as :func:`random_split`; or all labels are different (a continuous target).
    """
    classes = _grouped([_label_key(one) for one in labels])
    count = len(labels)
    if len(classes) == count and count > 2:
        raise DataError(
            f"cannot stratify: all {count} labels are different",
            meaning="stratified splits keep class shares",
            hint="--split random (with train: data.split=random)",
        )
    shares = np.array(_sizes(count, fractions)) / count
    parts: list[list[int]] = [[], [], []]
    seen = 0
    for rows in sorted(classes.values(), key=len, reverse=True):
        seen += len(rows)
        wanted = np.floor(shares * len(rows) + 1e-9).astype(int)
        # whole rows left over go to the part that is furthest behind its share of all rows so far
        behind = shares * seen - [len(part) for part in parts] - wanted
        for _ in range(len(rows) - int(wanted.sum())):
            part = int(behind.argmax())
            wanted[part] += 1
            behind[part] -= 1
        chunks = np.split(generator.permutation(rows), np.cumsum(wanted)[:2])
        for target, chunk in zip(parts, chunks, strict=True):
            target.extend(int(row) for row in chunk)
    return _split(*(np.array(part, dtype=np.int64) for part in parts))


def group_split(
    groups: Sequence[Hashable | None],
    *,
    generator: np.random.Generator,
    fractions: Fractions = DEFAULT_FRACTIONS,
) -> ProbeSplit:
    """Whole groups at random: a group never straddles two parts; rows without a group stand alone.

    Groups are shuffled, then placed from large to small where most rows are missing, so that a group larger than a
    small part goes to train.

    Raises:
        DataError: fewer groups than parts, or shares that do not add to 1.
    """
    members = list(_groups(groups).values())
    wanted = np.array(_sizes(len(groups), fractions), dtype=float)
    needed = int((wanted > 0).sum())
    if len(members) < needed:
        raise DataError(
            f"{len(members)} group(s) cannot fill {needed} parts without straddling",
            rows=len(groups),
            hint="--split random (with train: data.split=random)",
        )
    order = sorted((members[i] for i in generator.permutation(len(members))), key=len, reverse=True)
    parts: list[list[int]] = [[], [], []]
    for position, rows in enumerate(order):
        empty = [p for p in range(3) if wanted[p] > 0 and not parts[p]]
        missing = wanted - np.array([len(part) for part in parts])
        if len(order) - position <= len(empty):  # each part still empty must get one of the last groups
            missing = np.where(np.isin(np.arange(3), empty), missing, -np.inf)
        parts[int(missing.argmax())].extend(rows)
    return _split(*(np.array(part, dtype=np.int64) for part in parts))


def fold_splits(
    count: int,
    folds: int,
    *,
    generator: np.random.Generator,
    labels: Sequence[Any] | np.ndarray | None = None,
    groups: Sequence[Hashable | None] | None = None,
) -> list[ProbeSplit]:
    """k folds: every row is tested once; each split has a train and a test part.

    Args:
        count: rows.
        folds: k >= 2.
        labels: keep class shares in each fold.
        groups: keep groups together (with ``labels``: groups decide, shares are not promised).

    Raises:
        DataError: fewer rows, groups or members of every class than folds.
    """
    if folds < 2:
        raise DataError(f"folds={folds} is less than 2")
    if groups is not None:
        units = list(_groups(groups).values())
        order = sorted((units[i] for i in generator.permutation(len(units))), key=len, reverse=True)
    else:
        classes = [list(range(count))] if labels is None else list(_grouped([_label_key(x) for x in labels]).values())
        if labels is not None and max(len(rows) for rows in classes) < folds:
            raise DataError(f"no class has {folds} rows, one for each fold", classes=len(classes), hint="fewer folds")
        units = order = [[int(row)] for rows in classes for row in generator.permutation(rows)]
    if len(units) < folds:
        raise DataError(f"{len(units)} {'rows' if groups is None else 'groups'} cannot fill {folds} folds")
    parts: list[list[int]] = [[] for _ in range(folds)]
    for position, rows in enumerate(order):
        # single rows are dealt in turn (which keeps class shares), groups to the smallest fold
        fold = position % folds if groups is None else min(range(folds), key=lambda f: len(parts[f]))
        parts[fold].extend(rows)
    return [_fold(parts, test) for test in range(folds)]


def _fold(parts: Sequence[Sequence[int]], test: int) -> ProbeSplit:
    train = [row for fold, rows in enumerate(parts) if fold != test for row in rows]
    return ProbeSplit(train=np.array(sorted(train)), test=np.array(sorted(parts[test])))


def named_split(names: Sequence[Any], *, source: str) -> list[ProbeSplit]:
    """Splits written in a column: part words (``train``, ``valid``, ``test``, ...) give one, fold numbers give k.

    Rows with an empty cell are not used.

    Args:
        names: one cell a row.
        source: column name, for messages.

    Raises:
        DataError: the cells are neither known words nor at least two folds, or a part is missing.
    """
    cells = ["" if _is_missing(cell) else str(cell).strip().lower() for cell in names]
    rows = {cell: found for cell, found in _grouped(cells).items() if cell}
    words = sorted(str(cell) for cell in rows)
    if words and all(part_of(word) for word in words):
        return [declared_split({word: rows[word] for word in words}, source=source)]
    if any(part_of(word) for word in words) or len(words) < 2 or len(words) > 100:
        raise DataError(
            f"column '{source}' does not name a split",
            found=", ".join(words[:8]) + (", ..." if len(words) > 8 else ""),
            expected="train / validation / test, or a fold number of each row",
        )
    return [_fold([rows[word] for word in words], test) for test in range(len(words))]


def declared_split(splits: Mapping[str, Sequence[int]], *, source: str = "the data") -> ProbeSplit:
    """The split that a reader or column declares; without a test part the validation part is the test part.

    Raises:
        DataError: no train part, or nothing to test on.
    """
    parts: dict[str, list[int]] = {}
    for name, rows in splits.items():
        part = part_of(name)
        if part is not None:
            parts.setdefault(part, []).extend(int(row) for row in rows)
    if not parts.get("train") or not (parts.get("test") or parts.get("validation")):
        raise DataError(
            f"{source} declares no usable split",
            found=", ".join(splits) or "none",
            expected="train and test (or validation)",
            hint="--split random (with train: data.split=random)",
        )
    validation = np.array(parts.get("validation", []), dtype=np.int64)
    test = np.array(parts.get("test", []), dtype=np.int64)
    if not test.size:
        test, validation = validation, test
    return _split(np.array(parts["train"], dtype=np.int64), validation, test)


def check_leakage(
    split: ProbeSplit,
    *,
    ids: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable | None] | None = None,
) -> None:
    """Refuse a split with a row, an id or a group on two sides.

    Args:
        ids: one a row; equal ids are the same item.
        groups: one a row; None belongs to no group.

    Raises:
        DataError: names the first offenders.
    """
    keys: list[tuple[str, Sequence[Hashable | None]]] = []
    if ids is not None:
        keys.append(("id", ids))
    if groups is not None:
        keys.append(("group", groups))
    parts = [(name, [int(row) for row in rows]) for name, rows in _parts(split)]
    for (first, left), (second, right) in _pairs(parts):
        _refuse("row", set[Hashable](left) & set(right), first, second)
        for word, values in keys:
            on_left = {values[row] for row in left if values[row] is not None}
            _refuse(word, on_left & {values[row] for row in right}, first, second)


def _refuse(word: str, shared: set[Hashable], first: str, second: str) -> None:
    if shared:
        named = ", ".join(sorted(str(one) for one in shared)[:5])
        raise DataError(
            f"{len(shared)} {word}(s) are in both the {first} and the {second} part: {named}",
            meaning="the test part must not repeat what was trained on",
            hint="--split group (with train: data.split=group)"
            if word == "group"
            else "remove the duplicates from one part",
        )


def _parts(split: ProbeSplit) -> Iterator[tuple[str, np.ndarray]]:
    for name in PARTS:
        rows = getattr(split, name)
        if rows is not None:
            yield name, rows


def _pairs(
    parts: Sequence[tuple[str, list[int]]],
) -> Iterator[tuple[tuple[str, list[int]], tuple[str, list[int]]]]:
    for i, first in enumerate(parts):
        for second in parts[i + 1 :]:
            yield first, second


def _split(train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> ProbeSplit:
    """Rows in ascending order, so that the same split reads the same whatever drew it."""
    return ProbeSplit(
        train=np.sort(train), test=np.sort(test), validation=np.sort(validation) if validation.size else None
    )


def _sizes(count: int, fractions: Fractions) -> tuple[int, int, int]:
    """Rows of each part by largest remainder; a part with a share above 0 gets at least one row."""
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1.0) > 1e-6 or min(fractions[0::2]) <= 0:
        raise DataError(
            f"fractions {fractions} are not shares of train, validation and test that add to 1",
            hint="0.8, 0.1, 0.1 (validation may be 0)",
        )
    needed = sum(fraction > 0 for fraction in fractions)
    if count < needed:
        raise DataError(f"{count} row(s) cannot fill {needed} parts", hint="more data, or validation share 0")
    exact = np.array(fractions) * count
    sizes = np.floor(exact + 1e-9).astype(int)
    for part in np.argsort(-(exact - sizes), kind="stable")[: count - int(sizes.sum())]:
        sizes[part] += 1
    for part in range(3):
        if fractions[part] > 0 and sizes[part] == 0:
            sizes[part] += 1
            sizes[int(sizes.argmax())] -= 1
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def _grouped(keys: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    """Row numbers by key, keys in order of first appearance."""
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


def _groups(groups: Sequence[Hashable | None]) -> dict[Hashable, list[int]]:
    """Rows by group; a row without a group is a group of its own."""
    return _grouped([("row", row) if _is_missing(key) else ("group", key) for row, key in enumerate(groups)])


def _label_key(label: Any) -> Hashable:  # labels are whatever a column holds
    return "missing" if _is_missing(label) else ("class", label.item() if hasattr(label, "item") else label)


def _is_missing(value: Any) -> bool:  # cells of any type
    return value is None or value == "" or (isinstance(value, float | np.floating) and bool(np.isnan(value)))
