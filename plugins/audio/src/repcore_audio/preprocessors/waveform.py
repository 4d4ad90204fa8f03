"""From a recording to one clean channel at the model's sampling rate, and what is worth telling about it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from repcore.errors import ItemError
from repcore_audio.datasets.recordings import Recording

FULL_SCALE = 0.999  # samples at or above count as clipped; 16-bit full scale is 0.99997
LOWEST_RATE_HZ = 100


def single_channel(recording: Recording, sample_rate_hz: int) -> Tensor:
    """Mean over channels, resampled.

    Returns:
        float32 (n,).

    Raises:
        ItemError: no samples (``empty``), NaN or infinite samples (``not_finite``), or a nonsensical rate
            (``bad_sample_rate``).
    """
    samples = recording.samples
    if samples.size == 0:
        raise ItemError("empty", "the recording has no samples")
    if recording.sample_rate_hz < LOWEST_RATE_HZ:
        raise ItemError("bad_sample_rate", f"a sampling rate of {recording.sample_rate_hz} Hz is no audio")
    bad = int(samples.size - np.isfinite(samples).sum())
    if bad:
        raise ItemError("not_finite", f"{bad} of {samples.size} samples are NaN or infinite")
    mono = torch.from_numpy(np.ascontiguousarray(samples.mean(axis=0, dtype=np.float32)))
    if recording.sample_rate_hz == sample_rate_hz:
        return mono
    resampled: Tensor = _resampler(recording.sample_rate_hz, sample_rate_hz)(mono)
    return resampled


@lru_cache(maxsize=16)
def _resampler(source_hz: int, target_hz: int) -> torch.nn.Module:
    """Windowed-sinc resampling with its kernel made once a pair of rates."""
    from torchaudio.transforms import Resample

    return Resample(source_hz, target_hz)


def loudness_note(recording: Recording, *, silence_db: float, clipped_share: float) -> tuple[str, str]:
    """Status and reason: ``silent``, ``clipped`` or ``ok``.

    Args:
        recording: with finite samples.
        silence_db: peak below which it counts as silent, dB of full scale.
        clipped_share: share of samples at full scale above which it counts as clipped.
    """
    size = np.abs(recording.samples)
    peak = float(size.max())
    if peak == 0.0 or 20 * np.log10(peak) < silence_db:
        level = "digital silence" if peak == 0.0 else f"the peak is {20 * np.log10(peak):.0f} dB of full scale"
        return "silent", level
    share = float((size >= FULL_SCALE).mean())
    if share > clipped_share:
        return "clipped", f"{share:.1%} of the samples are at full scale"
    return "ok", ""


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
