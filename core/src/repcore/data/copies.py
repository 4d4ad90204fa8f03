"""Rows that repeat another row: the same input, or another input that becomes the same item when it is prepared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

EXAMPLES = 3


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
    if left.shape != right.shape or left.size > 10_000:  # dense labels follow their input
        return False
    return bool(((left != right) & ~np.isnan(left) & ~np.isnan(right)).any())


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
