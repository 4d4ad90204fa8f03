"""Where a run stands: what its listeners share, what a checkpoint keeps of it, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from repcore.reporting import Reporter
from repcore.stopping import Stopped
from repcore.training.assembly import OpenData
from repcore.training.module import ObjectiveModule
from repcore.training.run_folder import RunFolder


@dataclass(slots=True)
class RunState:
    """What listeners share; ``carried`` is of :func:`repcore.training.same_run.carried`."""

    folder: RunFolder
    module: ObjectiveModule
    trainer: pl.Trainer
    reporter: Reporter
    total_steps: int
    config: dict[str, Any]
    carried: dict[str, Any] = field(default_factory=dict)
    best: float = math.inf
    last_validation: dict[str, float] = field(default_factory=dict)
    validated_at: int = -1
    stop_reason: str = ""
    stop_signal: int = 0

    def saved(self) -> dict[str, Any]:
        """What a checkpoint keeps of it; plain values."""
        return {
            "best": self.best,
            "last_validation": dict(self.last_validation),
            "validated_at": self.validated_at,
            **({"of": self.carried} if self.carried else {}),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on with what a checkpoint kept; older ones kept nothing."""
        self.best = float(saved.get("best", math.inf))
        self.last_validation = {str(name): float(value) for name, value in saved.get("last_validation", {}).items()}
        self.validated_at = int(saved.get("validated_at", -1))

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return int(self.trainer.global_step)

    @property
    def is_writer(self) -> bool:
        """Only the first process writes files and speaks."""
        return bool(self.trainer.is_global_zero)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: ``finished`` or ``interrupted`` (then by which signal). ``data`` are those that it read, so that
    its report need not open them again."""

    folder: Path
    status: str
    steps: int
    seconds: float
    validation: Mapping[str, float]
    signal: int = 0
    data: OpenData | None = field(default=None, compare=False, repr=False)

    def left(self, command: str | None) -> Stopped:
        """The request that has ended an interrupted run.

        Args:
            command: what to type to go on from a checkpoint; where no step was finished there is none.
        """
        if not self.steps:
            return Stopped(self.signal, f"no step of {self.folder} was finished, nothing had to be saved", command)
        return Stopped(self.signal, f"step {self.steps} of {self.folder} is saved, nothing is lost", command)
