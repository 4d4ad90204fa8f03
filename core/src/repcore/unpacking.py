"""What a packed table unpacks to is bounded: a few kilobytes can stand for terabytes.

Lengths in a footer are judged before anything is decoded, text that repeats is counted before it is written out, and
unpacked bytes are counted as they come. The limit is ``REPCORE_TABLE_MIB``; unless that is set, 1 GiB or 256 times the
file, whichever is more: tables of the sciences unpack to 3 to 100 times their file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from repcore.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LIMIT_VARIABLE = "REPCORE_TABLE_MIB"
LEAST_LIMIT = 2**30
MOST_TIMES = 256  # the size of the file
CELL_BYTES = 16  # of memory that a cell takes at least, as soon as somebody looks at it
PREFIX_BATCH_BYTES = 2**28  # of values that may share beginnings, and so be as long as their whole column each
REPEATING = ("PLAIN_DICTIONARY", "RLE_DICTIONARY")
SHARING = "DELTA_BYTE_ARRAY"


class Unpacked:
    """Counts what comes out of a packed file.

    Args:
        name: of the file, for the message.
        size: of the file in bytes.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size, self.bytes = name, size, 0
        self.limit = _limit(size)

    def add(self, count: int, what: str = "unpacks to") -> None:
        """So many bytes more.

        Raises:
            DataError: they are more than a file of this size may hold.
        """
        self.bytes += count
        if self.bytes > self.limit:
            raise DataError(
                f"{self.name} ({self.size:,} bytes) {what} more than {self.limit / 2**20:,.0f} MiB",
                hint=f"if it is what it should be, raise the limit: {LIMIT_VARIABLE}=N (in MiB)",
            )


def _limit(size: int) -> int:
    asked = os.environ.get(LIMIT_VARIABLE, "")
    try:
        return int(float(asked) * 2**20) if asked else max(LEAST_LIMIT, MOST_TIMES * size)
    except (ValueError, OverflowError):
        return max(LEAST_LIMIT, MOST_TIMES * size)


class _Counting(io.RawIOBase):
    """Bytes of a stream that unpacks, counted."""

    def __init__(self, packed: IO[bytes], unpacked: Unpacked) -> None:
        super().__init__()
        self._packed, self._unpacked = packed, unpacked

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._packed.read(len(buffer))
        self._unpacked.add(len(content))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._packed.close()
        super().close()


def counted(packed: IO[bytes], path: Path) -> IO[bytes]:
    """A stream of unpacked bytes that ends in a ``DataError`` where they are too many.

    Args:
        packed: open, unpacks as it is read.
        path: of the packed file.
    """
    return io.BufferedReader(_Counting(packed, Unpacked(repr(str(path)), path.stat().st_size)), 1 << 20)


@dataclass(frozen=True, slots=True)
class OpenParquet:
    """A parquet file and where its bytes come from."""

    source: Any  # an open file, or a buffer
    file: pq.ParquetFile


def open_parquet(file: Any) -> OpenParquet:  # an open file, or a buffer
    """A parquet file of which the footer alone is read."""
    import pyarrow.parquet as pq

    return OpenParquet(file, pq.ParquetFile(file))


def parquet_batches(
    opened: OpenParquet,
    name: str,
    size: int,
    rows: int,
    *,
    groups: Sequence[int] | None = None,
    columns: Sequence[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Batches of a parquet file, of its own types, decoded only as long as they stay within the limit.

    Args:
        name: for messages.
        size: of the file in bytes.
        rows: most of one batch.
        groups / columns: only these; None = all.

    Raises:
        DataError: more would come out than may.
        OSError, pyarrow.ArrowException: the file is damaged.
    """
    import pyarrow.parquet as pq

    metadata = opened.file.metadata
    chosen = list(range(metadata.num_row_groups) if groups is None else groups)
    announced = Unpacked(name, size)
    for group in chosen:
        width = metadata.num_columns if columns is None else len(columns)
        announced.add(max(0, metadata.row_group(group).num_rows) * width * CELL_BYTES, "announces")
        # looking at the facts of a damaged column ends the process; reading a row of it first is an error
        next(opened.file.iter_batches(batch_size=1, row_groups=[group], columns=columns), None)
    chunks = [
        one for one in _chunks(metadata, chosen) if columns is None or one.path_in_schema.split(".")[0] in columns
    ]
    unpacked, wanted = Unpacked(name, size), metadata.schema.to_arrow_schema()
    rows = min(rows, _rows_at_once(chunks))
    file = opened.source
    reading = pq.ParquetFile(file, metadata=metadata, read_dictionary=_repeating(chunks))
    for batch in reading.iter_batches(batch_size=rows, row_groups=chosen, columns=columns):
        yield _written_out(batch, wanted, unpacked)


def _repeating(chunks: Sequence[pq.ColumnChunkMetaData]) -> list[str]:
    """Columns of texts that are stored once and counted: they are read as numbers and the texts that they stand for."""
    return sorted(
        {
            one.path_in_schema
            for one in chunks
            if one.physical_type == "BYTE_ARRAY" and "." not in one.path_in_schema and _has(one, *REPEATING)
        }
    )


def _chunks(metadata: pq.FileMetaData, groups: Sequence[int]) -> Iterator[pq.ColumnChunkMetaData]:
    for number in groups:
        group = metadata.row_group(number)
        for column in range(group.num_columns):
            yield group.column(column)


def _has(chunk: pq.ColumnChunkMetaData, *encodings: str) -> bool:
    return any(one in chunk.encodings for one in encodings)


def _rows_at_once(chunks: Sequence[pq.ColumnChunkMetaData]) -> int:
    """Few rows where values share their beginnings: each may be as long as all bytes of its column."""
    longest = max((one.total_uncompressed_size for one in chunks if _has(one, SHARING)), default=0)
    return max(1, PREFIX_BATCH_BYTES // max(1, longest))


def _written_out(batch: pa.RecordBatch, wanted: pa.Schema, unpacked: Unpacked) -> pa.RecordBatch:
    """A batch with its repeated texts in place of their numbers, if there is room for them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(batch.schema):
        cells = batch.column(place)
        if not pa.types.is_dictionary(field.type):
            unpacked.add(max(cells.nbytes, CELL_BYTES * len(cells)))
            continue
        lengths = pc.take(pc.cast(pc.binary_length(cells.dictionary), pa.int64()), cells.indices)
        unpacked.add(int(pc.sum(lengths).as_py() or 0) + CELL_BYTES * len(cells))
        declared = wanted.field(wanted.names.index(field.name))
        if not pa.types.is_dictionary(declared.type):
            batch = batch.set_column(place, declared, cells.dictionary_decode().cast(declared.type))
    return batch.replace_schema_metadata(wanted.metadata)
