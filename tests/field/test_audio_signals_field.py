"""Recordings as people have them: formats, damage, channels, rates and lengths (K10, K11)."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from repcore.data.batching import TrainingItems
from repcore.data.stream import ItemKey
from repcore.errors import ConfigError, ItemError
from repcore.interfaces import Progress, Sample
from repcore_audio.configs.recordings import RecordingsConfig
from repcore_audio.configs.spectrogram import LogMelConfig
from repcore_audio.datasets.folders import FolderReader
from repcore_audio.datasets.recordings import Excerpt, LongRecording, Recording, read_recording
from repcore_audio.formats import containers
from repcore_audio.preprocessors.baselines import filter_bank_segments, filter_bank_statistics
from repcore_audio.preprocessors.resampling import resampler
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
from repcore_audio.preprocessors.waveform import waveforms
from tests.field.audio_inputs import FRONT, RATE, embed, statuses, tone, write

# ------------------------------------------------------------------------------------------------ K10: status


def test_status_judges_what_the_encoder_hears(tmp_path: Path) -> None:
    x, high = tone(0.5), 0.3 * np.sin(2 * np.pi * 20_000 * np.arange(48_000) / 96_000) * np.hanning(48_000)
    murmur = 0.005 * np.sin(2 * np.pi * 500 * np.arange(48_000) / 96_000)
    write(tmp_path / "antiphase.wav", np.stack([x, -x], 1))
    write(tmp_path / "nearly.wav", np.stack([x, -0.95 * x], 1))
    write(tmp_path / "left.wav", np.stack([x, 0 * x], 1))
    write(tmp_path / "independent.wav", np.stack([tone(0.5, 300 + 100 * n, seed=n) for n in range(16)], 1))
    write(tmp_path / "constant.wav", np.full(8000, 0.5))
    write(tmp_path / "constant44.wav", np.full(22_050, 0.5), 44_100)
    write(tmp_path / "bat.wav", high, 96_000)
    write(tmp_path / "bats.wav", high + murmur, 96_000)
    write(tmp_path / "integers.wav", np.round(x * 32767).astype(np.float32), subtype="FLOAT")
    write(tmp_path / "dead.wav", np.stack([x, np.full_like(x, np.nan)], 1), subtype="FLOAT")
    found = statuses(tmp_path)
    assert {name: status for name, (status, _) in found.items()} == {
        "antiphase.wav": "silent", "nearly.wav": "cancelled", "left.wav": "ok", "independent.wav": "ok",
        "constant.wav": "silent", "constant44.wav": "silent", "bat.wav": "silent", "bats.wav": "out_of_band",
        "integers.wav": "over_scale",        "dead.wav": "not_finite",
    }  # fmt: skip
    assert "cancel each other" in found["antiphase.wav"][1]
    assert "a constant" in found["constant44.wav"][1]
    assert "nothing is left below 8,000 Hz" in found["bat.wav"][1]
    assert "above 8,000 Hz" in found["bats.wav"][1]
    assert "channel 1 has none" in found["dead.wav"][1]
    first = statuses(tmp_path, channels="first")
    assert [first[name][0] for name in ("antiphase.wav", "nearly.wav", "dead.wav")] == ["ok"] * 3


def test_channels(tmp_path: Path) -> None:
    left, right = tone(0.5, 400), tone(0.5, 2000, seed=1)
    write(tmp_path / "s.wav", np.stack([left, right], 1), subtype="FLOAT")

    def lanes(choice: str) -> list[np.ndarray]:
        sample = FolderReader(RecordingsConfig(path=str(tmp_path), channels=choice))[0]
        return [wave.numpy() for wave in waveforms(FRONT.prepare(sample))]

    for choice, expected in (("mean", (left + right) / 2), ("first", left), ("2", right)):
        np.testing.assert_allclose(lanes(choice)[0], (expected - expected.mean())[:7920], atol=1e-6)
    both = lanes("all")
    assert len(both) == 2
    np.testing.assert_allclose(both[1], (right - right.mean())[:7920], atol=1e-6)
    rows = embed(FolderReader(RecordingsConfig(path=str(tmp_path), channels="all")), apart=True)
    assert rows.columns["part"] == ["channel 1", "channel 2"]
    with pytest.raises(ItemError, match=r"s\.wav has 2 channels; number 3 was asked for"):
        read_recording(tmp_path / "s.wav", channels="3")
    with pytest.raises(ConfigError, match="channels='left' is not known"):
        FolderReader(RecordingsConfig(path=str(tmp_path), channels="left"))


@pytest.mark.parametrize(
    ("name", "options"), [("a.wav", {}), ("a.aiff", {}), ("a.au", {}), ("a.flac", {}), ("a.mp3", {})]
)
def test_files_that_break_off_are_told(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    whole = write(tmp_path / name, tone(4.0), **options)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    ((status, reason),) = statuses(tmp_path).values()
    assert status == "truncated"
    assert "the header promises 4.00 s" in reason
    long = read_recording(whole, whole_bytes=0)
    assert isinstance(long, LongRecording)
    items = FRONT.prepare(Sample("a", long))
    assert items[0].status == "truncated"
    assert all(torch.isfinite(wave).all() for wave in waveforms(items))


def test_sizes_that_stand_for_unknown_promise_nothing(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.wav", tone(1.0)).read_bytes()
    for number, size in enumerate((b"\xff\xff\xff\xff", b"\x00\xff\xff\x7f")):
        (tmp_path / f"pipe{number}.wav").write_bytes(whole[:40] + size + whole[44:])
    assert {status for status, _ in statuses(tmp_path).values()} == {"ok"}


def test_headers_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    whole = write(tmp_path / "fine.wav", tone(1.0)).read_bytes()
    for rate in (1, 2**31 - 1):
        (tmp_path / f"rate{rate}.wav").write_bytes(whole[:24] + rate.to_bytes(4, "little") + whole[28:])
    (tmp_path / "page.wav").write_bytes(b"<!doctype html><html>404 Not Found</html>" * 20)
    (tmp_path / "pointer.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    tracemalloc.start()
    found = statuses(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert [found[name][0] for name in sorted(found)] == [
        "ok",
        "corrupt",
        "corrupt",
        "bad_sample_rate",
        "bad_sample_rate",
    ]
    assert "a web page" in found["page.wav"][1]
    assert "git lfs pull" in found["pointer.wav"][1]
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ItemError, match="no regular file"):
        read_recording(tmp_path / "pipe.wav")


# ----------------------------------------------------------------------------------------------------- formats


FORMATS: dict[str, dict[str, Any]] = {
    "u8.wav": {"subtype": "PCM_U8"}, "p24.wav": {"subtype": "PCM_24"}, "p32.wav": {"subtype": "PCM_32"},
    "f32.wav": {"subtype": "FLOAT"}, "f64.wav": {"subtype": "DOUBLE"}, "ulaw.wav": {"subtype": "ULAW"},
    "alaw.wav": {"subtype": "ALAW"}, "ms.wav": {"subtype": "MS_ADPCM"}, "x.wav": {"format": "WAVEX"},
    "r.rf64": {"format": "RF64", "subtype": "PCM_16"}, "rifx.wav": {"format": "WAV", "endian": "BIG"},
    "a.flac": {}, "a.ogg": {}, "a.opus": {"format": "OGG", "subtype": "OPUS"}, "a.mp3": {}, "a.aiff": {},
    "a.aifc": {"format": "AIFF", "subtype": "ULAW"}, "a.au": {}, "a.snd": {"format": "AU", "subtype": "PCM_16"},
    "a.sph": {"format": "NIST", "subtype": "PCM_16"}, "a.caf": {"format": "CAF", "subtype": "PCM_16"},
    "a.w64": {"format": "W64", "subtype": "PCM_16"}, "UPPER.WAV": {},
}  # fmt: skip


def test_every_format_gives_the_same_sound_and_any_stretch_of_it(tmp_path: Path) -> None:
    x = tone(2.0)
    reference = np.abs(np.fft.rfft(x)).argmax()
    for name, options in FORMATS.items():
        write(tmp_path / name, x, **options)
    reader = FolderReader(RecordingsConfig(path=str(tmp_path)))
    assert len(reader) == len(FORMATS)
    for row in range(len(reader)):
        name, whole = reader.id_of(row), reader[row].inputs.samples[0]
        assert len(whole) == pytest.approx(len(x), abs=600), name
        assert np.abs(np.fft.rfft(whole[: len(x)], len(x))).argmax() == pytest.approx(reference, abs=1), name
        assert np.sqrt(np.mean(whole**2)) == pytest.approx(np.sqrt(np.mean(x**2)), rel=0.05), name
        part = read_recording(Excerpt(tmp_path / name, 0.7, 1.2))
        near = 1e-3 if name == "a.opus" else 1e-6  # Opus decodes with a memory of what came before
        np.testing.assert_allclose(part.samples[0], whole[11_200:19_200], atol=near, err_msg=name)


def test_containers_are_decoded_or_name_the_pip_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av", reason="the extra m4a is not installed")
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(1.0, rate=48_000)[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    recording = read_recording(tmp_path / "a.m4a")
    assert recording.sample_rate_hz == 48_000
    assert recording.length == pytest.approx(48_000, abs=2100)
    spectrum = np.abs(np.fft.rfft(recording.samples[0][:48_000]))
    assert spectrum.argmax() == 440
    monkeypatch.setattr(containers, "is_available", lambda: False)
    with pytest.raises(
        ItemError, match=r'a\.m4a needs a decoder that is not installed: pip install "repcore-audio\[m4a\]"'
    ):
        read_recording(tmp_path / "a.m4a")


# -------------------------------------------------------------------------------------------- K11: bounded work


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 96_000, 250_000, 15_999, 22_051, 48_001])
def test_any_stretch_at_any_rate_equals_that_of_the_whole(rate: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", np.stack([tone(7.3, rate=rate), tone(7.3, 700, rate, 1)], 1), rate)
    whole, long = read_recording(path), read_recording(path, whole_bytes=0)
    assert isinstance(whole, Recording)
    assert isinstance(long, LongRecording)
    once, parts = FRONT.prepare(Sample("a", whole)), FRONT.prepare(Sample("a", long))
    assert [item.window for item in once] == [item.window for item in parts]
    for left, right in zip(waveforms(once), waveforms(parts), strict=True):
        torch.testing.assert_close(left, right, atol=2e-4 if resampler(rate, RATE).uses_soxr else 1e-5, rtol=0)
    samples = [Sample("a", whole), Sample("a", long)]
    for baseline in (filter_bank_statistics, filter_bank_segments):
        one, other = baseline(FRONT, samples)
        np.testing.assert_allclose(one, other, atol=5e-3)


def test_rates_without_a_common_factor_take_little_memory(tmp_path: Path) -> None:
    from torch.profiler import ProfilerActivity, profile

    x = tone(2.0, 1000, 15_999)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        found = resampler(15_999, RATE)(torch.from_numpy(x)[None])[0].numpy()
    taken = sum(max(0, event.self_cpu_memory_usage) for event in watched.key_averages())
    assert taken < 64e6  # a table of all phases would take gigabytes
    assert len(found) == 32_000
    t = np.arange(32_000) / RATE
    expected = 0.2 * np.sin(2 * np.pi * 1000 * t)
    assert np.corrcoef(found[1000:-1000], expected[1000:-1000])[0, 1] > 0.98


def test_a_draw_from_an_hour_does_not_decode_it(tmp_path: Path) -> None:
    path = tmp_path / "hour.flac"
    minute = tone(60.0, rate=22_050)
    with soundfile.SoundFile(path, "w", 22_050, 1) as file:
        for _ in range(60):
            file.write(minute)
    reader = FolderReader(RecordingsConfig(path=str(tmp_path)))
    items = TrainingItems(reader, LogMelPreprocessor(LogMelConfig(mean=-8.0, deviation=4.0)), None, np.arange(1))
    keys = [ItemKey(0, seed, Progress(0, 1)) for seed in range(8)]
    drawn = [items[key] for key in keys]
    times = []
    for key in keys:
        started = time.process_time()
        items[key]
        times.append(time.process_time() - started)
    assert np.median(times) < 0.05
    starts = {one.items[""].window.start for one in drawn}  # type: ignore[union-attr]
    assert len(starts) > 5
    assert max(starts) > 600
    window = drawn[0].items[""]
    first = round(window.window.start * 22_050)  # type: ignore[union-attr]
    direct = soundfile.read(path, start=first, frames=260_000, dtype="float32")[0]
    expected = resampler(22_050, RATE)(torch.from_numpy(direct)[None])[0][: len(window.values)]
    close = slice(200, len(window.values) - 200)
    torch.testing.assert_close(window.values[close], (expected - expected.mean())[close], atol=2e-3, rtol=0)


def test_long_recordings_are_held_as_places_in_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(600.0))
    sample = FolderReader(RecordingsConfig(path=str(tmp_path)))[0]
    tracemalloc.start()
    items = FRONT.prepare(sample)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(items) == 469
    assert peak < 60e6  # blocks of 8 MiB; the whole would be 38 MB at once and again resampled
    assert FRONT.collate(items[:2]).inputs["spectrogram"].shape[0] == 2
    path.unlink()  # gone between the two passes: the row fails, the run does not
    assert torch.isnan(FRONT.collate(items[:1]).inputs["spectrogram"]).all()
