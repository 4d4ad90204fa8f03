"""Frames of a recording: 10 ms each whatever the front end, and their way to and from the log-mel frames of windows.

A log-mel frame stands for its middle. Frame i of a recording is [i, i + 1) hundredths of a second and takes the
log-mel frame whose middle is nearest to its own.

Symbols: N frames of a recording, T log-mel frames of it, E those of a window with its padding, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from repcore.data.label_numbers import as_floating
from repcore.interfaces import Sample
from repcore_audio.datasets.recordings import FRAMES_PER_SECOND, LongRecording, Recording, frame_count
from repcore_audio.preprocessors.log_mel import LogMel


def frame_times(recording: Recording | LongRecording) -> dict[str, np.ndarray]:
    """``start`` and ``end`` (N,) in seconds of the file; the last frame ends with the recording."""
    edges = np.arange(frame_count(recording) + 1) / FRAMES_PER_SECOND
    edges[-1] = recording.length / recording.sample_rate_hz
    return {"start": recording.offset + edges[:-1], "end": recording.offset + edges[1:]}


def on_frames(
    recording: Recording | LongRecording,
    windows: Sequence[Mapping[str, Any]],
    outputs: Sequence[np.ndarray],
    log_mel: LogMel,
) -> np.ndarray:
    """Outputs of windows at the frames of the recording, float32 (N, K); NaN where no window lies.

    Args:
        windows: ``first_frame`` and ``sound_frames`` of each.
        outputs: (E, K) each, the padding last.
    """
    total = max(int(one["first_frame"]) + int(one["sound_frames"]) for one in windows)
    sums = np.zeros((total, outputs[0].shape[1]))
    counts = np.zeros((total, 1))
    for one, values in zip(windows, outputs, strict=True):
        own = values[: int(one["sound_frames"])].astype(np.float64)
        first, known = int(one["first_frame"]), np.isfinite(own).all(1, keepdims=True)
        sums[first : first + len(own)] += np.where(known, own, 0.0)
        counts[first : first + len(own)] += known
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    nearest = _nearest(frame_count(recording), log_mel)
    last = log_mel.frames(-(-recording.length * log_mel.sample_rate_hz // recording.sample_rate_hz)) - 1
    nearest = np.clip(nearest, 0, max(last, 0))  # the ends, which lie outside of the middles
    found = np.full((len(nearest), means.shape[1]), np.nan, np.float32)
    heard = nearest < total
    found[heard] = means[nearest[heard]]
    return found


def labels_of_window(sample: Sample, window: Mapping[str, Any], log_mel: LogMel) -> dict[str, np.ndarray]:
    """Labels of the log-mel frames of a window, (E,) by name: that of the frame in which the middle of each
    lies; NaN at the padding.

    Args:
        window: ``first_frame``, ``sound_frames`` and, with padding, ``frames`` = E.
    """
    found = {}
    frames = int(window["first_frame"]) + np.arange(int(window["sound_frames"]))
    middles = (2 * frames * log_mel.shift_samples + log_mel.frame_samples) / (2 * log_mel.sample_rate_hz)
    place = np.floor(middles * FRAMES_PER_SECOND + 1e-6).astype(np.int64)
    for name in sample.inputs.frame_labels:
        if name in sample.targets:
            values = as_floating(sample.targets[name])
            padded = np.full(int(window["frames"]), np.nan, values.dtype)
            padded[: len(place)] = values[np.minimum(place, len(values) - 1)]
            found[name] = padded
    return found


def _nearest(count: int, log_mel: LogMel) -> np.ndarray:
    """The log-mel frame nearest to the middle of each frame, unbounded."""
    middles = (np.arange(count) + 0.5) / FRAMES_PER_SECOND * log_mel.sample_rate_hz
    nearest: np.ndarray = np.round((middles - log_mel.frame_samples / 2) / log_mel.shift_samples).astype(np.int64)
    return nearest
