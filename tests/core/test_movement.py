"""A run that learns nothing is not healthy: what of the trainable parameters has changed, and what has not."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from repcore.cli.main import run
from repcore.files import read_lines
from repcore.interfaces import LossTerms
from repcore.training.listeners import ProgressShow
from repcore.training.module import ObjectiveModule
from repcore.training.movement import CHUNK, Movement, _is_still, _length, _projections, still_words
from repcore.training.state import RunState

STEPS = ("trainer.steps=4", "trainer.checkpoint_every=1", "trainer.validate_every=2", "--device", "cpu")


def trained(root: Path, *settings: str) -> dict[str, Any]:
    """The last diagnosis of a run."""
    assert run(["pairs", "train", "set-net", "--out", str(root), "--name", "r", *STEPS, *settings]) == 0
    found: dict[str, Any] = json.loads((root / "r" / "diagnostics.json").read_text())
    return found


def test_a_run_that_learns_has_changed_everything(toys: None, tmp_path: Path) -> None:
    found = trained(tmp_path)
    assert (found["moved-share"], found["never-moved"]) == (1.0, [])
    first = next(iter(read_lines(tmp_path / "r" / "diagnostics.jsonl")))
    assert "moved-share" not in first


def test_a_learning_rate_of_almost_nothing_is_said(
    toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = trained(tmp_path, "optimiser.lr=1e-30")
    assert (found["moved-share"], found["level"]) == (0.0, "warning")
    assert "no trainable parameter has changed since step 0: nothing is learned" in found["reasons"][0]
    said = capsys.readouterr().err
    assert "look at optimiser.lr and at what the loss depends on" in said
    assert "| healthy" not in said.split("step 4:")[1]


def test_without_held_out_rows_it_is_said_at_the_end(
    toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["optimiser.lr=1e-30", "data.validation_share=0"]
    assert run(["pairs", "train", "set-net", "--out", str(tmp_path), "--name", "r", *STEPS, *words]) == 0
    assert "warning: no trainable parameter has changed since step 0" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_little_is_a_change_and_rounding_is_none(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    table = torch.randn(3 * CHUNK // 256, 256).to(kind)
    before = [*_projections("a", table), _length(table)]
    assert before[2] == pytest.approx(float(table.double().norm()), rel=1e-12)
    assert _is_still("a", table.clone(), before)
    assert _is_still("a", table.double() * (1 + 1e-8), before)
    table[77] += 0.5  # one row of many
    assert not _is_still("a", table, before)
    nothing = torch.zeros(9)
    assert _is_still("b", nothing + 1e-30, [0.0, 0.0, _length(nothing)])
    assert not _is_still("b", nothing + 1e-6, [0.0, 0.0, _length(nothing)])


def without_gradient(monkeypatch: pytest.MonkeyPatch, part: str, *, zero: bool) -> None:
    """Let a part of the objective get no gradient, or one of exactly 0 (then weight decay still changes it)."""
    scaled = ObjectiveModule._scaled_loss

    def loss(self: ObjectiveModule, terms: LossTerms, shares: Any, number: int) -> torch.Tensor:
        own = scaled(self, terms, shares, number)
        for name, one in self.objective.named_parameters():
            if name.startswith(part):
                one.register_hook(lambda given: given * 0) if zero else None
        return own

    clipped = ObjectiveModule._unscaled_and_clipped

    def dropped(self: ObjectiveModule, optimiser: torch.optim.Optimizer) -> torch.Tensor:
        if not zero:
            for name, one in self.objective.named_parameters():
                if name.startswith(part):
                    one.grad = None
        return clipped(self, optimiser)

    monkeypatch.setattr(ObjectiveModule, "_scaled_loss", loss)
    monkeypatch.setattr(ObjectiveModule, "_unscaled_and_clipped", dropped)


@pytest.mark.parametrize("zero", [False, True])
def test_an_encoder_that_the_loss_does_not_reach_is_named(
    zero: bool, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_gradient(monkeypatch, "encoder.", zero=zero)
    found = trained(tmp_path, "optimiser.weight_decay=0.5")
    assert 0.0 < found["moved-share"] < 1.0
    assert found["never-moved"] == ["encoder"]
    assert found["level"] == "warning"
    assert "no trainable parameter of the encoder has changed since step 0 (encoder)" in found["reasons"][0]


def test_a_resumed_run_knows_its_beginning(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning lies in the checkpoint: what has not moved after a resume had not moved before."""
    without_gradient(monkeypatch, "encoder.", zero=False)

    def stop(self: ProgressShow, state: RunState, record: object) -> None:
        if state.step == 1:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(ProgressShow, "step", stop)
        assert run(["pairs", "train", "set-net", "--out", str(tmp_path), "--name", "r", *STEPS]) == 143
    assert run(["pairs", "train", "--resume", str(tmp_path / "r"), "--device", "cpu"]) == 0
    assert json.loads((tmp_path / "r" / "diagnostics.json").read_text())["never-moved"] == ["encoder"]


def test_what_the_rates_did_not_allow_yet_is_not_missed(
    toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changes by less than a millionth under tiny rates are changes; a warm-up that has hardly begun allows none."""
    found = trained(tmp_path, "schedule.warmup_steps=100000")
    assert (found["moved-share"], found["never-moved"]) == (1.0, [])
    shutil.rmtree(tmp_path / "r")
    found = trained(tmp_path, "optimiser.lr=1e-7")
    assert found["moved-share"] > 0.9
    assert "changed since step 0" not in capsys.readouterr().err


def test_an_encoder_that_is_frozen_for_now_is_not_missed() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    state: Any = SimpleNamespace(
        is_writer=True,
        step=0,
        config={},
        module=SimpleNamespace(objective=network),
        trainer=SimpleNamespace(optimizers=[]),
    )
    movement = Movement(speaks=False)
    movement.start(state)
    state.step = 1
    movement.step(state, SimpleNamespace(lr=0.1))  # type: ignore[arg-type]
    network[0].requires_grad_(False)
    with torch.no_grad():
        network[1].weight += 0.1
        network[1].bias += 0.1
    seen = movement.look(state)
    assert (seen["moved-share"], seen["never-moved"]) == (1.0, [])
    network[0].requires_grad_(True)
    seen = movement.look(state)
    assert (seen["moved-share"], seen["never-moved"]) == (0.5, ["0"])


def test_a_tensor_without_a_gradient_by_form_is_not_told() -> None:
    assert still_words({"moved-share": 0.9985, "never-moved": ["layers.0.linear_k.bias"]}) == ""
    assert "0.4 of the trainable" in still_words({"moved-share": 0.6, "never-moved": ["encoder"]})
