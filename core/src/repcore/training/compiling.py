"""``trainer.compile=true``: the objective is compiled for a trial before the run, and refused in words if it cannot be.

torch compiles when a step is first made, and what it cannot trace shows up as an error from deep inside, after the run
has begun. One batch of training rows is therefore sent through a compiled copy, forwards and backwards; the objective
itself, its buffers and the global generators stay as they are.
"""

from __future__ import annotations

import copy
from typing import cast

import numpy as np
import torch

from repcore.data.guard import error_in_words
from repcore.data.seeds import mix
from repcore.errors import ConfigError
from repcore.interfaces import Objective, Progress
from repcore.training.assembly import RunParts
from repcore.training.loaders import FixedBatches, build_loader

TRIAL_ROWS = 4


def compile_objective(parts: RunParts, device: str, total_steps: int) -> None:
    """Compile ``parts.objective`` in place, after a trial.

    Raises:
        ConfigError: torch cannot compile it here; with torch's reason.
    """
    trainer = parts.resolved.trainer
    try:
        with torch.random.fork_rng():
            _trial(parts, device, Progress(0, total_steps))
    except Exception as error:  # torch raises many kinds, and an objective's code its own
        raise ConfigError(
            f"trainer.compile=true, but torch cannot compile {parts.resolved.objective.name} here",
            reason=error_in_words(error),
            hint="trainer.compile=false",
        ) from error
    finally:
        torch._dynamo.reset()
    parts.objective.compile(backend=trainer.compile_backend)


def _trial(parts: RunParts, device: str, progress: Progress) -> None:
    """One compiled step of a copy, without the optimiser."""
    rows = parts.train[: min(TRIAL_ROWS, parts.resolved.data.batch_size, len(parts.train))]
    batches = FixedBatches(np.asarray(rows), len(rows), parts.resolved.trainer.seed, progress=progress)
    loader = build_loader(
        parts.items(np.asarray(rows)), batches, parts.reader.targets, domain=parts.resolved.domain, workers=0,
        pin_memory=False,
    )  # fmt: skip
    module = copy.deepcopy(parts.objective).to(device).train()
    rules = cast(Objective, module)
    batch = next(iter(loader)).batch.to(device)
    generator = torch.Generator(device=device)
    generator.manual_seed(mix(parts.resolved.trainer.seed, "draw", 0, 0))
    with torch.no_grad():
        draws = rules.draw(batch, generator, progress)
    module.compile(backend=parts.resolved.trainer.compile_backend)
    rules(batch, draws).total.backward()
