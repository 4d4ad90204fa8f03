"""Generated words: the same from the same numbers, resonances and pitch where they are said to be, a voice a view."""

from __future__ import annotations

import numpy as np
import pytest

from repcore.errors import ConfigError
from repcore.interfaces import Progress
from repcore_audio.configs.recordings import TakesConfig
from repcore_audio.configs.spectrogram import LogMelConfig
from repcore_audio.configs.views import SoundPairConfig
from repcore_audio.datasets import speaking
from repcore_audio.datasets.sounds import Scene, sound_of
from repcore_audio.datasets.takes import KINDS, Takes, Utterance
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
from repcore_audio.views.sounds import SoundPair

RATE = 16_000


def test_words_repeat_differ_and_fit_their_labels() -> None:
    reader, again = Takes(TakesConfig(clips=30)), Takes(TakesConfig(clips=30))
    first, second = reader[3], again[3]
    assert np.array_equal(first.inputs.samples, second.inputs.samples)
    assert not np.array_equal(np.asarray(Takes(TakesConfig(clips=30, seed=1))[3].inputs), first.inputs.samples)
    for index in range(30):
        sample = reader[index]
        samples = sample.inputs.samples
        assert samples.dtype == np.float32
        assert samples.shape == (1, sample.inputs.length)
        assert np.isfinite(samples).all()
        assert 0.04 < np.abs(samples).max() <= speaking.LARGEST_PEAK + 1e-6
        assert (KINDS[sample.targets["kind"]] == "word") is isinstance(sample.inputs, Utterance)
    assert sorted([*reader.splits["train"], *reader.splits["test"]]) == list(range(30))


def test_each_view_of_a_word_has_a_voice_of_its_own() -> None:
    reader = Takes(TakesConfig(clips=4))
    word = reader[0].inputs
    assert isinstance(word, Utterance)
    one, two = (word.again(np.random.default_rng(seed)) for seed in (0, 1))
    assert np.array_equal(one.samples, word.again(np.random.default_rng(0)).samples)
    assert one.length != two.length or not np.allclose(one.samples, two.samples)
    made = LogMelPreprocessor(LogMelConfig(frames=192, frame_multiple=4, mel_bins=32, mean=-5.0, deviation=2.0))
    views = SoundPair(SoundPairConfig(), made).build(0, reader, np.random.default_rng(0), Progress(0, 1))
    assert set(views) == {"a", "b"}
    assert not views["a"].targets
    assert len({len(one.values) for one in views.values()} | {word.length}) == 3


@pytest.mark.parametrize("settings", [{"clips": 0}, {"sample_rate_hz": 4000}])
def test_what_cannot_be_spoken_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Takes(TakesConfig(**settings))


def test_windows_add_up_to_the_signal() -> None:
    signal = np.random.default_rng(0).standard_normal(20 * speaking.HOP)
    np.testing.assert_allclose(
        speaking.joined(speaking.spectra(signal))[speaking.HOP : len(signal)], signal[speaking.HOP :]
    )


def test_resonances_lie_where_they_are_asked_for() -> None:
    frequency = np.fft.rfftfreq(4096, 1 / RATE)
    asked = np.array([[400.0, 1700.0, 2500.0, 3600.0]])
    (height,) = speaking.tract_filter(frequency, asked)
    peaks = frequency[1:-1][(height[1:-1] > height[:-2]) & (height[1:-1] > height[2:])]
    np.testing.assert_allclose(peaks[:4], asked[0], rtol=0.03)


def test_a_voiced_sound_has_the_pitch_of_its_pulses() -> None:
    """The strongest period of the source is one of a voice."""
    pulses = speaking.pulses(RATE, RATE, 1.0, np.random.default_rng(5))
    correlation = np.fft.irfft(np.abs(np.fft.rfft(pulses, 2 * RATE)) ** 2)[: RATE // 50]
    lag = int(correlation[RATE // 500 :].argmax()) + RATE // 500
    assert 60 < RATE / lag < 330
    assert pulses.std() == pytest.approx(speaking.pulses(RATE, RATE, 1.0, np.random.default_rng(6)).std(), rel=0.6)


def test_another_take_of_a_sound_holds_the_same_sound() -> None:
    """Over another background, behind another microphone."""
    sound = sound_of(3, 1.0, RATE, np.random.default_rng(2))
    one = Scene.of(sound, 3, RATE, (30.0, 30.0), np.random.default_rng(0))
    two = one.again(np.random.default_rng(1))
    assert one.length == two.length == len(sound)
    assert not np.allclose(one.samples, two.samples, atol=1e-3)
    for take in (one, two):
        assert abs(np.corrcoef(take.samples[0], sound)[0, 1]) > 0.5
    assert abs(np.corrcoef(one.samples[0], np.roll(sound, 4000))[0, 1]) < 0.3


def test_words_and_sounds_have_their_share() -> None:
    for share in (0.0, 0.75, 1.0):
        reader = Takes(TakesConfig(clips=80, words_share=share))
        found = np.mean([reader[index].targets["kind"] == KINDS.index("word") for index in range(80)])
        assert found == pytest.approx(share, abs=0.15)
