"""Point clouds that several pages of the field write, and what readers make of them."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)
POINTS = np.round(RNG.uniform(-1, 1, (300, 3)) * [1, 0.6, 0.3], 4)
MAP = np.array([500_000.0, 5_400_000.0, 300.0])
LABELS = RNG.integers(0, 3, 300)


def rows(table: np.ndarray, separator: str = " ", fmt: str = "%.4f") -> str:
    return "\n".join(separator.join(fmt % one for one in row) for row in table) + "\n"


def ply(kind: str, properties: str, count: int, rest: str = "", before: str = "") -> bytes:
    named = "".join(f"property {one}\n" for one in properties.split(", "))
    return f"ply\nformat {kind} 1.0\n{before}element vertex {count}\n{named}{rest}end_header\n".encode()
