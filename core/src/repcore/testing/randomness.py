"""Global random states: whether foreign code touches them, and putting them back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from repcore.testing.check import fail


def global_states() -> tuple[bytes, str, int]:
    """torch's, NumPy's legacy and Python's generator in a form that can be compared."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()),  # noqa: NPY002 - the legacy state is what must stay untouched
        hash(random.getstate()),
    )


@contextmanager
def untouched(what: str, remedy: str) -> Iterator[None]:
    """The check fails if what runs inside uses or changes a global random state."""
    before = global_states()
    yield
    if global_states() != before:
        fail(f"{what} uses or changes the global random state; {remedy}")


@contextmanager
def own_randomness() -> Iterator[None]:
    """Global random states are the same afterwards, whatever happens inside."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - plugins may use the legacy state
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002 - see above
