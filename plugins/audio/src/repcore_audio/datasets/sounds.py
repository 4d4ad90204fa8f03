"""Generated instruments and environmental sounds with known classes: the default data set, for a first look only.

Ten classes, each a small physical model with random pitch, timbre, timing and length, over a background of another
class and coloured noise at -3 to 15 dB, behind a random filter and gain. Pitch, loudness and spectrum tilt overlap
between classes on purpose, so that plain spectrum statistics are far from perfect. A recording is a pure function of
(seed, index).

Symbols: n samples, t time in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from repcore.data.generated import Generated
from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_audio.configs.recordings import SoundsConfig
from repcore_audio.datasets.recordings import Recording, Retakable

Maker = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
TEST_SHARE = 5  # every fifth recording
LARGEST_PEAK = 0.9
BLOCK = 160  # lengths are multiples of this: the FFT of a prime length takes ten times as long


def _pitch(rng: np.random.Generator) -> float:
    """Fundamental in Hz, the same range for every pitched class."""
    return float(np.exp(rng.uniform(np.log(110), np.log(660))))


def _harmonics(t: np.ndarray, phase: np.ndarray, levels: Sequence[float], rate: int, pitch: float) -> np.ndarray:
    """Sum of partials below half the sampling rate."""
    out = np.zeros_like(t)
    for number, level in enumerate(levels, start=1):
        if level and number * pitch < 0.45 * rate:
            out += level * np.sin(number * phase)
    return out


def _envelope(t: np.ndarray, attack: float, release: float) -> np.ndarray:
    rise = np.minimum(1.0, t / attack)
    return rise * np.minimum(1.0, np.maximum(0.0, (t[-1] - t) / release))


def _coloured(n: int, rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise whose power falls with frequency to the given power, unit standard deviation."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, n)
    return noise / (noise.std() + 1e-12)


def _band(signal: np.ndarray, rate: int, low: float, high: float) -> np.ndarray:
    """Smooth band-pass in the frequency domain."""
    frequency = np.fft.rfftfreq(len(signal), 1 / rate)
    shape = 1 / (1 + (low / np.maximum(frequency, 1.0)) ** 4) / (1 + (frequency / high) ** 4)
    return np.fft.irfft(np.fft.rfft(signal) * shape, len(signal))


def _struck(
    t: np.ndarray, rate: int, rng: np.random.Generator, partials: Sequence[tuple[float, float, float]]
) -> np.ndarray:
    """A few strikes at random times and pitches; partials are (ratio, level, rate of decay in 1/s)."""
    out = np.zeros_like(t)
    for start in rng.integers(0, int(0.6 * len(t)), rng.integers(1, 4)):
        pitch, own = _pitch(rng), t[: len(t) - start]
        for ratio, level, decay in partials:
            spread = ratio * rng.uniform(0.995, 1.005) * pitch
            if spread < 0.45 * rate:
                out[start:] += level * np.sin(2 * np.pi * spread * own) * np.exp(-own * decay * rng.uniform(0.6, 1.6))
    return out


def _plucked(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Whole multiples that die away, high ones first."""
    return _struck(t, rate, rng, [(number, 1 / number, 2.5 * number) for number in range(1, 10)])


