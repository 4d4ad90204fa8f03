"""How worker processes end: told in words when one has died, and with certainty when the command does."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing.util  # noqa: F401  its own end of daemons, registered before ours, asks with SIGTERM and waits
import os
import signal
import weakref
from collections.abc import Iterable
from typing import Any

MEANINGS = {"SIGKILL": " (out of memory?)", "SIGBUS": " (out of shared memory, /dev/shm?)"}
_OWNERS: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def words_of(code: int | None) -> str:
    """How a process has ended, from its exit code, and what that mostly means."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}{MEANINGS.get(name, '')}"


def killed_at_exit(processes: Iterable[Any]) -> None:
    """Workers that leave stopping to their parent do not obey the SIGTERM with which Python ends, and then waits for,
    what is left; one that hangs in a file would be waited for without end.

    Args:
        processes: of :mod:`multiprocessing`, of this very process.
    """
    if not _OWNERS:
        atexit.unregister(_kill_left)
        atexit.register(_kill_left)
    _OWNERS.update(dict.fromkeys(processes, os.getpid()))


def _kill_left() -> None:
    for process, owner in list(_OWNERS.items()):
        if owner == os.getpid():
            with contextlib.suppress(ValueError):  # closed
                process.kill()
