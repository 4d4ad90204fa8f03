"""A small speech synthesiser: words of random sounds, spoken by random voices in random rooms.

Source and filter (Fant 1960): pulses and breath through four resonances of a vocal tract, hiss and bursts where it is
narrow. A word says what is spoken (resonances, constrictions and lengths of its sounds) and a voice how: pitch and its
course, length of the tract, pace, breath, microphone, room and noise. So two recordings of one word have in common what
two people have who say the same, and nothing else.

Symbols: m frames of a word, one every HOP samples; n samples; f frequency in Hz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

HOP, WINDOW = 128, 256  # samples; a periodic Hann window at half of its length adds up to 1
RESONANCES = 4
NEUTRAL = np.array([500.0, 1500.0, 2500.0, 3500.0])  # Hz: a tube of 17.5 cm, closed at one end
WIDTHS = np.array([70.0, 100.0, 150.0, 220.0])  # Hz, of its resonances
GLIDE_SECONDS = 0.05  # in which a tract moves from one sound to the next
LARGEST_PEAK = 0.9


@dataclass(frozen=True, slots=True)
class Sound:
    """One sound of a word.

    Args:
        seconds: length at the usual pace.
        resonances: of the tract, Hz (4,).
        voiced / breath: amplitudes of pulses and of noise that pass the whole tract.
        hiss: amplitude of noise that is made in the mouth.
        hiss_hz / hiss_octaves: centre and half width of its band.
    """

    seconds: float
    resonances: tuple[float, ...]
    voiced: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    hiss_hz: float = 4000.0
    hiss_octaves: float = 0.5


def random_word(rng: np.random.Generator) -> tuple[Sound, ...]:
    """One to three syllables: a vowel, with consonants before and after it or without."""
    sounds: list[Sound] = []
    for _ in range(rng.choice([1, 2, 3], p=[0.5, 0.4, 0.1])):
        sounds += _consonant(rng) if rng.random() < 0.85 else ()
        sounds += _vowel(rng)
        sounds += _consonant(rng) if rng.random() < 0.45 else ()
    return tuple(sounds)


def _vowel(rng: np.random.Generator) -> list[Sound]:
    """One place of the tongue, or a way from one to another."""
    seconds = rng.uniform(0.09, 0.26)
    places = 2 if rng.random() < 0.4 else 1
    return [Sound(seconds / places, _open_tract(rng), voiced=1.0) for _ in range(places)]


def _open_tract(rng: np.random.Generator) -> tuple[float, ...]:
    """Resonances of a vowel: within the quadrilateral of the first two, the third near the second of front vowels."""
    first = np.exp(rng.uniform(np.log(270), np.log(850)))
    openness = (first - 270) / 580
    back, front = 750 + 250 * openness, 2350 - 650 * openness
    second = np.exp(rng.uniform(np.log(back), np.log(front)))
    third = max(rng.uniform(2200, 2800), second + rng.uniform(400, 700))
    if rng.random() < 0.15:
        third = max(second + 300, rng.uniform(1600, 1900))  # as of r
    return float(first), float(second), float(third), rng.uniform(3300, 3900)


def _consonant(rng: np.random.Generator) -> list[Sound]:
    """A plosive, fricative, nasal or glide."""
    locus = (rng.uniform(220, 400), rng.uniform(800, 2200), rng.uniform(2200, 2800), 3500.0)
    kind = rng.choice(4, p=[0.3, 0.35, 0.2, 0.15])
    centre, half = float(np.exp(rng.uniform(np.log(1500), np.log(7000)))), rng.uniform(0.3, 1.0)
    voiced = rng.random() < 0.5
    if kind == 0:
        closed = Sound(rng.uniform(0.04, 0.09), locus, voiced=0.08 if voiced else 0.0)
        burst = Sound(rng.uniform(0.01, 0.02), locus, hiss=rng.uniform(0.3, 1.0), hiss_hz=centre, hiss_octaves=half)
        after = [] if voiced else [Sound(rng.uniform(0.02, 0.06), locus, breath=0.3)]
        return [closed, burst, *after]
    if kind == 1:
        return [
            Sound(
                rng.uniform(0.07, 0.16),
                locus,
                voiced=0.3 * voiced,
                hiss=rng.uniform(0.1, 0.7),
                hiss_hz=centre,
                hiss_octaves=half,
            )
        ]
    if kind == 2:
        return [Sound(rng.uniform(0.05, 0.1), (250.0, locus[1], 2300.0, 3300.0), voiced=0.35)]
    return [Sound(rng.uniform(0.04, 0.08), locus, voiced=0.6)]


def spoken(word: Sequence[Sound], rate: int, rng: np.random.Generator) -> np.ndarray:
    """A recording of a word by a voice that is drawn.

    Args:
        rate: samples a second.
        rng: draws voice, room and microphone.

    Returns:
        float32 (n,), full scale 1.
    """
    pace, tract = np.exp(rng.uniform(-0.3, 0.3)), np.exp(rng.uniform(-0.2, 0.2))
    track = _tracks(word, pace, tract, rate, rng)
    frames = len(track["voiced"])
    source, noise = pulses(frames * HOP, rate, tract, rng), rng.standard_normal(frames * HOP)
    breath = 10 ** rng.uniform(-2.5, -1.0)
    frequency = np.fft.rfftfreq(WINDOW, 1 / rate)
    filters = tract_filter(frequency, track["resonances"])
    through = spectra(source) * track["voiced"][:, None]
    aspired = spectra(noise)
    through = through + aspired * (track["breath"] + breath * track["voiced"])[:, None]
    away = np.log2(np.maximum(frequency, 1.0) / track["hiss_hz"][:, None]) / track["hiss_octaves"][:, None]
    sound = through * filters + 0.3 * aspired * np.exp(-0.5 * away**2) * track["hiss"][:, None]
    return _recorded(joined(sound), rate, rng)


def _tracks(
    word: Sequence[Sound], pace: float, tract: float, rate: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """What each frame is made of: sounds one after the other, with glides between them."""
    lengths = [one.seconds * pace * np.exp(rng.uniform(-0.2, 0.2)) for one in word]
    counts = np.maximum(1, np.round(np.array(lengths) * rate / HOP)).astype(int)
    silence = [int(rng.uniform(0.0, 0.12) * rate / HOP) + 1 for _ in range(2)]
    place = np.concatenate([np.full(count, number) for number, count in enumerate(counts)])
    place = np.concatenate([np.full(silence[0], 0), place, np.full(silence[1], len(word) - 1)])
    heard = np.ones(len(place))
    heard[: silence[0]] = heard[-silence[1] :] = 0.0
    glide = _smooth(max(1, round(GLIDE_SECONDS * pace * rate / HOP)))
    quick = _smooth(2)
    tube = np.array([one.resonances for one in word]) / tract * np.exp(rng.normal(0, 0.04, (len(word), RESONANCES)))
    track = {"resonances": np.exp(_along(np.log(tube)[place], glide))}
    levels = 10 ** rng.normal(0, 0.1, len(word))
    for name in ("voiced", "breath", "hiss"):
        values = np.array([getattr(one, name) for one in word]) * levels
        track[name] = _along((values[place] * heard)[:, None], quick)[:, 0]
    shift = np.exp(rng.uniform(-0.1, 0.1))
    track["hiss_hz"] = np.array([one.hiss_hz for one in word])[place] * shift
    track["hiss_octaves"] = np.array([one.hiss_octaves for one in word])[place]
    return track


def _smooth(frames: int) -> np.ndarray:
    window = np.hanning(frames + 2)[1:-1]
    return window / window.sum()


def _along(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Smoothed over frames (m, ...), the ends held."""
    before = len(window) // 2
    held = np.pad(values, ((before, len(window) - 1 - before), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, window, mode="valid") for column in held.T], 1)


