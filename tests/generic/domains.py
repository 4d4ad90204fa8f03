"""One small run of each kind of data, for tests of methods that take any encoder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.data.batching import TrainingCollator
from repcore.data.seeds import mix
from repcore.data.stream import ItemKey
from repcore.interfaces import Batch, Progress
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble

PROGRESS = Progress(step=0, total_steps=10)


@dataclass(frozen=True)
class Run:
    """A recipe and what makes it small."""

    recipe: str
    settings: tuple[str, ...] = ()


RUNS = {
    "molecules": Run(
        "molecules/selformer",
        ("data.limit=60", "encoder.hidden_width=32", "encoder.feed_forward_width=64", "encoder.layers=2"),
    ),
    "atoms": Run("molecules/gin", ("data.limit=60", "encoder.width=16", "encoder.layers=2")),
    "audio": Run("audio/ssamba", ("dataset.clips=24", "encoder.width=32", "encoder.depth=2", "encoder.pooling=mean")),
    "graphs": Run("graphs/graph-contrast", ("dataset.size=24",)),
    "clouds": Run(
        "pointcloud/point-m2ae", ("dataset.shapes=24", "dataset.points=256", "preprocessor.points=256",
                                  "encoder.groups=[64,32,16]")
    ),
    "scenes": Run("pointcloud/fac", ("dataset.scenes=6", "dataset.points=1500", "preprocessor.voxel_size_m=0.15")),
    "films": Run("medical3d/adam-v2", ("dataset.images=16", "dataset.edge=64", "preprocessor.edge=64")),
    "volumes": Run("medical3d/alice", ("dataset.volumes=6", "dataset.edge=32")),
}  # fmt: skip


@cache
def parts_of(kind: str, *settings: str) -> RunParts:
    """The run of a kind of data with further settings, assembled once a session."""
    run = RUNS[kind]
    return assemble(resolve_run(registry.default(), run.recipe, overrides=(*run.settings, *settings)), LogReporter())


def batch_of(parts: RunParts, size: int = 4, seed: int = 0) -> Batch:
    """Training rows as a run draws them."""
    items = parts.items(parts.train)
    rows = np.resize(parts.train, size)
    drawn = [items[ItemKey(int(row), mix(seed, place, int(row)), PROGRESS)] for place, row in enumerate(rows)]
    return TrainingCollator(parts.preprocessor, parts.reader.targets, parts.resolved.domain)(drawn).batch


def losses(parts: RunParts, steps: int, lr: float = 2e-3) -> list[float]:
    """Total loss of each of a few steps on one batch, through the objective's own hooks."""
    objective = parts.objective.train()
    batch = batch_of(parts)
    optimiser = torch.optim.Adam([one for one in objective.parameters() if one.requires_grad], lr=lr)
    found = []
    for step in range(steps):
        progress = Progress(step=step, total_steps=steps)
        terms = parts.rules(batch, parts.rules.draw(batch, torch.Generator().manual_seed(0), progress))
        optimiser.zero_grad()
        terms.total.backward()
        if hasattr(objective, "before_step"):
            objective.before_step(progress)
        optimiser.step()
        if hasattr(objective, "after_step"):
            objective.after_step(progress, [terms.carry])
        found.append(float(terms.total.detach()))
    return found
