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

import numpy as np

from repcore.data.blocks import SUFFIX, Blocks, Share, fill_by_blocks
from repcore.data.divided import over
from repcore.data.guard import row_id
from repcore.data.whole_folders import appearing_whole, damaged, sealed, temporary_name
from repcore.errors import ConfigError, DataError
from repcore.interfaces import BlockPreparation, DatasetReader, Preparation, Preprocessor
from repcore.outputs import refuse_address

Report = Callable[[int, int], None]


def cache_root() -> Path:
    """``REPCORE_CACHE``, else ``$XDG_CACHE_HOME/repcore``, else ``~/.cache/repcore``.

    Raises:
        ConfigError: it is an address.
    """
    if chosen := os.environ.get("REPCORE_CACHE"):
        refuse_address(chosen, "REPCORE_CACHE")
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repcore"


def prepared(
    reader: DatasetReader,
    preprocessor: Preprocessor,
    *,
    workers: int = 0,
    share: Share | None = None,
    progress: Report = lambda done, total: None,
    warn: Callable[[str], None] = warnings.warn,
    again: bool = False,
) -> DatasetReader:
    """The reader over prepared data if the preprocessor wants preparation, otherwise the reader itself.

    Readers that stand over another (of one label, of groups of elements) stand over the prepared data afterwards.

    Args:
        workers: processes of this machine that prepare blocks of rows; 0 = this one.
        share, warn, again: as :func:`run_preparation` has them.
    """
    make = getattr(preprocessor, "preparation", None)
    if make is None:
        return reader
    preparation = make(workers)
    if preparation is None:
        return reader
    return over(
        reader,
        lambda whole: run_preparation(preparation, whole, progress, warn, again, workers=workers, share=share),
    )


def run_preparation(
    preparation: BlockPreparation | Preparation,
    reader: DatasetReader,
    progress: Report,
    warn: Callable[[str], None] = warnings.warn,
    again: bool = False,
    *,
    workers: int = 0,
    share: Share | None = None,
) -> DatasetReader:
    """Open the cached result, making it first if it is not there, and again if it is damaged or ``again`` asks for it.

    Args:
        warn: is told that a damaged cache is made again.
        again: make it again although it is there and sound.
        share: where this one of several processes begins; as the launcher numbers it where None. All may begin at
            the same place.

    Raises:
        ConfigError: a share of what is made in one piece. DataError: the cache cannot be written.
    """
    key = sha256(f"{reader.fingerprint}|{preparation.key}".encode()).hexdigest()[:24]
    folder = cache_root() / "prepared" / key
    damage = damaged(folder) if folder.is_dir() else ""
    if damage:
        warn(f"prepared data in {folder} are damaged ({damage}); they are made again")
        shutil.rmtree(folder, ignore_errors=True)

    if share is not None and not isinstance(preparation, BlockPreparation):
        raise ConfigError("these data are prepared in one piece, which is not shared out", hint="leave out --share")
    blocks = folder.with_name(f"{key}{SUFFIX}")
    if not again and folder.is_dir():
        shutil.rmtree(blocks, ignore_errors=True)  # of a process that was killed when all was done
        return preparation.open(reader, folder)
    work = temporary_name(blocks) if again else blocks

    def finish(fresh: Path) -> None:
        sealed(fresh)
        if again:  # the old one stays until the new one is complete
            shutil.rmtree(folder, ignore_errors=True)

    if isinstance(preparation, BlockPreparation):
        own = share or Share.of_this_process()
        try:
            fill_by_blocks(Blocks(preparation, reader, work, folder, key, again), workers, own, progress, warn, finish)
        finally:
            if again:
                shutil.rmtree(work, ignore_errors=True)
    else:
        cannot = f"the preparation cache {cache_root()} cannot be written"
        with appearing_whole(folder, lambda: not again and folder.is_dir(), cannot) as fresh:
            preparation.run(reader, fresh, progress)
            finish(fresh)
    return preparation.open(reader, folder)


def source_rows(compact: DatasetReader, reader: DatasetReader, places: np.ndarray) -> np.ndarray:
    """Row numbers of the data set behind rows of its prepared form.

    A prepared reader may say so itself (``source_rows``); otherwise rows are matched by id, or, where its ids are
    ascending row numbers, by these.

    Raises:
        DataError: none of these works.
    """
    if compact is reader or len(compact) == len(reader):
        return places
    known = getattr(compact, "source_rows", None)
    if known is not None:
        return np.asarray(known)[places]
    ids = [row_id(compact, int(place)) for place in places]
    own = {row_id(reader, row): row for row in range(len(reader))}
    if len(own) == len(reader) and all(name in own for name in ids):
        return np.asarray([own[name] for name in ids])
    if all(name.isdecimal() for name in ids):
        rows = np.asarray([int(name) for name in ids])
        if (rows >= places).all() and (np.diff(rows) > 0).all() and rows.max(initial=-1) < len(reader):
            return rows
    raise DataError("rows of the prepared data cannot be matched with rows of the data set")
