"""Sound files read in stretches: facts from the header, samples of any stretch by seeking, all channels, float32.

libsndfile decodes WAV in all its kinds, FLAC, Ogg, Opus, MP3, AIFF, AU, CAF, W64, NIST SPHERE and more; what it does
not know is tried with FFmpeg, if PyAV is installed (extra ``m4a``).
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from repcore.errors import ItemError
from repcore_audio.formats import containers
from repcore_audio.formats.containers import ContainerDecoder
from repcore_audio.formats.decoding import Decoder, SoundFacts
from repcore_audio.formats.headers import delivered_share, what_it_is

if TYPE_CHECKING:
    import soundfile

SUFFIXES = (
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mpga", ".aif",
    ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc",
)  # fmt: skip
"""Names of files that libsndfile decodes."""
CONTAINER_SUFFIXES = (
    ".m4a", ".m4b", ".mp4", ".aac", ".webm", ".mka", ".wma", ".amr", ".3gp", ".ac3", ".wv", ".ape", ".mov",
)  # fmt: skip
"""Names of files that need FFmpeg."""
ALL_SUFFIXES = (*SUFFIXES, *CONTAINER_SUFFIXES)
RATES_HZ = (100, 10_000_000)  # beyond these a header is damaged, not a recording
MOST_CHANNELS = 1024
CAREFUL_FRAMES = 1024  # step with which a damaged stretch is read again
PIP_COMMAND = 'pip install "repcore-audio[m4a]"'


def sound_facts(path: Path) -> SoundFacts:
    """Header of a sound file, checked before anything is allocated for it.

    Raises:
        ItemError: ``missing_file``, ``empty``, ``corrupt``, ``unsupported`` or ``bad_sample_rate``.
    """
    if not path.is_file():
        raise ItemError("missing_file", f"{path} does not exist" if not path.exists() else f"{path} is no regular file")
    if path.stat().st_size == 0:
        raise ItemError("empty", f"{path.name} has 0 bytes")
    import soundfile

    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            share = delivered_share(path)
            frames = int(file.frames)
            facts = SoundFacts(int(file.samplerate), int(file.channels), frames, round(frames / max(share, 1e-9)))
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        facts = _container_facts(path, error)
    low, high = RATES_HZ
    if not low <= facts.sample_rate_hz <= high:
        raise ItemError(
            "bad_sample_rate",
            f"{path.name} claims a sampling rate of {facts.sample_rate_hz:,} Hz; audio has {low:,} to {high:,}",
        )
    if not 1 <= facts.channels <= MOST_CHANNELS:
        raise ItemError("corrupt", f"{path.name} claims {facts.channels:,} channels")
    if facts.frames <= 0:
        raise ItemError("empty", f"{path.name} has no samples")
    return facts


def _container_facts(path: Path, error: Exception) -> SoundFacts:
    said = what_it_is(path)
    is_container = path.suffix.lower() in CONTAINER_SUFFIXES or "container" in said
    if is_container:
        if not containers.is_available():
            raise ItemError("unsupported", f"{path.name} needs a decoder that is not installed: {PIP_COMMAND}")
        return containers.facts(path)
    words = said or str(error).rpartition(": ")[2].strip() or type(error).__name__
    raise ItemError("corrupt", f"{path.name} cannot be decoded: {words}") from error


class Cursor:
    """Stretches of one open file. Asked for in order, with overlaps, each sample is decoded once.

    Args:
        path / facts: from :func:`sound_facts`.
    """

    def __init__(self, path: Path, facts: SoundFacts) -> None:
        self.path, self.facts = path, facts
        self._decoder = _open(path, facts)
        self._held = np.zeros((0, facts.channels), np.float32)
        self._held_first = 0  # frame number of the first held sample
        self._position = 0  # frame number behind the last decoded one

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoder.close()

    def read(self, first: int, stop: int) -> np.ndarray:
        """Float32 (channels, n) with the samples [first, stop); fewer where the file ends or breaks off before.

        Raises:
            ItemError: nothing of the stretch can be decoded.
        """
        if not self._held_first <= first <= self._position:
            self._held = self._held[:0]
            try:
                self._decoder.seek(first)
            except (OSError, ValueError, RuntimeError):  # behind the damage of a file that breaks off
                self._position = self._held_first = -1
                return np.ascontiguousarray(self._held.T)
            self._held_first = self._position = first
        kept = self._held[first - self._held_first :]
        fresh = self._decode(stop - self._position) if stop > self._position else self._held[:0]
        self._held = np.concatenate([kept, fresh]) if len(fresh) else kept
        self._held_first, self._position = first, self._position + len(fresh)
        return np.ascontiguousarray(self._held[: stop - first].T)

    def _decode(self, frames: int) -> np.ndarray:
        try:
            return self._decoder.read(frames)
        except (OSError, ValueError, RuntimeError) as error:
            found = self._carefully(frames)
            if len(found) == 0 and self._position == 0:
                raise ItemError("corrupt", f"{self.path.name} cannot be decoded: {_words(error)}") from error
            return found

    def _carefully(self, frames: int) -> np.ndarray:
        """What can be decoded before the damage, in small steps."""
        self._decoder.close()
        self._decoder = _open(self.path, self.facts)
        parts = [self._held[:0]]
        try:
            self._decoder.seek(self._position)
            while frames > 0:
                part = self._decoder.read(min(CAREFUL_FRAMES, frames))
                if len(part) == 0:
                    break
                parts.append(part)
                frames -= len(part)
        except (OSError, ValueError, RuntimeError):
            pass  # what was decoded so far is what there is
        return np.concatenate(parts)


def _open(path: Path, facts: SoundFacts) -> Decoder:
    if facts.container:
        return ContainerDecoder(path, facts)
    return _SoundFileDecoder(path)


class _SoundFileDecoder:
    """libsndfile."""

    def __init__(self, path: Path) -> None:
        import soundfile

        try:
            self._file: soundfile.SoundFile = soundfile.SoundFile(os.fsencode(path))
        except (soundfile.SoundFileError, OSError) as error:
            raise ItemError("corrupt", f"{path.name} cannot be decoded: {_words(error)}") from error

    def seek(self, frame: int) -> None:
        self._file.seek(min(frame, self._file.frames))

    def read(self, frames: int) -> np.ndarray:
        found: np.ndarray = self._file.read(frames, dtype="float32", always_2d=True)
        return found

    def close(self) -> None:
        self._file.close()


def _words(error: Exception) -> str:
    return str(error).rpartition(": ")[2].strip() or type(error).__name__
