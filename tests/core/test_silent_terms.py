"""Terms of a loss that were exactly 0 in every step are said once, at the end, also after a resume."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from repcore.interfaces import Progress
from repcore.training.listeners import SilentTerms
from repcore.training.module import StepRecord


def state(said: list[str], stop: str = "") -> Any:
    trainer, reporter = SimpleNamespace(world_size=1), SimpleNamespace(warn=said.append)
    return SimpleNamespace(step=4, trainer=trainer, reporter=reporter, is_writer=True, stop_reason=stop)


def seen(listener: SilentTerms, **terms: float) -> None:
    record = StepRecord(Progress(0, 4))
    record.terms = {name: torch.tensor(value) for name, value in terms.items()}
    listener.step(state([]), record)


def test_only_what_never_was_anything_else_is_said() -> None:
    listener, said = SilentTerms(), []  # type: ignore[var-annotated]
    seen(listener, a=1.0, b=0.0, c=0.0, d=float("nan"))
    seen(listener, a=0.0, b=1e-30, c=0.0, d=0.0)
    listener.end(state(said))
    assert said == ["term c of the loss was exactly 0 in all 4 steps: nothing was learned from it"]
    listener.end(state(said, stop="interrupted"))
    assert len(said) == 1, "of a run that goes on nothing is known yet"


def test_a_resumed_run_knows_the_steps_before() -> None:
    first, second, said = SilentTerms(), SilentTerms(), []  # type: ignore[var-annotated]
    seen(first, a=1.0, b=0.0)
    second.restore(first.saved(state([])))
    seen(second, a=0.0, b=0.0)
    second.end(state(said))
    assert said == ["term b of the loss was exactly 0 in all 4 steps: nothing was learned from it"]
    old = SilentTerms()
    old.restore([])  # a checkpoint of before
    old.end(state(said))
    assert len(said) == 1
