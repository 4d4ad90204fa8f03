"""Settings of cMIM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class CmimConfig:
    """Auto-encoder on pooled vectors with a repulsion between codes."""

    latent_width: int | None = setting(None, "width of the latent code; null = that of the pooled vector", min=1)
    min_logvar: float = setting(
        -6.0, "lower bound of the log-variance: in practice the noise of the code", min=-60, max=60
    )
    temperature: float = setting(0.5, "temperature of the contrast between codes", above=0)
    contrast_weight: float = setting(1.0, "weight of the contrast; 10 helps with small batches", min=0)
    negatives: Literal["expectation", "sum"] = setting(
        "expectation", "mean over the other codes (independent of the batch size), or their sum"
    )
    decoder_width: int = setting(128, "hidden width of the network that predicts the item's description", min=1)

    def __post_init__(self) -> None:
        if self.latent_width is not None and self.latent_width < 1:
            raise ValueError(f"latent_width={self.latent_width} is below 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} is not above 0")
        if self.contrast_weight < 0:
            raise ValueError(f"contrast_weight={self.contrast_weight} is below 0")
        if self.decoder_width < 1:
            raise ValueError(f"decoder_width={self.decoder_width} is below 1")
