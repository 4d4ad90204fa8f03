"""How surely each reader fits a path, from names and headers only."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from repcore.data.headers import json_at
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError
from repcore_audio.datasets.folders import ESC50_TABLE, FSDD_NAME, SPEECH_COMMANDS_LISTS, SPEECH_COMMANDS_NAME
from repcore_audio.datasets.manifests import PATH_COLUMNS
from repcore_audio.datasets.recordings import SUFFIXES

LOOKED_AT = 3000  # paths of a large tree that are enough to know


def folder(path: Path) -> float:
    """Any tree with recordings, or one recording."""
    if path.is_file():
        return 0.9 if path.suffix.lower() in SUFFIXES else 0.0
    return 0.5 if any(one.suffix.lower() in SUFFIXES for one in islice(path.rglob("*"), LOOKED_AT)) else 0.0


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


def manifest(path: Path) -> float:
    """A table or JSON list with a column of audio files."""
    if not path.is_file():
        return 0.0
    if path.suffix.lower() == ".json":
        return _json_manifest(path)
    if not table_suffix(path):
        return 0.0
    try:
        table = Table(path)
    except DataError:
        return 0.0
    for column in table.columns:
        if column.lower() in PATH_COLUMNS:
            first = str(table.slice(0, 1, column)[0])
            return 0.9 if Path(first).suffix.lower() in SUFFIXES else 0.0
    return 0.0


def _json_manifest(path: Path) -> float:
    content = json_at(path)
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        return 0.0
    names = [str(rows[0][column]) for column in PATH_COLUMNS if column in rows[0]]
    return 0.9 if any(Path(name).suffix.lower() in SUFFIXES for name in names) else 0.0
