"""Slow preparation done once: an atomic cache beside the runs, never beside the user's data.

Key = hash of (data fingerprint, preparation key). The folder appears whole, with checksums; one that does not agree
with them is made again.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from repcore.data.divided import over
from repcore.data.whole_folders import appearing_whole, damaged, sealed
from repcore.interfaces import DatasetReader, Preparation, Preprocessor

Report = Callable[[int, int], None]


def cache_root() -> Path:
    """``REPCORE_CACHE``, else ``$XDG_CACHE_HOME/repcore``, else ``~/.cache/repcore``."""
    if os.environ.get("REPCORE_CACHE"):
        return Path(os.environ["REPCORE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repcore"


def prepared(
    reader: DatasetReader,
    preprocessor: Preprocessor,
    *,
    workers: int = 0,
    progress: Report = lambda done, total: None,
    warn: Callable[[str], None] = warnings.warn,
    again: bool = False,
) -> DatasetReader:
    """The reader over prepared data if the preprocessor wants preparation, otherwise the reader itself.

    Readers that stand over another (of one label, of groups of elements) stand over the prepared data afterwards.

    Args:
        warn: is told that a damaged cache is made again.
        again: make it again although it is there and sound.
    """
    make = getattr(preprocessor, "preparation", None)
    if make is None:
        return reader
    preparation = make(workers)
    if preparation is None:
        return reader
    return over(reader, lambda whole: run_preparation(preparation, whole, progress, warn, again))


def run_preparation(
    preparation: Preparation,
    reader: DatasetReader,
    progress: Report,
    warn: Callable[[str], None] = warnings.warn,
    again: bool = False,
) -> DatasetReader:
    """Open the cached result, making it first if it is not there, and again if it is damaged or ``again`` asks for it.

    Raises:
        DataError: the cache cannot be written.
    """
    key = sha256(f"{reader.fingerprint}|{preparation.key}".encode()).hexdigest()[:24]
    folder = cache_root() / "prepared" / key
    damage = damaged(folder) if folder.is_dir() else ""
    if damage:
        warn(f"prepared data in {folder} are damaged ({damage}); they are made again")
        shutil.rmtree(folder, ignore_errors=True)
    if again or not folder.is_dir():
        cannot = f"the preparation cache {cache_root()} cannot be written"
        with appearing_whole(folder, lambda: not again and folder.is_dir(), cannot) as partial:
            preparation.run(reader, partial, progress)
            sealed(partial)
            if again:  # the old one stays until the new one is complete
                shutil.rmtree(folder, ignore_errors=True)
    return preparation.open(reader, folder)
