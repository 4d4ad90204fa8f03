"""What a run costs here, on one GPU and on several: a few measured steps, and arithmetic that says what it rests on.

Measured on this machine: seconds of loading and of computing a micro-batch, operations of its forward and backward
pass, and bytes that the backward pass needs from the forward pass. Everything about GPUs that are not here is an
estimate from these: operations over a rate that is assumed (and a least time for launching them), loading by the
workers asked for, gradients exchanged at an assumed rate.

Symbols: P parameters; N devices.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from repcore.config.resolve import ResolvedRun
from repcore.data.batching import TrainingCollator
from repcore.data.stream import EndlessBatches, StreamOrder
from repcore.errors import RunError
from repcore.nn.products import ONEDNN_LINEAR, onednn_operations
from repcore.training.assembly import RunParts
from repcore.training.estimate import LARGEST_COPY, SAVED_COPIES, in_words, trial_step

TRIALS = 3  # the first warms up
EXCHANGE_BYTES = 20e9  # a second, of gradients between GPUs: what several in one machine reach, or a fast network
LEAST_SECONDS = 0.005  # of a micro-batch on a GPU, however small: hundreds of kernels are launched
ADAM_COPIES = 4  # parameters, gradients and two moments, float32
CHECKPOINTS = 2  # last and best
MANY_EPOCHS = 100
FEW_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """A micro-batch on this machine.

    Args:
        load_seconds: to read and prepare it, by one process.
        compute_seconds: forward and backward.
        operations: floating-point operations of matrix products and convolutions, forward and backward.
        kept_bytes: what the backward pass keeps of the forward pass, float32.
        parameters: P.
    """

    load_seconds: float
    compute_seconds: float
    operations: float
    kept_bytes: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Cost:
    """A run on some devices.

    Args:
        where: ``cpu``, ``cuda (measured)``, ``1 GPU (estimated)``, ...
        steps: optimiser steps; with N devices a step has N times the items, so that all see the same data.
        step_seconds: of one.
        hours: of all, without validation.
        memory_bytes: of each device: parameters, gradients, optimiser, and what the backward pass keeps.
        bound: what the time goes into: ``computing``, ``loading`` or ``exchange``.
    """

    where: str
    steps: int
    step_seconds: float
    hours: float
    memory_bytes: int
    bound: str


def measure(parts: RunParts, order: StreamOrder, device: str) -> Measured:
    """Time trial steps on a copy.

    Raises:
        RunError: the step cannot be made, or the model is too large for a copy.
    """
    parameters = sum(one.numel() for one in parts.objective.parameters())
    if parameters > LARGEST_COPY:
        raise RunError(f"{parameters:,} parameters are too many for trial steps on a copy", most=f"{LARGEST_COPY:,}")
    resolved = parts.resolved
    items, batches = parts.items(parts.train), EndlessBatches(order, start=0, accumulate=1, total_steps=TRIALS)
    collate = TrainingCollator(parts.preprocessor, parts.reader.targets, resolved.domain)
    twin = dataclasses.replace(parts, objective=copy.deepcopy(parts.objective).to(device))
    state = torch.get_rng_state()
    load = compute = 0.0
    stream = iter(batches)
    with in_words(resolved):
        for _ in range(TRIALS):
            began = time.perf_counter()
            batch = collate([items[key] for key in next(stream)]).batch
            load = time.perf_counter() - began
            batch = batch.to(device)
            began = time.perf_counter()
            trial_step(twin, batch, device, batches.progress(0))
            compute = time.perf_counter() - began
        kept: dict[int, int] = {}
        counter = FlopCounterMode(display=False, custom_mapping={ONEDNN_LINEAR: onednn_operations})
        with torch.autograd.graph.saved_tensors_hooks(lambda one: _noted(one, kept), lambda one: one), counter:
            trial_step(twin, batch, device, batches.progress(0))
    torch.set_rng_state(state)
    own = {one.untyped_storage().data_ptr() for one in twin.objective.parameters()}
    bytes_kept = sum(size for place, size in kept.items() if place not in own)
    return Measured(load, compute, float(counter.get_total_flops()), bytes_kept, parameters)


def _noted(tensor: torch.Tensor, kept: dict[int, int]) -> torch.Tensor:
    """Count a tensor that the backward pass needs; views of one storage once."""
    storage = tensor.untyped_storage()
    kept[storage.data_ptr()] = storage.nbytes()
    return tensor


def costs(
    measured: Measured, resolved: ResolvedRun, steps: int, device: str, gpus: Sequence[int], teraflops: float
) -> list[Cost]:
    """The run on this device, and on GPUs by number.

    Args:
        steps: optimiser steps on one device.
        teraflops: what a GPU is assumed to sustain, 1e12 operations a second.
    """
    accumulate = resolved.trainer.accumulate
    memory = ADAM_COPIES * 4 * measured.parameters + measured.kept_bytes
    workers = resolved.data.workers
    load = measured.load_seconds / max(1, workers)
    compute = measured.compute_seconds

    def cost(where: str, count: int, compute: float, exchange: float = 0.0) -> Cost:
        micro = max(load, compute) if workers else load + compute  # workers load while the device computes
        step = accumulate * micro + exchange
        own_steps = max(1, round(steps / count))
        shares = {"computing": compute, "loading": load, "exchange": exchange}
        bound = max(shares, key=lambda name: shares[name])
        return Cost(where, own_steps, step, own_steps * step / 3600, memory, bound)

    found = [cost(f"{device} (measured)", 1, compute)]
    on_gpu = max(LEAST_SECONDS, measured.operations / (teraflops * 1e12))
    on_gpu = compute if device.startswith("cuda") else on_gpu
    for count in gpus:
        exchange = 0.0 if count == 1 else 2 * (count - 1) / count * 4 * measured.parameters / EXCHANGE_BYTES
        found.append(cost(f"{count} GPU{'s' if count > 1 else ''} (estimated)", count, on_gpu, exchange))
    return found


def storage_bytes(parameters: int) -> int:
    """Checkpoints and the model folder of a run."""
    return 4 * parameters * (CHECKPOINTS * SAVED_COPIES + 1)


def doubts(rows: int, items_per_step: int, steps: int, by_epochs: bool) -> list[str]:
    """What does not fit between the recipe's length and the data."""
    epochs = steps * items_per_step / max(1, rows)
    said = []
    if not by_epochs and epochs > MANY_EPOCHS:
        wanted = -(-steps * items_per_step // MANY_EPOCHS)
        said.append(
            f"{steps:,} steps show each of the {rows:,} rows {epochs:,.0f} times; the recipe supposes more data (about "
            f"{wanted:,} rows for {MANY_EPOCHS} epochs): fewer trainer.steps, or more rows"
        )
    if by_epochs and steps < FEW_STEPS:
        said.append(
            f"{epochs:,.1f} epochs of {rows:,} rows are {steps:,} steps only; the recipe supposes more data: more "
            "trainer.epochs, or a smaller data.batch_size"
        )
    return said
