"""Recordings on disk: whole files, excerpts of them, and the reader that all layouts share.

Short ones are decoded at once and kept; of long ones only the header is read, and stretches are decoded when they are
needed, so that an hour costs no more memory than a second.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from repcore.data.catalogue import Catalogue, CatalogueReader, Row
from repcore.errors import ConfigError, ItemError
from repcore_audio.configs.recordings import RecordingsConfig
from repcore_audio.formats.decoding import SoundFacts
from repcore_audio.formats.sound_files import ALL_SUFFIXES, Cursor, sound_facts

SUFFIXES = ALL_SUFFIXES
WHOLE_BYTES = 16 * 2**20  # decoded size up to which a recording is held as a whole: 4 minutes of 16 kHz mono
BEYOND_END_SECONDS = 0.01  # times are written with two decimals
CUT_OFF_SECONDS = 0.1  # containers estimate their length
FRAMES_PER_SECOND = 100  # labels and answers about frames: frame i is [i, i + 1) hundredths of a second

Note = tuple[str, str]
"""Status and reason."""


class StretchReader(Protocol):
    """Float32 (channels, n) with the samples [first, stop); fewer where a file breaks off."""

    def __call__(self, first: int, stop: int) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Recording:
    """Decoded audio: float32 ``samples`` (channels, n) in full-scale units, at ``sample_rate_hz``.

    Args:
        channels: which of them the encoder gets: ``mean``, ``first``, ``all``, or a number from 1.
        notes: what reading it showed.
        offset: seconds of the file before it.
        frame_labels: names of its labels with a value for every frame.
    """

    samples: np.ndarray
    sample_rate_hz: int
    channels: str = "mean"
    notes: tuple[Note, ...] = ()
    offset: float = 0.0
    frame_labels: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Samples a channel."""
        return int(self.samples.shape[1])

    @property
    def width(self) -> int:
        """Number of channels."""
        return len(self.samples)

    @contextmanager
    def opened(self) -> Iterator[StretchReader]:
        """A function that gives stretches."""
        yield lambda first, stop: self.samples[:, first:stop]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The samples that are meant: what tells two recordings apart."""
        return np.array(_meant(self.samples, self.channels), dtype=dtype, copy=copy)


class Retakable(Recording, ABC):
    """A generated recording of which there can be another take: the same content, everything around it anew."""

    __slots__ = ()

    @abstractmethod
    def again(self, generator: np.random.Generator) -> Recording:
        """Another take, by what is drawn from the generator."""


@dataclass(frozen=True, slots=True)
class LongRecording:
    """A recording, or an excerpt of one, whose samples stay in the file until they are asked for.

    Args:
        path / facts: the file.
        first / stop: samples of the file that belong to it.
        channels / notes / frame_labels: as of :class:`Recording`.
    """

    path: Path
    facts: SoundFacts
    first: int
    stop: int
    channels: str = "mean"
    notes: tuple[Note, ...] = ()
    frame_labels: tuple[str, ...] = ()

    @property
    def offset(self) -> float:
        """Seconds of the file before it."""
        return self.first / self.sample_rate_hz

    @property
    def sample_rate_hz(self) -> int:
        return self.facts.sample_rate_hz

    @property
    def length(self) -> int:
        return self.stop - self.first

    @property
    def width(self) -> int:
        return self.facts.channels

    @contextmanager
    def opened(self) -> Iterator[StretchReader]:
        """A function that gives stretches; asked for in order, each sample is decoded once."""
        with Cursor(self.path, self.facts) as cursor:
            yield lambda first, stop: cursor.read(self.first + first, self.first + min(stop, self.length))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Hash of the samples, uint8: what tells two recordings apart without holding either."""
        del copy
        digest = sha256()
        with self.opened() as read:
            for first in range(0, self.length, 2**20):
                digest.update(np.ascontiguousarray(_meant(read(first, first + 2**20), self.channels)).tobytes())
        return np.frombuffer(digest.digest(), np.uint8).astype(dtype or np.uint8)


