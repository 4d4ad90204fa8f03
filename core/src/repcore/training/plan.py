"""How long a run is and in which order it sees its data; no Lightning, so that a plan can be shown at once."""

from __future__ import annotations

from repcore.config.resolve import ResolvedRun
from repcore.data.stream import StreamOrder
from repcore.training.assembly import RunParts


def total_steps(resolved: ResolvedRun, order: StreamOrder) -> int:
    """Optimiser steps of the run, from ``trainer.steps`` or ``trainer.epochs``."""
    trainer = resolved.trainer
    if trainer.steps is not None:
        return trainer.steps
    return max(1, round((trainer.epochs or 1.0) * order.micro_batches_per_epoch / trainer.accumulate))


def stream_order(parts: RunParts, *, world: int = 1, rank: int = 0) -> StreamOrder:
    """The order in which this device sees the training split."""
    resolved = parts.resolved
    costs = parts.costs(parts.train)
    return StreamOrder(
        parts.train, resolved.data.batch_size, resolved.trainer.seed, costs=costs, world=world, rank=rank
    )
