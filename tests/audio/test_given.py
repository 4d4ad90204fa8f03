"""Sound that people hold in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from repcore.errors import ItemError
from repcore_audio.preprocessors.given import recording_from

WAVE = np.sin(np.arange(1600) / 5).astype(np.float32)
RATE = 16000
PAIRS = {
    "pair": (WAVE, RATE),
    "SciPy": (RATE, WAVE),
    "tensor": (torch.from_numpy(WAVE)[None], torch.tensor(RATE)),
    "columns": (WAVE[:, None], RATE),
    "Hugging Face": {"array": WAVE.astype(np.float64), "sampling_rate": RATE, "path": None},
    "whole numbers": ((WAVE * 32768).clip(-32768, 32767).astype(np.int16), RATE),
}


@pytest.mark.parametrize("name", PAIRS)
def test_samples_with_their_rate_are_a_recording(name: str) -> None:
    found = recording_from(PAIRS[name])
    assert (found.sample_rate_hz, found.samples.shape, found.samples.dtype) == (RATE, (1, 1600), np.float32)
    np.testing.assert_allclose(found.samples[0], WAVE, atol=1e-4)


def test_a_file_is_a_recording_and_other_kinds_are_none(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", WAVE, RATE)
    np.testing.assert_allclose(recording_from(tmp_path / "one.wav").samples[0], WAVE, atol=1e-4)
    for other in (WAVE, "nothing.wav", 5, (WAVE, 1), (WAVE, "speech"), None):
        assert recording_from(other) is None
    with pytest.raises(ItemError, match="empty"):
        recording_from((WAVE[:0], RATE))


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint16, np.uint32, bool, np.float32, np.float64, object])
def test_samples_whose_scale_nothing_tells_are_refused(kind: type) -> None:
    whole = (WAVE * 100).round().astype(kind)
    with pytest.raises(ItemError, match="unknown_scale"):
        recording_from((whole, RATE))
    with pytest.raises(ItemError, match="int16, int32 or uint8"):
        recording_from({"array": whole, "sampling_rate": RATE})


def test_floats_stay_as_they_are() -> None:
    for samples in (WAVE * 3, np.array([0.0, 1.0, -1.0] * 9), np.array([np.nan, 0.5] * 9), np.zeros(9)):
        np.testing.assert_array_equal(recording_from((samples, RATE)).samples[0], samples.astype(np.float32))
