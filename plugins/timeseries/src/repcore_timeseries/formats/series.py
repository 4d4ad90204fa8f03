"""One series as all readers give it.

Symbols: T steps, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGE = 2.0**20  # float32 holds smaller numbers to a sixteenth


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Values over time.

    Args:
        values: float32 (T, C), float64 where float32 would lose steps (counters above 2^20); NaN = missing, infinite
            values included.
        names: of the channels.
        times: int64 (T,), nanoseconds since 1970 (UTC), rising; None = steps are numbered.
    """

    values: np.ndarray
    names: tuple[str, ...]
    times: np.ndarray | None = None

    @classmethod
    def of(cls, values: np.ndarray, names: tuple[str, ...] | None = None, times: np.ndarray | None = None) -> Series:
        """From values (T,) or (T, C) of any number type."""
        given = np.asarray(values)
        with np.errstate(over="ignore"):
            found = given.astype(np.float64 if loses_steps(given) else np.float32)
        found = found[:, None] if found.ndim == 1 else found
        found = np.where(np.isfinite(found), found, np.nan).astype(found.dtype)
        return cls(found, names or numbered(found.shape[1]), times)

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, stop: int) -> Series:
        """Steps [first, stop)."""
        return Series(self.values[first:stop], self.names, None if self.times is None else self.times[first:stop])


def loses_steps(values: np.ndarray) -> bool:
    """Whether float32 rounds more than a hundredth of the usual step of a channel away; of values (T,) or (T, C)."""
    if values.dtype in (np.float32, np.float16, np.bool_) or not values.size:
        return False
    for channel in values.T if values.ndim > 1 else [values]:
        known = channel[np.isfinite(channel)].astype(np.float64)
        if not len(known) or np.abs(known).max() < LARGE or np.abs(known).max() > np.finfo(np.float32).max:
            continue
        apart = np.abs(np.diff(known))
        apart = apart[apart > 0]
        if len(apart) and np.abs(known - known.astype(np.float32)).max() > 0.01 * np.median(apart):
            return True
    return False


def numbered(count: int) -> tuple[str, ...]:
    """``value`` for one channel, ``channel0``, ``channel1``, ... for several without names."""
    return ("value",) if count == 1 else tuple(f"channel{number}" for number in range(count))
