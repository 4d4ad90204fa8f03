"""Watching a self-distillation run for collapse, and stopping it with a message.

Two ways down: all images get one vector (spread of the teacher's unit vectors falls to a fraction of its first value),
or all prototypes get the same share (the loss returns to the logarithm of their number after it had fallen).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import RunError

SPREAD_SHARE = 0.15  # of the first spread; healthy runs stay above 0.3
FALLEN, RETURNED = 0.95, 0.99  # of the logarithm of the number of prototypes
MEMORY = 0.9  # of the running means
FIRST_STEPS = 5  # steps whose mean is the first spread


def spread(vectors: Tensor) -> Tensor:
    """Deviation of unit vectors (B, D) over images, in units of a random set of directions (about 1).

    nan for fewer than two images.
    """
    if len(vectors) < 2:
        return vectors.new_tensor(math.nan)
    unit = F.normalize(vectors.float(), dim=-1)
    return unit.std(0).mean() * math.sqrt(vectors.shape[-1])


class CollapseWatch(nn.Module):
    """Running means as buffers, so that a resumed run watches on.

    Args:
        prototypes: K.
        patience: steps in a collapsed state before :meth:`update` raises; 0 = never.
    """

    state: Tensor

    def __init__(self, prototypes: int, patience: int) -> None:
        super().__init__()
        self.largest_loss, self.patience = math.log(prototypes), patience
        # steps seen, first spread, spread, lowest loss, loss, collapsed steps in a row
        self.register_buffer("state", torch.zeros(6, dtype=torch.float64))

    def update(self, spread_now: float, loss_now: float) -> None:
        """Take one step's figures.

        Raises:
            RunError: collapsed for ``patience`` steps.
        """
        if not (math.isfinite(spread_now) and math.isfinite(loss_now)):
            return
        seen, first, running, lowest, loss, strikes = self.state.tolist()
        seen += 1
        if seen <= FIRST_STEPS:
            first += (spread_now - first) / seen
            running, loss, lowest = first, loss + (loss_now - loss) / seen, self.largest_loss
        running = MEMORY * running + (1 - MEMORY) * spread_now
        loss = MEMORY * loss + (1 - MEMORY) * loss_now
        lowest = min(lowest, loss)
        is_narrow = running < SPREAD_SHARE * first
        is_uniform = lowest < FALLEN * self.largest_loss and loss > RETURNED * self.largest_loss
        strikes = strikes + 1 if is_narrow or is_uniform else 0
        self.state.copy_(torch.tensor([seen, first, running, lowest, loss, strikes], dtype=torch.float64))
        if self.patience and strikes >= self.patience:
            what = (
                f"all images get nearly one vector (spread {running:.3g}, {first:.3g} at the start)"
                if is_narrow
                else f"all prototypes get the same share (loss {loss:.3g} of at most {self.largest_loss:.3g})"
            )
            raise RunError(
                f"the run has collapsed: {what} for {int(strikes)} steps",
                meaning="self-distillation on small data or in small batches loses its balance",
                hint="a lower objective.teacher_temperature (0.02), objective.teacher_momentum=0.99, fewer "
                "objective.prototypes, a larger data.batch_size, a lower optimiser.lr",
            )
