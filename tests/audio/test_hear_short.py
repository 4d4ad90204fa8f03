"""HEAR's functions on sounds that are shorter than a frame, and on none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from repcore.errors import ConfigError
from repcore.interfaces import DenseAnswer, Sample
from repcore_audio.hear import HearModel, get_scene_embeddings, get_timestamp_embeddings

RATE, FRAME, WIDTH = 1000, 20, 4


class Frames:
    """A model that answers every whole frame of a sound."""

    domain, device = "audio", "cpu"
    preprocessor = SimpleNamespace(config=SimpleNamespace(sample_rate_hz=RATE))
    encoder = torch.nn.Linear(1, 1)

    def __init__(self) -> None:
        self.encoder.dim = WIDTH  # type: ignore[assignment]

    def tokens(self, pairs: Any, level: str) -> list[DenseAnswer | None]:
        return [self._answer(len(samples) // FRAME) for samples, _ in pairs]

    def _answer(self, frames: int) -> DenseAnswer | None:
        if not frames:
            return None
        starts = np.arange(frames) * FRAME / RATE
        elements = {"start": starts, "end": starts + FRAME / RATE}
        return DenseAnswer(Sample("0", None), "token", np.ones((frames, WIDTH), np.float32), elements=elements)

    def embed(self, pairs: Any) -> Any:
        values = [np.full(WIDTH, 1.0 if len(samples) >= FRAME else np.nan, np.float32) for samples, _ in pairs]
        return SimpleNamespace(vectors=np.array(values, np.float32).reshape(-1, WIDTH), reason=["short"] * len(values))


@pytest.mark.parametrize(
    ("sounds", "samples", "frames", "first"), [(2, 19, 1, 9.5), (2, 0, 1, 0.0), (3, 40, 2, 10.0), (0, 40, 0, None)]
)
def test_every_sound_has_its_rows(sounds: int, samples: int, frames: int, first: float | None) -> None:
    model = HearModel(Frames())  # type: ignore[arg-type]
    audio = torch.zeros(sounds, samples)
    values, times = get_timestamp_embeddings(audio, model)
    assert tuple(values.shape) == (sounds, frames, WIDTH)
    assert tuple(times.shape) == (sounds, frames)
    assert first is None or times[0, 0].item() == pytest.approx(first)
    assert torch.isfinite(values).all()
    assert bool((values == 0).all()) is (samples < FRAME or not sounds)
    assert tuple(get_scene_embeddings(audio, model).shape) == (sounds, WIDTH)


def test_whole_numbers_are_scaled_and_other_scales_are_refused() -> None:
    model = HearModel(Frames())  # type: ignore[arg-type]
    wave = torch.sin(torch.arange(100) / 5)[None]
    for audio in (
        (wave * 32767).to(torch.int16),
        (wave * (2**31 - 1)).to(torch.int32),
        (wave * 127 + 128).byte(),
        wave,
    ):
        ((found, rate),) = model.pairs(audio)
        assert (rate, found.dtype) == (RATE, np.float32)
        np.testing.assert_allclose(found, wave[0], atol=0.02)
    for wrong in (
        wave * 32767,
        (wave * 32767).round(),
        wave * 1.5,
        (wave * 9).long(),
        wave > 0,
        wave.to(torch.complex64),
    ):
        with pytest.raises(ConfigError, match="audio"):
            get_scene_embeddings(wrong, model)
