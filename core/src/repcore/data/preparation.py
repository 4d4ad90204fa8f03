"""Slow preparation done once: an atomic cache beside the runs, never beside the user's data.

Key = hash of (data fingerprint, preparation key). The folder is filled under a temporary name and renamed, so a
killed run leaves nothing that looks finished.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from repcore.errors import DataError
from repcore.interfaces import DatasetReader, Preparation, Preprocessor

Report = Callable[[int, int], None]


def cache_root() -> Path:
    """``REPCORE_CACHE``, else ``$XDG_CACHE_HOME/repcore``, else ``~/.cache/repcore``."""
    if os.environ.get("REPCORE_CACHE"):
        return Path(os.environ["REPCORE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repcore"


def prepared(
    reader: DatasetReader, preprocessor: Preprocessor, *, workers: int = 0, progress: Report = lambda done, total: None
) -> DatasetReader:
    """The reader over prepared data if the preprocessor wants preparation, otherwise the reader itself."""
    make = getattr(preprocessor, "preparation", None)
    if make is None:
        return reader
    preparation = make(workers)
    return reader if preparation is None else run_preparation(preparation, reader, progress)


def run_preparation(preparation: Preparation, reader: DatasetReader, progress: Report) -> DatasetReader:
    """Open the cached result, making it first if it is not there.

    Raises:
        DataError: the cache cannot be written.
    """
    key = sha256(f"{reader.fingerprint}|{preparation.key}".encode()).hexdigest()[:24]
    folder = cache_root() / "prepared" / key
    if not folder.is_dir():
        partial = folder.with_name(f"{key}.partial-{uuid.uuid4().hex[:8]}")
        try:
            partial.mkdir(parents=True)
            preparation.run(reader, partial, progress)
            partial.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # otherwise another process finished first
                raise DataError(
                    f"the preparation cache {cache_root()} cannot be written: {error}",
                    hint="set REPCORE_CACHE to a folder with space",
                ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return preparation.open(reader, folder)
