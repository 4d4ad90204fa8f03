"""What a filter bank alone says of a recording: the baselines that trained vectors have to beat.

A recording goes through window by window, so that its length costs no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from repcore.interfaces import Item, Sample
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
from repcore_audio.preprocessors.waveform import waveforms

SEGMENTS = 4


def filter_bank_statistics(preprocessor: LogMelPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: mean and standard deviation of each mel bin over a recording, (N, 2F)."""
    rows = []
    for sample in samples:
        items = preprocessor.prepare(sample)
        count, total, squares = 0, 0.0, 0.0
        for _, values in _frames(preprocessor, items):
            count += len(values)
            total, squares = total + values.sum(0), squares + np.square(values).sum(0)
        mean = np.asarray(total / count)
        rows.append(np.concatenate([mean, np.sqrt(np.maximum(squares / count - mean**2, 0.0))]))
    return np.stack(rows).astype(np.float32)


def filter_bank_segments(preprocessor: LogMelPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: mean of each mel bin over each of four stretches of a recording, (N, 4F)."""
    rows = []
    for sample in samples:
        items = preprocessor.prepare(sample)
        length = sum(int(item.meta["sound_frames"]) for item in items) // len({_part(item) for item in items})
        bounds = np.linspace(0, length, SEGMENTS + 1)
        firsts = bounds[:-1].astype(int)
        stops = np.maximum(firsts + 1, np.ceil(bounds[1:]).astype(int))
        sums, counts = np.zeros((SEGMENTS, preprocessor.config.mel_bins)), np.zeros(SEGMENTS)
        for stop, values in _frames(preprocessor, items):
            begin = stop - len(values)
            for number in range(SEGMENTS):
                part = values[max(0, firsts[number] - begin) : max(0, stops[number] - begin)]
                sums[number] += part.sum(0)
                counts[number] += len(part)
        rows.append((sums / counts[:, None]).reshape(-1))
    return np.stack(rows).astype(np.float32)


def _frames(preprocessor: LogMelPreprocessor, items: Iterable[Item]) -> Iterator[tuple[int, np.ndarray]]:
    """Frame number behind each window, and its log-mel frames, float64 (T, F)."""
    place, part = 0, ""
    for item in items:
        if _part(item) != part:
            place, part = 0, _part(item)  # the next channel begins anew
        values = preprocessor.log_mel(waveforms([item]))[0].numpy().astype(np.float64)
        place += len(values)
        yield place, values


def _part(item: Item) -> str:
    return "" if item.window is None else item.window.part
