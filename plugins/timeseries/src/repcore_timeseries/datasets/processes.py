"""What generated series of :mod:`repcore_timeseries.datasets.kinds` are made of: ten kinds of parts, drawn at random.

A part is drawn once, as a function of time, and can then be heard several times: what is random within it (the noise of
an autoregression, the values of a regime) is drawn anew each time, what it is (its period, its shape, its place) stays.

Symbols: T steps; time runs from 0 to 1 over a series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Drawn = np.random.Generator
Part = Callable[[np.ndarray, Drawn], np.ndarray]
"""Values (T,) at times (T,)."""

BEFORE = 50  # steps that an autoregression runs before the series begins
MOST_PARTS = 3
WARPED_AT = 4  # inner places at which time runs ahead or behind


@dataclass(frozen=True)
class Process:
    """A sum of parts and noise.

    Args:
        parts: weight and part, each of which is brought to deviation 1 first.
        noise: deviation of the noise, the sum of the parts having 1.
        colour: exponent of its spectrum, 0 = white.
        warp: deviation of how far time runs ahead or behind, as a share of the series.
    """

    parts: tuple[tuple[float, Part], ...]
    noise: float
    colour: float
    warp: float

    def series(self, length: int, drawn: Drawn) -> np.ndarray:
        """Values (T,), mean and deviation about 0 and 1."""
        time = np.linspace(0.0, 1.0, length)
        ahead = np.concatenate([[0.0], drawn.normal(0.0, self.warp, WARPED_AT), [0.0]])
        time = np.clip(time + np.interp(time, np.linspace(0, 1, len(ahead)), ahead), 0.0, 1.0)
        total = sum((weight * _even(part(time, drawn)) for weight, part in self.parts), np.zeros(length))
        return _even(total) + self.noise * coloured(length, self.colour, drawn)


def process(length: int, warp: float, drawn: Drawn) -> tuple[Process, int]:
    """A process for series of so many steps, and the number of the kind of its heaviest part."""
    kinds = drawn.choice(len(KINDS), int(drawn.integers(1, MOST_PARTS + 1)), replace=False)
    weights = np.exp(drawn.normal(0.0, 0.6, len(kinds)))
    makers = list(KINDS.values())
    parts = tuple((float(weight), makers[kind](length, drawn)) for weight, kind in zip(weights, kinds, strict=True))
    noise, colour = float(_between(0.01, 0.6, drawn)), float(drawn.choice((0.0, 0.0, 0.5, 1.0, -0.5)))
    return Process(parts, noise, colour, warp), int(kinds[weights.argmax()])


def coloured(length: int, exponent: float, drawn: Drawn) -> np.ndarray:
    """Noise (T,) whose power falls with frequency to this exponent: 0 white, 1 pink, 2 as a random walk."""
    frequency = np.fft.rfftfreq(length)
    frequency[0] = 1.0
    waves = drawn.normal(size=len(frequency)) + 1j * drawn.normal(size=len(frequency))
    waves[0] = 0.0
    return _even(np.fft.irfft(waves * frequency ** (-exponent / 2), length))


def _even(values: np.ndarray) -> np.ndarray:
    centred: np.ndarray = values - values.mean()
    return centred / (centred.std() + 1e-9)


def _between(low: float, high: float, drawn: Drawn, size: int | None = None) -> np.ndarray | float:
    """Even in its logarithm."""
    return np.exp(drawn.uniform(np.log(low), np.log(max(low, high)), size))


# --------------------------------------------------------------------------------------------- kinds of parts


def season(length: int, drawn: Drawn) -> Part:
    """A period with up to four harmonics."""
    count = int(drawn.integers(1, 5))
    turns, phase = _between(1.0, length / 6, drawn) * np.arange(1, count + 1), drawn.uniform(0, 2 * np.pi, count)
    size = drawn.normal(size=count) / np.arange(1, count + 1)
    return lambda time, _: size @ np.sin(2 * np.pi * turns[:, None] * time + phase[:, None])


def autoregression(length: int, drawn: Drawn) -> Part:
    """An autoregression of second order, whose noise is drawn anew each time."""
    radius, angle = drawn.uniform(0.3, 0.99), drawn.uniform(0.02, np.pi)
    last, before = 2 * radius * np.cos(angle), -(radius**2)

    def part(time: np.ndarray, again: Drawn) -> np.ndarray:
        found = again.normal(size=len(time) + BEFORE).tolist()
        for step in range(2, len(found)):
            found[step] += last * found[step - 1] + before * found[step - 2]
        return np.asarray(found[BEFORE:])

    return part


def walk(length: int, drawn: Drawn) -> Part:
    """A path between a pink noise and one smoother than a random walk."""
    path = coloured(length, drawn.uniform(1, 3), drawn)
    return lambda time, _: np.interp(time, np.linspace(0, 1, length), path)


def chirp(length: int, drawn: Drawn) -> Part:
    """A wave that becomes faster or slower."""
    first, last = _between(0.5, length / 10, drawn), _between(0.5, length / 6, drawn)
    phase = drawn.uniform(0, 2 * np.pi)
    return lambda time, _: np.sin(2 * np.pi * (first * time + (last - first) * time**2 / 2) + phase)


SHAPES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda at: np.exp(-3 * at**2),
    lambda at: (np.abs(at) < 0.7).astype(float),
    lambda at: np.clip(1 - np.abs(at), 0, None),
    lambda at: np.where(at > -0.8, np.exp(-2 * np.clip(at + 0.8, 0, None)), 0.0),
    lambda at: 1 / (1 + np.exp(-np.clip(8 * at, -30, 30))),
    lambda at: np.exp(-2 * at**2) * np.cos(5 * at),
    lambda at: np.where(np.abs(at) < 1, at, 0.0),
)
"""Bell, box, triangle, decay, step, wavelet, ramp; of a width about 1."""


def events(length: int, drawn: Drawn) -> Part:
    """One to six shapes, each at a place, of a width and a size of its own."""
    count = int(drawn.integers(1, 7))
    shapes = [SHAPES[number] for number in drawn.integers(0, len(SHAPES), count)]
    place, width, size = drawn.uniform(0, 1, count), _between(0.02, 0.3, drawn, count), drawn.normal(size=count)
    found = list(zip(shapes, place, np.atleast_1d(width), size, strict=True))
    return lambda time, _: sum((high * shape((time - at) / wide) for shape, at, wide, high in found), 0 * time)


def regimes(length: int, drawn: Drawn) -> Part:
    """Up to five stretches with a level and a deviation of their own."""
    count = int(drawn.integers(1, 5))
    borders, level = np.sort(drawn.uniform(0, 1, count)), drawn.normal(size=count + 1)
    spread = np.exp(drawn.normal(-1, 1, count + 1))

    def part(time: np.ndarray, again: Drawn) -> np.ndarray:
        stretch = np.searchsorted(borders, time)
        return level[stretch] + 0.7 * spread[stretch] * again.normal(size=len(time))

    return part


def trend(length: int, drawn: Drawn) -> Part:
    """A polynomial of third order with a bend in the middle."""
    size = drawn.normal(size=4) / (1.0, 1.0, 1.5, 2.0)

    def part(time: np.ndarray, _: Drawn) -> np.ndarray:
        at = 2 * time - 1
        return size @ np.stack([at, at**2, at**3, np.abs(at)])

    return part


def curve(length: int, drawn: Drawn) -> Part:
    """A smooth curve through up to 19 points."""
    points = drawn.normal(size=int(drawn.integers(3, 20)))
    slope = np.gradient(points)

    def part(time: np.ndarray, _: Drawn) -> np.ndarray:
        at = time * (len(points) - 1)
        left = np.minimum(at.astype(int), len(points) - 2)
        share = at - left
        rise = points[left + 1] - points[left]
        bent = (1 - share) * (slope[left] - rise) + share * (rise - slope[left + 1])
        return points[left] + share * (rise + (1 - share) * bent)  # cubic, with the slopes at both ends

    return part


def wave(length: int, drawn: Drawn) -> Part:
    """A saw, pulses, decays or slanted triangles, again and again."""
    turns, kind, phase = _between(1.0, length / 8, drawn), int(drawn.integers(4)), drawn.uniform(0, 1)
    share = drawn.uniform(0.1, 0.9)

    def part(time: np.ndarray, _: Drawn) -> np.ndarray:
        at = (turns * time + phase) % 1.0
        if kind == 0:
            return 2 * at - 1
        if kind == 1:
            return np.where(at < share, 1.0, -1.0)
        return np.exp(-4 * at / share) if kind == 2 else np.minimum(at / share, (1 - at) / (1 - share))

    return part


def pieces(length: int, drawn: Drawn) -> Part:
    """Up to 24 levels that follow each other, with jumps or straight lines between them."""
    level, is_straight = np.cumsum(drawn.normal(size=int(drawn.integers(2, 25)))), bool(drawn.integers(2))
    if is_straight:
        return lambda time, _: np.interp(time, np.linspace(0, 1, len(level)), level)
    return lambda time, _: level[np.minimum((time * len(level)).astype(int), len(level) - 1)]


KINDS: dict[str, Callable[[int, Drawn], Part]] = {
    one.__name__: one
    for one in (season, autoregression, walk, chirp, events, regimes, trend, curve, wave, pieces)
}  # fmt: skip
