"""Waveforms at the encoder's rate: stretches of long recordings that are decoded when they are needed, and mixup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repcore.errors import ItemError
from repcore.interfaces import Item
from repcore_audio.datasets.recordings import LongRecording
from repcore_audio.preprocessors.listening import checked_resampler, stretch


@dataclass(frozen=True, slots=True)
class Pending:
    """A window of a long recording, not decoded yet.

    Args:
        recording: where it lies.
        sample_rate_hz: of the encoder.
        first / stop: samples at that rate.
        lane: 0, or which channel.
        mean: of the whole recording, subtracted.
    """

    recording: LongRecording
    sample_rate_hz: int
    first: int
    stop: int
    lane: int = 0
    mean: float = 0.0

    def decoded(self) -> Tensor:
        """Float32 (n,).

        Raises:
            ItemError: the file breaks off before the window ends.
        """
        convert = checked_resampler(self.recording, self.sample_rate_hz)
        with self.recording.opened() as read:
            lanes = stretch(self.recording, convert, read, self.first, self.stop)
        if lanes.shape[1] < self.stop - self.first:
            raise ItemError("truncated", f"the file breaks off before {self.stop / self.sample_rate_hz:.2f} s")
        return lanes[self.lane] - self.mean


@dataclass(frozen=True, slots=True)
class Hidden:
    """What a view hides of its spectrogram: ``axis`` 0 frames or 1 mel bands, from ``first`` on, ``width`` of them."""

    axis: int
    first: int
    width: int


def waveforms(items: Sequence[Item]) -> list[Tensor]:
    """Waveform of each item, decoded where it was not; NaN where a file changed meanwhile, so that the row fails."""
    waves = []
    for item in items:
        if isinstance(item.values, Tensor):
            waves.append(item.values)
            continue
        pending: Pending = item.values
        try:
            waves.append(pending.decoded())
        except ItemError:
            waves.append(torch.full((pending.stop - pending.first,), torch.nan))
    return waves


def mixed_waveforms(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Mixup of two recordings: ``share`` of the first and the rest of the second, free of any constant.

    Source: Gong et al. 2021 (AST), `SiavashShams/ssamba`, `src/dataloader.py`.

    Args:
        first: float (n,).
        second: float (m,), padded with zeros or cut to n.
        share: 0 to 1, by custom from Beta(10, 10).
    """
    one, other = first - first.mean(), second - second.mean()
    other = torch.nn.functional.pad(other, (0, max(0, len(one) - len(other))))[: len(one)]
    mixed = share * one + (1 - share) * other
    return mixed - mixed.mean()
