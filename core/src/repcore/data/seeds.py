"""Seeds as pure functions of what they belong to, so that any position of a run can be replayed.

A seed is mixed from integers and words with SplitMix64, whose finaliser passes the usual avalanche tests; equal
inputs give equal seeds on every machine, process and worker count.
"""

from __future__ import annotations

import zlib

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(*parts: int | str) -> int:
    """A 63-bit seed from integers and words, in order."""
    state = 0
    for part in parts:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else int(part)
        state = _finalise((state ^ (number & _MASK)) + _GOLDEN & _MASK)
    return state >> 1


def _finalise(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


def generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator seeded by :func:`mix`."""
    return np.random.Generator(np.random.PCG64(mix(*parts)))