def _meant(samples: np.ndarray, channels: str) -> np.ndarray:
    """Without the channels that the encoder does not get, (C, n)."""
    if channels in ("mean", "all"):
        return samples
    number = 0 if channels == "first" else int(channels) - 1
    return samples[number : number + 1]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Where a row's sound lies: a file, or a stretch of it.

    Args:
        path: the file.
        start / end: seconds from its beginning; None = from the beginning, to the end.
        channel: number from 1 of the only channel that is meant; None = as the reader's setting says.
        whole_if_short: take a file that is no longer than the stretch for the stretch itself, cut out before.
    """

    path: Path
    start: float | None = None
    end: float | None = None
    channel: int | None = None
    whole_if_short: bool = False

    @property
    def is_cut(self) -> bool:
        """Whether only a stretch is meant."""
        return self.start is not None or self.end is not None


def read_recording(
    path: Path | Excerpt, *, channels: str = "mean", whole_bytes: int = WHOLE_BYTES
) -> Recording | LongRecording:
    """A file or an excerpt, at its own rate, with all channels; decoded if it takes at most ``whole_bytes``.

    Raises:
        ItemError: ``missing_file``, ``empty``, ``corrupt``, ``unsupported``, ``bad_sample_rate``, ``out_of_range`` (an
            excerpt that the file does not hold) or ``no_channel``.
    """
    place = path if isinstance(path, Excerpt) else Excerpt(path)
    facts = sound_facts(place.path)
    if place.channel is not None:
        channels = str(place.channel)
    if channels.isdecimal() and not 1 <= int(channels) <= facts.channels:
        raise ItemError(
            "no_channel", f"{place.path.name} has {facts.channels} channels; number {channels} was asked for"
        )
    first, stop = _bounds(place, facts)
    notes: list[Note] = []
    if not place.is_cut and facts.promised - facts.frames > CUT_OFF_SECONDS * facts.sample_rate_hz:
        notes.append(cut_off_note(facts.promised, facts.frames, facts.sample_rate_hz))
    if (stop - first) * facts.channels * 4 > whole_bytes:
        return LongRecording(place.path, facts, first, stop, channels, tuple(notes))
    with Cursor(place.path, facts) as cursor:
        samples = cursor.read(first, stop + (facts.sample_rate_hz if facts.container and not place.is_cut else 0))
    if samples.shape[1] == 0:
        raise ItemError("corrupt", f"{place.path.name}: nothing can be decoded from sample {first:,} on")
    missing = stop - first - samples.shape[1]
    if missing > (CUT_OFF_SECONDS * facts.sample_rate_hz if facts.container else 0):
        notes.append(cut_off_note(stop - first, samples.shape[1], facts.sample_rate_hz))
    return Recording(samples, facts.sample_rate_hz, channels, tuple(notes), first / facts.sample_rate_hz)


def frame_count(recording: Recording | LongRecording) -> int:
    """Frames of a recording, the last one possibly shorter."""
    return -(-recording.length * FRAMES_PER_SECOND // recording.sample_rate_hz)


def cut_off_note(promised: int, delivered: int, sample_rate_hz: int) -> Note:
    """What to say of a recording that is shorter than its header says."""
    expected, found = promised / sample_rate_hz, delivered / sample_rate_hz
    return "truncated", f"the header promises {expected:.2f} s, {found:.2f} s can be read"


def _bounds(place: Excerpt, facts: SoundFacts) -> tuple[int, int]:
    """First and last sample of an excerpt.

    Raises:
        ItemError: the file does not hold it.
    """
    rate, frames = facts.sample_rate_hz, facts.frames
    start = 0.0 if place.start is None else place.start
    end = frames / rate if place.end is None else place.end
    wanted = f"{start:g} to {end:g} s"
    if not start < end or start < 0:
        raise ItemError("out_of_range", f"{wanted} of {place.path.name} is no stretch of time")
    if place.whole_if_short and frames / rate <= end - start + CUT_OFF_SECONDS:
        return 0, frames
    if end > frames / rate + BEYOND_END_SECONDS:
        advice = ""
        if abs(frames / rate - (end - start)) < CUT_OFF_SECONDS:
            advice = "; it is as long as the stretch, so it may have been cut out before: --read excerpts=ignore"
        elif start == int(start) and end == int(end) <= frames:
            advice = "; if the times count samples: --read times_unit=samples"
        raise ItemError("out_of_range", f"{wanted} was asked for, {place.path.name} has {frames / rate:.3f} s{advice}")
    first = min(round(start * rate), frames - 1)
    return first, max(first + 1, min(round(end * rate), frames))


class RecordingReader(CatalogueReader[Excerpt, Recording | LongRecording]):
    """Random access to the recordings of a catalogue.

    Args:
        catalogue: rows, labels and splits.
        root: what the user pointed at, for messages.
        config: labels to use, channels, and memory for decoded recordings.

    Raises:
        DataError: no recording at all, none that exists, or a label that was not found.
        ConfigError: channels that mean nothing.
    """

    noun = "recording"

    def __init__(self, catalogue: Catalogue[Excerpt], root: Path, config: RecordingsConfig) -> None:
        if config.channels not in ("mean", "first", "all") and not config.channels.isdecimal():
            raise ConfigError(
                f"channels={config.channels!r} is not known",
                expected="mean, first, all, or the number of a channel from 1",
                field="dataset.channels",
            )
        self.channels = config.channels
        super().__init__(
            catalogue, root, labels=config.labels, cache_mib=config.cache_mib, expected=", ".join(SUFFIXES)
        )

    @property
    def costs(self) -> np.ndarray:
        """Bytes on disk, or seconds where rows are excerpts: free stand-ins for length, good enough to bucket by."""
        if any(row.source.is_cut for row in self.rows):
            ends = [(row.source.end or 0.0) - (row.source.start or 0.0) for row in self.rows]
            return np.array([max(0.0, one) for one in ends])
        return np.array([_bytes_on_disk(row.source.path) for row in self.rows], np.int64)

    def read(self, row: Row[Excerpt]) -> Recording | LongRecording:
        return read_recording(row.source, channels=self.channels)

    def size_of(self, content: Recording | LongRecording) -> int:
        return content.samples.nbytes if isinstance(content, Recording) else 1024

    def facts(self, content: Recording | LongRecording) -> Mapping[str, Any]:
        return {
            "seconds": round(content.length / content.sample_rate_hz, 4),
            "sample_rate_hz": content.sample_rate_hz,
            "channels": content.width,
        }


def recording_row(
    name: str,
    place: Path | Excerpt,
    targets: Mapping[str, Any] | None = None,
    group: str | None = None,
    problem: Note | None = None,
) -> Row[Excerpt]:
    """A row that is a file or an excerpt of one."""
    source = place if isinstance(place, Excerpt) else Excerpt(place)
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")  # names that are not UTF-8
    stamp = f"{source.start}-{source.end}-{source.channel}" if source.is_cut or source.channel else ""
    return Row(name, source, targets or {}, group, problem, files=(source.path,), stamp=stamp)


def _bytes_on_disk(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
