"""From one sampling rate to another, any stretch of a recording at a time, in bounded memory.

Pairs of rates with small reduced terms (44,100 to 16,000 is 441 to 160) go through torchaudio's windowed sinc, whose
kernel is a table of all phases. For rates that share no factor that table would take gigabytes: libsoxr converts them.
A stretch is converted with a margin of samples on both sides, so that its values do not depend on where it was cut.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import numpy as np
import torch
from torch import Tensor

KERNEL_NUMBERS = 2**20  # largest kernel table: 4 MiB
SINC_WIDTH = 6  # torchaudio's lowpass_filter_width
SINC_ROLLOFF = 0.99
SOXR_REACH_SECONDS = 0.25  # far beyond the filters of libsoxr's HQ at audio rates


class Resampler:
    """Conversion between two rates.

    ``step`` samples of the source last as long as ``out_step`` of the target, both whole: stretches begin at multiples
    of them. ``margin``, a multiple of ``step``, is what a stretch needs on both sides.

    Args:
        source_hz / target_hz: sampling rates.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        shared = gcd(source_hz, target_hz)
        self.source_hz, self.target_hz = source_hz, target_hz
        self.step, self.out_step = source_hz // shared, target_hz // shared
        reach = ceil(SINC_WIDTH * self.step / (SINC_ROLLOFF * min(self.step, self.out_step)))
        self.uses_soxr = (2 * reach + self.step) * self.out_step > KERNEL_NUMBERS
        if source_hz == target_hz:
            self.margin = 0
            return
        needed = SOXR_REACH_SECONDS * source_hz if self.uses_soxr else reach + self.step
        self.margin = ceil(needed / self.step) * self.step
        if not self.uses_soxr:
            from torchaudio.transforms import Resample

            self._sinc: torch.nn.Module = Resample(
                source_hz, target_hz, lowpass_filter_width=SINC_WIDTH, rolloff=SINC_ROLLOFF
            )

    def length(self, samples: int) -> int:
        """Samples at the target rate for this many at the source rate."""
        return ceil(samples * self.out_step / self.step)

    def __call__(self, lanes: Tensor) -> Tensor:
        """Float32 (L, n) to (L, ``length(n)``); silence is assumed on both sides."""
        if self.source_hz == self.target_hz:
            return lanes
        if not self.uses_soxr:
            converted: Tensor = self._sinc(lanes)
            return converted
        import soxr

        wanted = self.length(lanes.shape[1])
        rows = [soxr.resample(lane.numpy(), self.source_hz, self.target_hz, "HQ") for lane in lanes]
        found = torch.from_numpy(np.stack(rows).astype(np.float32, copy=False))
        return torch.nn.functional.pad(found, (0, max(0, wanted - found.shape[1])))[:, :wanted]


@lru_cache(maxsize=16)
def resampler(source_hz: int, target_hz: int) -> Resampler:
    """The conversion between two rates, made once a pair."""
    return Resampler(source_hz, target_hz)
