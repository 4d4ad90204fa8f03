"""The filter bank, and the preprocessor: golden values, torchaudio, windows, statistics, notes, bad recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repcore.errors import CheckpointError, ConfigError, ItemError
from repcore.interfaces import Sample
from repcore_audio.configs.recordings import SoundsConfig
from repcore_audio.configs.spectrogram import PUBLISHED_LOG_MEL, LogMelConfig
from repcore_audio.datasets.recordings import Recording
from repcore_audio.datasets.sounds import Sounds
from repcore_audio.preprocessors.baselines import filter_bank_segments, filter_bank_statistics
from repcore_audio.preprocessors.log_mel import SILENCE, LogMel
from repcore_audio.preprocessors.spectrogram import (
    LogMelPreprocessor,
)
from repcore_audio.preprocessors.waveform import mixed_waveforms

KNOWN = replace(LogMelConfig(), mean=-8.0, deviation=4.5)


def tone(seconds: float, rate: int = 16_000, channels: int = 1, level: float = 0.3) -> Recording:
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((channels, len(t)))
    return Recording((level * np.sin(2 * np.pi * 440 * t) + 0.01 * noise).astype(np.float32), rate)


def sample(recording: Recording, name: str = "a") -> Sample:
    return Sample(name, recording)


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(0, 9000), min_size=1, max_size=4), rate=st.sampled_from([8000, 16_000, 22_050]))
def test_batched_equals_torchaudio_file_by_file(lengths: list[int], rate: int) -> None:
    import torchaudio.compliance.kaldi as kaldi

    waves = [
        torch.randn(length, generator=torch.Generator().manual_seed(number)) * 0.1
        for number, length in enumerate(lengths)
    ]
    found = LogMel(rate, 40)(waves)
    for wave, mine in zip(waves, found, strict=True):
        if len(wave) < int(rate * 0.025):
            assert len(mine) == 0
            continue
        expected = kaldi.fbank(
            wave[None], htk_compat=True, sample_frequency=rate, use_energy=False, window_type="hanning",
            num_mel_bins=40, dither=0.0, frame_shift=10,
        )  # fmt: skip
        # logarithms of float32 FFT powers: a filter that is nearly empty loses digits; 1e-3 is the golden tolerance / 2
        assert mine.shape == expected.shape
        assert (mine - expected).abs().max() < 1e-3


def test_silence_gives_the_floor() -> None:
    found = LogMel()([torch.zeros(1000)])[0]
    assert torch.equal(found, torch.full_like(found, SILENCE))
    assert pytest.approx(-15.9424, abs=1e-3) == SILENCE


def test_frame_counts_follow_whole_frames() -> None:
    bank = LogMel()
    assert [bank.frames(n) for n in (0, 399, 400, 559, 560, 19_200)] == [0, 0, 1, 1, 2, 118]
    assert bank.samples(118) <= 19_200 < bank.samples(119)


def test_windows_of_a_long_recording_are_slices_of_its_spectrogram() -> None:
    long = tone(3.3)
    whole = LogMelPreprocessor(replace(KNOWN, frames=1024))
    cut = LogMelPreprocessor(replace(KNOWN, frames=96))
    items = cut.prepare(sample(long))
    frames = whole.prepare(sample(long))[0].meta["frames"]
    total = whole.log_mel.frames(long.samples.shape[1])
    assert total == 328
    assert [item.meta["frames"] for item in items] == [96, 96, 96, 48]  # 40 left, filled up to 48
    assert sum(item.weight for item in items) == pytest.approx(1.0)
    assert frames == 336
    together = torch.cat(cut.log_mel([item.values for item in items]))
    apart = whole.log_mel([whole.prepare(sample(long))[0].values])[0]
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)
    assert len(LogMelPreprocessor(replace(KNOWN, frames=96, long_recordings="cut")).prepare(sample(long))) == 1


def test_variable_batches_mark_padding_and_fixed_ones_do_not() -> None:
    items = lambda front: [front.prepare(sample(tone(length)))[0] for length in (0.5, 0.3)]  # noqa: E731
    variable = LogMelPreprocessor(KNOWN)
    batch = variable.collate(items(variable))
    assert batch.inputs["spectrogram"].shape == (2, 48, 128)
    assert batch.inputs["frames"].tolist() == [48, 32]
    silence = (SILENCE + 8.0) / 9.0
    assert batch.inputs["spectrogram"][1, 28:].unique().item() == pytest.approx(silence, abs=1e-6)
    fixed = LogMelPreprocessor(replace(KNOWN, length="fixed", padding="zero", frames=64))
    batch = fixed.collate(items(fixed))
    assert batch.inputs["spectrogram"].shape == (2, 64, 128)
    assert "frames" not in batch.inputs
    assert batch.inputs["spectrogram"][1, 40:].unique().item() == pytest.approx(8.0 / 9.0, abs=1e-6)


def test_batch_mates_do_not_change_a_spectrogram() -> None:
    front = LogMelPreprocessor(KNOWN)
    items = [front.prepare(sample(tone(length)))[0] for length in (0.2, 0.9, 0.47)]
    together = front.collate(items)
    for row, item in enumerate(items):
        alone = front.collate([item]).inputs["spectrogram"][0]
        torch.testing.assert_close(together.inputs["spectrogram"][row, : len(alone)], alone, rtol=0, atol=2e-5)


def test_statistics_come_from_the_given_rows_and_survive_saving(tmp_path: Path) -> None:
    reader = Sounds(SoundsConfig(clips=12, seconds=0.5))
    front = LogMelPreprocessor(replace(LogMelConfig(), frames=64))
    front.fit(reader, range(6))
    values = torch.cat([torch.cat(front.log_mel([i.values for i in front.prepare(reader[row])])) for row in range(6)])
    assert front.mean == pytest.approx(values.double().mean().item(), abs=1e-6)
    assert front.deviation == pytest.approx(values.double().std(unbiased=False).item(), abs=1e-5)
    state = front.save(tmp_path)
    again = LogMelPreprocessor.load(front.config, tmp_path)
    assert (again.mean, again.deviation) == (state["mean"], state["deviation"])
    given = LogMelPreprocessor(KNOWN)
    given.fit(reader, range(6))
    assert given.mean == -8.0
    with pytest.raises(ConfigError, match="statistics are not known"):
        LogMelPreprocessor(LogMelConfig()).collate([given.prepare(reader[0])[0]])


def test_normalised_training_values_have_half_a_deviation() -> None:
    reader = Sounds(SoundsConfig(clips=12, seconds=0.6))
    front = LogMelPreprocessor(replace(LogMelConfig(), frames=64, frame_multiple=1))
    front.fit(reader, range(12))
    rows = [front.collate(front.prepare(reader[row])[:1]).inputs["spectrogram"].flatten() for row in range(12)]
    assert torch.cat(rows).mean().abs() < 0.1
    assert torch.cat(rows).std() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("recording", "status", "words"),
    [
        (Recording(np.zeros((1, 0), np.float32), 16_000), "empty", "no samples"),
        (Recording(np.ones((1, 1), np.float32), 16_000), "too_short", "0.06 ms"),
        (Recording(np.full((2, 8000), np.nan, np.float32), 16_000), "not_finite", "16000 of 16000"),
        (Recording(np.full((1, 8000), np.inf, np.float32), 16_000), "not_finite", "8000 of 8000"),
        (Recording(np.ones((1, 800), np.float32), 0), "bad_sample_rate", "0 Hz"),
    ],
)
def test_unusable_recordings_become_rows_with_a_reason(recording: Recording, status: str, words: str) -> None:
    with pytest.raises(ItemError, match=words) as raised:
        LogMelPreprocessor(KNOWN).prepare(sample(recording))
    assert raised.value.status == status


def test_silence_and_clipping_are_noted_and_stay_usable() -> None:
    front = LogMelPreprocessor(KNOWN)
    silent = front.prepare(sample(Recording(np.zeros((1, 8000), np.float32), 16_000)))[0]
    assert (silent.status, silent.reason) == ("silent", "digital silence")
    assert torch.isfinite(front.collate([silent]).inputs["spectrogram"]).all()
    quiet = front.prepare(sample(Recording(tone(0.5).samples * 1e-4, 16_000)))[0]
    assert quiet.status == "silent"
    assert "-90 dB" in quiet.reason
    clipped = front.prepare(sample(Recording(np.clip(tone(0.5).samples * 5, -1, 1), 16_000)))[0]
    assert clipped.status == "clipped"
    assert "%" in clipped.reason
    assert front.prepare(sample(tone(0.5)))[0].status == "ok"


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2), (96_000, 1), (16_000, 6)])
def test_any_rate_and_number_of_channels(rate: int, channels: int) -> None:
    front = LogMelPreprocessor(KNOWN)
    item = front.prepare(sample(tone(0.5, rate, channels)))[0]
    assert abs(len(item.values) - 8000) <= 160
    row = front.collate([item]).inputs["spectrogram"][0, :40]
    reference = front.collate([front.prepare(sample(tone(0.5)))[0]]).inputs["spectrogram"][0, :40]
    loud = reference.mean(0) > reference.mean(0).max() - 0.3  # bins of the tone, which every version has
    assert (row.mean(0) - reference.mean(0))[loud].abs().max() < 0.1


def test_mixup_pads_cuts_and_removes_constants() -> None:
    one, other = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([4.0, 8.0])
    mixed = mixed_waveforms(one, other, 0.25)
    expected = 0.25 * torch.tensor([-2.0, -1.0, 3.0]) + 0.75 * torch.tensor([-2.0, 2.0, 0.0])
    torch.testing.assert_close(mixed, expected - expected.mean())
    assert len(mixed_waveforms(other, one, 0.5)) == 2


def test_baselines_have_one_row_a_recording() -> None:
    reader = Sounds(SoundsConfig(clips=3, seconds=0.5))
    front = LogMelPreprocessor(replace(KNOWN, frames=16))
    samples = [reader[row] for row in range(3)]
    statistics, segments = filter_bank_statistics(front, samples), filter_bank_segments(front, samples)
    assert statistics.shape == (3, 256)
    assert segments.shape == (3, 512)
    assert np.isfinite(statistics).all()
    whole = torch.cat(front.log_mel([item.values for item in front.prepare(samples[0])]))
    np.testing.assert_allclose(statistics[0, :128], whole.mean(0).numpy(), atol=1e-5)
    quarter = -(-len(whole) // 4)
    np.testing.assert_allclose(segments[0, :128], whole[:quarter].mean(0).numpy(), atol=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 100}, "not a multiple"),
        ({"mean": None}, "come together"),
        ({"deviation": -1.0}, "deviation=-1.0"),
        ({"frame_shift_ms": 0.0}, "too short"),
    ],
)
def test_settings_that_do_not_fit_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LogMelPreprocessor(replace(KNOWN, **change))  # type: ignore[arg-type]


def test_missing_statistics_of_a_saved_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no "):
        LogMelPreprocessor.load(LogMelConfig(), tmp_path)
    assert LogMelPreprocessor.load(PUBLISHED_LOG_MEL, tmp_path).mean == pytest.approx(-4.2677393)
