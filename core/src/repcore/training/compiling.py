"""``trainer.compile=true``: the objective is compiled for a trial before the run, and refused in words if it cannot be.

torch compiles when a step is first made, and what it cannot trace shows up as an error from deep inside, after the run
has begun. Batches of training rows are therefore sent through a compiled copy, forwards and backwards: three, since
torch takes the sizes of the first for fixed, compiles again for others, and may fail only then. The objective itself,
its buffers and the global generators stay as they are. Ragged data make torch compile many pieces, each for minutes
where there are few processors, so that the trial has a limit, too; where the third batch still is compiled, this is
said.
"""

from __future__ import annotations

import copy
import logging
import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import cast

import numpy as np
import torch

from repcore.data.guard import error_in_words
from repcore.data.seeds import mix
from repcore.devices import torch_device
from repcore.errors import ConfigError, RunError
from repcore.interfaces import Batch, Objective, Progress
from repcore.ops import keep_out_of_graphs
from repcore.reporting import Reporter
from repcore.training.assembly import RunParts
from repcore.training.loaders import FixedBatches, build_loader

TRIAL_ROWS = 4
TRIALS = 3  # batches: sizes taken for fixed, then for free; after them nothing should be left to compile
COMPILERS = ("torch._dynamo", "torch._inductor", "torch.fx")  # where errors of torch's compiler are defined
AGAIN = 5.0  # seconds after which a ring that was lost is repeated


class _Late(BaseException):
    """The trial has reached its limit; no ``Exception``, which torch would take for a failure of its backend."""


def compile_objective(parts: RunParts, device: str, total_steps: int, reporter: Reporter) -> None:
    """Compile ``parts.objective`` in place, after a trial.

    Args:
        device: as a command takes it, ``auto`` too.

    Raises:
        ConfigError: torch cannot compile it here, with torch's reason, or not within ``trainer.compile_limit``.
    """
    trainer, name = parts.resolved.trainer, parts.resolved.objective.name
    _quiet()
    keep_out_of_graphs()
    reporter.info(
        f"compiling {name} with {trainer.compile_backend} for a trial: often minutes, at most {trainer.compile_limit} s"
    )
    started = time.perf_counter()
    _counted().clear()
    try:
        with torch.random.fork_rng(), _at_most(trainer.compile_limit):
            settles = _trial(parts, torch_device(device), Progress(0, total_steps))
    except _Late:
        raise ConfigError(
            f"trainer.compile=true, but {name} is not compiled after {trainer.compile_limit} s "
            f"with {trainer.compile_backend}",
            so_far=_so_far(),
            hint="trainer.compile=false, or a larger trainer.compile_limit",
        ) from None
    except Exception as error:  # torch raises many kinds, and an objective's code its own
        raise ConfigError(
            f"trainer.compile=true, but torch cannot compile {name} here",
            reason=_reason(error),
            hint=_what_helps(error),
        ) from error
    finally:
        torch._dynamo.reset()
    reporter.info(f"compiled in {time.perf_counter() - started:.0f} s")
    if not settles:
        reporter.warn(
            f"{name} is compiled anew for batch after batch, whose sizes differ: steps may take longer than without "
            "trainer.compile"
        )
    parts.objective.compile(backend=trainer.compile_backend)


def _counted() -> Counter[str]:
    from torch._dynamo.utils import counters  # a second of imports that no other run needs

    return counters["stats"]


def _so_far() -> str:
    """How much torch has traced: whether the limit was nearly enough."""
    traced = _counted()
    return f"{traced['unique_graphs']} parts of {traced['calls_captured']} operations traced"


def _reason(error: Exception) -> str:
    """What torch says, without its advice to its own developers."""
    return error_in_words(error).partition("Set TORCHDYNAMO_VERBOSE")[0].rstrip()


def _what_helps(error: Exception) -> str:
    if "C++ compiler" in str(error) or "CxxCompiler" in type(error).__name__:
        return "install a C++ compiler (g++ or clang++; CXX names another), or trainer.compile=false"
    return "trainer.compile=false"


def _quiet() -> None:
    """No advice of torch's compiler to its own developers, unless somebody asks for it with ``TORCH_LOGS``."""
    if "TORCH_LOGS" in os.environ:
        return
    for name in ("torch._dynamo", "torch._inductor", "torch.utils.cpp_extension"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch\._(dynamo|inductor|functorch)")


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Raises :class:`_Late` after so many seconds, where there are alarms; outside the main thread there are none.

    What is raised while Python removes an object is lost, and a library may catch everything: it is raised again.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _Late

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _trial(parts: RunParts, device: str, progress: Progress) -> bool:
    """Compiled steps of a copy, without the optimiser; whether the last of them was made without compiling anew."""
    module = copy.deepcopy(parts.objective).to(device).train()
    module.compile(backend=parts.resolved.trainer.compile_backend)
    rules = cast(Objective, module)
    traced = 0
    for number in range(TRIALS):
        traced = _counted()["unique_graphs"]
        batch = _trial_batch(parts, number, progress).to(device)
        generator = torch.Generator(device=device)
        generator.manual_seed(mix(parts.resolved.trainer.seed, "draw", 0, number))
        with torch.no_grad():
            draws = rules.draw(batch, generator, progress)
        rules(batch, draws).total.backward()
    return _counted()["unique_graphs"] == traced


def _trial_batch(parts: RunParts, number: int, progress: Progress) -> Batch:
    """Other rows for each number, as far as there are some."""
    size = min(TRIAL_ROWS, parts.resolved.data.batch_size, len(parts.train))
    rows = np.take(np.asarray(parts.train), np.arange(number * size, (number + 1) * size), mode="wrap")
    batches = FixedBatches(rows, size, parts.resolved.trainer.seed, progress=progress)
    loader = build_loader(
        parts.items(rows), batches, parts.reader.targets, domain=parts.resolved.domain, workers=0, pin_memory=False
    )
    return next(iter(loader)).batch


def not_compiled(error: Exception, resume: str) -> Exception:
    """A failure of torch's compiler in the middle of a run, in words; any other error as it is.

    Args:
        resume: what to type to go on with the run.
    """
    if not type(error).__module__.startswith(COMPILERS):
        return error
    return RunError(
        "trainer.compile=true, but torch cannot compile the objective for the sizes of this batch",
        reason=_reason(error),
        hint=f"{resume} trainer.compile=false",
    )
