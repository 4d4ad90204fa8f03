"""The objective: what is learned without labels."""

from __future__ import annotations

import dataclasses

import torch
from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Progress
from repcore.nn.losses import masked_mean
from repcore.nn.masking import exact_count_mask
from torch import nn

from repcore_timeseries.configs import HiddenColumnsConfig
from repcore_timeseries.encoders import RowEncoder


class HiddenColumns(nn.Module):
    """Replace some columns of each row by 0 and guess them from the vector of the row.

    Symbols: B rows, C columns.

    Raises:
        ConfigError: ``columns`` is not set, neither by the data nor by hand.
    """

    def __init__(self, config: HiddenColumnsConfig, encoder: RowEncoder) -> None:
        super().__init__()
        if config.columns is None:
            raise ConfigError("objective.columns is not set", hint="objective.columns=8")
        self.hidden_count = max(1, round(config.mask_ratio * config.columns))
        self.encoder = encoder
        self.guess = nn.Linear(encoder.dim, config.columns)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Which columns are hidden, bool (B, C): all randomness of a step."""
        values = batch.inputs["values"]
        uniform = torch.rand(values.shape, generator=generator, device=values.device)
        return {"hidden": exact_count_mask(uniform, self.hidden_count)}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        """Mean squared error over the hidden columns."""
        values, hidden = batch.inputs["values"], draws["hidden"]
        shown = dataclasses.replace(batch, inputs={"values": values.masked_fill(hidden, 0.0)})
        errors = (self.guess(self.encoder(shown).pooled) - values).square()  # (B, C)
        return LossTerms.of(
            {"hidden": masked_mean(errors, hidden)},
            counts={"hidden": hidden.sum()},
        )
