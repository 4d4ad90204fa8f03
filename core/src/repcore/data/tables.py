"""Tabular files of any size: CSV, TSV, SMI, TXT, parquet, plain or gzipped, read row by row with bounded memory.

Every file becomes one Arrow table of text columns (parquet keeps its types): small ones in memory, large ones as a
memory-mapped copy in the cache, so that a million rows need no more RAM than a thousand. Values stay as they are
written; interpreting them (numbers, missing labels) is the business of :mod:`repcore.data.cells` and
:mod:`repcore.data.labels`. Encoding, delimiter and header are judged from the content, and every guess is told with its
reason (:meth:`Table.tell`). A record with the wrong number of fields stays a row and carries its problem.
"""

from __future__ import annotations

import gzip
import json
import mmap
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from repcore.data.accounting import Accounting, TableCount
from repcore.data.cells import MISSING_WORDS, Columns, flat_cells, number
from repcore.data.dialects import BLANKS, FIRST_BLANK, Dialect, cut, find_dialect
from repcore.data.encodings import Encoding, detect_encoding
from repcore.data.header_row import IsData
from repcore.data.identity import file_identity
from repcore.data.preparation import cache_root
from repcore.data.records import LONG_LINE, MOST_LINE, Counted, Records, first_lines, open_text, universal_lines
from repcore.errors import DataError, ItemError, closest
from repcore.files import read_json_file
from repcore.reporting import Wait
from repcore.unpacking import open_parquet, parquet_batches

ROWS_PER_CHUNK = 8192
SMALL_FILE_BYTES = 32 * 1024 * 1024
HELD_BYTES = 256 * 2**20  # of a small file that unpacks to more there is a copy in the cache, too
FORMAT = 5  # of the cached copy; raised when the same bytes are read otherwise
__all__ = ["MISSING_WORDS", "Table", "file_fingerprint", "number", "table_suffix"]

LEAST_NAMES = 6  # of a .smi, before it is said that they come again and again
SUMMARIES = frozenset({
    "total", "totals", "sum", "mean", "average", "avg", "median", "std", "sd", "count", "min", "max", "grand total",
    "gesamt", "summe", "mittelwert", "total général", "somme", "moyenne", "suma", "media",
})  # fmt: skip
PROBLEM_COLUMN = "__problem__"
TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".smi", ".smiles", ".txt", ".dat", ".edges", ".edgelist")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
SMI_SUFFIXES = (".smi", ".smiles")
SMI_HEADERS = frozenset({"smiles", "smi", "canonical_smiles", "structure"})


def table_suffix(path: Path) -> str:
    """The suffix that decides the format, ``.gz`` looked through; empty if it is no table."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else ""


class Names(list[str]):
    """Names of columns in order; whether one is among them is told at once, however many there are."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(names)
        self._known = frozenset(self)

    def __contains__(self, name: object) -> bool:
        return name in self._known


