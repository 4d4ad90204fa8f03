"""Views ``audio/sound-pair`` and ``audio/sound-weak-strong``: cut, moved, louder, noisy, partly hidden windows.

Cut, speed, shift, gain and noise act on the waveform of one window, which is decoded once; hidden bands and stretches
(SpecAugment, Park et al. 2019, arXiv 1904.08779) are drawn here and written by the preprocessor into the normalised
spectrogram, where 0 is the mean of the training data. Padding never takes part.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from repcore.data.views import Change, ChangedPair, ChangedViews, ChangedWeakStrong
from repcore.interfaces import Item, Sample
from repcore_audio.configs.views import SoundChange
from repcore_audio.datasets.recordings import Retakable
from repcore_audio.preprocessors.resampling import resampler
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
from repcore_audio.preprocessors.waveform import Hidden, waveforms

STEPS_OF_SPEED = 20  # of 1
FILTER_POINTS = 6  # at which a random filter is drawn
LOWEST_SHARE = 0.02  # of half the sampling rate: its first point


class SoundViews(ChangedViews):
    """Views of one window: waveforms (n,), of their own length each.

    Of what is generated, each view is another take.
    """

    preprocessor: LogMelPreprocessor

    def change(self, settings: SoundChange) -> Change:
        return partial(changed_sound, preprocessor=self.preprocessor, change=settings)

    def views(self, sample: Sample, generator: np.random.Generator) -> dict[str, Item]:
        sound = sample.inputs
        if not isinstance(sound, Retakable):
            return super().views(sample, generator)
        found = {}
        for name, change in self.changes.items():
            take = replace(sample, inputs=sound.again(generator))
            found[name] = change(self.item(take, generator), generator)
        return found


class SoundPair(SoundViews, ChangedPair):
    """Settings: :class:`SoundPairConfig`."""


class SoundWeakStrong(SoundViews, ChangedWeakStrong):
    """Settings: :class:`SoundWeakStrongConfig`."""


def changed_sound(
    item: Item, generator: np.random.Generator, *, preprocessor: LogMelPreprocessor, change: SoundChange
) -> Item:
    """A stretch of the window, at least one patch long, faster or slower, shifted in time, at another level, with noise
    and hidden parts.

    Noise is measured against the stretch's own power, so that silence stays silent.
    """
    (wave,) = waveforms([item])
    shortest = min(len(wave), preprocessor.log_mel.samples(preprocessor.config.frame_multiple))
    kept = max(shortest, round(len(wave) * generator.uniform(*change.kept_share)))
    first = int(generator.integers(len(wave) - kept + 1))
    wave = wave[first : first + kept]
    if change.speed is not None:
        wave = at_speed(wave, generator.uniform(*np.log(change.speed)), shortest)
        kept = len(wave)
    if change.filter_db:
        wave = filtered(wave, generator.uniform(-change.filter_db, change.filter_db, FILTER_POINTS))
    furthest = int(kept * change.shift_share)
    wave = wave.roll(int(generator.integers(-furthest, furthest + 1)))
    if change.noise_db is not None:
        ratio = generator.uniform(*change.noise_db)
        level = float(wave.square().mean().sqrt()) * 10 ** (-ratio / 20)
        wave = wave + level * torch.from_numpy(generator.standard_normal(kept, dtype=np.float32))
    wave = wave * 10 ** (generator.uniform(-change.gain_db, change.gain_db) / 20)
    frames = min(preprocessor.log_mel.frames(kept), preprocessor.config.frames)
    bands = preprocessor.config.mel_bins
    hidden = [_stretch(0, frames, change.stretch_share, generator) for _ in range(change.masked_stretches)]
    hidden += [_stretch(1, bands, change.band_share, generator) for _ in range(change.masked_bands)]
    meta = {**item.meta, **preprocessor.frame_facts(frames), "hidden": tuple(hidden)}
    return replace(item, values=wave, meta=meta)


def at_speed(wave: Tensor, log_factor: float, shortest: int) -> Tensor:
    """Speed perturbation (Ko et al. 2015, Interspeech, section 2): read exp(log_factor) times as fast.

    Factors are multiples of 1/20, so that few filters are made. What would be shorter than ``shortest`` samples keeps
    its speed.
    """
    convert = resampler(max(1, round(STEPS_OF_SPEED * math.exp(log_factor))), STEPS_OF_SPEED)
    return convert(wave[None])[0] if convert.length(len(wave)) >= shortest else wave


def filtered(wave: Tensor, gains: np.ndarray) -> Tensor:
    """FilterAugment's linear form (Nam et al. 2022, ICASSP, section 2): decibels between points are on straight lines.

    Points are evenly apart in the logarithm of frequency, as mel bands nearly are.

    Args:
        wave: (n,). gains: of the points, in dB.
    """
    spectrum = torch.fft.rfft(wave)
    height = np.log(np.maximum(np.linspace(0.0, 1.0, len(spectrum)), LOWEST_SHARE))
    decibels = np.interp(height, np.linspace(np.log(LOWEST_SHARE), 0.0, len(gains)), gains)
    return torch.fft.irfft(spectrum * torch.from_numpy(10 ** (decibels / 20)).to(spectrum.real.dtype), n=len(wave))


def _stretch(axis: int, size: int, widest: float, generator: np.random.Generator) -> Hidden:
    """A stretch of uniform width up to ``widest`` of an axis, at a uniform place; something is always left."""
    width = int(generator.integers(min(int(size * widest), size - 1) + 1))
    return Hidden(axis, int(generator.integers(size - width + 1)), width)
