"""One series as all readers give it.

Symbols: T steps, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Values over time.

    Args:
        values: float32 (T, C); NaN = missing, infinite values included.
        names: of the channels.
        times: int64 (T,), nanoseconds since 1970 (UTC), rising; None = steps are numbered.
    """

    values: np.ndarray
    names: tuple[str, ...]
    times: np.ndarray | None = None

    @classmethod
    def of(cls, values: np.ndarray, names: tuple[str, ...] | None = None, times: np.ndarray | None = None) -> Series:
        """From values (T,) or (T, C) of any number type."""
        found = np.asarray(values, np.float32)
        found = found[:, None] if found.ndim == 1 else found
        found = np.where(np.isfinite(found), found, np.float32(np.nan)).astype(np.float32)
        return cls(found, names or numbered(found.shape[1]), times)

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, stop: int) -> Series:
        """Steps [first, stop)."""
        return Series(self.values[first:stop], self.names, None if self.times is None else self.times[first:stop])


def numbered(count: int) -> tuple[str, ...]:
    """``value`` for one channel, ``channel0``, ``channel1``, ... for several without names."""
    return ("value",) if count == 1 else tuple(f"channel{number}" for number in range(count))
