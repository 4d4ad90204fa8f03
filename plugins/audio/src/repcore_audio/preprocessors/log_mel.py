"""Kaldi's log-mel filter bank for many recordings at once.

Source: Kaldi's feature-fbank with htk_compat, hanning (or povey) window and no dither, as torchaudio.compliance.kaldi
computes it.
Differs: frames of all recordings of a batch go through one FFT and one matrix product, on any device; values are equal
up to float32 rounding.

Symbols: n samples of a recording, T frames, F mel bins, W samples of a frame, X length of the FFT.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.errors import ConfigError

LOWEST_FREQUENCY_HZ = 20.0
PRE_EMPHASIS = 0.97
POVEY_EXPONENT = 0.85
FLOOR = torch.finfo(torch.float32).eps  # power below this is silence
SILENCE = float(torch.tensor(FLOOR).log())  # about -15.94
FRAMES_AT_ONCE = 8192  # bounds memory: 8192 x 512 numbers are 16 MiB


class LogMel:
    """Log power in mel bands.

    Args:
        sample_rate_hz: of the waveforms.
        mel_bins: F.
        frame_length_ms / frame_shift_ms: framing; only whole frames are kept (snip_edges).
        window: ``hann``, or ``povey``: hann to the power of 0.85.
        amplitude: factor on samples.

    Raises:
        ConfigError: sizes that leave no frame or more filters than the spectrum can fill.
    """

    def __init__(
        self,
        sample_rate_hz: int = 16_000,
        mel_bins: int = 128,
        *,
        frame_length_ms: float = 25.0,
        frame_shift_ms: float = 10.0,
        window: str = "hann",
        amplitude: float = 1.0,
    ) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.mel_bins = mel_bins
        self.window, self.amplitude = window, amplitude
        self.frame_samples = int(sample_rate_hz * frame_length_ms * 0.001)
        self.shift_samples = int(sample_rate_hz * frame_shift_ms * 0.001)
        if self.frame_samples < 2 or self.shift_samples < 1:
            raise ConfigError(
                f"frames of {frame_length_ms} ms every {frame_shift_ms} ms are too short at {sample_rate_hz} Hz"
            )
        self.fft_samples = 1 << (self.frame_samples - 1).bit_length()
        if mel_bins < 1 or sample_rate_hz <= 2 * LOWEST_FREQUENCY_HZ:
            raise ConfigError(f"mel_bins={mel_bins} at {sample_rate_hz} Hz is not a filter bank")

    def frames(self, samples: int) -> int:
        """Whole frames in a waveform of this length."""
        return max(0, 1 + (samples - self.frame_samples) // self.shift_samples)

    def samples(self, frames: int) -> int:
        """Shortest waveform with this many frames."""
        return self.frame_samples + (frames - 1) * self.shift_samples

    def __call__(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Log-mel frames of each waveform.

        Args:
            waveforms: float (n,) each, of any length, all on one device.

        Returns:
            float32 (T, F) each; T is 0 where a waveform is shorter than one frame.
        """
        counts = [self.frames(len(wave)) for wave in waveforms]
        framed = [
            wave.float().unfold(0, self.frame_samples, self.shift_samples)
            for wave, count in zip(waveforms, counts, strict=True)
            if count
        ]
        if not framed:
            return [torch.zeros(0, self.mel_bins) for _ in counts]
        stacked = torch.cat(framed)  # (sum T, W): the copy that the in-place steps below may change
        rows = torch.cat([self._log_power(part) for part in stacked.split(FRAMES_AT_ONCE)])
        return list(rows.split(counts))

    def _log_power(self, frames: Tensor) -> Tensor:
        """(T, W) samples to (T, F); ``frames`` is used up."""
        frames -= frames.mean(1, keepdim=True)
        if self.amplitude != 1.0:
            frames *= self.amplitude
        before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
        frames = frames.sub_(before, alpha=PRE_EMPHASIS).mul_(self._window.to(frames.device))
        spectrum = torch.fft.rfft(F.pad(frames, (0, self.fft_samples - self.frame_samples)))
        power = spectrum.real.square() + spectrum.imag.square()  # (T, X / 2 + 1)
        return (power @ self.filters.to(frames.device)).clamp_(min=FLOOR).log_()

    @cached_property
    def _window(self) -> Tensor:
        hann = torch.hann_window(self.frame_samples, periodic=False)
        return hann**POVEY_EXPONENT if self.window == "povey" else hann

    @cached_property
    def filters(self) -> Tensor:
        """(X / 2 + 1, F); the bin at half the sampling rate belongs to no filter."""
        import torchaudio.compliance.kaldi as kaldi  # seconds to import, so only where features are made

        nyquist_offset, no_warp = 0.0, 1.0
        banks, _ = kaldi.get_mel_banks(
            self.mel_bins, self.fft_samples, float(self.sample_rate_hz), LOWEST_FREQUENCY_HZ, nyquist_offset,
            100.0, -500.0, no_warp,
        )  # fmt: skip
        return F.pad(banks, (0, 1)).T.contiguous()
