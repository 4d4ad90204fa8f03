"""Augmentation of log-mel batches while fine-tuning: masked bands and stretches, noise, shifts, mixup.

Source: Park et al. 2019 (SpecAugment, arXiv 1904.08779); Zhang et al. 2018 (mixup, arXiv 1710.09412); the fine-tuning
scripts of `SiavashShams/ssamba`.
Differs: the published code mixes waveforms before the filter bank, each clip with a chance and a share of its own; here
whole batches are mixed on the device with one share, adding powers, as a sum of unrelated waveforms does on average.

Symbols: B clips, T frames, F mel bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def mask_stretch(
    values: Tensor, widest: int, axis: int, fill: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Overwrite one stretch a clip along ``axis``, of uniform width below ``widest`` at a uniform place.

    Args:
        values: float (B, T, F).
        fill: (B, 1, 1), what is written.
        generator: source of randomness; torch's global one when None (a run seeds it for every step).
    """
    size = values.shape[axis]
    width = torch.rand(len(values), 1, generator=generator) * min(widest, size)
    first = (torch.rand(len(values), 1, generator=generator) * (size - width)).floor()
    place = torch.arange(size)
    hidden = ((place >= first) & (place < first + width.floor())).to(values.device)  # (B, size)
    return torch.where(hidden[:, :, None] if axis == 1 else hidden[:, None, :], fill.to(values.dtype), values)


def roll_clips(values: Tensor, furthest: int, generator: torch.Generator | None = None) -> Tensor:
    """Shift each clip in time by up to ``furthest`` frames either way, round the end."""
    shift = torch.randint(-furthest, furthest + 1, (len(values), 1), generator=generator).to(values.device)
    place = (torch.arange(values.shape[1], device=values.device) - shift) % values.shape[1]
    return values.gather(1, place[..., None].expand_as(values))


def add_noise(values: Tensor, level: float, generator: torch.Generator | None = None) -> Tensor:
    """Add uniform noise in [0, a), with a uniform in [0, level) for each clip."""
    size = torch.rand(len(values), 1, 1, generator=generator) * level
    return values + (torch.rand(values.shape, generator=generator) * size).to(values.device)


@dataclass(frozen=True, slots=True)
class Mixing:
    """Who is mixed with whom: ``partner`` int64 (B,), and the ``share`` of the clip itself, a scalar."""

    partner: Tensor
    share: Tensor


def draw_mixing(
    clips: int, concentration: float, device: torch.device, generator: torch.Generator | None = None
) -> Mixing:
    """Partners at random and one Beta(a, a) distributed share.

    The share is the ratio of two Gamma(a) draws, which are made from exponentials so that a generator can be given;
    ``concentration`` is rounded to a whole number of them.
    """
    draws = -torch.rand(2, max(1, round(concentration)), generator=generator).clamp(min=1e-12).log()
    gamma = draws.sum(-1)
    return Mixing(torch.randperm(clips, generator=generator).to(device), (gamma[0] / gamma.sum()).to(device))


def mix_spectrograms(values: Tensor, normalisation: Tensor, mixing: Mixing) -> Tensor:
    """Log-mel values of mixed clips: powers add with squared shares.

    Args:
        values: normalised (B, T, F).
        normalisation: (B, 2), mean and divisor.
        mixing: partners and share.
    """
    mean, divisor = normalisation[:, 0, None, None], normalisation[:, 1, None, None]
    power = values * divisor + mean  # (B, T, F), log power
    mixed = torch.logaddexp(power + 2 * mixing.share.log(), power[mixing.partner] + 2 * (1 - mixing.share).log())
    return (mixed - mean) / divisor
