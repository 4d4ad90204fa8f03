"""What a loader's worker cannot hand over is an error of the loader.

A worker hands its batches to a thread that pickles them, tensors by way of shared memory. When that fails (a full
``/dev/shm``, a batch that cannot be pickled), the standard library prints a traceback and forgets the batch, and the
main process waits for it for ever. Here the failure takes the batch's place.
"""

from __future__ import annotations

import multiprocessing.queues
from typing import Any

from torch._utils import ExceptionWrapper


def failures_are_handed_over(worker: int) -> None:
    """For ``DataLoader(worker_init_fn=...)``; concerns the worker's own process only."""

    def failed(queue: Any, error: BaseException, handed: Any) -> None:
        place = handed[0] if isinstance(handed, tuple) else None
        reason = RuntimeError(f"a batch cannot be handed over: {type(error).__name__}: {error}")
        told = (type(reason), reason, error.__traceback__)
        queue.put((place, ExceptionWrapper(told, where=f"in worker process {worker}")))

    multiprocessing.queues.Queue._on_queue_feeder_error = failed  # type: ignore[attr-defined]
