"""Views of recordings: levels, lengths and hidden parts in numbers; padding and silence stay what they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from repcore.interfaces import Item
from repcore_audio.configs.spectrogram import LogMelConfig
from repcore_audio.configs.views import SoundChange
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
from repcore_audio.preprocessors.waveform import Hidden
from repcore_audio.views.sounds import changed_sound, filtered

NOTHING = SoundChange(
    kept_share=(1.0, 1.0), shift_share=0.0, gain_db=0.0, noise_db=None, masked_bands=0, masked_stretches=0
)


def preprocessor(**settings: object) -> LogMelPreprocessor:
    given = {"frames": 64, "frame_multiple": 4, "mel_bins": 32, "mean": -5.0, "deviation": 2.0, **settings}
    return LogMelPreprocessor(LogMelConfig(**given))  # type: ignore[arg-type]


def item_of(made: LogMelPreprocessor, frames: int = 40) -> Item:
    wave = torch.randn(made.log_mel.samples(frames), generator=torch.Generator().manual_seed(0)) * 0.1
    return Item(wave, made.frame_facts(frames))


def view(item: Item, made: LogMelPreprocessor, seed: int = 0, **change: object) -> Item:
    settings = dataclasses.replace(NOTHING, **change)  # type: ignore[arg-type]
    return changed_sound(item, np.random.default_rng(seed), preprocessor=made, change=settings)


def test_without_changes_the_view_is_the_item() -> None:
    made = preprocessor()
    item = item_of(made)
    same = view(item, made)
    assert torch.equal(same.values, item.values)
    assert torch.equal(made.collate([same]).inputs["spectrogram"], made.collate([item]).inputs["spectrogram"])


@pytest.mark.parametrize("seed", range(6))
def test_gain_moves_every_log_mel_value_alike(seed: int) -> None:
    made = preprocessor()
    item = item_of(made)
    louder = view(item, made, seed, gain_db=6.0)
    factor = float((louder.values / item.values).median())
    assert -6.0 <= 20 * np.log10(factor) <= 6.0
    one, two = (made.collate([each]).inputs["spectrogram"] for each in (item, louder))
    torch.testing.assert_close(two - one, torch.full_like(one, 2 * np.log(factor) / 4.0), atol=1e-3, rtol=0)


def test_noise_has_the_level_that_is_asked_for_and_silence_stays_silent() -> None:
    made = preprocessor()
    item = item_of(made, 60)
    noisy = view(item, made, noise_db=(10.0, 10.0))
    noise = noisy.values - item.values
    ratio = 10 * torch.log10(item.values.square().mean() / noise.square().mean())
    assert float(ratio) == pytest.approx(10.0, abs=0.3)
    silent = Item(torch.zeros_like(item.values), item.meta)
    assert not view(silent, made, noise_db=(10.0, 10.0)).values.any()


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_is_one_stretch_with_its_own_frames(seed: int) -> None:
    made = preprocessor()
    item = item_of(made)
    cut = view(item, made, seed, kept_share=(0.5, 0.8))
    length = len(cut.values)
    assert 0.5 * len(item.values) - 1 <= length <= 0.8 * len(item.values) + 1
    assert any(torch.equal(cut.values, item.values[a : a + length]) for a in range(len(item.values) - length + 1))
    assert cut.meta["sound_frames"] == made.log_mel.frames(length)
    assert made.collate([cut]).inputs["spectrogram"].shape[1] == cut.meta["frames"]


def test_shift_goes_round_the_end() -> None:
    made = preprocessor()
    item = item_of(made)
    moved = view(item, made, seed=5, shift_share=0.5).values
    assert not torch.equal(moved, item.values)
    assert torch.equal(moved.sort().values, item.values.sort().values)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_speed_moves_pitch_and_length_alike(factor: float) -> None:
    made = preprocessor()
    item = item_of(made, 60)
    tone = torch.sin(2 * torch.pi * 500.0 * torch.arange(len(item.values)) / 16_000)
    faster = view(dataclasses.replace(item, values=tone), made, speed=(factor, factor)).values
    assert len(faster) == pytest.approx(len(tone) / factor, abs=1)
    heard = torch.fft.rfft(faster).abs().argmax() * 16_000 / len(faster)
    assert float(heard) == pytest.approx(500.0 * factor, rel=0.02)
    found = view(item, made, speed=(factor, factor))
    assert found.meta["sound_frames"] == min(made.log_mel.frames(len(found.values)), 64)  # of the longest window
    assert made.collate([found]).inputs["spectrogram"].shape[1] == found.meta["frames"]


def test_a_filter_raises_each_frequency_by_its_own_share() -> None:
    times = torch.arange(16_000, dtype=torch.float64) / 16_000
    low, high = (torch.sin(2 * torch.pi * hertz * times) for hertz in (160.0, 8_000 * 0.02**0.5))
    gains = np.array([-6.0, 3.0, 12.0])  # at 160 Hz, at the middle of the logarithm, at 8 kHz
    heard = filtered((low + high).float(), gains)
    share = torch.fft.rfft(heard).abs() / torch.fft.rfft((low + high).float()).abs()
    assert 20 * np.log10(float(share[160])) == pytest.approx(-6.0, abs=0.1)
    assert 20 * np.log10(float(share[round(8_000 * 0.02**0.5)])) == pytest.approx(3.0, abs=0.1)
    made = preprocessor()
    item = item_of(made, 60)
    changed = view(item, made, filter_db=12.0).values
    assert changed.shape == item.values.shape
    assert not torch.allclose(changed, item.values)


def test_what_would_be_shorter_than_a_patch_keeps_its_speed() -> None:
    made = preprocessor()
    item = item_of(made, 5)
    assert torch.equal(view(item, made, speed=(2.0, 2.0)).values, item.values)


def test_a_window_is_never_cut_below_one_patch() -> None:
    made = preprocessor()
    for frames in (1, 3, 5):
        cut = view(item_of(made, frames), made, kept_share=(0.01, 0.02))
        assert made.log_mel.frames(len(cut.values)) == min(frames, 4)


def test_hidden_parts_are_the_mean_and_nothing_else_changes() -> None:
    made = preprocessor(length="fixed", padding="zero")  # padded frames have another value than the mean
    item = item_of(made)
    hidden = dataclasses.replace(item, meta={**item.meta, "hidden": (Hidden(0, 10, 5), Hidden(1, 3, 4))})
    whole, shown = (made.collate([one]).inputs["spectrogram"][0] for one in (item, hidden))
    expected = whole.clone()
    expected[10:15] = 0.0
    expected[:, 3:7] = 0.0
    assert torch.equal(shown, expected)
    assert not torch.equal(whole, expected)


def test_drawn_stretches_stay_within_the_sound() -> None:
    made = preprocessor()
    item = item_of(made, 20)
    for seed in range(20):
        found = view(item, made, seed, masked_bands=1, masked_stretches=1, band_share=1.0, stretch_share=1.0)
        stretch, band = found.meta["hidden"]
        assert stretch.first + stretch.width <= 20
        assert stretch.width <= 19
        assert band.first + band.width <= 32
        assert band.width <= 31


def test_ranges_are_checked() -> None:
    with pytest.raises(ValueError, match="stretch_share=2"):
        SoundChange(stretch_share=2.0)
    with pytest.raises(ValueError, match="noise_db"):
        SoundChange(noise_db=(3.0, 1.0))
    with pytest.raises(ValueError, match="speed"):
        SoundChange(speed=(2.0, 1.0))
