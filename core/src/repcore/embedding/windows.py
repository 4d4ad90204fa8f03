"""Rows read and prepared in windows of work that are bounded in rows and in bytes.

A row that cannot be read or prepared keeps its place with a status and a reason. Molecules fill a window by their
number, recordings and volumes by their size, so that memory does not grow with the length of the data set or of its
items.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from repcore.data.guard import prepare_sample, read_sample, row_id
from repcore.data.item_processes import apart
from repcore.data.spent import PREPARING, READING, Handed, metered, spent_on, taken
from repcore.data.workers import WorkerLoader
from repcore.errors import ItemError
from repcore.interfaces import DatasetReader, Item, Preprocessor, Sample

WINDOW_ROWS = 2048
WINDOW_BYTES = 256 * 2**20
CHUNK = 4  # rows that a worker process hands over at once: few, because a row may be a whole recording
MOST_AHEAD = 16  # such groups that a worker prepares before they are asked for: each tensor takes an open file
PLAIN_BYTES = 64  # of a value that does not say its size


@dataclass(slots=True)
class PreparedRow:
    """A row on its way: its items, or why there are none."""

    sample: Sample | None
    id: str
    items: list[Item] = field(default_factory=list)
    status: str = "ok"
    reason: str = ""


class _Chunks(Dataset[Any]):
    """Chunk number -> prepared rows, for worker processes."""

    def __init__(self, reader: DatasetReader, preprocessor: Preprocessor, rows: np.ndarray, whole: bool) -> None:
        self.reader, self.preprocessor, self.rows, self.whole = reader, preprocessor, rows, whole

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / CHUNK)

    def __getitem__(self, number: int) -> Handed[list[PreparedRow]]:
        return metered(self._prepared, self.rows[number * CHUNK : (number + 1) * CHUNK])

    def _prepared(self, rows: np.ndarray) -> list[PreparedRow]:
        return [prepare_row(self.reader, self.preprocessor, int(row), whole=self.whole) for row in rows]


def prepare_row(reader: DatasetReader, preprocessor: Preprocessor, row: int, *, whole: bool = False) -> PreparedRow:
    """Read and prepare one row; failures of the row itself become its status.

    Args:
        whole: keep the sample's inputs (dense answers go back to them); else they are dropped.
    """
    sample = None
    try:
        with spent_on(READING):
            sample = read_sample(reader, row)
        with spent_on(PREPARING):
            items = prepare_sample(preprocessor, sample)
    except ItemError as error:
        return PreparedRow(sample, sample.id if sample else row_id(reader, row), [], error.status, error.reason)
    noted = next((item for item in items if item.status != "ok"), items[0])
    kept = sample if whole else Sample(sample.id, None, sample.targets, sample.group, sample.meta)
    return PreparedRow(kept, sample.id, items, noted.status, noted.reason)


def prepared_windows(
    reader: DatasetReader,
    preprocessor: Preprocessor,
    rows: Sequence[int] | np.ndarray,
    *,
    most_rows: int = WINDOW_ROWS,
    most_bytes: int = WINDOW_BYTES,
    workers: int = 0,
    whole: bool = False,
    item_timeout: float | None = None,
    held: Mapping[int, PreparedRow] | None = None,
) -> Iterator[list[PreparedRow]]:
    """Windows of prepared rows, in order; each holds a row at least, then at most so many rows and bytes.

    Args:
        workers: processes that read and prepare.
        whole: keep the inputs of each sample.
        item_timeout: seconds after which a row is given up; see :mod:`repcore.data.item_processes`.
        held: rows that are prepared already.
    """
    window: list[PreparedRow] = []
    filled = 0
    for row in _rows(
        reader, preprocessor, np.asarray(rows, np.int64), workers, whole, item_timeout, held or {}, most_bytes
    ):
        size = sum(size_of(item.values) for item in row.items)
        size += size_of(row.sample.inputs) if whole and row.sample is not None else 0
        if window and (len(window) == most_rows or filled + size > most_bytes):
            yield window
            window, filled = [], 0
        window.append(row)
        filled += size
    if window:
        yield window


def _rows(
    reader: DatasetReader,
    preprocessor: Preprocessor,
    rows: np.ndarray,
    workers: int,
    whole: bool,
    item_timeout: float | None = None,
    held: Mapping[int, PreparedRow] = MappingProxyType({}),
    most_bytes: int = WINDOW_BYTES,
) -> Iterator[PreparedRow]:
    if item_timeout is not None:
        work = partial(metered, partial(prepare_row, reader, preprocessor, whole=whole))
        yield from map(taken, apart(work, map(int, rows), item_timeout, partial(_given_up, reader), workers))
        return
    if workers == 0:
        for row in map(int, rows):
            yield held[row] if row in held else prepare_row(reader, preprocessor, row, whole=whole)
        return
    if not len(rows):
        return
    first = prepare_row(reader, preprocessor, int(rows[0]), whole=whole)
    yield first
    weight = max(PLAIN_BYTES, sum(size_of(item.values) for item in first.items))
    ahead = min(MOST_AHEAD, max(2, most_bytes // (workers * CHUNK * weight)))  # as far as a window reaches
    chunks = _Chunks(reader, preprocessor, rows[1:], whole)
    for chunk in WorkerLoader(chunks, batch_size=None, num_workers=workers, prefetch_factor=ahead):
        yield from taken(chunk)


def _given_up(reader: DatasetReader, row: int, error: ItemError) -> Handed[PreparedRow]:
    return PreparedRow(None, row_id(reader, row), [], error.status, error.reason), {}, os.getpid()


def prepare_rows(
    reader: DatasetReader,
    preprocessor: Preprocessor,
    rows: Sequence[int] | np.ndarray,
    workers: int = 0,
    *,
    whole: bool = False,
) -> list[PreparedRow]:
    """A bounded number of rows held in memory, to be embedded again and again (diagnostics); with the inputs of each
    sample where ``whole``."""
    return list(_rows(reader, preprocessor, np.asarray(rows, np.int64), workers, whole=whole))


def size_of(value: Any) -> int:  # items hold the domain's own kinds
    """Bytes of arrays and tensors in a value, through mappings, sequences, data classes and PyG objects."""
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(size_of(part) for part in value.values())
    if isinstance(value, list | tuple):
        return sum(size_of(part) for part in value)
    if dataclasses.is_dataclass(value):
        return sum(size_of(getattr(value, one.name)) for one in dataclasses.fields(value))
    as_mapping = getattr(value, "to_dict", None)
    return size_of(as_mapping()) if callable(as_mapping) else PLAIN_BYTES
