"""Settings of the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.bounds import check_bounds
from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class DilatedConfig:
    """Dilated convolutions over time.

    The published sizes are hidden 64, depth 10, width 320; AutoTCL adds ``kernels`` 1, 2, 4, ..., 128.
    """

    channels: int | None = setting(None, "channels of a series; null = what the preprocessor gives", min=1)
    hidden: int = setting(64, "features of the inner blocks", min=1)
    depth: int = setting(10, "blocks before the last one; block i has dilation 2^i", min=0, max=20)
    width: int = setting(320, "features of a step and of a series", min=1)
    kernel: int = setting(3, "steps that a convolution sees, odd", "steps", min=1, max=1001)
    kernels: tuple[int, ...] = setting(
        (), "sizes of the causal convolutions whose mean follows the blocks (AutoTCL); empty = none (TS2Vec)", min=1
    )
    dropout: float = setting(0.0, "share of features dropped after the blocks, in training only", min=0, below=1)
    missing: Literal["channel", "step"] = setting(
        "channel", "what a missing value hides: its channel, or its whole step as in the published code"
    )
    causal: bool = setting(False, "every convolution looks back only, so that a step never knows what follows it")
    pooling: Literal["max", "mean", "last"] = setting("max", "how steps become one vector a series")

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} is not odd")

    @property
    def receptive_field(self) -> int:
        """Steps that one step of the blocks depends on."""
        return 1 + 2 * (self.kernel - 1) * (2 ** (self.depth + 1) - 1)


@dataclass(frozen=True, kw_only=True)
class ChannelwiseConfig:
    """Dilated convolutions whose weights all channels share."""

    hidden: int = setting(32, "features of the inner blocks", min=1)
    depth: int = setting(6, "blocks before the last one; block i has dilation 2^i", min=0, max=20)
    width: int = setting(64, "features of a step of a channel; of a channel there are mean, maximum and share", min=1)
    kernel: int = setting(3, "steps that a convolution sees, odd", "steps", min=1, max=1001)
    slots: int = setting(256, "numbers of a vector that hold the shapes of all channels", min=1, max=2**16)
    level_slots: int = setting(128, "numbers that hold their levels and scales, 8 a channel", min=1, max=2**16)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} is not odd")