class Table:
    """Random access to the rows of a tabular file.

    Args:
        path: the file.
        encoding / delimiter / header: as the user says; judged from the content when None.
        is_data: whether a text is a value of the domain, so that a first line of values is taken for no header.

    Attributes:
        columns: names, unique; ``column0`` ... where the file gives none.
        has_header: False where the names are ours: nothing may be concluded from them.
        counts: where the records went.

    Raises:
        DataError: missing, empty, not text, or damaged; says which.
    """

    def __init__(
        self,
        path: Path,
        *,
        encoding: str | None = None,
        delimiter: str | None = None,
        header: bool | None = None,
        is_data: IsData | None = None,
    ) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f"{str(path)!r} is not a file" if path.exists() else f"{str(path)!r} does not exist")
        if path.stat().st_size == 0:
            raise DataError(f"{str(path)!r} is empty (0 bytes)")
        if not table_suffix(path):
            raise DataError(f"{str(path)!r} is not a table by its name", expected=", ".join(SUFFIXES) + " (also .gz)")
        self.fingerprint = file_fingerprint(path)
        self.encoding = Encoding("", "")
        self.dialect: Dialect | None = None
        if table_suffix(path) != ".parquet":
            self.encoding = Encoding(encoding, "as asked") if encoding else detect_encoding(path)
            self.dialect = _dialect(path, self.encoding, delimiter, header, is_data)
        self._table, self._counted = self._load()
        self.columns = Names(name for name in self._table.column_names if name != PROBLEM_COLUMN)
        self._has_problems = PROBLEM_COLUMN in self._table.column_names
        self.has_header = self.dialect is None or self.dialect.has_header
        if len(self) == 0:
            raise DataError(f"{str(path)!r} has a header but no rows", columns=", ".join(self.columns))
        self._chunk_starts = [0]
        for chunk in self._table.column(0).chunks:
            self._chunk_starts.append(self._chunk_starts[-1] + len(chunk))

    @classmethod
    def of_cells(cls, path: Path, columns: Mapping[str, Sequence[str | None]]) -> Table:
        """A table of cells that a list in another format holds.

        Args:
            path: the list. columns: cells by name, all of one length of at least 1.
        """
        table = cls.__new__(cls)
        table.path, table.fingerprint, table.encoding, table.dialect = (
            path,
            file_fingerprint(path),
            Encoding("", ""),
            None,
        )
        table._table = pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})
        table._counted, table._has_problems, table.has_header = Counted(rows=len(table)), False, True
        table.columns = Names(columns)
        table._chunk_starts = [0, len(table)]
        return table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @property
    def counts(self) -> TableCount:
        """Where every record of the file went."""
        counted = self._counted
        headers = int(self.dialect is not None and self.dialect.has_header) + counted.headers
        blank, inside = counted.blank, counted.inside_cells
        return TableCount(self.path.name, len(self), headers, counted.comments, blank, inside, counted.malformed)

    def tell(self, account: Accounting) -> None:
        """Put the file, its records and every guess about it into an account."""
        account.use(self.path)
        if self.counts not in account.tables:
            account.tables.append(self.counts)
        name = self.path.name
        if not self.encoding.is_plain and self.encoding.name:
            account.guess(f"encoding of {name}", self.encoding.name, self.encoding.reason)
        for about, (chosen, why) in ({} if self.dialect is None else self.dialect.reasons).items():
            account.guess(f"{about} of {name}", chosen, why)
        for row, problem in list(self.problems().items())[:3]:
            account.note(f"{name}: row {row} is malformed: {problem}")
        quotes = self._counted.open_quotes
        if quotes:
            rows = ", ".join(map(str, quotes[:3])) + (", ..." if len(quotes) > 3 else "")
            account.note(
                f"{name}: {len(quotes):,} rows have a quotation mark that is never closed (row {rows}); it is taken "
                "as a character"
            )
        if self._counted.headers:
            account.note(f"{name}: the header stands among the rows {self._counted.headers:,} times: left out there")
        summary = self._summary_row()
        if summary:
            account.note(f"{name}: {summary} is a row like the others: remove it if it sums up the table")
        if self._counted.surplus_empty:
            account.note(f"{name}: {self._counted.surplus_empty:,} rows end in empty cells beyond the last column")

    def _summary_row(self) -> str:
        """The last row, if its first filled cell says that it sums up the others."""
        for name in self.columns:
            cell = self.slice(len(self) - 1, len(self), name)[0]
            if cell not in (None, ""):
                is_one = str(cell).strip().rstrip(":").lower() in SUMMARIES
                return f"row {len(self) - 1}, which begins with {str(cell).strip()!r}," if is_one else ""
        return ""

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
        raise missing_column(self.path.name, name, self.columns)

    def value(self, row: int, column: str) -> Any:  # text, or parquet's own type
        """One cell.

        Raises:
            ItemError: the row was malformed.
        """
        chunk, offset = self._locate(row)
        if self._has_problems:
            problem = self._table.column(PROBLEM_COLUMN).chunk(chunk)[offset].as_py()
            if problem:
                raise ItemError("malformed_row", problem)
        return self._table.column(column).chunk(chunk)[offset].as_py()

    def slice(self, start: int, stop: int, column: str) -> list[Any]:
        """Cells [start, stop) of a column; malformed rows give what they have."""
        return list(self._table.column(column).slice(start, stop - start).to_pylist())

    def cells(self, column: str) -> list[Any]:
        """All cells of a column."""
        return self.slice(0, len(self), column)

    @property
    def by_column(self) -> Columns:
        """Cells by column."""
        return Columns(self.columns, self.cells)

    def problems(self) -> dict[int, str]:
        """Malformed rows: row number -> what is wrong."""
        if not self._has_problems or not self._counted.malformed:
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

    def _load(self) -> tuple[pa.Table, Counted]:
        facts = self.path.stat()
        limits = (SMALL_FILE_BYTES, ROWS_PER_CHUNK, cache_root(), HELD_BYTES)
        what = (self.path.absolute(), facts.st_size, facts.st_mtime_ns, self.fingerprint)
        return _read_table(what, self.encoding, self.dialect, limits)


