"""A few dozen steps on generated shapes: hidden neighbourhoods of held-out shapes are redrawn better than before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.interfaces import Batch, Progress
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.run import start_run
from repcore_pointcloud.objectives.i2p_mae import MIDDLE, RECONSTRUCTION, MaskedPoints

SMALL = (
    "encoder.groups=[48,24,12]", "encoder.neighbours=[8,6,4]", "encoder.widths=[24,36,48]", "encoder.depths=[1,1,1]",
    "encoder.point_widths=[16,32]", "encoder.joint_width=48", "objective.points=null", "preprocessor.points=256",
    "dataset.shapes=120", "dataset.points=256", "data.batch_size=16", "trainer.steps=60", "schedule.warmup_steps=5",
    "trainer.threads=1",
)  # fmt: skip


def held_out(parts: RunParts) -> Batch:
    items = [parts.preprocessor.prepare(parts.reader[int(row)])[0] for row in parts.validation]
    return parts.preprocessor.collate(items)


@torch.no_grad()
def error_and_guess(objective: MaskedPoints, batch: Batch) -> tuple[float, float]:
    """Chamfer distance on held-out shapes under fixed masks, and that of drawing every point at the centre."""
    objective.eval()
    draws = {"gumbel": objective.draw(batch, torch.Generator().manual_seed(0), Progress(0, 1))["gumbel"]}
    hierarchy = objective.encoder.grouping(batch.inputs["points"])
    visible = objective.visible_coarse(hierarchy, objective.guide(hierarchy), draws)
    hidden = ~objective.run_masked(hierarchy, visible).visible[MIDDLE]
    members = objective.encoder.grouping.neighbourhoods(hierarchy, MIDDLE)[hidden]
    squared = members.square().sum(-1)
    guess = (squared.amin(1) + squared.mean(1)).mean()
    return float(objective(batch, draws).terms[RECONSTRUCTION]), float(guess)


@pytest.mark.learns
@pytest.mark.parametrize("recipe", ["i2p-mae", "point-m2ae"])
def test_hidden_parts_of_held_out_shapes_are_redrawn(tmp_path: Path, recipe: str) -> None:
    resolved = resolve_run(registry.default(), recipe, domain="pointcloud", overrides=list(SMALL))
    parts = assemble(resolved, LogReporter())
    assert isinstance(parts.objective, MaskedPoints)
    batch = held_out(parts)
    before, guess = error_and_guess(parts.objective, batch)
    start_run(registry.default(), parts, LogReporter(), root=tmp_path, name=recipe, device="cpu")
    after, _ = error_and_guess(parts.objective, batch)
    assert after < 0.2 * before  # measured: a twentieth
    assert after < 0.85 * guess  # measured: two thirds