def _bell(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Struck metal: partials that are no whole multiples."""
    return _struck(t, rate, rng, [(ratio, ratio**-0.7, 2.5 * ratio**0.5) for ratio in (1.0, 2.0, 2.76, 5.4, 8.93)])


def _bowed(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """All partials, slow attack, vibrato."""
    pitch = _pitch(rng)
    vibrato = rng.uniform(0.003, 0.012) * np.sin(2 * np.pi * rng.uniform(4.5, 7) * t)
    phase = 2 * np.pi * np.cumsum(pitch * (1 + vibrato)) / rate
    levels = [1 / number ** rng.uniform(0.8, 1.3) for number in range(1, 25)]
    return _harmonics(t, phase, levels, rate, pitch) * _envelope(t, rng.uniform(0.05, 0.25), 0.2)


def _reed(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Odd partials, steady."""
    pitch = _pitch(rng)
    phase = 2 * np.pi * np.cumsum(np.full_like(t, pitch)) / rate
    levels = [number % 2 / number ** rng.uniform(0.6, 1.2) for number in range(1, 25)]
    return _harmonics(t, phase, levels, rate, pitch) * _envelope(t, rng.uniform(0.02, 0.2), 0.15)


def _flute(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Few partials and breath noise around them."""
    pitch = _pitch(rng)
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.004 * np.sin(2 * np.pi * 5 * t))) / rate
    breath = _band(rng.standard_normal(len(t)), rate, pitch, 4 * pitch)
    return (_harmonics(t, phase, (1, 0.3, 0.08), rate, pitch) + rng.uniform(0.3, 1) * breath) * _envelope(t, 0.1, 0.2)


def _drum(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Hits: a falling tone with a burst of noise."""
    out = np.zeros_like(t)
    for start in np.sort(rng.uniform(0, 0.8 * t[-1], rng.integers(2, 6))):
        own, low = np.maximum(0.0, t - start), rng.uniform(60, 180)
        tone = np.sin(2 * np.pi * (low * own + 0.4 * low * (1 - np.exp(-own * 20)) / 20))
        burst = rng.uniform(0.2, 1) * rng.standard_normal(len(t)) * np.exp(-own * rng.uniform(20, 60))
        out += (tone * np.exp(-own * rng.uniform(6, 18)) + burst) * (t >= start)
    return out


def _rain(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Many short drops over hiss."""
    drops = (rng.random(len(t)) < rng.uniform(40, 400) / rate) * rng.exponential(1.0, len(t))
    length = int(rate * rng.uniform(0.002, 0.006))
    ring = np.exp(-np.arange(length) / (length / 5)) * np.sin(
        2 * np.pi * rng.uniform(1500, 4000) / rate * np.arange(length)
    )
    return np.convolve(drops, ring)[: len(t)] + rng.uniform(0.01, 0.1) * rng.standard_normal(len(t))


def _wind(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Low noise with slow gusts."""
    gust = 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.3, 1.5) * t + rng.uniform(0, 6.3))
    centre = rng.uniform(150, 900)
    return gust * _band(_coloured(len(t), rng, 0.5), rate, 0.5 * centre, 1.5 * centre)


def _engine(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Irregular pulses a few dozen times a second."""
    speed = rng.uniform(20, 70) * (1 + rng.uniform(-0.3, 0.3) * t / t[-1])
    phase = np.cumsum(speed + rng.uniform(0.5, 3) * _coloured(len(t), rng, 1.0)) / rate
    pulse = (phase % 1.0) ** rng.uniform(3, 9)
    return _band(pulse - pulse.mean() + 0.05 * rng.standard_normal(len(t)), rate, 40, rng.uniform(800, 3000))


def _bird(t: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Chirps: short sweeps, repeated."""
    out = np.zeros_like(t)
    low, high, length = rng.uniform(1200, 2500), rng.uniform(2500, 5500), rng.uniform(0.05, 0.18)
    for start in np.arange(rng.uniform(0, 0.2), t[-1], length * rng.uniform(1.3, 3)):
        own = (t - start) / length
        inside = (own >= 0) & (own < 1)
        sweep = low + (high - low) * np.sin(np.pi * np.clip(own, 0, 1)) ** 2
        out += inside * np.sin(np.pi * np.clip(own, 0, 1)) * np.sin(2 * np.pi * np.cumsum(sweep * inside) / rate)
    return out


MAKERS: Mapping[str, Maker] = {
    "bell": _bell, "bird": _bird, "bowed string": _bowed, "drum": _drum, "engine": _engine, "flute": _flute,
    "plucked string": _plucked, "rain": _rain, "reed": _reed, "wind": _wind,
}  # fmt: skip


class Sounds(Generated):
    """Dataset ``audio/sounds``.

    Args:
        config: number, length, seed and noise.

    Raises:
        ConfigError: no clip, or too short to hold any sound.
    """

    noun = "sound"
    targets = (TargetSpec("sound", "class", names=tuple(MAKERS)),)

    def __init__(self, config: SoundsConfig) -> None:
        if config.clips < 1 or config.seconds < 0.2 or config.sample_rate_hz < 8000:
            raise ConfigError(
                f"{config.clips} clips of {config.seconds} s at {config.sample_rate_hz} Hz cannot be generated",
                expected="1 clip or more of 0.2 s or more at 8000 Hz or more",
            )
        super().__init__(config, config.clips)
        self.config = config

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        rows = np.arange(len(self))
        held = rows // len(MAKERS) % TEST_SHARE == TEST_SHARE - 1
        return {"train": rows[~held].tolist(), "test": rows[held].tolist()} if held.any() else {}

    def make(self, index: int) -> Sample:
        """A recording of the class ``index`` modulo the number of classes."""
        rng = np.random.default_rng([self.config.seed, index])
        number = index % len(MAKERS)
        sound = sound_of(number, self.config.seconds, self.config.sample_rate_hz, rng)
        recording = Scene.of(sound, number, self.config.sample_rate_hz, self.config.signal_to_noise_db, rng)
        seconds = round(recording.length / recording.sample_rate_hz, 4)
        return Sample(self.id_of(index), recording, {"sound": number}, None, {"seconds": seconds})


@dataclass(frozen=True, slots=True)
class Scene(Retakable):
    """A sound over a background that can be another one.

    Args:
        sound: alone, float32 (n,) of unit standard deviation.
        number: of its class.
        signal_to_noise_db: range of its level over the background.
    """

    sound: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    number: int = 0
    signal_to_noise_db: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(
        cls, sound: np.ndarray, number: int, rate: int, signal_to_noise_db: tuple[float, float],
        rng: np.random.Generator,
    ) -> Self:  # fmt: skip
        """Behind a microphone, over a background of another class."""
        samples = _recorded(sound, number, rate, signal_to_noise_db, rng)
        kept = sound.astype(np.float32)
        return cls(samples[None], rate, sound=kept, number=number, signal_to_noise_db=signal_to_noise_db)

    def again(self, generator: np.random.Generator) -> Recording:
        """The same sound over another background, behind another microphone."""
        samples = _recorded(self.sound, self.number, self.sample_rate_hz, self.signal_to_noise_db, generator)
        return Recording(samples[None], self.sample_rate_hz)


def sound_of(number: int, seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A sound of a class (n,), half of ``seconds`` long or more, unit standard deviation."""
    length = int(rate * seconds * rng.uniform(0.5, 1.0)) // BLOCK * BLOCK
    return _unit(list(MAKERS.values())[number](np.arange(length) / rate, rate, rng))


def _recorded(
    sound: np.ndarray, number: int, rate: int, signal_to_noise_db: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    t = np.arange(len(sound)) / rate
    other = (number + int(rng.integers(1, len(MAKERS)))) % len(MAKERS)
    background = _unit(
        _unit(list(MAKERS.values())[other](t, rate, rng)) + 0.7 * _coloured(len(t), rng, rng.uniform(0, 2))
    )
    level = 10 ** (-rng.uniform(*signal_to_noise_db) / 20)
    mixed = _tilted(sound + level * background, rate, rng)
    return np.asarray(mixed / np.abs(mixed).max() * rng.uniform(0.05, LARGEST_PEAK), np.float32)


def _unit(signal: np.ndarray) -> np.ndarray:
    return signal / (signal.std() + 1e-9)


def _tilted(signal: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A random microphone: a tilt of up to 6 dB an octave either way and a random upper limit."""
    frequency = np.maximum(np.fft.rfftfreq(len(signal), 1 / rate), 50.0)
    shape = (frequency / 1000) ** rng.uniform(-0.6, 0.6) / (1 + (frequency / rng.uniform(3000, 9000)) ** 4)
    return np.fft.irfft(np.fft.rfft(signal) * shape, len(signal))
