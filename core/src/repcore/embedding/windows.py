"""Rows read and prepared in windows of work that are bounded in rows and in bytes.

A row that cannot be read or prepared keeps its place with a status and a reason. Molecules fill a window by their
number, recordings and volumes by their size, so that memory does not grow with the length of the data set or of its
items.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from repcore.data.guard import prepare_sample, read_sample, row_id
from repcore.data.item_processes import apart
from repcore.data.workers import WorkerLoader
from repcore.errors import ItemError
from repcore.interfaces import DatasetReader, Item, Preprocessor, Sample

WINDOW_ROWS = 2048
WINDOW_BYTES = 256 * 2**20
CHUNK = 4  # rows that a worker process hands over at once: few, because a row may be a whole recording
PLAIN_BYTES = 64  # of a value that does not say its size


@dataclass(slots=True)
class PreparedRow:
    """A row on its way: its items, or why there are none."""

    sample: Sample | None
    id: str
    items: list[Item] = field(default_factory=list)
    status: str = "ok"
    reason: str = ""


class _Chunks(Dataset[list[PreparedRow]]):
    """Chunk number -> prepared rows, for worker processes."""

    def __init__(self, reader: DatasetReader, preprocessor: Preprocessor, rows: np.ndarray, whole: bool) -> None:
        self.reader, self.preprocessor, self.rows, self.whole = reader, preprocessor, rows, whole

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / CHUNK)

    def __getitem__(self, number: int) -> list[PreparedRow]:
        chosen = self.rows[number * CHUNK : (number + 1) * CHUNK]
        return [prepare_row(self.reader, self.preprocessor, int(row), whole=self.whole) for row in chosen]


def prepare_row(reader: DatasetReader, preprocessor: Preprocessor, row: int, *, whole: bool = False) -> PreparedRow:
    """Read and prepare one row; failures of the row itself become its status.

    Args:
        whole: keep the sample's inputs (dense answers go back to them); else they are dropped.
    """
    sample = None
    try:
        sample = read_sample(reader, row)
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
) -> Iterator[list[PreparedRow]]:
    """Windows of prepared rows, in order; each holds a row at least, then at most so many rows and bytes.

    Args:
        workers: processes that read and prepare.
        whole: keep the inputs of each sample.
        item_timeout: seconds after which a row is given up; see :mod:`repcore.data.item_processes`.
    """
    window: list[PreparedRow] = []
    held = 0
    for row in _rows(reader, preprocessor, np.asarray(rows, np.int64), workers, whole, item_timeout):
        size = sum(size_of(item.values) for item in row.items)
        size += size_of(row.sample.inputs) if whole and row.sample is not None else 0
        if window and (len(window) == most_rows or held + size > most_bytes):
            yield window
            window, held = [], 0
        window.append(row)
        held += size
    if window:
        yield window


def _rows(
    reader: DatasetReader,
    preprocessor: Preprocessor,
    rows: np.ndarray,
    workers: int,
    whole: bool,
    item_timeout: float | None = None,
) -> Iterator[PreparedRow]:
    if item_timeout is not None:
        work = partial(prepare_row, reader, preprocessor, whole=whole)
        yield from apart(work, map(int, rows), item_timeout, partial(_given_up, reader), workers)
        return
    if workers == 0:
        for row in rows:
            yield prepare_row(reader, preprocessor, int(row), whole=whole)
        return
    chunks = _Chunks(reader, preprocessor, rows, whole)
    for chunk in WorkerLoader(chunks, batch_size=None, num_workers=workers, prefetch_factor=2):
        yield from chunk


def _given_up(reader: DatasetReader, row: int, error: ItemError) -> PreparedRow:
    return PreparedRow(None, row_id(reader, row), [], error.status, error.reason)


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
