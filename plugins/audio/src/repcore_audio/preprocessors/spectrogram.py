"""Preprocessor ``audio/log-mel``: recordings to windows, windows to a batch of normalised spectrograms.

Source: `SiavashShams/ssamba`, `src/dataloader.py` (fbank, padding, normalisation by twice the standard deviation).

Differs: recordings keep their length and padding is marked (``length="fixed"`` is the published way); long recordings
become windows instead of being cut; the filter bank runs once a batch instead of once a file.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.errors import ConfigError, ItemError
from repcore.files import read_object
from repcore.interfaces import Batch, DatasetReader, Item, Sample, Window
from repcore_audio.configs.spectrogram import LogMelConfig
from repcore_audio.datasets.recordings import LongRecording, Recording
from repcore_audio.preprocessors.frames import frame_times, labels_of_window, on_frames
from repcore_audio.preprocessors.given import recording_from
from repcore_audio.preprocessors.listening import Heard, checked_resampler, judged, listen
from repcore_audio.preprocessors.log_mel import SILENCE, LogMel
from repcore_audio.preprocessors.statistics import mean_and_deviation, readable, spread
from repcore_audio.preprocessors.waveform import Hidden, Pending, waveforms

STATISTICS_FILE = "log_mel_statistics.json"
CLIP_EPSILON = 1e-7  # added to variances of one clip
STATISTICS_WINDOWS = 16  # most windows of a long recording that statistics are taken from


class LogMelPreprocessor:
    """Windows of waveform as items, spectrograms as batches.

    Args:
        config: front end, lengths, normalisation; see :class:`LogMelConfig`.

    Raises:
        ConfigError: sizes that do not fit together.
    """

    def __init__(self, config: LogMelConfig) -> None:
        if config.frames < 1 or config.frame_multiple < 1 or config.frames % config.frame_multiple:
            raise ConfigError(
                f"frames={config.frames} is not a multiple of frame_multiple={config.frame_multiple}",
                field="preprocessor.frames",
            )
        if (config.mean is None) != (config.deviation is None):
            raise ConfigError("mean and deviation come together", field="preprocessor.mean, preprocessor.deviation")
        if config.deviation is not None and config.deviation <= 0:
            raise ConfigError(f"deviation={config.deviation} is not positive", field="preprocessor.deviation")
        self.config = config
        self.log_mel = LogMel(
            config.sample_rate_hz,
            config.mel_bins,
            frame_length_ms=config.frame_length_ms,
            frame_shift_ms=config.frame_shift_ms,
            window=config.window,
            amplitude=config.amplitude,
        )
        self.mean, self.deviation = config.mean, config.deviation
        if config.normalisation == "clip":
            self.mean, self.deviation = 0.0, 0.5  # every window is brought to mean 0 and standard deviation 1 itself
        self.covers = False

    @classmethod
    def load(cls, config: LogMelConfig, folder: Path) -> LogMelPreprocessor:
        """The fitted preprocessor of a saved model.

        Raises:
            CheckpointError: its file is missing or damaged.
        """
        loaded = cls(config)
        if loaded.mean is None:
            saved = read_object(folder / STATISTICS_FILE, ("mean", "deviation"))
            loaded.mean, loaded.deviation = float(saved["mean"]), float(saved["deviation"])
        return loaded

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Mean and standard deviation of log-mel values over the training split, unless the config gives them."""
        if self.config.mean is None and self.config.normalisation == "data":
            chosen = spread(indices, self.config.statistics_clips)
            self.mean, self.deviation = mean_and_deviation(self.seen, readable(reader, chosen))

    def facts(self) -> Mapping[str, Any]:
        return {"mel_bins": self.config.mel_bins, "frames": self.config.frames}

    def seen(self, sample: Sample) -> Iterator[Tensor]:
        """Log-mel values of windows before normalisation, (T, F), with padding where the encoder sees it.

        All windows of a recording that is held, at most 16 evenly spaced ones of a long one.

        Raises:
            ItemError: as :meth:`prepare`.
        """
        if isinstance(sample.inputs, LongRecording):
            plan = self._plan(self._length(sample.inputs))
            items = [self._drawn(sample.inputs, plan[row], 0) for row in spread(range(len(plan)), STATISTICS_WINDOWS)]
        else:
            items = self.prepare(sample)
        for values in self.log_mel(waveforms(items)):
            missing = self.config.frames - len(values) if self.config.length == "fixed" else 0
            yield F.pad(values, (0, 0, 0, missing), value=self._padding_level())

    def prepare(self, sample: Sample) -> list[Item]:
        """One item a window (and channel, with ``channels=all``). Their status is that of the whole recording; each
        window's own is in ``Item.window``. Windows of a long recording are decoded by :meth:`collate`.

        Raises:
            ItemError: empty, not finite, or shorter than one frame.
        """
        recording: Recording | LongRecording = sample.inputs
        heard = listen(recording, self.config.sample_rate_hz)
        plan = self._plan(heard.length)
        status, reason = judged(
            heard, recording, silence_db=self.config.silence_db, clipped_share=self.config.clipped_share
        )
        total = sum(frames for _, _, frames in plan) * heard.lanes
        items = []
        for lane in range(heard.lanes):
            mean = float(heard.mean[lane]) if self.config.remove_waveform_mean else 0.0
            wave = None if heard.waves is None else heard.waves[lane]
            if wave is not None and self.config.remove_waveform_mean:
                wave = wave - wave.mean()
            for start, stop, frames in plan:
                values: Tensor | Pending
                if wave is None:
                    assert isinstance(recording, LongRecording)
                    values = Pending(recording, self.config.sample_rate_hz, start, stop, lane, mean)
                else:
                    values = wave[start:stop]
                window = self._window(heard, lane, start, stop)
                meta = self._meta(start, frames)
                labels = labels_of_window(sample, meta, self.log_mel)
                items.append(Item(values, meta, status, reason, frames / total, labels, window))
        return items

    def covering(self) -> LogMelPreprocessor:
        """The same with windows over all of a recording: those of ``cut`` recordings, and one that ends with the
        recording where the rest behind the last window is too short for one."""
        found = copy.copy(self)
        found.covers = True
        return found

    def inputs_from(self, value: Any) -> Any:
        """(samples, rate in Hz), samples (n,) or (channels, n), a dict with array and sampling_rate, or a file."""
        return recording_from(value)

    def draw(self, sample: Sample, generator: np.random.Generator) -> Item:
        """One window at random; of a long recording only this window is decoded.

        Raises:
            ItemError: as :meth:`prepare`, but only for what the window shows.
        """
        recording: Recording | LongRecording = sample.inputs
        if isinstance(recording, Recording):
            items = self.prepare(sample)
            return items[0] if len(items) == 1 else items[int(generator.integers(len(items)))]
        plan = self._plan(self._length(recording))
        lanes = recording.width if recording.channels == "all" else 1
        item = self._drawn(recording, plan[int(generator.integers(len(plan)))], int(generator.integers(lanes)))
        item.targets = labels_of_window(sample, item.meta, self.log_mel)
        wave = item.values.decoded()
        if not torch.isfinite(wave).all():
            raise ItemError("not_finite", f"samples between {item.window} are NaN or infinite")
        item.values = wave - wave.mean() if self.config.remove_waveform_mean else wave
        return item

    def _drawn(self, recording: LongRecording, planned: tuple[int, int, int], lane: int) -> Item:
        start, stop, frames = planned
        rate = self.config.sample_rate_hz
        values = Pending(recording, rate, start, stop, lane)
        return Item(values, self._meta(start, frames), window=Window(start / rate, stop / rate))

    def _meta(self, start: int, frames: int) -> dict[str, int]:
        first = start // self.log_mel.shift_samples
        return {**self.frame_facts(frames), "first_frame": first}

    def restore(self, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
        """Outputs at the frames of 10 ms of the whole recording (N, K): windows and channels over the same stretch are
        averaged, padding is left out, NaN where no window lies.

        Raises:
            ItemError: ``other_level``: a recording has frames only.
        """
        if level != "token":
            raise ItemError("other_level", f"a recording has frames (level token), no level {level!r}")
        return on_frames(sample.inputs, [item.meta for item in items], outputs, self.log_mel)

    def elements(self, sample: Sample, level: str) -> Mapping[str, np.ndarray]:
        """``start`` and ``end`` of every frame, in seconds of the file that the recording was cut from."""
        return frame_times(sample.inputs)

    def _length(self, recording: LongRecording) -> int:
        return checked_resampler(recording, self.config.sample_rate_hz).length(recording.length)

    def _window(self, heard: Heard, lane: int, start: int, stop: int) -> Window:
        rate = self.config.sample_rate_hz
        part = f"channel {lane + 1}" if heard.lanes > 1 else ""
        if heard.span(lane, start, stop) < 10 ** (self.config.silence_db / 20):
            return Window(start / rate, stop / rate, "silent", "nothing can be heard in this window", part)
        return Window(start / rate, stop / rate, part=part)

    def _plan(self, samples: int) -> list[tuple[int, int, int]]:
        """Windows of a waveform.

        Raises:
            ItemError: it is shorter than one frame, or than the multiple of frames that is kept.
        """
        total = self.log_mel.frames(samples)
        if total < 1:
            milliseconds = 1000 * samples / self.config.sample_rate_hz
            raise ItemError(
                "too_short", f"{milliseconds:.2f} ms are less than one frame of {self.config.frame_length_ms} ms"
            )
        windows = self._windows(total)
        if not windows:
            raise ItemError("too_short", f"{total} frames are less than frame_multiple={self.config.frame_multiple}")
        return windows

    def _windows(self, total: int) -> list[tuple[int, int, int]]:
        """First sample, last sample and frames of every window; a rest shorter than one patch joins no window."""
        longest, shift = self.config.frames, self.log_mel.shift_samples
        is_whole = self.covers or self.config.long_recordings == "windows"
        firsts = list(range(0, total, longest)) if is_whole else [0]
        if self.covers and firsts[-1] > 0 and total - firsts[-1] < self.config.frame_multiple:
            firsts[-1] = total - longest
        windows = []
        for first in firsts:
            frames = min(longest, total - first)
            if self.config.remainder == "drop":
                frames -= frames % self.config.frame_multiple
            if frames and (first == 0 or frames >= self.config.frame_multiple):
                windows.append((first * shift, first * shift + self.log_mel.samples(frames), frames))
        return windows

    def frame_facts(self, frames: int) -> dict[str, int]:
        """``Item.meta`` of a window by its frames of sound: ``frames`` that the encoder gets, and ``sound_frames``."""
        padded = self._padded(frames)
        return {"frames": padded, "sound_frames": min(frames, padded)}

    def _padded(self, frames: int) -> int:
        """Frames that the encoder gets for a window."""
        if self.config.length == "fixed":
            return self.config.frames
        multiple = self.config.frame_multiple
        whole = frames // multiple * multiple
        return whole if whole == frames or self.config.remainder == "drop" else whole + multiple

    def collate(self, items: Sequence[Item]) -> Batch:
        """Inputs ``spectrogram`` float32 (B, frames, mel bins), ``normalisation`` (B, 2), what was subtracted and what
        divided by, and ``frames`` int64 (B,) where lengths differ. What a view hides (``meta["hidden"]``) is 0."""
        log_mel = self.log_mel(waveforms(items))
        lengths = [int(item.meta["frames"]) for item in items]
        longest = max(lengths, default=0)
        rows = [self.normalised(one, longest) for one in log_mel]
        for row, item in zip(rows, items, strict=True):
            _hide(row, item.meta.get("hidden", ()))
        inputs = {"spectrogram": torch.stack(rows)}
        mean, deviation = self._statistics()
        inputs["normalisation"] = torch.tensor([[mean, 2 * deviation]] * len(items))
        if len(set(lengths)) > 1:
            inputs["frames"] = torch.tensor(lengths)
        return Batch(inputs=inputs, size=len(items))

    def normalised(self, log_mel: Tensor, frames: int) -> Tensor:
        """Pad or cut (T, F) to ``frames`` and bring to mean 0 and standard deviation 1/2 (1 with
        ``normalisation="clip"``).

        Raises:
            ConfigError: statistics are neither given nor fitted.
        """
        mean, deviation = self._statistics()
        missing = max(0, frames - len(log_mel))
        log_mel = log_mel[:frames]
        if self.config.normalisation == "clip":
            log_mel = _standardised(log_mel)
        if self.config.normalise_before_padding or self.config.normalisation == "clip":
            return F.pad((log_mel - mean) / (2 * deviation), (0, 0, 0, missing))
        return (F.pad(log_mel, (0, 0, 0, missing), value=self._padding_level()) - mean) / (2 * deviation)

    def _padding_level(self) -> float:
        return SILENCE if self.config.padding == "silence" else 0.0

    def _statistics(self) -> tuple[float, float]:
        if self.mean is None or self.deviation is None:
            raise ConfigError(
                "the log-mel statistics are not known", hint="fit it, or set preprocessor.mean and .deviation"
            )
        return self.mean, self.deviation

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Frames of the window."""
        return int(meta["frames"])

    def save(self, folder: Path) -> Mapping[str, Any]:
        state = {"mean": self.mean, "deviation": self.deviation}
        (folder / STATISTICS_FILE).write_text(json.dumps(state), encoding="utf-8")
        return state


def _hide(spectrogram: Tensor, hidden: Sequence[Hidden]) -> None:
    """Write the training data's mean, 0, where a view hides something of (T, F)."""
    for one in hidden:
        spectrogram.narrow(one.axis, one.first, one.width).zero_()


def _standardised(log_mel: Tensor) -> Tensor:
    """Every mel bin of (T, F) to mean 0 and variance 1 over the clip; a constant one becomes 0."""
    variance = log_mel.var(0, unbiased=len(log_mel) > 1)
    return (log_mel - log_mel.mean(0)) / (variance + CLIP_EPSILON).sqrt()
