"""How long a run is and in which order it sees its data; no Lightning, so that a plan can be shown at once."""

from __future__ import annotations

import numpy as np

from repcore.config import DataConfig
from repcore.config.resolve import ResolvedPart, ResolvedRun
from repcore.data.samplers import BalancedOrder, MixedOrder, PairOrder
from repcore.data.seeds import generator
from repcore.data.stream import Blocks, StreamOrder
from repcore.errors import ConfigError
from repcore.training.assembly import RowLabels, RunParts

MOST_VALIDATIONS = 10
LOOKED_AT_COST = 2 / 3  # of a validation row against a training row: two forward passes, none backward
VALIDATION_SHARE = 0.5  # of training's time, that validations of many rows may take
DIAGNOSIS_SHARE = 0.2  # of training's time, that diagnoses of many rows may take
VECTOR_COST = 1 / 3  # of a diagnosed row against a training row: one forward pass
FEW_DIAGNOSED = 128  # rows that are always diagnosed, if there are as many
FEW_ROWS = 256  # validation rows up to which there are ten validations, however short the run


def validation_interval(resolved: ResolvedRun, steps: int, rows: int) -> int:
    """Steps between validations: ``trainer.validate_every``, or ten times a run.

    A short run over much data would look at held-out rows for longer than it learns; it validates less often then. The
    interval follows from counts alone, never from a clock: the same run validates at the same steps everywhere.

    Args:
        steps: optimiser steps of the run.
        rows: validation rows.
    """
    trainer = resolved.trainer
    if trainer.validate_every is not None:
        return trainer.validate_every
    times = MOST_VALIDATIONS
    if rows > FEW_ROWS:
        learned = steps * resolved.items_per_step
        times = min(times, max(1, int(VALIDATION_SHARE * learned / (LOOKED_AT_COST * rows))))
    return max(1, steps // times)


def validations(resolved: ResolvedRun, steps: int, rows: int) -> int:
    """How many validations a run makes, the one before the first step included; arguments of
    :func:`validation_interval`."""
    return 1 + -(-steps // validation_interval(resolved, steps, rows)) if rows else 0


def diagnosed_rows(resolved: ResolvedRun, steps: int, validation: np.ndarray) -> np.ndarray:
    """Validation rows whose vectors are diagnosed, the same ones at each validation of a run.

    As many as cost a fifth of training, ``FEW_DIAGNOSED`` at least; by counts, never by a clock, as the interval.

    Args:
        steps: optimiser steps of the run.
        validation: row numbers (N,).

    Returns:
        row numbers (n,), n <= N, in the order of ``validation``.
    """
    learned = steps * resolved.items_per_step
    looks = max(1, validations(resolved, steps, len(validation)))
    most = max(FEW_DIAGNOSED, int(DIAGNOSIS_SHARE * learned / (VECTOR_COST * looks)))
    if len(validation) <= most:
        return validation
    draw = generator(resolved.trainer.seed, "diagnosed-rows")
    return validation[np.sort(draw.choice(len(validation), most, replace=False))]


def total_steps(resolved: ResolvedRun, order: StreamOrder) -> int:
    """Optimiser steps of the run, from ``trainer.steps`` or ``trainer.epochs``."""
    trainer = resolved.trainer
    if trainer.steps is not None:
        return trainer.steps
    return max(1, round((trainer.epochs or 1.0) * order.micro_batches_per_epoch / trainer.accumulate))


def stream_order(parts: RunParts, *, world: int | None = None, rank: int = 0) -> StreamOrder:
    """The order in which this device sees the training split; ``data.sampler``, or what the objective asks for.

    Args:
        world: number of devices; as configured when None. rank: of this one among them.

    Raises:
        ConfigError: a sampler that needs labels, in a run without them, or one that cannot go by blocks.
    """
    resolved = parts.resolved
    data = resolved.data
    world = resolved.trainer.processes if world is None else world
    if sampler_of(resolved.objective, data) != "uniform":
        return order_by_labels(resolved, parts.train, parts.labels, world=world, rank=rank)
    return StreamOrder(
        parts.train, data.batch_size, resolved.trainer.seed,
        costs=parts.costs(parts.train), world=world, rank=rank, accumulate=resolved.trainer.accumulate,
        blocks=None if data.block_rows is None else Blocks(data.block_rows, data.mixed_blocks),
    )  # fmt: skip


def sampler_of(objective: ResolvedPart, data: DataConfig) -> str:
    """Name of the order of rows: as set, else what the objective asks for."""
    asked = str(getattr(objective.entry.spec, "sampler", "")) or "uniform"
    return asked if data.sampler == "auto" else data.sampler


def order_by_labels(
    resolved: ResolvedRun, train: np.ndarray, labels: RowLabels | None, *, world: int = 1, rank: int = 0
) -> StreamOrder:
    """The order of a sampler that looks at labels.

    Raises:
        ConfigError: as :func:`stream_order`, or a batch cannot hold what the objective needs. DataError: no row is as
            the sampler needs it.
    """
    data, seed, name = resolved.data, resolved.trainer.seed, sampler_of(resolved.objective, resolved.data)
    if data.block_rows is not None:
        raise ConfigError(
            f"data.block_rows is for data.sampler=uniform; {name} takes rows by their labels, wherever they lie",
            hint="leave data.block_rows out",
        )
    if labels is None:
        raise ConfigError(
            f"data.sampler={name} needs labels, which this run does not see", hint="repcore DOMAIN finetune MODEL"
        )
    if name == "mixed":
        return MixedOrder(
            train, data.batch_size, seed,
            unlabelled=labels.unlabelled, ratio=data.unlabelled_ratio, world=world, rank=rank,
        )  # fmt: skip
    classes = labels.classes
    if classes is None:
        raise ConfigError(f"data.sampler={name} needs one class a row", hint="data.sampler=uniform")
    if name == "pairs":
        return PairOrder(train, data.batch_size, seed, classes=classes, world=world, rank=rank)
    return BalancedOrder(
        train, data.batch_size, seed,
        classes=classes, per_class=data.per_class, fewest=_fewest(resolved), world=world, rank=rank,
    )  # fmt: skip


def _fewest(resolved: ResolvedRun) -> int:
    """Classes that the objective needs in a batch."""
    return int(getattr(resolved.objective.entry.spec, "classes_in_batch", 1))
