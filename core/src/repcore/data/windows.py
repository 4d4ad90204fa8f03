"""Windows of work limited by bytes: so many rows, but never more decoded data than a budget.

A reader that knows without reading how large a row becomes says so by an optional method ``bytes_of(index) -> int``;
for others the bytes of rows that were read stand for those that come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, TypeVar

import numpy as np

One = TypeVar("One")
WINDOW_BYTES = 256 * 2**20
OVERHEAD = 64  # bytes that a value costs beside its content


def bytes_in(value: Any, depth: int = 6) -> int:  # samples and items hold whatever a domain likes
    """Bytes that a sample, an item or anything inside them holds: arrays, tensors, texts, containers."""
    if value is None or isinstance(value, bool | int | float):
        return OVERHEAD
    if isinstance(value, str | bytes):
        return OVERHEAD + len(value)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return OVERHEAD + nbytes
    if depth == 0:
        return OVERHEAD
    if isinstance(value, Mapping):
        return OVERHEAD + sum(bytes_in(part, depth - 1) for part in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return OVERHEAD + sum(bytes_in(part, depth - 1) for part in value)
    if hasattr(value, "to_dict"):  # a PyG Data
        return OVERHEAD + bytes_in(value.to_dict(), depth - 1)
    if is_dataclass(value):
        names = value.__dataclass_fields__
        return OVERHEAD + sum(bytes_in(getattr(value, name, None), depth - 1) for name in names)
    return OVERHEAD + (bytes_in(vars(value), depth - 1) if hasattr(value, "__dict__") else 0)


def take_windows(
    made: Iterable[One], size_of: Callable[[One], int] = bytes_in, *, rows: int, budget: int = WINDOW_BYTES
) -> Iterator[list[One]]:
    """Rows as they come, in windows that end after ``rows`` of them or when their bytes reach ``budget``."""
    window: list[One] = []
    held = 0
    for one in made:
        window.append(one)
        held += size_of(one)
        if len(window) == rows or held >= budget:
            yield window
            window, held = [], 0
    if window:
        yield window


def planned_windows(
    chosen: Sequence[int] | np.ndarray, bytes_of: Callable[[int], int] | None, *, rows: int, budget: int = WINDOW_BYTES
) -> list[np.ndarray]:
    """Row numbers cut into windows before anything is read, for loader processes.

    Args:
        chosen: row numbers, in order.
        bytes_of: estimate of a row's bytes; None = windows of ``rows``.
        rows / budget: most rows and most bytes of a window; one row that is larger stands alone.
    """
    numbers = np.asarray(chosen, np.int64)
    if bytes_of is None:
        return [numbers[start : start + rows] for start in range(0, len(numbers), rows)]
    windows: list[np.ndarray] = []
    first, held = 0, 0
    for place, row in enumerate(numbers):
        size = bytes_of(int(row))
        if place > first and (place - first == rows or held + size > budget):
            windows.append(numbers[first:place])
            first, held = place, 0
        held += size
    return [*windows, numbers[first:]] if len(numbers) > first else windows


def estimate_of(reader: Any) -> Callable[[int], int] | None:  # any DatasetReader; the method is optional
    """The reader's own estimate of a row's bytes, if it offers one."""
    offered: Callable[[int], int] | None = getattr(reader, "bytes_of", None)
    return offered