@lru_cache(maxsize=4)
def _read_table(
    what: tuple[Path, int, int, str], encoding: Encoding, dialect: Dialect | None, limits: tuple[int, int, Path, int]
) -> tuple[pa.Table, Counted]:
    """The table of a file as it is now; several sniffers and a reader that open the same file share it."""
    path, size, _, fingerprint = what
    counted = Counted()
    try:
        batches = _parquet_batches(path) if dialect is None else _text_batches(path, encoding, dialect, counted)
        facts = f"{fingerprint}|{FORMAT}|{encoding}|{dialect}"
        key = f"{fingerprint[:24]}-{sha256(facts.encode()).hexdigest()[:8]}"
        target = limits[2] / "tables" / f"{key}.arrow"
        if size <= limits[0] and not target.is_file():
            held = _first_of(batches, limits[3])
            if sum(one.nbytes for one in held) <= limits[3]:
                return pa.Table.from_batches(held), counted
            batches = chain(held, batches)
        return memory_mapped(batches, target, counted)
    except (OSError, EOFError, gzip.BadGzipFile, pa.ArrowException) as error:
        raise DataError(f"{str(path)!r} is damaged or not what its name says: {error}") from error


def _first_of(batches: Iterator[pa.RecordBatch], most: int) -> list[pa.RecordBatch]:
    """Batches until there are more than so many bytes of them; all, if there are not."""
    held, size = [], 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > most:
            break
    return held


def missing_column(place: str, name: str, columns: Sequence[str]) -> DataError:
    """A table without the column that was asked for, and those that it has."""
    more = f", ... ({len(columns)})" if len(columns) > 40 else ""
    return DataError(
        f"{place} has no column {name!r}",
        did_you_mean=closest(name, columns),
        columns=", ".join(columns[:40]) + more,
    )


def file_fingerprint(path: Path) -> str:
    """Hash of a file's content."""
    return file_identity(path)


def _dialect(
    path: Path, encoding: Encoding, delimiter: str | None, header: bool | None, is_data: IsData | None
) -> Dialect:
    suffix = table_suffix(path)
    try:
        lines = first_lines(path, encoding)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{str(path)!r} is damaged or not what its name says: {error}") from error
    except LookupError:
        raise DataError(f"encoding={encoding.name!r} is unknown", hint="utf-8, latin-1, cp1252, utf-16, ...") from None
    if not lines:
        raise DataError(f"{str(path)!r} holds nothing but blanks")
    if lines[0] == LONG_LINE:
        raise DataError(f"the first line of {str(path)!r} has more than {MOST_LINE:,} characters: it is no table")
    lines = [one for one in lines if one != LONG_LINE]
    if suffix in SMI_SUFFIXES and delimiter is None:
        smi = _smi_dialect(lines)
        if smi is not None:
            return smi
    return find_dialect(lines, suffix, delimiter=delimiter, header=header, is_data=is_data)


