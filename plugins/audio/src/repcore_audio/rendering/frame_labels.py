"""Classes of frames below the spectrogram: a strip for each labelling, in the same scale of time."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING

from repcore.interfaces import Picture, Sample
from repcore.report.legend import legend
from repcore_audio.rendering.recordings import LONGEST_SECONDS, render

if TYPE_CHECKING:
    import numpy as np

CLASS_COLOURS = (
    (200, 200, 200), (230, 120, 20), (49, 104, 142), (94, 160, 98), (204, 121, 167), (120, 80, 190), (213, 60, 40),
    (180, 160, 30),
)  # fmt: skip
WIDTH, HEIGHT = 1000, 12


def overlay(sample: Sample, labellings: Mapping[str, np.ndarray]) -> Picture:
    """The recording with a strip below it for each labelling.

    Args:
        labellings: name -> class numbers (N,) of its frames, -1 = none (white).
    """
    from repcore_audio.preprocessors.frames import FRAMES_PER_SECOND

    heard = render(sample)
    shown = min(sample.inputs.length / sample.inputs.sample_rate_hz, LONGEST_SECONDS) * FRAMES_PER_SECOND
    strips, seen = [], set()
    for name, numbers in labellings.items():
        pieces = runs(numbers)
        seen |= {number for _, _, number in pieces if number >= 0}
        bars = [
            f'<rect x="{first * WIDTH / shown:.1f}" y="0" width="{(last - first) * WIDTH / shown:.1f}" '
            f'height="{HEIGHT}" fill="rgb{_colour(number)}"/>'
            for first, last, number in pieces
            if number >= 0 and first < shown
        ]
        strips.append(
            f'<div>{html.escape(name)}<svg width="100%" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'preserveAspectRatio="none">{"".join(bars)}</svg></div>'
        )
    key = legend({str(number): _colour(number) for number in sorted(seen)})
    return Picture(heard.html + "".join(strips) + key, f"{heard.alt}; below: {', '.join(labellings)}")


def runs(numbers: np.ndarray) -> list[tuple[int, int, int]]:
    """First frame, frame after the last, and class of each stretch of equal classes."""
    import numpy as np

    if not len(numbers):
        return []
    starts = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
    ends = [*starts[1:].tolist(), len(numbers)]
    return [(first, last, int(numbers[first])) for first, last in zip(starts.tolist(), ends, strict=True)]


def _colour(number: int) -> tuple[int, int, int]:
    return CLASS_COLOURS[number % len(CLASS_COLOURS)]
