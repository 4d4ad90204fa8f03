"""An even sample of an endless sequence of rows, and a place for each id that never changes."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np


class EvenSample:
    """At most ``most`` rows of all that are added, each with the same chance; one pass.

    Args:
        most: rows kept.
        seed: of the choice.
    """

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.seen = most, 0
        self._rng = np.random.default_rng(seed)
        self._rows: np.ndarray | None = None
        self._count = 0

    def add(self, rows: np.ndarray) -> None:
        """More rows (n, D)."""
        if self._rows is None:
            self._rows = np.empty((self.most, rows.shape[1]), np.float32)
        free = min(self.most - self._count, len(rows))
        self._rows[self._count : self._count + free] = rows[:free]
        self._count += free
        rest = rows[free:]
        if len(rest):
            numbers = self.seen + free + np.arange(len(rest))
            places = self._rng.integers(0, numbers + 1)
            inside = places < self.most
            self._rows[places[inside]] = rest[inside]
        self.seen += len(rows)

    @property
    def rows(self) -> np.ndarray:
        """Rows kept so far, float32 (m, D)."""
        return np.zeros((0, 0), np.float32) if self._rows is None else self._rows[: self._count]


def place_of(one: str, seed: int) -> float:
    """A number in [0, 1) that depends on an id alone: which part of a split an item belongs to."""
    digest = blake2b(f"{seed}:{one}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64
