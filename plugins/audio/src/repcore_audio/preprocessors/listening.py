"""One pass over a recording as the encoder will hear it: channels chosen or mixed, resampled, and judged.

A status is about what reaches the encoder: two channels that cancel each other, a constant, or sound that lies wholly
above half of the model's sampling rate are as good as silence, whatever the file's own level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from repcore.errors import ItemError
from repcore_audio.datasets.recordings import LongRecording, Note, Recording, StretchReader, cut_off_note
from repcore_audio.formats.sound_files import RATES_HZ
from repcore_audio.preprocessors.resampling import Resampler, resampler

FULL_SCALE = 0.999  # samples at or above count as clipped; 16-bit full scale is 0.99997
OVER_SCALE = 2.0  # a peak this far above full scale is no clipping but another unit, such as integers in a float file
CANCELLED_SHARE = 0.02  # of the power that independent channels would leave in their mean
OUT_OF_BAND_SHARE = 0.01  # of the power that is left after resampling
BLOCK_BYTES = 8 * 2**20  # of a long recording decoded at a time
BIN_SAMPLES = 1600  # resolution of the levels that windows are judged by: 0.1 s at 16 kHz


@dataclass(slots=True)
class Heard:
    """What a pass over a recording showed; L lanes: one, or one a channel.

    Args:
        lanes: L.
        sample_rate_hz: of the encoder.
        length: samples at that rate.
        waves: float32 (L, length), None for a long recording.
        notes: statuses found on the way, with reasons.
    """

    lanes: int
    sample_rate_hz: int
    length: int = 0
    waves: Tensor | None = None
    notes: list[Note] = field(default_factory=list)
    samples: int = 0
    bad: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # not finite, a channel
    full_scale: int = 0
    peak: float = 0.0
    before: _Moments = field(default_factory=lambda: _Moments())  # channels chosen, as stored
    mixed: _Moments = field(default_factory=lambda: _Moments())  # lanes, before resampling
    after: _Moments = field(default_factory=lambda: _Moments())  # lanes, as the encoder gets them
    low: list[np.ndarray] = field(default_factory=list)  # (L,) a bin of BIN_SAMPLES
    high: list[np.ndarray] = field(default_factory=list)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each lane, float64 (L,)."""
        return self.after.mean

    def span(self, lane: int, first: int, stop: int) -> float:
        """Half the distance between lowest and highest sample of a stretch, to the resolution of the bins."""
        bins = slice(first // BIN_SAMPLES, max(first // BIN_SAMPLES + 1, stop // BIN_SAMPLES))
        return float(max(row[lane] for row in self.high[bins]) - min(row[lane] for row in self.low[bins])) / 2


class _Moments:
    """Sums of several signals that come in parts."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0
        self.lowest: np.ndarray | float = np.inf
        self.highest: np.ndarray | float = -np.inf

    def add(self, rows: np.ndarray) -> None:
        """More samples, (signals, n)."""
        if rows.shape[1] == 0:
            return
        self.count += rows.shape[1]
        self._sum = self._sum + rows.sum(1, dtype=np.float64)
        self._squares = self._squares + np.einsum("sn,sn->s", rows, rows, dtype=np.float64)
        self.lowest, self.highest = np.minimum(self.lowest, rows.min(1)), np.maximum(self.highest, rows.max(1))

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self._sum / max(self.count, 1))

    @property
    def power(self) -> float:
        """Mean over the signals of the variance."""
        return float(np.mean(np.maximum(self._squares / max(self.count, 1) - self.mean**2, 0.0)))

    @property
    def span(self) -> float:
        """Half the distance between lowest and highest sample, of the signal that moves most."""
        return float(np.max(np.asarray(self.highest) - np.asarray(self.lowest))) / 2

    @property
    def peak(self) -> float:
        return float(np.max(np.maximum(np.abs(self.lowest), np.abs(self.highest))))


def listen(recording: Recording | LongRecording, sample_rate_hz: int) -> Heard:
    """Go through a recording once, a block at a time if it is long.

    Raises:
        ItemError: no samples (``empty``), NaN or infinite samples (``not_finite``), or a nonsensical rate
            (``bad_sample_rate``).
    """
    convert = checked_resampler(recording, sample_rate_hz)
    heard = Heard(_lane_count(recording), sample_rate_hz, notes=list(recording.notes))
    kept = []
    delivered = 0
    with recording.opened() as read:
        for block, wave in _blocks(recording, convert, read):
            delivered += block.shape[1]
            _note(heard, recording, block, wave)
            if isinstance(recording, Recording):
                kept.append(wave)
    _refuse_what_is_not_finite(heard, recording)
    if delivered == 0:
        raise ItemError("corrupt", "nothing can be decoded")
    if delivered < recording.length and not any(status == "truncated" for status, _ in heard.notes):
        heard.notes.append(cut_off_note(recording.length, delivered, recording.sample_rate_hz))
    heard.waves = torch.cat(kept, dim=1) if kept else None
    return heard


def checked_resampler(recording: Recording | LongRecording, sample_rate_hz: int) -> Resampler:
    """The conversion to the encoder's rate.

    Raises:
        ItemError: no samples, or a nonsensical rate.
    """
    if recording.length == 0 or recording.width == 0:
        raise ItemError("empty", "the recording has no samples")
    if not RATES_HZ[0] <= recording.sample_rate_hz <= RATES_HZ[1]:
        raise ItemError("bad_sample_rate", f"a sampling rate of {recording.sample_rate_hz} Hz is no audio")
    return resampler(recording.sample_rate_hz, sample_rate_hz)


def lanes_of(samples: np.ndarray, channels: str) -> np.ndarray:
    """Channels (C, n) as what the encoder gets (L, n): their mean, one of them, or all."""
    if channels == "mean":
        return samples.mean(axis=0, dtype=np.float32, keepdims=True) if len(samples) > 1 else samples
    if channels == "all":
        return samples
    number = 0 if channels == "first" else int(channels) - 1
    return samples[number : number + 1]


def stretch(
    recording: Recording | LongRecording, convert: Resampler, read: StretchReader, first: int, stop: int
) -> Tensor:
    """Lanes of the samples [first, stop) at the encoder's rate, float32 (L, n); fewer where the file breaks off."""
    unit = first // convert.out_step
    last = -(-stop // convert.out_step)
    begin = max(0, unit * convert.step - convert.margin)
    samples = read(begin, min(last * convert.step + convert.margin, recording.length))
    lanes = torch.from_numpy(np.ascontiguousarray(lanes_of(samples, recording.channels)))
    if lanes.shape[1] == 0:
        return lanes
    skipped = first - begin // convert.step * convert.out_step
    return convert(lanes)[:, skipped : skipped + stop - first]


def _blocks(
    recording: Recording | LongRecording, convert: Resampler, read: StretchReader
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Samples as stored (C, n) with the lanes (L, m) that they become, block after block."""
    if isinstance(recording, Recording):
        samples = read(0, recording.length)
        with np.errstate(all="ignore"):
            yield samples, convert(torch.from_numpy(np.ascontiguousarray(lanes_of(samples, recording.channels))))
        return
    units = max(1, BLOCK_BYTES // (4 * recording.width * convert.step))
    for first in range(0, recording.length, units * convert.step):
        out = first // convert.step * convert.out_step
        wave = stretch(recording, convert, read, out, out + units * convert.out_step)
        samples = read(first, min(first + units * convert.step, recording.length))
        if samples.shape[1] == 0:
            return
        yield samples, wave[:, : convert.length(samples.shape[1])]


def _lane_count(recording: Recording | LongRecording) -> int:
    return recording.width if recording.channels == "all" else 1


def _note(heard: Heard, recording: Recording | LongRecording, block: np.ndarray, wave: Tensor) -> None:
    chosen = block if recording.channels in ("mean", "all") else lanes_of(block, recording.channels)
    finite = np.isfinite(chosen)
    bad = chosen.shape[1] - finite.sum(1)
    heard.bad = heard.bad + bad if len(heard.bad) else bad
    heard.samples += chosen.size
    heard.length += wave.shape[1]
    if bad.any():
        return
    size = np.abs(chosen)
    heard.peak = max(heard.peak, float(size.max()))
    heard.full_scale += int((size >= FULL_SCALE).sum())
    heard.before.add(chosen)
    heard.mixed.add(lanes_of(block, recording.channels))
    rows = wave.numpy()
    heard.after.add(rows)
    starts = np.arange(0, rows.shape[1], BIN_SAMPLES)
    if len(starts):
        heard.low += list(np.minimum.reduceat(rows, starts, axis=1).T)
        heard.high += list(np.maximum.reduceat(rows, starts, axis=1).T)


def _refuse_what_is_not_finite(heard: Heard, recording: Recording | LongRecording) -> None:
    bad = int(heard.bad.sum())
    if not bad:
        return
    fine = np.flatnonzero(heard.bad == 0)
    advice = ""
    if len(fine) and recording.channels in ("mean", "all"):
        advice = f"; channel {fine[0] + 1} has none: --read channels={fine[0] + 1}"
    raise ItemError("not_finite", f"{bad} of {heard.samples} samples are NaN or infinite{advice}")


def judged(heard: Heard, recording: Recording | LongRecording, *, silence_db: float, clipped_share: float) -> Note:
    """Status and reason of a recording, ``ok`` and empty if there is nothing to say.

    Args:
        heard: of :func:`listen`.
        silence_db: peak below which it counts as silent, dB of full scale.
        clipped_share: share of samples at full scale above which it counts as clipped.
    """
    quiet = 10 ** (silence_db / 20)
    found = _silence(heard, recording, quiet)
    notes = [found] if found else _faint(heard, recording)
    notes += heard.notes
    share = heard.full_scale / max(heard.samples, 1)
    if heard.peak > OVER_SCALE:
        notes.append(("over_scale", f"the peak is {heard.peak:,.4g} times full scale: not in units of full scale"))
    elif share > clipped_share:
        notes.append(("clipped", f"{share:.1%} of the samples are at full scale"))
    return (notes[0][0], "; ".join(reason for _, reason in notes)) if notes else ("ok", "")


def _silence(heard: Heard, recording: Recording | LongRecording, quiet: float) -> Note | None:
    if heard.peak == 0.0:
        return "silent", "digital silence"
    if heard.peak < quiet:
        return "silent", f"the peak is {20 * np.log10(heard.peak):.0f} dB of full scale"
    if heard.before.span < quiet:
        return "silent", f"every sample is {heard.peak:.3g}: a constant"
    if heard.mixed.span < quiet:
        return "silent", f"the {recording.width} channels cancel each other in their mean: --read channels=first"
    if heard.after.peak < quiet:
        return "silent", f"nothing is left below {heard.sample_rate_hz // 2:,} Hz, the highest frequency of this model"
    return None


def _faint(heard: Heard, recording: Recording | LongRecording) -> list[Note]:
    notes: list[Note] = []
    if recording.channels == "mean" and recording.width > 1 and heard.before.power > 0:
        share = heard.mixed.power / heard.before.power
        if share < CANCELLED_SHARE / recording.width:
            notes.append(
                (
                    "cancelled",
                    f"{1 - share:.1%} of the power cancels in the mean of the channels: --read channels=first",
                )
            )
    if heard.mixed.power > 0 and recording.sample_rate_hz > heard.sample_rate_hz:
        share = heard.after.power / heard.mixed.power
        if share < OUT_OF_BAND_SHARE:
            top = heard.sample_rate_hz // 2
            notes.append(("out_of_band", f"{1 - share:.1%} of the power lies above {top:,} Hz, unheard by this model"))
    return notes
