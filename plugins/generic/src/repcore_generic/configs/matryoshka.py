"""Settings of 2D Matryoshka."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class MatryoshkaConfig:
    """A pair objective at drawn layer depths and prefix widths."""

    inner: str = setting("generic/simclr", "wrapped objective: its loss is a function of two views' vectors")
    widths: tuple[int, ...] = setting((), "prefix widths; empty = the full width, its half, quarter and eighth", min=1)
    layers_per_step: int = setting(1, "earlier layers drawn in each step; -1 = all", min=-1)
    widths_per_step: int = setting(1, "widths drawn for each layer; -1 = all", min=-1)
    layer_weighting: Literal["uniform", "log", "linear"] = setting("log", "weight of an earlier layer by its depth")
    last_weight: float = setting(1.0, "weight of the last layer's loss", min=0)
    prior_weight: float = setting(1.0, "weight of the earlier layers' loss", min=0)
    kl_weight: float = setting(1.0, "weight of the distillation from the last layer to earlier ones", min=0)
    kl_temperature: float = setting(0.3, "temperature of that distillation", above=0)

    def __post_init__(self) -> None:
        for name in ("last_weight", "prior_weight", "kl_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is below 0")
        if not self.kl_temperature > 0:
            raise ValueError(f"kl_temperature={self.kl_temperature} is not above 0")
        for name in ("layers_per_step", "widths_per_step"):
            if getattr(self, name) < -1:
                raise ValueError(f"{name}={getattr(self, name)} is neither a number of draws nor -1")
        if self.widths_per_step == 0:
            raise ValueError("widths_per_step=0 trains nothing")
