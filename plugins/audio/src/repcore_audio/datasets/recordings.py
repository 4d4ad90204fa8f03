"""Recordings on disk: decoding with soundfile, and the reader that all layouts share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import DataError, ItemError, closest
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
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


@dataclass(frozen=True, slots=True)
class Entry:
    """One row before it is read."""

    id: str
    path: Path
    targets: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    problem: tuple[str, str] | None = None  # status and reason of a row that cannot be read


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a layout found: rows, labels, declared splits, and remarks for people."""

    entries: Sequence[Entry]
    targets: Sequence[TargetSpec] = ()
    splits: Mapping[str, Sequence[int]] = field(default_factory=dict)
    notes: Sequence[str] = ()


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


class RecordingReader:
    """Random access to the recordings of a catalogue.

    Args:
        catalogue: rows, labels and splits.
        source: what the user pointed at, for messages.
        config: labels to use, and memory for decoded recordings.

    Raises:
        DataError: no recording at all, none that exists, or a label that was not found.
    """

    def __init__(self, catalogue: Catalogue, source: Path, config: RecordingsConfig) -> None:
        if not catalogue.entries:
            raise DataError(f"{str(source)!r} holds no recording", expected=", ".join(SUFFIXES))
        if all(entry.problem for entry in catalogue.entries):
            first = catalogue.entries[0]
            raise DataError(
                f"none of the {len(catalogue.entries)} recordings of {str(source)!r} can be read",
                first=f"{first.id}: {first.problem[1] if first.problem else ''}",
            )
        self.source = source
        self.notes = tuple(catalogue.notes)
        self._entries = tuple(catalogue.entries)
        self._targets, self._splits = chosen_targets(catalogue.targets, config.labels), dict(catalogue.splits)
        self._row_of = {entry.id: row for row, entry in enumerate(self._entries)}
        if len(self._row_of) != len(self._entries):
            twice = len(self._entries) - len(self._row_of)
            raise DataError(
                f"{twice} ids of {str(source)!r} are not unique", hint="id_column names a column of unique ids"
            )
        self._cache: dict[int, Recording] = {}
        self._room = config.cache_mib * 2**20
        self._bytes = [_size(entry.path) for entry in self._entries]

    @property
    def fingerprint(self) -> str:
        """Hash of ids, sizes, times and labels."""
        digest = sha256()
        for entry, size in zip(self._entries, self._bytes, strict=True):
            modified = entry.path.stat().st_mtime_ns if size else 0
            digest.update(f"{entry.id}|{size}|{modified}|{sorted(entry.targets.items())}\n".encode())
        return digest.hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return self._targets

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return self._splits

    @property
    def groups(self) -> Sequence[str | None] | None:
        """Leakage keys; None where the layout has none."""
        keys = [entry.group for entry in self._entries]
        return keys if any(key is not None for key in keys) else None

    @property
    def costs(self) -> np.ndarray:
        """Bytes on disk: a free stand-in for length that is good enough to bucket by."""
        return np.asarray(self._bytes, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._entries)

    def id_of(self, index: int) -> str:
        """Id of a row, also of one that cannot be read."""
        return self._entries[index].id

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        if entry.problem is not None:
            raise ItemError(*entry.problem)
        recording = self._recording(index, entry.path)
        seconds = recording.samples.shape[1] / recording.sample_rate_hz
        meta = {
            "seconds": round(seconds, 4),
            "sample_rate_hz": recording.sample_rate_hz,
            "channels": len(recording.samples),
        }
        return Sample(entry.id, recording, entry.targets, entry.group, meta)

    def by_id(self, sample_id: str) -> Sample:
        """The row with this id.

        Raises:
            DataError: there is none.
        """
        if sample_id not in self._row_of:
            raise DataError(f"{str(self.source)!r} has no recording {sample_id!r}", rows=len(self))
        return self[self._row_of[sample_id]]

    def _recording(self, index: int, path: Path) -> Recording:
        if index in self._cache:
            return self._cache[index]
        recording = read_recording(path)
        if recording.samples.nbytes <= self._room:
            self._cache[index] = recording
            self._room -= recording.samples.nbytes
        return recording


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def chosen_targets(found: Sequence[TargetSpec], wanted: Sequence[str]) -> tuple[TargetSpec, ...]:
    """Those that were asked for, all if none was.

    Raises:
        DataError: one of them was not found.
    """
    names = [target.name for target in found]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"the recordings have no label {missing[0]!r}",
            did_you_mean=closest(missing[0], names),
            labels=", ".join(names) or "none",
        )
    return tuple(target for target in found if not wanted or target.name in wanted)


def class_target(name: str, values: Iterable[str]) -> tuple[TargetSpec, dict[str, int]]:
    """A class target over these names in sorted order, and the number of each name."""
    names = tuple(sorted(set(values), key=_natural))
    return TargetSpec(name, "class", names=names), {one: number for number, one in enumerate(names)}


def _natural(text: str) -> tuple[int, int, str]:
    """Whole numbers by size, before words."""
    return (0, int(text), text) if text.isdigit() else (1, 0, text)


def audio_files(folder: Path) -> list[Path]:
    """Recordings below a folder, hidden ones left out, sorted by path."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def rows_by(words: Sequence[str | None]) -> dict[str, list[int]]:
    """Row numbers by word, None left out: ``{"train": [0, 1], "test": [2]}``."""
    found: dict[str, list[int]] = {}
    for row, word in enumerate(words):
        if word is not None:
            found.setdefault(word, []).append(row)
    return found
