"""Classes of frames are drawn below the recording, in its own scale of time."""

from __future__ import annotations

import re

import numpy as np

from repcore.interfaces import Sample
from repcore.markup import safe_markup
from repcore_audio.datasets.recordings import Recording
from repcore_audio.rendering.frame_labels import overlay, runs


def test_stretches_of_equal_classes() -> None:
    assert runs(np.array([2, 2, -1, 0, 0, 0])) == [(0, 2, 2), (2, 3, -1), (3, 6, 0)]
    assert runs(np.array([], int)) == []


def test_strips_lie_below_the_spectrogram_and_survive_the_page() -> None:
    wave = np.sin(np.arange(16_000) / 10).astype(np.float32)[None]
    sample = Sample("call <1>", Recording(wave, 16_000))
    labelled = np.array([0] * 50 + [1] * 25 + [-1] * 25)
    picture = overlay(sample, {"labelled": labelled, "predicted": np.zeros(100, int)})
    kept = safe_markup(picture.html)
    bars = re.findall(r'<rect x="([\d.]+)" y="0" width="([\d.]+)"[^>]*fill="([^"]+)"', kept)
    assert [(float(x), float(width)) for x, width, _ in bars] == [(0.0, 500.0), (500.0, 250.0), (0.0, 1000.0)]
    assert bars[0][2] == bars[2][2] != bars[1][2]
    assert "below: labelled, predicted" in picture.alt
