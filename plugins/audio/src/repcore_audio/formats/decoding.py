"""What is known of a sound file before it is decoded, and how its samples are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """What a header says.

    Args:
        sample_rate_hz / channels: as stored.
        frames: samples a channel that can be read.
        promised: samples a channel that the header promises; more than ``frames`` if the file was cut off.
        container: FFmpeg decodes it; then ``frames`` is an estimate.
    """

    sample_rate_hz: int
    channels: int
    frames: int
    promised: int
    container: bool = False

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate_hz


class Decoder(Protocol):
    """An open file that can be read from any place."""

    def seek(self, frame: int) -> None: ...

    def read(self, frames: int) -> np.ndarray:
        """Float32 (n, channels), fewer than asked for at the end."""
        ...

    def close(self) -> None: ...
