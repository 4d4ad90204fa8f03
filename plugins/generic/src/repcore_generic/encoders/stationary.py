"""An encoder whose vector is mapped to the width of a fixed classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from repcore.interfaces import Batch, Features
from repcore.nn.around import Around
from repcore_generic.configs.stationary import StationaryConfig


class Mapped(Around):
    """``pooled`` is a linear map, without bias, of the inner encoder's.

    Args:
        inner: an encoder.
        slots: K of the classifier; vectors have K - 1 numbers.
    """

    fresh = ("map.",)

    def __init__(self, inner: nn.Module, slots: int) -> None:
        super().__init__(inner)
        self.map = nn.Linear(int(inner.dim), slots - 1, bias=False)  # type: ignore[arg-type]
        self.dim = slots - 1

    def forward(self, batch: Batch, layers: Sequence[int] = (), **rest: Any) -> Features:
        features: Features = self.inner(batch, layers, **rest)
        return replace(features, pooled=self.map(features.pooled))


def mapped(config: StationaryConfig, encoder: nn.Module) -> nn.Module:
    """The encoder with its map; one that has it keeps it.

    Raises:
        ConfigError: it was mapped for another number of slots.
    """
    from repcore.errors import ConfigError

    if isinstance(encoder, Mapped):
        if encoder.dim != config.slots - 1:
            raise ConfigError(
                f"method.slots={config.slots}: the model has {encoder.dim + 1}, and the number never changes",
                hint=f"method.slots={encoder.dim + 1}",
            )
        return encoder
    return Mapped(encoder, config.slots)
