"""Containers that libsndfile does not know (m4a, mp4, aac, webm, wma, ...), decoded by FFmpeg through PyAV."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import ItemError
from repcore_audio.formats.decoding import SoundFacts

LEAD_SECONDS = 0.5  # decoded before a place that is sought: codecs need a run-up


def is_available() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def facts(path: Path) -> SoundFacts:
    """Header of the first sound stream; its length is what the container says.

    Raises:
        ItemError: ``corrupt``, or ``empty`` if there is no sound stream.
    """
    import av

    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.audio:
                raise ItemError("empty", f"{path.name} has no sound stream")
            stream = container.streams.audio[0]
            rate, channels = int(stream.codec_context.sample_rate), int(stream.codec_context.channels)
            if stream.duration is not None and stream.time_base is not None:
                seconds = float(stream.duration * stream.time_base)
            else:
                seconds = float(container.duration or 0) / av.time_base
            frames = round(seconds * rate)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise ItemError("corrupt", f"{path.name} cannot be decoded: {error}") from error
    return SoundFacts(rate, channels, frames, frames, container=True)


class ContainerDecoder:
    """An open container.

    Args:
        path / facts: of :func:`facts`.
    """

    def __init__(self, path: Path, facts: SoundFacts) -> None:
        import av

        self._rate, self._channels = facts.sample_rate_hz, facts.channels
        try:
            self._container: Any = av.open(os.fspath(path))  # PyAV's classes are compiled
            self._stream: Any = self._container.streams.audio[0]
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise ItemError("corrupt", f"{path.name} cannot be decoded: {error}") from error
        self._frames = self._decoded(0)
        self._rest = np.zeros((0, self._channels), np.float32)

    def seek(self, frame: int) -> None:
        lead = max(0.0, frame / self._rate - LEAD_SECONDS)
        self._container.seek(int(lead / self._stream.time_base), stream=self._stream, backward=True)
        self._frames = self._decoded(frame)
        self._rest = self._rest[:0]

    def read(self, frames: int) -> np.ndarray:
        parts, count = [self._rest], len(self._rest)
        while count < frames:
            part = next(self._frames, None)
            if part is None:
                break
            parts.append(part)
            count += len(part)
        whole = np.concatenate(parts)
        self._rest = whole[frames:]
        return whole[:frames]

    def close(self) -> None:
        self._container.close()

    def _decoded(self, first: int) -> Any:
        """Float32 (n, channels) a packet, from frame ``first`` on."""
        import av

        convert = av.AudioResampler(format="fltp", rate=self._rate)
        origin = self._stream.start_time or 0
        for packet in self._container.decode(self._stream):
            begins = 0 if packet.pts is None else round(float((packet.pts - origin) * packet.time_base) * self._rate)
            for frame in convert.resample(packet):
                samples = np.asarray(frame.to_ndarray(), np.float32).T
                skipped = max(0, first - begins)
                begins += len(samples)
                if skipped < len(samples):
                    yield samples[skipped:]
