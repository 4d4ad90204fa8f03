"""Loops that numba compiles for CPUs: whether they can run, where they are kept, and how threads share them.

numba comes with the extra ``fast`` and is imported by nothing else. An op that has such loops keeps them in a file of
their own, with the intrinsics that they use: numba's cache on disk looks at the file of a loop only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import Any


@cache
def numba_unusable() -> str:
    """Why compiled loops cannot be used here (for ``OpSpec.usable``); empty if they can."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"numba cannot be imported ({error}): pip install repcore[fast]"
    return ""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at its first call, without the interpreter's lock; kept on disk where there is a place for it."""
    import numba

    anew = numba.njit(nogil=True)(function)
    try:
        kept = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        return anew

    @wraps(function)
    def call(*given: Any) -> Any:
        try:
            return kept(*given)
        except Exception:  # the disk is full, or the kept file damaged: found before anything is computed
            return anew(*given)

    return call


def in_threads(run: Callable[[int, int], None], parts: Sequence[tuple[int, int]], name: str) -> None:
    """Run every part, the last one here; threads are made anew, so that a forked process finds none missing.

    Args:
        run: called with the two ends of a part; whatever it writes, no other part writes.
        parts: at least one.
        name: of the threads.

    Raises:
        Exception: the first that a part raised.
    """
    if len(parts) == 1:
        run(*parts[0])
        return
    with ThreadPoolExecutor(len(parts) - 1, thread_name_prefix=name) as pool:
        others = [pool.submit(run, *part) for part in parts[:-1]]
        run(*parts[-1])
        for other in others:
            other.result()
