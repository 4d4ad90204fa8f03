"""Memory: that there is none left, in whatever words, and memory that was freed but that the C library keeps."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

# torch has no class of its own for it on a CPU, and sizes that overflow are larger than any memory
_WORDS = ("not enough memory", "can't allocate memory", "out of memory", "Storage size calculation overflowed")
_LIBRARY = ("failed to map segment", "Cannot allocate memory")  # what the loader says of a library


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has not sufficed; torch says so in the words of a ``RuntimeError``."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS))
        or (isinstance(error, ImportError | OSError) and any(words in str(error) for words in _LIBRARY))
    )


CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
MEMORY_FACTS = Path("/proc/meminfo")


@functools.cache
def total_memory() -> float:
    """Bytes of memory of this machine, or that its container may use; infinite where the system does not say."""
    try:
        machine = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        machine = float("inf")
    try:
        return min(machine, float(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return machine


def available_memory() -> float:
    """Bytes that could be taken now without pushing others out; all of it where the system does not say."""
    try:
        facts = dict(line.split(":", 1) for line in MEMORY_FACTS.read_text().splitlines())
        return min(float(facts["MemAvailable"].split()[0]) * 1024, total_memory())
    except (OSError, ValueError, KeyError):
        return total_memory()


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
