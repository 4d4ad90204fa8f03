"""From log-mel values back to sound: power by least squares, phases by Griffin and Lim, emphasis undone.

Source: Griffin and Lim 1984 (IEEE TASSP 32, 2), with the momentum of Perraudin et al. 2013, by torchaudio.

Symbols: T frames, F mel bins, n samples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from repcore_audio.preprocessors.log_mel import PRE_EMPHASIS, LogMel

ROUNDS = 48
QUIET = 0.3  # peak of the sound


def front_end_of(numbers: Tensor) -> tuple[LogMel, float, float]:
    """Filter bank, mean and scale of normalisation, from the numbers that batches of tokens carry (7,)."""
    rate, bins, length, shift, amplitude, mean, scale = (float(one) for one in numbers)
    bank = LogMel(round(rate), round(bins), frame_length_ms=length, frame_shift_ms=shift, amplitude=amplitude)
    return bank, mean, scale


def sound_of(log_mel: Tensor, bank: LogMel) -> np.ndarray:
    """A waveform, float32 (n,), with about these log-mel values (T, F); its level is set to a peak of 0.3.

    The same values always give the same sound: phases start at 0.
    """
    from scipy.signal import lfilter
    from torchaudio.functional import griffinlim

    power = log_mel.double().cpu().exp()
    filters = bank.filters.double()  # (X / 2 + 1, F)
    spectrum = (power @ torch.linalg.pinv(filters)).clamp(min=0).T.sqrt().float()  # (X / 2 + 1, T)
    wave = griffinlim(
        spectrum, torch.hann_window(bank.frame_samples, periodic=False), bank.fft_samples, bank.shift_samples,
        bank.frame_samples, 1.0, ROUNDS, 0.9, None, False,
    )  # fmt: skip
    plain = lfilter([1.0], [1.0, -PRE_EMPHASIS], wave.numpy())
    plain = plain - plain.mean()
    peak = float(np.abs(plain).max()) if plain.size else 0.0
    found: np.ndarray = (QUIET * plain / max(peak, 1e-9)).astype(np.float32)
    return found
