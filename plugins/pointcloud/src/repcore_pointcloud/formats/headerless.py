"""Files without a header, such as KITTI's: whether their numbers can be positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repcore.data.headers import head

FARTHEST = 1e4  # metres


def holds_lengths(path: Path) -> bool:
    """Whether the head of a file reads as float32 numbers of the size of lengths, as laser scanners write them."""
    first = head(path)
    values = np.frombuffer(first[: len(first) // 4 * 4], "<f4")
    return len(values) > 0 and bool((np.abs(values) < FARTHEST).all())  # NaN is not below
