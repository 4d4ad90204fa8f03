"""Parts of time: train first, then validation, then test."""

from __future__ import annotations

from collections.abc import Sequence

from repcore.errors import DataError

PARTS = ("train", "validation", "test")


def borders(length: int, parts: Sequence[float], gap: int = 0) -> list[tuple[int, int]]:
    """First step and step behind the last of each part; shares add up to 1 at most, larger numbers are steps.

    Args:
        gap: steps that are left out before each part but the first.

    Raises:
        DataError: more steps than there are.
    """
    sizes = [round(one * length) if sum(parts) <= 1 + 1e-9 else int(one) for one in parts]
    if sum(sizes) > length + 1:  # rounding of shares
        raise DataError(f"parts={tuple(parts)} are {sum(sizes)} steps; the series has {length}")
    found, start = [], 0
    for number, size in enumerate(sizes):
        stop = min(length, start + size)
        found.append((min(stop, start + (gap if number else 0)), stop))
        start = stop
    return found
