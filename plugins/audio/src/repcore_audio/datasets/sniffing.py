"""How surely each reader fits a path, from names and headers only."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from repcore.data.accounting import Accounting
from repcore.data.first_files import first_files
from repcore.data.misfits import HARDLY
from repcore.data.tables import table_suffix
from repcore.errors import DataError
from repcore_audio.datasets.excerpts import has_times
from repcore_audio.datasets.folders import ESC50_TABLE, FSDD_NAME, SPEECH_COMMANDS_LISTS, SPEECH_COMMANDS_NAME
from repcore_audio.datasets.kaldi import SCP
from repcore_audio.datasets.manifest_folders import names_enough, tables_in
from repcore_audio.datasets.manifest_tables import JSON_SUFFIXES, path_column, read_cells, sibling_recording
from repcore_audio.datasets.recordings import SUFFIXES
from repcore_audio.datasets.urban_sound import TABLE as URBAN_SOUND_TABLE


def folder(path: Path) -> float:
    """Any tree with recordings, or one recording."""
    if path.is_file():
        return 0.9 if path.suffix.lower() in SUFFIXES else 0.0
    return 0.5 if any(one.suffix.lower() in SUFFIXES for one in first_files(path)) else 0.0


def fsdd(path: Path) -> float:
    """Nearly all recordings are named like ``7_theo_3.wav``."""
    if not path.is_dir():
        return 0.0
    inner = path / "recordings"
    names = [one.name for one in islice((inner if inner.is_dir() else path).glob("*.wav"), 200)]
    fitting = sum(FSDD_NAME.fullmatch(name) is not None for name in names)
    return 0.95 if names and fitting >= 0.9 * len(names) else 0.0


def esc50(path: Path) -> float:
    """``meta/esc50.csv`` is there."""
    return 0.95 if path.is_dir() and (path / ESC50_TABLE).is_file() else 0.0


def speech_commands(path: Path) -> float:
    """List files, or names with ``_nohash_`` in folders of words."""
    if not path.is_dir():
        return 0.0
    if all((path / name).is_file() for name in SPEECH_COMMANDS_LISTS.values()):
        return 0.95
    names = [one.name for one in islice(path.glob("*/*.wav"), 200)]
    fitting = sum(SPEECH_COMMANDS_NAME.fullmatch(name) is not None for name in names)
    return 0.9 if names and fitting >= 0.9 * len(names) else 0.0


def urban_sound(path: Path) -> float:
    """``metadata/UrbanSound8K.csv`` is there, or is it."""
    if path.is_file():
        return 0.95 if path.name == URBAN_SOUND_TABLE.name and (path.parent.parent / "audio").is_dir() else 0.0
    return 0.95 if (path / URBAN_SOUND_TABLE).is_file() else 0.0


def kaldi(path: Path) -> float:
    """``wav.scp``, or a folder with it and what belongs to it."""
    if path.is_file():
        return 0.95 if path.suffix.lower() == ".scp" else 0.0
    beside = any((path / name).is_file() for name in ("segments", "utt2spk", "text", "spk2utt"))
    return (0.9 if beside else 0.6) if (path / SCP).is_file() else 0.0


def manifest(path: Path) -> float:
    """A table or JSON list in which a column names recordings, or that has the name of a recording beside it; a folder
    whose tables name at least half of its recordings."""
    if path.is_dir():
        return 0.7 if tables_in(path) and names_enough(path) else 0.0
    if not path.is_file() or not (table_suffix(path) or path.suffix.lower() in JSON_SUFFIXES):
        return 0.0
    try:
        account = Accounting()
        cells = read_cells(path, account)
        if path_column(cells, path.parent, account) is not None:
            return 0.9
        times = has_times(cells.columns)
    except DataError:
        return 0.0
    if times and sibling_recording(path) is not None:
        return 0.85
    beside = any(one.suffix.lower() in SUFFIXES for one in path.parent.iterdir())
    return HARDLY if beside and table_suffix(path) else 0.0