def _smi_dialect(lines: list[str]) -> Dialect | None:
    """The .smi custom: a text, blanks, its name; a header only if its first word says so. None = a delimited table."""
    words = [word.strip() for word in lines[0].lower().replace("\t", ",").split(",")]
    if len(words) > 1 and SMI_HEADERS & set(words):
        return None
    if all(len(line.split()) == 1 for line in lines) and any(
        lines[0].count(sign) and len({line.count(sign) for line in lines}) == 1 for sign in ",;"
    ):
        return None  # no blank in any line, but a comma or semicolon in each
    header = cut(lines[0], FIRST_BLANK)[0].lower() in SMI_HEADERS
    named = lines[0].split()
    widths = {len(line.split()) for line in lines}
    if (
        header
        and len(named) > 2
        and widths == {len(named)}
        and len(set(named[2:]) - {"smiles", "name"}) == len(named) - 2
    ):
        return Dialect(BLANKS, len(named), 0, True, ("smiles", "name", *named[2:]), {})
    if not header and len(widths) == 1 and len(named) > 2:
        example = f"smiles name {' '.join('y' * (len(named) - 2))}"
        what = f"each line has {len(named)} words; a header such as {example!r} makes columns"
        return Dialect(FIRST_BLANK, 2, 0, False, ("smiles", "name"), {"columns": ("SMILES and one name", what)})
    return Dialect(FIRST_BLANK, 2, 0, header, ("smiles", "name"), {} if header else _repeated_names(lines))


def _repeated_names(lines: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What to say where the words behind the molecules are no names: few of them, which come again and again."""
    words = [cells[1] for line in lines if len(cells := cut(line, FIRST_BLANK)) > 1]
    if len(words) < LEAST_NAMES or len(set(words)) > len(words) // 2:
        return {}
    what = f"{len(set(words))} different names such as {words[0]!r} in {len(words)} lines are used as no label"
    return {"columns": ("SMILES and one name", f"{what}; a header such as 'smiles name y' or 'smiles,y' makes columns")}


def memory_mapped(batches: Iterator[pa.RecordBatch], target: Path, counted: Counted) -> tuple[pa.Table, Counted]:
    """The cached copy, made first if it is not there; what was counted lies beside it."""
    beside = target.with_suffix(".json")
    if target.is_file() and beside.is_file():
        try:
            return _copy_at(target)
        except (OSError, ValueError, TypeError, pa.ArrowException):  # damaged: it is made again
            beside.unlink(missing_ok=True)
    if not (target.is_file() and beside.is_file()):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial-{uuid.uuid4().hex[:8]}")
        first = next(batches)
        try:
            with partial.open("wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
                writer.write_batch(first)
                for batch in batches:
                    writer.write_batch(batch)
            notes = partial.with_suffix(".facts")
            notes.write_text(json.dumps(asdict(counted)), encoding="utf-8")
            notes.rename(beside)
            partial.rename(target)
        finally:
            if partial.exists():
                partial.unlink()
    return _copy_at(target)


def _copy_at(target: Path) -> tuple[pa.Table, Counted]:
    counted = Counted(**read_json_file(target.with_suffix(".json")))
    return pa.ipc.open_file(pa.py_buffer(mapped(target))).read_all(), counted


def mapped(path: Path) -> mmap.mmap:
    """A file as memory; opened by Python, for pyarrow takes every path for UTF-8."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() == ".gz":
        raise DataError(f"{str(path)!r}: parquet compresses itself", hint=f"gunzip {path.name}")
    wait, rows = Wait(f"reading {path.name}"), 0
    with path.open("rb") as file:  # not mapped: a file that is cut off meanwhile would end the process
        opened, size = open_parquet(file), path.stat().st_size
        for batch in parquet_batches(opened, repr(str(path)), size, ROWS_PER_CHUNK):
            rows += len(batch)
            wait.at(f"{rows:,} of {opened.file.metadata.num_rows:,} rows")
            yield _without_nesting(batch)


def _without_nesting(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Lists and structures as JSON writes them: a list of words is several labels, everything else is a text."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_nested(field.type):
            cells = flat_cells(batch.column(place).to_pylist())
            batch = batch.set_column(place, field.name, pa.array(cells, pa.large_string()))
    return batch


def _text_batches(path: Path, encoding: Encoding, dialect: Dialect, counted: Counted) -> Iterator[pa.RecordBatch]:
    names = [*dialect.names, PROBLEM_COLUMN]
    with open_text(path, encoding) as file:
        wait = Wait(f"reading {path.name}")
        for columns in Records(universal_lines(file), dialect, counted).columns(ROWS_PER_CHUNK):
            wait.at(f"{counted.rows:,} rows")
            arrays = [pa.array(column, pa.large_string()) for column in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=names)
