"""The encoder: rows of numbers to vectors."""

from __future__ import annotations

from collections.abc import Sequence

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Features
from torch import nn

from repcore_timeseries.configs import RowEncoderConfig


class RowEncoder(nn.Module):
    """Two linear layers.

    Symbols: B rows, C columns, D width.

    Raises:
        ConfigError: ``columns`` is not set, neither by the data nor by hand.
    """

    def __init__(self, config: RowEncoderConfig) -> None:
        super().__init__()
        if config.columns is None:
            raise ConfigError("encoder.columns is not set", hint="encoder.columns=8")
        self.dim = config.width
        self.network = nn.Sequential(
            nn.Linear(config.columns, config.hidden_width),
            nn.GELU(),
            nn.Linear(config.hidden_width, config.width),
        )

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        """``batch.inputs["values"]`` (B, C) to pooled (B, D)."""
        return Features(self.network(batch.inputs["values"]))
