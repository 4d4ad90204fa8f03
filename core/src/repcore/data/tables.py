"""Tabular files of any size: CSV, TSV, SMI, parquet, plain or gzipped, read row by row with bounded memory.

Every file becomes one Arrow table of text columns (parquet keeps its types): small ones in memory, large ones as
a memory-mapped copy in the cache, so that a million rows need no more RAM than a thousand. Values stay as they are
written; interpreting them (numbers, missing labels) is the reader's business. A row with the wrong number of
fields stays a row and carries its problem.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import uuid
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from repcore.data.cells import MISSING_WORDS, number
from repcore.data.preparation import cache_root
from repcore.errors import DataError, ItemError, closest

ROWS_PER_CHUNK = 8192
SMALL_FILE_BYTES = 32 * 1024 * 1024
__all__ = ["MISSING_WORDS", "Table", "file_fingerprint", "number", "table_suffix"]

PROBLEM_COLUMN = "__problem__"
TEXT_SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".smi": None, ".smiles": None, ".txt": None}
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
HEADER_WORDS = frozenset({"smiles", "smi", "canonical_smiles", "structure"})


def table_suffix(path: Path) -> str:
    """The suffix that decides the format, ``.gz`` looked through; empty if it is no table."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else ""


class Table:
    """Random access to the rows of a tabular file.

    Args:
        path: the file.

    Raises:
        DataError: missing, empty, not text, or damaged; says which.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f"{str(path)!r} is not a file" if path.exists() else f"{str(path)!r} does not exist")
        if path.stat().st_size == 0:
            raise DataError(f"{str(path)!r} is empty (0 bytes)")
        if not table_suffix(path):
            raise DataError(f"{str(path)!r} is not a table by its name", expected=", ".join(SUFFIXES) + " (also .gz)")
        self.fingerprint = file_fingerprint(path)
        self._table = _load(path, self.fingerprint)
        self.columns = [name for name in self._table.column_names if name != PROBLEM_COLUMN]
        if len(self) == 0:
            raise DataError(f"{str(path)!r} has a header but no rows", columns=", ".join(self.columns))
        first = self._table.column(0).chunks
        self._chunk_starts = [0]
        for chunk in first:
            self._chunk_starts.append(self._chunk_starts[-1] + len(chunk))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def require(self, name: str) -> str:
        """A column name that exists, found exactly or without regard to case.

        Raises:
            DataError: no such column; lists the columns.
        """
        if name in self.columns:
            return name
        lower = [column for column in self.columns if column.lower() == name.lower()]
        if len(lower) == 1:
            return lower[0]
        raise DataError(
            f"{self.path.name} has no column {name!r}",
            did_you_mean=closest(name, self.columns),
            columns=", ".join(self.columns),
        )

    def value(self, row: int, column: str) -> Any:  # text, or parquet's own type
        """One cell.

        Raises:
            ItemError: the row was malformed.
        """
        chunk, offset = self._locate(row)
        if PROBLEM_COLUMN in self._table.column_names:
            problem = self._table.column(PROBLEM_COLUMN).chunk(chunk)[offset].as_py()
            if problem:
                raise ItemError("malformed_row", problem)
        return self._table.column(column).chunk(chunk)[offset].as_py()

    def slice(self, start: int, stop: int, column: str) -> list[Any]:
        """Cells [start, stop) of a column; malformed rows give what they have."""
        return list(self._table.column(column).slice(start, stop - start).to_pylist())

    def problems(self) -> dict[int, str]:
        """Malformed rows: row number -> what is wrong."""
        if PROBLEM_COLUMN not in self._table.column_names:
            return {}
        texts = self._table.column(PROBLEM_COLUMN).to_pylist()
        return {row: text for row, text in enumerate(texts) if text}

    def _locate(self, row: int) -> tuple[int, int]:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        chunk = min(row // ROWS_PER_CHUNK, len(self._chunk_starts) - 2)
        while self._chunk_starts[chunk] > row:
            chunk -= 1
        while self._chunk_starts[chunk + 1] <= row:
            chunk += 1
        return chunk, row - self._chunk_starts[chunk]


def file_fingerprint(path: Path) -> str:
    """Hash of a file: its content up to 64 MiB, beyond that of name, size, time and both ends."""
    digest = sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= 64 * 1024 * 1024:
            while block := file.read(1 << 20):
                digest.update(block)
        else:
            digest.update(f"{path.name}|{size}|{path.stat().st_mtime_ns}".encode())
            digest.update(file.read(1 << 20))
            file.seek(-(1 << 20), os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()


def _load(path: Path, fingerprint: str) -> pa.Table:
    try:
        batches = _parquet_batches(path) if table_suffix(path) == ".parquet" else _text_batches(path)
        if path.stat().st_size <= SMALL_FILE_BYTES:
            collected = list(batches)
            return pa.Table.from_batches(collected)
        return _memory_mapped(batches, cache_root() / "tables" / f"{fingerprint[:24]}.arrow")
    except (OSError, EOFError, gzip.BadGzipFile, pa.ArrowException) as error:
        raise DataError(f"{str(path)!r} is damaged or not what its name says: {error}") from error


def _memory_mapped(batches: Iterator[pa.RecordBatch], target: Path) -> pa.Table:
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial-{uuid.uuid4().hex[:8]}")
        first = next(batches)
        try:
            with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
                writer.write_batch(first)
                for batch in batches:
                    writer.write_batch(batch)
            partial.rename(target)
        finally:
            if partial.exists():
                partial.unlink()
    return pa.ipc.open_file(pa.memory_map(str(target), "r")).read_all()


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".gz":
        raise DataError(f"{str(path)!r}: parquet compresses itself", hint=f"gunzip {path.name}")
    return iter(pq.ParquetFile(path, memory_map=True).iter_batches(batch_size=ROWS_PER_CHUNK))


def _text_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with _open_text(path) as file:
        rows, columns = _rows_and_columns(file, path)
        pending: list[list[str | None]] = []
        for row in rows:
            pending.append(_fit(row, len(columns)))
            if len(pending) == ROWS_PER_CHUNK:
                yield _record_batch(pending, columns)
                pending = []
        yield _record_batch(pending, columns)


def _open_text(path: Path) -> IO[str]:
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open  # of two unrelated types
    raw = opener(path, "rb")  # closed with the text wrapper
    try:
        head = raw.read(1 << 16)
    except (OSError, EOFError) as error:
        raise DataError(f"{str(path)!r} is damaged: {error}") from error
    if not head.strip():
        raise DataError(f"{str(path)!r} holds nothing but blanks")
    if b"\0" in head or sum(byte < 9 for byte in head) > 0:
        raise DataError(f"{str(path)!r} is binary, not a text table", got=f"begins with {head[:8]!r}")
    raw.seek(0)
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")


def _rows_and_columns(file: IO[str], path: Path) -> tuple[Iterator[list[str]], list[str]]:
    """Rows after the header, and column names."""
    suffix = table_suffix(path)
    lines = _universal_lines(file)
    if TEXT_SUFFIXES[suffix] is None and not _has_delimited_header(_peek(file), suffix):
        return _plain_rows(lines)
    csv.field_size_limit(1 << 27)
    separator = TEXT_SUFFIXES[suffix] or ("\t" if "\t" in _peek(file) else ",")
    if suffix == ".csv" and separator not in _peek(file):
        separator = next((other for other in (";", "\t", "|") if other in _peek(file)), separator)
    rows = (row for row in csv.reader(lines, delimiter=separator) if row)
    try:
        header = [name.strip() for name in next(rows)]
    except StopIteration:
        raise DataError(f"{str(path)!r} has no header line") from None
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise DataError(f"{path.name} has columns of the same name: {', '.join(twice) or '(unnamed)'}")
    return rows, [name or f"column{number}" for number, name in enumerate(header)]


def _peek(file: IO[str]) -> str:
    """The first line, without moving."""
    position = file.tell()
    line = file.readline()
    while line and not line.strip():
        line = file.readline()
    file.seek(position)
    return line


def _universal_lines(file: IO[str]) -> Iterator[str]:
    """Lines whatever their endings, even mixed ones; csv sees every field's own line breaks as \\n."""
    pending = ""
    while block := file.read(1 << 20):
        block = pending + block
        keep = 1 if block.endswith("\r") else 0  # a \r\n may be cut in two
        body = block[: len(block) - keep].replace("\r\n", "\n").replace("\r", "\n")
        *complete, rest = body.split("\n")
        for line in complete:
            yield line + "\n"
        pending = rest + block[len(block) - keep :]
    rest = pending.replace("\r", "")
    if rest:
        yield rest