def pulses(n: int, rate: int, tract: float, rng: np.random.Generator) -> np.ndarray:
    """Pulses of the glottis (n,): pitch falls or rises along the word; short tracts are often high voices.

    Args:
        n: samples.
        rate: samples a second.
        tract: length of the tract over the usual one.
    """
    base = np.exp(rng.uniform(np.log(85), np.log(240))) / tract
    points = rng.uniform(-0.2, 0.2, 4)
    course = np.interp(np.linspace(0, 3, n), np.arange(4), points) - rng.uniform(0, 0.2) * np.linspace(0, 1, n)
    phase = np.cumsum(base * np.exp(course)) / rate
    at = np.flatnonzero(np.diff(np.floor(phase), prepend=0.0) > 0)
    train = np.zeros(n)
    train[at] = np.sqrt(rate / base) * np.exp(rng.normal(0, 0.08, len(at)))  # power does not depend on pitch
    tilt = rng.uniform(0.7, 0.97)  # of the source, less what lips add
    spectrum = np.fft.rfft(train)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(n))
    return np.fft.irfft(spectrum * (1 - tilt) / (1 - tilt * turn), n)


def spectra(signal: np.ndarray) -> np.ndarray:
    """Spectra (m, WINDOW // 2 + 1) of windows half on one another; the last one sees zeros."""
    padded = np.append(signal, np.zeros(HOP)).reshape(-1, HOP)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return np.fft.rfft(np.concatenate([padded[:-1], padded[1:]], 1) * window)


