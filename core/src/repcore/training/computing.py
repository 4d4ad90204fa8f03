"""What a domain computes from its inputs, for many rows: computed once, then taken from the cache of preparations.

RDKit's descriptors of 46,000 molecules take as long as training on them; runs with other seeds and settings learn from
the same ones.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np

from repcore.data.guard import read_sample
from repcore.data.preparation import run_preparation
from repcore.errors import ItemError
from repcore.evaluation.raw_inputs import RawFeatures
from repcore.files import parse_json, write_text
from repcore.interfaces import DatasetReader, Preprocessor, Sample
from repcore.registry import Entry
from repcore.specs import PreprocessorSpec

READ_AT_ONCE = 256  # samples held in memory: they may be volumes
MANY = 5_000  # rows, of which it is said that they are computed
NAME = re.compile(r"[A-Za-z0-9._-]+")  # of a distribution, at the beginning of a requirement
Found = tuple[np.ndarray, list[str], dict[str, np.ndarray]]


class Computing:
    """Baselines of rows, as a preparation in one piece (:class:`repcore.interfaces.Preparation`).

    Args:
        entry: of the preprocessor.
        names: of its baselines.
        places: row numbers of the data set's reader (n,).
        say: tells the user something.
    """

    def __init__(
        self,
        entry: Entry[PreprocessorSpec],
        preprocessor: Preprocessor,
        names: tuple[str, ...],
        places: np.ndarray,
        say: Callable[[str], None],
    ) -> None:
        self._entry, self._preprocessor, self._names, self._places, self._say = entry, preprocessor, names, places, say
        what = ["computed", entry.full_name, _versions(entry, names), _state(preprocessor), list(names)]
        self.key = f"{json.dumps(what)}|{sha256(places.tobytes()).hexdigest()}"

    def of(self, reader: DatasetReader) -> Found:
        """From the cache, or computed.

        Returns:
            which of ``places`` can be read (m,), their ids, name -> float64 (m, D) with NaN rows where there is none.

        Raises:
            DataError: the cache cannot be written.
        """
        return cast(Found, run_preparation(self, reader, lambda done, total: None, self._say))

    def run(self, reader: DatasetReader, folder: Path, progress: Callable[[int, int], None]) -> None:
        """Compute and write."""
        if len(self._places) > MANY:
            self._say(f"computing {', '.join(self._names)} of {len(self._places):,} items, once for these data")
        features = RawFeatures(self._entry, self._preprocessor, self._names)
        ids: list[str] = []
        kept: list[int] = []
        for first in range(0, len(self._places), READ_AT_ONCE):
            read = [_read(reader, int(row)) for row in self._places[first : first + READ_AT_ONCE]]
            samples = [one for one in read if one is not None]
            ids += [one.id for one in samples]
            kept += [first + place for place, one in enumerate(read) if one is not None]
            features.add(samples)
            progress(first + len(read), len(self._places))
        write_text(folder / "ids.json", json.dumps(ids))
        np.save(folder / "rows.npy", np.asarray(kept, np.int64))
        for number, values in enumerate(features.joined().values()):
            np.save(folder / f"{number}.npy", values)

    def open(self, reader: DatasetReader, folder: Path) -> Any:  # of run_preparation, which opens readers elsewhere
        """What :meth:`run` has written, as :meth:`of` returns it."""
        values = {name: np.load(folder / f"{number}.npy") for number, name in enumerate(self._names)}
        return np.load(folder / "rows.npy"), parse_json((folder / "ids.json").read_text(encoding="utf-8")), values


def _versions(entry: Entry[PreprocessorSpec], names: Sequence[str]) -> dict[str, str]:
    """Of what computes: the plugin, the libraries that it asks for, and the files of its functions."""
    found = {"repcore": importlib.metadata.version("repcore"), "plugin": entry.plugin.label}
    try:
        asked = importlib.metadata.requires(entry.plugin.distribution) or []
    except (importlib.metadata.PackageNotFoundError, ValueError):  # no distribution, or one without a name
        asked = []
    for line in asked:
        name = NAME.match(line)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # of an extra that is not installed
            found |= {name[0]: importlib.metadata.version(name[0])} if name else {}
    files = {inspect.getsourcefile(entry.load("baselines", name)) for name in names}
    return found | {str(path): sha256(Path(path).read_bytes()).hexdigest() for path in files if path}


def _state(preprocessor: Preprocessor) -> str:
    """Hash of what the preprocessor saves: settings, and what it was fitted to."""
    with tempfile.TemporaryDirectory() as folder:
        preprocessor.save(Path(folder))
        files = sorted(one for one in Path(folder).rglob("*") if one.is_file())
        parts = [(str(one.relative_to(folder)), sha256(one.read_bytes()).hexdigest()) for one in files]
    return sha256(json.dumps(parts).encode()).hexdigest()


def _read(reader: DatasetReader, row: int) -> Sample | None:
    try:
        return read_sample(reader, row)
    except ItemError:
        return None
