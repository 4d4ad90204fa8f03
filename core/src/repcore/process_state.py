"""The caller's process as it was: what a call of the library changes on its way is put back when it ends.

Runs seed the random numbers of Python, NumPy and torch, ask torch for deterministic algorithms, and Lightning and torch
leave words in the environment. In a process of repcore's own that is nobody's loss; in a notebook it would change what
the next cell computes.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import numpy as np
import torch

P = ParamSpec("P")
R = TypeVar("R")

VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "POPLAR_ENGINE_OPTIONS")
"""Environment variables that Lightning and torch set while they train."""
LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "torch._dynamo", "torch._inductor", "torch.onnx")


@contextmanager
def as_it_was() -> Iterator[None]:
    """Random states, torch's switches, loggers and environment are afterwards what they were before.

    Inside, torch counts in float32 and records gradients, whatever the caller has set: networks are made, trained and
    stored so, and what needs no gradients says so itself. How :mod:`multiprocessing` starts processes stays undecided
    where it was. Random states are those of Python, NumPy, torch on the CPU, and torch on every CUDA device that is in
    use. The filters of :mod:`warnings` and torch's number of threads are kept, too. What a call computes does not
    depend on the states: whatever draws is seeded by its own setting.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    threads = torch.get_num_threads()
    environment = {name: os.environ.get(name) for name in VARIABLES}
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    numbers, start = torch.get_default_dtype(), _start_method()
    torch.set_default_dtype(torch.float32)
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(numbers)
        if start is None and _start_method() is not None:
            multiprocessing.set_start_method(None, force=True)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _start_method() -> str | None:
    """How processes are started, None while nobody has chosen."""
    return multiprocessing.get_start_method(allow_none=True)


def leaves_no_trace(function: Callable[P, R]) -> Callable[P, R]:
    """The function within :func:`as_it_was`."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with as_it_was():
            return function(*args, **kwargs)

    return call
