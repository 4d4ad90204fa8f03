"""Rates over a run: what each step's optimiser gets, and which parameters decay."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from repcore import registry
from repcore.config import OptimiserConfig, ScheduleConfig
from repcore.config.resolve import resolve_run
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.optimisers import build_optimiser, lr_factor, matrices_decay, set_rates, weight_decay_at
from repcore.training.run import start_run


def test_learning_rate_rises_in_equal_steps_and_falls_along_half_a_cosine() -> None:
    config = ScheduleConfig(warmup_steps=4, final_share=0.1)
    found = [lr_factor(step, 24, config) for step in range(25)]
    assert found[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert found[4] == 1.0
    assert found[14] == pytest.approx(0.55)  # half way of the 20 steps between 1 and 0.1
    assert found[24] == pytest.approx(0.1)


def test_weight_decay_is_constant_or_half_a_cosine_without_warm_up() -> None:
    constant = OptimiserConfig(weight_decay=0.04)
    assert {weight_decay_at(step, 10, constant) for step in range(10)} == {0.04}
    rising = OptimiserConfig(weight_decay=0.04, final_weight_decay=0.4)
    found = [weight_decay_at(step, 10, rising) for step in range(12)]
    expected = [0.4 - 0.18 * (1 + math.cos(math.pi * step / 10)) for step in range(11)]
    assert found == pytest.approx([*expected, 0.4])


def test_only_the_group_that_decays_gets_the_scheduled_value() -> None:
    config = OptimiserConfig(lr=0.5, weight_decay=0.0, final_weight_decay=0.3)
    layer = nn.Linear(2, 2)
    optimiser = build_optimiser(layer.named_parameters(), config, matrices_decay)
    assert set_rates(optimiser, 10, 10, config, ScheduleConfig(name="constant")) == 0.5
    decay = {id(one): group["weight_decay"] for group in optimiser.param_groups for one in group["params"]}
    assert decay == {id(layer.weight): pytest.approx(0.3), id(layer.bias): 0.0}
    assert {group["lr"] for group in optimiser.param_groups} == {0.5}


def test_a_run_uses_both_schedules(toys: None, tmp_path: Path) -> None:
    known = registry.default()
    overrides = ["trainer.steps=4", "optimiser.weight_decay=0.1", "optimiser.final_weight_decay=0.5"]
    resolved = resolve_run(known, "pairs/set-net", overrides=overrides)
    start_run(known, assemble(resolved, LogReporter()), LogReporter(), root=tmp_path, name="run", device="cpu")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    groups = saved["optimizer_states"][0]["param_groups"]
    config = resolved.optimiser
    assert [group["weight_decay"] for group in groups if group["decays"]] == [weight_decay_at(3, 4, config)]
    assert {group["lr"] for group in groups} == {config.lr * lr_factor(3, 4, resolved.schedule)}


def test_a_negative_end_is_refused() -> None:
    with pytest.raises(ValueError, match="final_weight_decay=-1"):
        OptimiserConfig(final_weight_decay=-1)
