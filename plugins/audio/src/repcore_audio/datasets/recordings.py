"""Recordings on disk: decoding with soundfile, and the reader that all layouts share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.catalogue import Catalogue, CatalogueReader, Row
from repcore.errors import ItemError
from repcore_audio.configs.recordings import RecordingsConfig

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf")


@dataclass(frozen=True, slots=True)
class Recording:
    """Decoded audio: float32 ``samples`` (channels, n) in full-scale units, at ``sample_rate_hz``."""

    samples: np.ndarray
    sample_rate_hz: int

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The samples: what tells two recordings apart."""
        return np.array(self.samples, dtype=dtype, copy=copy)


def read_recording(path: Path) -> Recording:
    """Decode a file of any format that libsndfile knows, at its own rate, with all channels.

    Raises:
        ItemError: ``missing_file``, ``empty`` or ``corrupt``.
    """
    import soundfile

    if not path.is_file():
        raise ItemError("missing_file", f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if path.stat().st_size == 0:
        raise ItemError("empty", f"{path.name} has 0 bytes")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise ItemError("corrupt", f"{path.name} cannot be decoded: {error}") from error
    if len(samples) == 0:
        raise ItemError("empty", f"{path.name} has no samples")
    return Recording(np.ascontiguousarray(samples.T), int(rate))


class RecordingReader(CatalogueReader[Path, Recording]):
    """Random access to the recordings of a catalogue.

    Args:
        catalogue: rows, labels and splits.
        root: what the user pointed at, for messages.
        config: labels to use, and memory for decoded recordings.

    Raises:
        DataError: no recording at all, none that exists, or a label that was not found.
    """

    noun = "recording"

    def __init__(self, catalogue: Catalogue[Path], root: Path, config: RecordingsConfig) -> None:
        super().__init__(
            catalogue, root, labels=config.labels, cache_mib=config.cache_mib, expected=", ".join(SUFFIXES)
        )

    @property
    def costs(self) -> np.ndarray:
        """Bytes on disk: a free stand-in for length that is good enough to bucket by."""
        return np.array([row.source.stat().st_size if row.source.is_file() else 0 for row in self.rows], np.int64)

    def read(self, row: Row[Path]) -> Recording:
        return read_recording(row.source)

    def size_of(self, content: Recording) -> int:
        return content.samples.nbytes

    def facts(self, content: Recording) -> Mapping[str, Any]:
        return {
            "seconds": round(content.samples.shape[1] / content.sample_rate_hz, 4),
            "sample_rate_hz": content.sample_rate_hz,
            "channels": len(content.samples),
        }


def recording_row(
    name: str,
    path: Path,
    targets: Mapping[str, Any] | None = None,
    group: str | None = None,
    problem: tuple[str, str] | None = None,
) -> Row[Path]:
    """A row that is one file."""
    return Row(name, path, targets or {}, group, problem, files=(path,))
