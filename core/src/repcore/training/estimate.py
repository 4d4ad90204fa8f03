"""What a run will cost, from two real steps on a copy: time, memory, items."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from repcore.config.resolve import ResolvedRun
from repcore.data.batching import TrainingCollator
from repcore.data.guard import error_in_words, is_strict
from repcore.data.stream import EndlessBatches, StreamOrder
from repcore.errors import RepcoreError, RunError
from repcore.interfaces import Batch, Progress
from repcore.memory import is_out_of_memory
from repcore.training.assembly import RunParts

LARGEST_COPY = 200_000_000  # parameters; beyond that a copy may not fit


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of one optimiser step (loading included) and of the whole run, on this device."""

    step_seconds: float
    total_seconds: float
    parameters: int
    rows: tuple[int, int]
    steps: int
    items_per_step: int


def estimate_run(parts: RunParts, device: str, steps: int, order: StreamOrder) -> Estimate | None:
    """Time two steps (the first warms up) on a copy of the objective; None if it is too large to copy.

    Args:
        device: torch device name.
        steps: optimiser steps of the run.
        order: the training stream.

    Raises:
        RunError: the step cannot be made with these settings and data.
    """
    parameters = sum(parameter.numel() for parameter in parts.objective.parameters())
    if parameters > LARGEST_COPY:
        return None
    config = parts.resolved
    accumulate = config.trainer.accumulate
    items = parts.items(parts.train)
    collate = TrainingCollator(parts.preprocessor, parts.reader.targets, config.domain)
    batches = EndlessBatches(order, start=0, accumulate=accumulate, total_steps=steps)
    state = torch.get_rng_state()
    twin = dataclasses.replace(parts, objective=copy.deepcopy(parts.objective).to(device))
    seconds = 0.0
    stream = iter(batches)
    for _ in range(2):
        started = time.perf_counter()
        with in_words(config):
            batch = collate([items[key] for key in next(stream)]).batch.to(device)
            trial_step(twin, batch, device, batches.progress(0))
        seconds = time.perf_counter() - started
    torch.set_rng_state(state)
    step_seconds = seconds * accumulate
    return Estimate(
        step_seconds=step_seconds,
        total_seconds=step_seconds * steps,
        parameters=parameters,
        rows=(len(parts.train), len(parts.validation)),
        steps=steps,
        items_per_step=config.data.batch_size * accumulate,
    )


def trial_step(twin: RunParts, batch: Batch, device: str, progress: Progress) -> None:
    """Forward and backward pass of a micro-batch, to its end also on a GPU; leaves no gradient."""
    generator = torch.Generator(device=device).manual_seed(0)
    twin.rules(batch, twin.rules.draw(batch, generator, progress)).total.backward()
    twin.objective.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def in_words(resolved: ResolvedRun) -> Iterator[None]:
    """What an objective raises on its first batch is mostly a setting that does not fit the data or the others."""
    try:
        yield
    except Exception as error:
        if isinstance(error, RepcoreError | OSError) or is_strict():
            raise
        small = "smaller sizes, or a smaller data.batch_size" if is_out_of_memory(error) else ""
        raise RunError(
            f"{resolved.objective.name} cannot make a first step with these settings",
            reason=error_in_words(error),
            settings=", ".join(_given(resolved)),
            plugin=resolved.objective.entry.plugin.label,
            hint=small or "other values of these settings; the same command with --debug shows the traceback",
        ) from error


def _given(resolved: ResolvedRun) -> Iterator[str]:
    """What the user has set: ``objective.size=9000``."""
    for path, words in resolved.origin.items():
        if words.startswith(("recipe ", "preprocessor", "expected by ")) or path.startswith("dataset."):
            continue
        value: Any = resolved.plain()
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        yield f"{path}={value}"