def _has_delimited_header(first_line: str, suffix: str) -> bool:
    """Whether a file without a fixed separator is really a CSV or TSV with a header line."""
    if suffix == ".txt":
        return "\t" in first_line or "," in first_line
    words = first_line.lower().replace("\t", ",").split(",")
    return len(words) > 1 and any(word.strip() in HEADER_WORDS for word in words)


def _plain_rows(lines: Iterator[str]) -> tuple[Iterator[list[str]], list[str]]:
    """The .smi custom: a text, blanks, its name; a header only if its first word says so."""
    rows = (line.rstrip("\n").split(None, 1) for line in lines if line.strip())
    first = next(rows)
    has_header = first[0].lower() in HEADER_WORDS
    columns = ["smiles", "name"]

    def body() -> Iterator[list[str]]:
        if not has_header:
            yield first
        yield from rows

    return ([row[0], row[1].strip() if len(row) > 1 else ""] for row in body()), columns


def _fit(row: Sequence[str], width: int) -> list[str | None]:
    """A row at the table's width, its problem (or None) last."""
    if len(row) == width:
        return [*row, None]
    problem = f"{len(row)} fields instead of {width}"
    cells: list[str | None] = [*row[:width]]
    return [*cells, *([None] * (width - len(cells))), problem]


def _record_batch(rows: list[list[str | None]], columns: list[str]) -> pa.RecordBatch:
    cells = list(zip(*rows, strict=True)) if rows else [()] * (len(columns) + 1)
    arrays = [pa.array(column, pa.large_string()) for column in cells]
    return pa.RecordBatch.from_arrays(arrays, names=[*columns, PROBLEM_COLUMN])
