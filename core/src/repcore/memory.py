"""Memory that was freed but that the C library keeps."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


def return_freed_memory() -> None:
    """Give freed memory back to the system; does nothing where the C library is not glibc.

    Tensors of ever new sizes leave holes in glibc's heap that it does not hand back by itself, so that the resident
    size of a process that trains on the CPU with ragged batches grows to several times of what it uses.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