def joined(frames: np.ndarray) -> np.ndarray:
    """The signal whose windows have these spectra (m, bins): (m + 1) * HOP samples, as :func:`spectra` cut it."""
    samples = np.fft.irfft(frames, WINDOW)
    parts = np.zeros((len(samples) + 1, HOP))
    parts[:-1] += samples[:, :HOP]
    parts[1:] += samples[:, HOP:]
    return parts.ravel()


def tract_filter(frequency: np.ndarray, resonances: np.ndarray) -> np.ndarray:
    """Magnitudes (m, bins) of resonances one after the other, 1 at 0 Hz, higher ones as a steady rise.

    Args:
        frequency: Hz (bins,).
        resonances: Hz (m, 4).
    """
    squared = (frequency / resonances[..., None]) ** 2  # (m, 4, bins)
    widths = (WIDTHS / resonances)[..., None]
    power = ((1 - squared) ** 2 + squared * widths**2).prod(1)
    lift = 1 + (frequency / NEUTRAL[-1]) ** 4  # without it all falls by 48 dB an octave above the last one
    return lift / np.sqrt(power)


def _recorded(sound: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """In a room, through a microphone, with noise, at a level."""
    if rng.random() < 0.5:
        decay = rng.uniform(0.01, 0.08)
        tail = np.arange(int(4 * decay * rate)) / rate
        room = rng.standard_normal(len(tail)) * np.exp(-tail / decay) * 10 ** rng.uniform(-2.5, -1.2)
        room[0] = 1.0
        sound = fftconvolve(sound, room)[: len(sound)]
    spectrum = np.fft.rfft(sound)
    frequency = np.fft.rfftfreq(len(sound), 1 / rate)
    points = np.geomspace(60.0, rate / 2, 7)
    decibels = np.interp(np.log(np.maximum(frequency, 60.0)), np.log(points), rng.uniform(-10, 10, len(points)))
    highest = rate / 2 if rng.random() < 0.4 else rng.uniform(3200, 4200)
    spectrum *= 10 ** (decibels / 20) / np.sqrt(1 + (frequency / highest) ** 24)
    coloured = np.fft.rfft(rng.standard_normal(len(sound))) * (np.maximum(frequency, 50) / 1000) ** -rng.uniform(0, 1)
    coloured /= np.sqrt(np.square(np.abs(coloured)).mean())
    level = np.sqrt(np.square(np.abs(spectrum)).mean()) * 10 ** (-rng.uniform(12, 45) / 20)
    sound = np.fft.irfft(spectrum + level * coloured, len(sound))
    return (sound / np.abs(sound).max() * rng.uniform(0.05, LARGEST_PEAK)).astype(np.float32)
