"""Rows that repeat another row: the same input, or another input that becomes the same item when it is prepared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from repcore.data.split_plans import SplitPlan

EXAMPLES = 3
MOST_COMPARED = 10_000  # labels of one row


@dataclass(slots=True)
class Copies:
    """Filled row by row with :meth:`see`.

    Args:
        same: rows whose input another row has.
        near: rows whose input differs but whose prepared item equals another row's.
        across: copies whose two rows stand in different declared parts.
        contradicting: copies whose labels differ.
    """

    same: int = 0
    near: int = 0
    across: int = 0
    contradicting: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)
    _inputs: dict[bytes, tuple[str, str, Mapping[str, Any]]] = field(default_factory=dict)
    _items: dict[bytes, tuple[str, str, Mapping[str, Any]]] = field(default_factory=dict)

    def see(self, mine: tuple[str, str, Mapping[str, Any]], inputs: bytes, items: bytes | None) -> None:
        """Compare a row with those before.

        Args:
            mine: id, declared part (or ``""``) and labels.
            inputs: :func:`content_hash` of what was read.
            items: of the values of its items; None where nothing was prepared.
        """
        other = self._inputs.setdefault(inputs, mine)
        if other is not mine:
            self.same += 1
            self._note("same", other, mine)
            return
        if items is None:
            return
        other = self._items.setdefault(items, mine)
        if other is not mine:
            self.near += 1
            self._note("near", other, mine)

    def _note(
        self, kind: str, other: tuple[str, str, Mapping[str, Any]], mine: tuple[str, str, Mapping[str, Any]]
    ) -> None:
        pair = f"{mine[0]} = {other[0]}"
        self._example(kind, pair)
        if mine[1] and other[1] and mine[1] != other[1]:
            self.across += 1
            self._example("across", f"{pair} ({mine[1]}, {other[1]})")
        differing = [name for name, value in mine[2].items() if _differ(value, other[2].get(name))]
        if differing:
            self.contradicting += 1
            self._example("contradicting", f"{pair} in {differing[0]}")

    def _example(self, kind: str, text: str) -> None:
        shown = self.examples.setdefault(kind, [])
        if len(shown) < EXAMPLES:
            shown.append(text)


def _differ(one: Any, other: Any) -> bool:  # labels of any kind
    if one is None or other is None:
        return False
    try:
        left, right = (np.asarray(value, np.float64).reshape(-1) for value in (one, other))
    except (TypeError, ValueError):
        return False
    if left.size == 1 and right.size == 1:
        return not (math.isnan(left[0]) or math.isnan(right[0])) and left[0] != right[0]
    if left.shape != right.shape or left.size > MOST_COMPARED:  # dense labels follow their input
        return False
    return bool(((left != right) & ~np.isnan(left) & ~np.isnan(right)).any())


def joined_keys(keys: Sequence[Collection[Hashable]], *, alone: bool = True) -> list[str | None]:
    """Rows that share a key, directly or through others, get one name; rows without a key get None.

    Args:
        keys: of each row.
        alone: whether a row that shares its keys with no other gets a name, too.
    """
    parent = list(range(len(keys)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[Hashable, int] = {}
    for row, own in enumerate(keys):
        for key in own:
            parent[root(row)] = root(first.setdefault(key, row))
    number = Counter(root(row) for row in range(len(keys)))
    return [f"as row {root(row)}" if own and (alone or number[root(row)] > 1) else None for row, own in enumerate(keys)]


def copies_across(plan: SplitPlan, copies: Sequence[str | None], ids: Sequence[str]) -> str:
    """A sentence on test rows whose copy is trained on, in the first seed's splits; empty if there is none."""
    tested = across = 0
    example = ""
    for split in plan.folds[0] if len(copies) else ():
        trained = {copies[row]: int(row) for row in split.train if copies[row] is not None}
        found = [int(row) for row in split.test if copies[row] is not None and copies[row] in trained]
        tested, across = tested + len(split.test), across + len(found)
        if found and not example:
            example = f"{ids[found[0]]} = {ids[trained[copies[found[0]]]]}"
    if not across:
        return ""
    return (
        f"{across:,} of {tested:,} test rows are copies of training rows (first: {example}): scores will be too good; "
        "--keep-copies-together keeps them on one side"
    )


def content_hash(value: Any) -> bytes:  # inputs are the domain's own kind
    """Hash of whatever a sample or an item holds."""
    digest = sha256()
    _feed(digest, value, 8)
    return digest.digest()


def _feed(digest: Any, value: Any, depth: int) -> None:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(str(key).encode("utf-8", "surrogateescape"))
            _feed(digest, value[key], depth - 1)
    elif isinstance(value, list | tuple):
        digest.update(b"(")
        for part in value:
            _feed(digest, part, depth - 1)
    elif hasattr(value, "__array__"):
        array = np.ascontiguousarray(value)
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    elif hasattr(value, "to_dict") and depth > 0:  # a PyG Data
        _feed(digest, value.to_dict(), depth - 1)
    elif hasattr(value, "__dataclass_fields__") and depth > 0:
        _feed(digest, {name: getattr(value, name, None) for name in value.__dataclass_fields__}, depth - 1)
    else:
        digest.update(repr(value).encode("utf-8", "surrogateescape"))
