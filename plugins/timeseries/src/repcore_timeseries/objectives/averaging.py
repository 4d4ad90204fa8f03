"""The equal average of an encoder over all its states, which TS2Vec and AutoTCL export.

Source: `zhihanyue/ts2vec` (``AveragedModel``): the mean over the initial state and the one after every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from repcore.errors import ConfigError
from repcore.interfaces import Progress
from repcore.nn.ema import make_teacher, update_teacher


class Averaged(nn.Module):
    """Base of an objective whose encoder's average becomes the model.

    Args:
        encoder: becomes part of this module, its average beside it.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.average = make_teacher(encoder)

    @torch.no_grad()
    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """The average takes in the encoder's new state with the weight of one of ``step + 2`` states."""
        del carried
        states = progress.step + 1  # in the average before: the initial one and those of earlier steps
        update_teacher(self.average, self.encoder, states / (states + 1))

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        """``average`` (the default) or ``current``.

        Raises:
            ConfigError: no such branch.
        """
        if branch in ("default", "average"):
            return self.average
        if branch == "current":
            return self.encoder
        raise ConfigError(f"there is no branch {branch!r}", expected="average, current")
