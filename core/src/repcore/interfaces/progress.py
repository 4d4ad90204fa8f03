"""Where a run is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is. ``step`` counts optimiser steps from 0; an epoch is one pass over the training split."""

    step: int
    total_steps: int
    epoch: int = 0
    total_epochs: float = 0.0
    steps_per_epoch: int = 1

    @property
    def fraction(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0
